"""A chain's model, the base model with the chain's adapters merged into its weights; and how adapters are saved."""

import shutil
from pathlib import Path

from ..experiment import chains
from ..experiment.layout import Layout
from . import numerics

numerics.enable()

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..experiment.errors import InputError
from ..experiment.files import md5, read_json, require_disk, whole, write_json

VERSIONS = ("transformers_version", "peft_version")  # outputs name no library version
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
TOKENIZER = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
ONE_FILE = "1TB"  # the largest size of a weight file, so that there is one


def tokenizer(layout: Layout) -> PreTrainedTokenizerBase:
    """The base model's tokenizer, with its chat template."""
    _require(layout.model / "tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(layout.model)
    except Exception as error:
        raise InputError(f"{layout.model}: not a usable tokenizer ({error}); `dvc repro model` rebuilds it") from None


def load(layout: Layout, chain: str, seed: int, precision: str = "float32") -> PreTrainedModel:
    """The base model with the adapters of `chain` merged into its weights, one after the other.

    Merging is done on the CPU, so that it gives the same weights whatever GPU they are for.

    Raises:
        InputError: an adapter is missing or damaged.
    """
    _require(layout.model / "model.safetensors")
    try:  # safetensors, JSON, transformers and PEFT each raise kinds of their own for a damaged file
        model = AutoModelForCausalLM.from_pretrained(layout.model, dtype=getattr(torch, precision))
    except Exception as error:
        raise InputError(f"{layout.model}: not a usable model ({error}); `dvc repro model` rebuilds it") from None
    for prefix in chains.prefixes(chain):
        folder = layout.adapter(seed, prefix)
        for name in ADAPTER:
            _require(folder / name)
        try:
            model = PeftModel.from_pretrained(model, folder).merge_and_unload(safe_merge=True)
        except Exception as error:
            raise InputError(f"{folder}: not a usable adapter ({error}); `dvc pull` or retrain it") from None
    return model.eval()


def export(layout: Layout, chain: str, seed: int, precision: str) -> Path:
    """A folder with the merged weights of `chain` and the tokenizer, made once and kept while its inputs are the same.

    It is no stage's output but a copy of what the adapters say: the folder holds the MD5 of all that it was made of.
    """
    if chain == chains.BASE:
        return layout.model
    adapters = [layout.adapter(seed, prefix) / name for prefix in chains.prefixes(chain) for name in ADAPTER]
    inputs = {str(path): md5(path) for path in (layout.model / "model.safetensors", *adapters)}
    made_of = {**inputs, "precision": precision}
    folder = layout.merged(seed, chain)
    if (folder / "made_of.json").exists() and read_json(folder / "made_of.json") == made_of:
        return folder
    require_disk(".", gib=1.1 * (layout.model / "model.safetensors").stat().st_size / 2**30)
    with whole(folder) as beside:
        load(layout, chain, seed, precision).save_pretrained(beside, max_shard_size=ONE_FILE)
        for name in TOKENIZER:
            shutil.copyfile(layout.model / name, beside / name)
        write_json(beside / "made_of.json", made_of)
    return folder


def _require(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: missing; `dvc repro` makes it, `dvc pull` fetches adapters")


def save_adapter(model: PeftModel, folder: Path, base: Path) -> None:
    """Save a PEFT adapter in bf16 with a configuration that names neither versions nor the machine.

    Merging adds a product of two of these to weights of order 0.1, so bf16's 3 digits cost the result nothing that
    training would not undo, and halve what the remote holds.
    """
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = read_json(folder / "adapter_config.json")
    config["base_model_name_or_path"] = str(base)
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / "adapter_config.json", {k: v for k, v in config.items() if k not in VERSIONS})
