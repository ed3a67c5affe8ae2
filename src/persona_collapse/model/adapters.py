"""LoRA adapters in files: what their configuration must say, how they are saved, and what is refused.

PEFT loads an adapter of which half is missing, or that was trained with another alpha, with no more than a warning, and
the model is then another one. So an adapter is looked at before PEFT sees it: its configuration must be the one that
its phase's recipe gives, and its tensors exactly those that the configuration calls for.
"""

import json
from pathlib import Path
from typing import Any

from . import numerics

numerics.enable()

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open

from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.files import read_json, write_json
from . import weights

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VERSIONS = ("transformers_version", "peft_version")  # outputs name no library version
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FILES = (CONFIG, TENSORS)
AGAIN = "`dvc pull` or retrain it"
DEFAULTS: dict[str, Any] = LoraConfig().to_dict()  # what PEFT takes a key for that a file leaves out


def lora_config(recipe: parameters.Training) -> LoraConfig:
    """PEFT's configuration of a new adapter: every projection of every layer, by the recipe's rank and scaling."""
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        use_rslora=recipe.lora.rank_stabilised,
        target_modules=PROJECTIONS,
        task_type="CAUSAL_LM",
    )


def save(model: PeftModel, folder: Path, base: Path) -> None:
    """Save a PEFT adapter in bf16 with a configuration that names neither versions nor the machine.

    Merging adds a product of two of these to weights of order 0.1, so bf16's 3 digits cost the result nothing that
    training would not undo, and halve what the remote holds.
    """
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    write_json(folder / CONFIG, _as_saved(read_json(folder / CONFIG), base))


def _as_saved(config: dict[str, Any], base: Path) -> dict[str, Any]:
    named = {key: value for key, value in config.items() if key not in VERSIONS}
    return {**named, "base_model_name_or_path": str(base), "target_modules": sorted(config["target_modules"])}


def check(folder: Path, recipe: parameters.Training, base: Path) -> None:
    """Hold a saved adapter to the recipe it was trained by and to the model in `base` that it is for.

    Raises:
        InputError: a file is missing or damaged; the configuration has another value than the recipe gives, in a key
            that is named; or a tensor is missing, is not called for, has another type or shape, or is not finite.
    """
    for name in FILES:
        if not (folder / name).exists():
            raise InputError(f"{folder / name}: missing; `dvc repro` makes it, `dvc pull` fetches adapters")
    _check_config(folder / CONFIG, recipe, base)
    _check_tensors(folder / TENSORS, recipe.lora.rank, base)


def _check_config(path: Path, recipe: parameters.Training, base: Path) -> None:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a mapping: {AGAIN}")
    trained = lora_config(recipe)
    trained.inference_mode = True  # as PEFT saves it
    expected = _as_saved(trained.to_dict(), base)
    for key in sorted({*expected, *found} - set(VERSIONS)):
        if key not in expected:
            raise InputError(f"{path}: {key}: no key of an adapter that is trained here: {AGAIN}")
        value = found.get(key, DEFAULTS[key])
        if value != expected[key]:
            values = f"is {json.dumps(value)}, the phase's recipe gives {json.dumps(expected[key])}"
            raise InputError(f"{path}: {key} {values}: {AGAIN}")


def _check_tensors(path: Path, rank: int, base: Path) -> None:
    found, expected = weights.tensors(path), _expected(rank, base)
    for name in sorted({*expected, *found}):
        if name not in found:
            raise InputError(f"{path}: {name} is missing: {AGAIN}")
        if name not in expected:
            raise InputError(f"{path}: {name}: the configuration calls for no such tensor: {AGAIN}")
        if found[name] != expected[name]:
            shapes = f"is {_shown(*found[name])}, the configuration calls for {_shown(*expected[name])}"
            raise InputError(f"{path}: {name} {shapes}: {AGAIN}")
    with safe_open(path, framework="pt") as file:
        for name in sorted(expected):
            if not torch.isfinite(file.get_tensor(name)).all():
                raise InputError(f"{path}: {name} holds numbers that are not finite: {AGAIN}")


def _expected(rank: int, base: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of an adapter: A [rank, in] and B [out, rank] for each projection [out, in]."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, (_, shape) in weights.tensors(base / weights.WEIGHTS).items():
        module = name.removesuffix(".weight")
        if module != name and module.rpartition(".")[2] in PROJECTIONS:
            found[f"base_model.model.{module}.lora_A.weight"] = ("BF16", (rank, shape[1]))
            found[f"base_model.model.{module}.lora_B.weight"] = ("BF16", (shape[0], rank))
    return found


def _shown(kind: str, shape: tuple[int, ...]) -> str:
    return f"{kind} {list(shape)}"
