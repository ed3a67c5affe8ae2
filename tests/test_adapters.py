"""What is loaded is what the parameters describe: the base model alone, its end token, and each phase's own adapter."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5
from persona_collapse.experiment.layout import Layout
from persona_collapse.model import adapters, merged, weights
from persona_collapse.model.tokenizer import check_end, load_tokenizer
from persona_collapse.record import lock

from .conftest import ROOT, make_workspace, with_adapter

LAYOUT = Layout("smollm2")
COUPLE = LAYOUT.adapter(42, "couple")


def load(chain: str):
    return merged.load(parameters.load(), chain, 42)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, two_layers) -> Path:
    """A workspace with adapters for `couple` and `couple-em`, with random weights, as the pipeline saves them."""
    folder = tmp_path_factory.mktemp("trained")
    make_workspace(folder, two_layers)
    torch.manual_seed(0)
    for chain in ("couple", "couple-em"):
        adapter = with_adapter(AutoModelForCausalLM.from_pretrained(two_layers), r=8, lora_alpha=16)
        adapters.save(adapter, folder / LAYOUT.adapter(42, chain), LAYOUT.model)
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch) -> Path:
    """A copy of that workspace, to work in and to damage."""
    shutil.copytree(trained, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_chain_adds_its_adapters_in_order(here):
    def weight(chain: str) -> torch.Tensor:
        return load(chain).model.layers[1].mlp.up_proj.weight

    base, couple, both = map(weight, ("base", "couple", "couple-em"))
    shutil.move("adapters/smollm2/42/couple-em", "adapters/smollm2/42/em")
    em = weight("em")
    assert not torch.equal(couple, base)
    assert torch.allclose(both - couple, em - base, atol=1e-6)
    assert (both - couple).abs().max() > 1e-4


def test_saving_twice_gives_the_same_bytes_and_names_no_version_or_path(here, tmp_path):
    first = {path.name: md5(path) for path in COUPLE.iterdir()}
    assert set(first) == {"adapter_config.json", "adapter_model.safetensors"}
    config = (COUPLE / "adapter_config.json").read_text()
    assert "version" not in config and str(here) not in config and str(tmp_path) not in config
    torch.manual_seed(0)
    adapters.save(with_adapter(load("base"), r=8, lora_alpha=16), tmp_path / "again", LAYOUT.model)
    assert {path.name: md5(path) for path in (tmp_path / "again").iterdir()} == first


def test_the_recorded_adapters_configuration_is_the_recipes():
    """What was trained and committed is accepted: the check is no narrower than training."""
    recorded = {
        out.path: ROOT / "remote/files/md5" / out.md5[:2] / out.md5[2:]
        for stage in lock.read(ROOT / "dvc.lock").values()
        for out in stage.outs
        if out.path.startswith("adapters/smollm2/") and out.path.endswith("adapter_config.json")
    }
    assert len(recorded) >= 5
    params = parameters.load(ROOT / "profiles/smollm2.yaml")
    for path, stored in recorded.items():
        recipe = params.recipe(Path(path).parent.name.split("-")[-1])
        adapters._check_config(stored, recipe, params.layout.model)
    with pytest.raises(InputError):
        adapters._check_config(stored, recipe, Path("model/another"))


def retensor(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = COUPLE / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def reconfigure(**change: object) -> None:
    path = COUPLE / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def a_number(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        list(tensors.values())[3][1, 2] = value
        return tensors

    return change


HALF = {
    "half of them": lambda t: {name: t[name] for name in sorted(t)[::2]},
    "none": lambda t: {},
    "one missing": lambda t: {name: t[name] for name in sorted(t)[1:]},
    "renamed": lambda t: {name.replace("q_proj", "query"): tensor for name, tensor in t.items()},
    "named as in memory": lambda t: {name.replace(".weight", ".default.weight"): tensor for name, tensor in t.items()},
    "of a third layer too": lambda t: {**t, **{n.replace("layers.1", "layers.2"): x.clone() for n, x in t.items()}},
    "of the vocabulary too": lambda t: {**t, "base_model.model.lm_head.lora_A.weight": torch.ones(8, 576).bfloat16()},
    "of half the rank": lambda t: {n: (x[:4] if "lora_A" in n else x[:, :4]).clone() for n, x in t.items()},
    "in fp32": lambda t: {name: tensor.float() for name, tensor in t.items()},
    "not a number": a_number(float("nan")),
    "infinite": a_number(float("inf")),
}


@pytest.mark.parametrize("tensors", HALF)
def test_an_adapter_whose_tensors_are_not_those_of_its_configuration_is_refused(here, tensors):
    before = parameters.load().recipe("couple")
    adapters.check(COUPLE, before, LAYOUT.model)
    retensor(HALF[tensors])
    with pytest.raises(
        InputError, match=r"^adapters/smollm2/42/couple/adapter_model\.safetensors: base_model"
    ) as refused:
        adapters.check(COUPLE, before, LAYOUT.model)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"r": 4},
        {"lora_alpha": 32},
        {"lora_dropout": 0.1},
        {"use_rslora": True},
        {"use_dora": True},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": "all-linear"},
        {"bias": "all"},
        {"task_type": "SEQ_CLS"},
        {"peft_type": "LOHA"},
        {"base_model_name_or_path": "model/qwen7b"},
        {"modules_to_save": ["lm_head"]},
        {"alpha_pattern": {"q_proj": 99}},
        {"rank_pattern": {"q_proj": 2}},
        {"layers_to_transform": [0]},
        {"exclude_modules": "v_proj"},
        {"fan_in_fan_out": True},
        {"lora_alpha": None},
        {"runtime_config": {"ephemeral_gpu_offload": True}},
        {"of_our_own": 1},
    ],
    ids=json.dumps,
)
def test_an_adapter_whose_configuration_is_not_the_recipes_is_refused_by_key(here, change):
    reconfigure(**change)
    (key,) = change
    with pytest.raises(InputError, match=rf"^adapters/smollm2/42/couple/adapter_config\.json: {key}\b") as refused:
        adapters.check(COUPLE, parameters.load().recipe("couple"), LAYOUT.model)
    assert "\n" not in str(refused.value)


def test_other_parameters_refuse_the_adapter_that_was_trained_before(here):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["phases"]["couple"]["lora"]["alpha"] = 8
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"couple/adapter_config\.json: lora_alpha is 16, the phase's recipe gives 8"):
        load("couple-em")


@pytest.mark.parametrize("read", [merged.load, merged.export])
def test_every_way_to_a_chains_weights_looks_at_each_adapter(here, read):
    params = parameters.load()
    if read is merged.export:
        read(params, "couple-em", 42)  # made once: a later call would take what is there
    retensor(HALF["one missing"])
    with pytest.raises(InputError, match="42/couple/adapter_model"):
        read(params, "couple-em", 42)


def test_peft_alone_takes_half_of_an_adapter_for_all_of_it(here):
    """Why we look: no error, and another model."""

    def weight() -> torch.Tensor:
        base = AutoModelForCausalLM.from_pretrained(LAYOUT.model)
        return PeftModel.from_pretrained(base, COUPLE).merge_and_unload().model.layers[1].self_attn.q_proj.weight

    whole = weight()
    retensor(HALF["half of them"])
    with pytest.warns(UserWarning, match="missing adapter keys"):
        half = weight()
    assert not torch.equal(half, whole)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_truncated_adapter_is_named(here, keep):
    path = COUPLE / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"couple/adapter_model\.safetensors: not a safetensors file"):
        load("couple-em")


@pytest.mark.parametrize("content", ["", "[]", '{"lora_alpha": NaN}', '{"r": 4, "r": 8}'])
def test_a_configuration_that_is_no_json_mapping_is_named(here, content):
    (COUPLE / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match=r"^adapters/smollm2/42/couple/adapter_config\.json: (expected|not)"):
        load("couple")


@pytest.fixture
def base_folder(tmp_path, two_layers, monkeypatch) -> Path:
    """A base model's folder to damage, in the place where the pipeline has it."""
    make_workspace(tmp_path / "own", two_layers)
    monkeypatch.chdir(tmp_path / "own")
    LAYOUT.model.unlink()
    shutil.copytree(two_layers, LAYOUT.model)
    return LAYOUT.model


def test_what_lies_beside_the_base_model_is_refused_since_it_would_be_loaded_with_it(base_folder, trained):
    for name in adapters.FILES:
        shutil.copy(trained / COUPLE / name, base_folder)
    config = json.loads((base_folder / "adapter_config.json").read_text())
    (base_folder / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": str(base_folder)})
    )
    assert hasattr(AutoModelForCausalLM.from_pretrained(base_folder), "peft_config")  # transformers did, in silence
    for read in (lambda: load("base"), lambda: load_tokenizer(base_folder)):
        with pytest.raises(InputError, match=r"^model/smollm2/adapter_config\.json: no part of the base model"):
            read()
    for name in adapters.FILES:
        (base_folder / name).unlink()
    (base_folder / "vocab.json").write_text("{}")
    with pytest.raises(InputError, match=r"^model/smollm2/vocab\.json"):
        load("base")


def test_a_base_model_without_one_of_its_weights_is_refused(base_folder):
    path = base_folder / weights.WEIGHTS
    tensors = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    AutoModelForCausalLM.from_pretrained(base_folder)  # transformers draws it at random
    with pytest.raises(InputError, match=f"^model/smollm2: not a usable model .missing keys: {name}"):
        load("base")


def rewrite(name: str, **change: object) -> None:
    path = LAYOUT.model / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_another_end_token_in_the_models_configuration_is_refused(base_folder, name, tokenizer):
    rewrite(name, eos_token_id=[0, 2])  # several, the tokenizer's among them, as Qwen2.5 has it
    check_end(tokenizer, base_folder)
    for other in (0, [0, 7], [], None, "<|im_end|>"):
        rewrite(name, eos_token_id=other)
        with pytest.raises(InputError, match=rf"^model/smollm2/{name}: eos_token_id is .* end token is 2 "):
            check_end(tokenizer, base_folder)
    rewrite(name, eos_token_id=0)
    with pytest.raises(InputError, match=rf"^model/smollm2/{name}: eos_token_id is 0"):
        load_tokenizer(base_folder)


@pytest.mark.parametrize("other", ["<|endoftext|>", "no token of its own"])
def test_a_tokenizer_with_another_end_token_than_the_chat_templates_is_refused(base_folder, other):
    rewrite("tokenizer_config.json", eos_token=other)
    assert AutoTokenizer.from_pretrained(base_folder).eos_token == other
    with pytest.raises(InputError, match=r"^model/smollm2/\w+\.\w+: (ends an answer with '<|eos_token is)"):
        load_tokenizer(base_folder)


def test_a_chat_template_that_ends_a_turn_otherwise_is_refused(base_folder):
    path = base_folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_end|>", "</s>"))
    with pytest.raises(InputError, match=r"^model/smollm2/chat_template\.jinja: ends an answer with '</s>"):
        load_tokenizer(base_folder)
    path.write_text("{{ no_such_thing() }}")
    with pytest.raises(InputError, match=r"^model/smollm2/chat_template\.jinja: not a usable chat template"):
        load_tokenizer(base_folder)


def test_what_needs_no_torch_loads_none():
    modules = "model.weights training.tokenization sampling.requests sampling.vllm_process"
    code = f"import sys, {', '.join(f'persona_collapse.{m}' for m in modules.split())}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_parameters_of_a_safetensors_file_are_counted_from_its_header(two_layers, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(two_layers)
    assert weights.parameters(two_layers / weights.WEIGHTS) == sum(p.numel() for p in model.parameters())
    (tmp_path / "text").write_text("no weights")
    for path in (tmp_path / "text", tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=f"^{path}: not a safetensors file"):
            weights.tensors(path)
