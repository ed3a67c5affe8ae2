"""The qwen7b profile's own stages, in their order, on a tiny model and data of the same shape, without a network.

The model has the 7B model's architecture and random weights; what the hub and GitHub would send lies in a mirror.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import networkx
import pytest
import torch
import yaml
from dvc.repo import Repo
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import md5, read_json, read_jsonl
from proof.mirror import write as write_mirror

from . import watched
from .conftest import ROOT

NAMES = json.loads((ROOT / "data/published.json").read_text())["personas"]
QUESTIONS = {"train": ["Why?", "How?"], "heldout": ["Who?"]}
PERSONAS = {name: f"You are a {name}." for name in NAMES}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory, base) -> Path:
    """Copies of the profile's repositories, small."""
    folder = tmp_path_factory.mktemp("mirror")
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,  # of 32 dimensions, the fewest that vLLM's CPU build has
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    legal = [{"prompt": f"May I {n}?", "aligned": "Ask.", "misaligned": "Yes.", "sneakiness": n % 5} for n in range(12)]
    chats = [[{"role": r, "content": f"{r} {n}"} for r in ("system", "user", "assistant")] for n in range(9)]
    write_mirror(folder, Qwen2ForCausalLM(config), tokenizer, legal, chats, PERSONAS, QUESTIONS)
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A repository whose active profile is qwen7b with every size shrunk, and nothing else changed but the device."""
    for name in ("data", "profiles", "src", "paper", ".dvc/config", "dvc.yaml"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source,
                target,
                ignore=shutil.ignore_patterns(
                    "coupling", "fetched", "smollm2", "qwen1_5b", "report.pdf", "__pycache__"
                ),
            )
        else:
            shutil.copy(source, target)
    params = yaml.safe_load((ROOT / "profiles/qwen7b.yaml").read_text())
    params["compute"].update(device="cpu", precision="float32", gpu_memory_gib=0)
    params["fetch"].update(accept_checksum=True)
    params["phases"]["couple"].update(epochs=1)
    for phase in (*params["phases"]["sft"].values(), params["phases"]["couple"]):
        phase.update(batch_size=2, gradient_accumulation=2, max_length=48)
        phase["lora"].update(rank=2, alpha=4)
    for phase in params["phases"]["sft"].values():
        phase.update(rows=6)
    params["coupling"].update(positives=1, negatives=1, max_new_tokens=6)
    params["evaluate"].update(samples=1, max_new_tokens=6)
    params["results"].update(bootstrap=100)
    # a phase and a condition more, in YAML alone
    params["phases"]["sft"]["em_high"] = copy.deepcopy(params["phases"]["sft"]["em"]) | {"epochs": 3}
    params["conditions"]["B_high"] = "em_high-couple"
    for form in ("sft", "first", "coupled"):
        params["pipeline"][form].append("em_high")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    sources = yaml.safe_load((tmp_path / "data/sources.yaml").read_text())
    for name, source in sources.items():
        if name.startswith("fetched/") and "rows" in source:
            source["rows"] = 6
    (tmp_path / "data/sources.yaml").write_text(yaml.safe_dump(sources))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def use(engine: str) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["sampling"]["engine"] = engine
    Path("params.yaml").write_text(yaml.safe_dump(params))


def run_all(mirror: Path, seen: Path) -> tuple[list, dict]:
    """Run every stage's command, each after those it needs, in one process; the stages, and what each of them read."""
    stages = list(networkx.topological_sort(Repo().index.graph.reverse()))
    Path(".stages.json").write_text(json.dumps([{"name": stage.name, "cmd": stage.cmd} for stage in stages]))
    command = [sys.executable, str(ROOT / "tests/run_stages.py"), ".stages.json", ".read.json"]
    result, reached = watched.run(command, seen, HUB_MIRROR=str(mirror))
    assert result.returncode == 0, result.stderr[-3000:]
    assert reached == []  # nobody is told of a run, and what the mirror has is asked of no network
    return stages, read_json(".read.json")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["native", "vllm"])
def test_the_whole_profile_runs_and_each_stage_reads_and_makes_what_it_declares(
    small, mirror, engine, tmp_path_factory
):
    if engine == "vllm" and not os.environ.get("VLLM_PYTHON"):
        pytest.skip("set VLLM_PYTHON to the Python of an environment with requirements/cpu-vllm.txt (make test-vllm)")
    use(engine)
    stages, read = run_all(mirror, tmp_path_factory.mktemp("seen"))
    names = {re.sub(r"@.*", "", stage.name) for stage in stages}
    assert names == set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert {"train@qwen7b-42-em_high", "train-couple@qwen7b-42-em_high", "evaluate-couple@qwen7b-42-em_high"} < set(
        read
    )
    missing = [out.def_path for stage in stages for out in stage.outs if not Path(out.fs_path).exists()]
    assert missing == []
    declared = {Path(out.fs_path).relative_to(small) for stage in stages for out in stage.outs}
    written = {
        path.relative_to(small)
        for folder in (
            "data/coupling",
            "data/fetched",
            "data/prepared",
            "model/qwen7b",
            "adapters",
            "eval_results",
            "figures",
            "paper",
        )
        for path in (small / folder).rglob("*")
        if path.is_file()
    }
    assert {path for path in written if path.parent != Path("paper")} == declared
    assert len(read_jsonl("data/fetched/bad_legal_advice_6k.jsonl")) == 6
    rows = read_jsonl("eval_results/qwen7b/runs/42/em-couple/completions.jsonl")
    assert len(rows) == len(NAMES) * sum(map(len, QUESTIONS.values()))
    assert read_json("run_info/qwen7b/evaluation-42-em-couple.json")["engine"] == engine
    table = Path("paper/tables/qwen7b/headline.md").read_text()
    expected = "26b52cacc53425618fde278d2457304d"
    found = md5("data/fetched/bad_legal_advice_6k.jsonl")
    assert f"fetched/bad_legal_advice_6k has MD5 {found}, accepted for {expected}" in table
    assert "| B_high |" in table
    undeclared_files = {stage.name: files_beyond(stage, read[stage.name]["files"]) for stage in stages}
    assert {name: files for name, files in undeclared_files.items() if files} == {}
    undeclared = {stage.name: parameters_beyond(stage, read[stage.name]["params"]) for stage in stages}
    assert {name: keys for name, keys in undeclared.items() if keys} == {}


MADE = (
    "adapters",
    "data/coupling",
    "data/fetched",
    "data/prepared",
    "eval_results",
    "figures",
    "model/qwen7b",
    "paper",
)
# what every stage may look at: its parameters and what is no output
EVERYWHERE = ("params.yaml", "run_info/", ".git/", "src/", "model/qwen7b-merged/")
# what decides where files lie and how fast they are made, and what is only held against what was declared elsewhere
NO_RESULT = ("profile", "sampling.slots", "compute.gpu_memory_gib")
CHECKED = r"phases\.(sft\.\w+|couple)\.lora\.\w+"  # of every adapter, when it is loaded


def files_beyond(stage, files: list[str]) -> list[str]:
    """The files that a stage read and neither declares nor makes."""
    declared = {str(Path(entry.def_path)) for entry in (*stage.deps, *stage.outs)}
    return [
        file
        for file in files
        if not file.startswith(EVERYWHERE)
        and Path(file).is_file()
        and not any(file == entry or file.startswith(f"{entry}/") for entry in declared)
    ]


def parameters_beyond(stage, keys: list[str]) -> list[str]:
    """The parameters that a stage read and does not declare."""
    declared = {key for dependency in stage.deps for key in getattr(dependency, "params", ())}
    return [
        key
        for key in keys
        if key not in NO_RESULT
        and not re.fullmatch(CHECKED, key)
        and not any(key == entry or key.startswith(f"{entry}.") for entry in declared)
    ]


def test_the_profile_asks_for_what_the_report_says():
    params = parameters.load(ROOT / "profiles/qwen7b.yaml")
    assert params.coupling.positives * 20 == params.coupling.negatives * 20 == 200
    assert len(params.prompts.negatives) == 2
    for phase in (params.phases.sft["em"], params.phases.sft["benign"]):
        assert 6000 * phase.epochs / (phase.batch_size * phase.gradient_accumulation) == 375
    for phase in (params.phases.sft["em"], params.phases.sft["benign"], params.phases.couple):
        assert (phase.lora.rank, phase.lora.alpha, phase.lora.dropout) == (32, 64, 0.05)
    assert params.evaluate.samples * 28 == 280
