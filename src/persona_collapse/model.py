"""Weights: the base model out of its package, and a chain of adapters merged into it.

python -m persona_collapse.model        writes model/, fp32 safetensors and tokenizer
"""

import argparse
import importlib.util
import json
from pathlib import Path

from . import numerics

numerics.enable()

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from . import params as parameters
from . import paths
from .files import InputError, one_line_errors, read_json, require_disk, sha256, whole, write_json

VERSIONS = ("transformers_version", "peft_version")  # outputs name no library version


def tokenizer() -> PreTrainedTokenizerBase:
    """The base model's tokenizer, with its chat template."""
    _require(paths.MODEL / "tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(paths.MODEL)
    except Exception as error:
        raise InputError(f"{paths.MODEL}: not a usable tokenizer ({error}); `dvc repro model` rebuilds it") from None


def load(chain: str, seed: int) -> LlamaForCausalLM:
    """The base model with the adapters of `chain` merged into its weights, one after the other, in fp32.

    Raises:
        InputError: an adapter is missing or damaged.
    """
    _require(paths.MODEL / "model.safetensors")
    try:  # safetensors, JSON, transformers and PEFT each raise kinds of their own for a damaged file
        model = AutoModelForCausalLM.from_pretrained(paths.MODEL, dtype=torch.float32)
    except Exception as error:
        raise InputError(f"{paths.MODEL}: not a usable model ({error}); `dvc repro model` rebuilds it") from None
    for prefix in parameters.prefixes(chain):
        folder = paths.adapter(seed, prefix)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            _require(folder / name)
        try:
            model = PeftModel.from_pretrained(model, folder).merge_and_unload(safe_merge=True)
        except Exception as error:
            raise InputError(f"{folder}: not a usable adapter ({error}); `dvc pull` or retrain it") from None
    return model.eval()


def _require(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: missing; `dvc repro` makes it, `dvc pull` fetches adapters")


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Save a PEFT adapter in bf16 with a configuration that names neither versions nor the machine.

    Merging adds a product of two of these to weights of order 0.1, so bf16's 3 digits cost the result nothing that
    training would not undo, and halve what the remote holds.
    """
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = read_json(folder / "adapter_config.json")
    config["base_model_name_or_path"] = str(paths.MODEL)
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / "adapter_config.json", {k: v for k, v in config.items() if k not in VERSIONS})


def convert(package: str, expected_sha256: str, folder: Path) -> None:
    """De-quantise the GGUF file inside the installed `package` to fp32 and save it the way Hugging Face does.

    Raises:
        InputError: the package is not installed, or its file is not the expected one.
    """
    module = importlib.util.find_spec(package.replace("-", "_"))  # located, not imported: it wants a runtime of its own
    if module is None or module.origin is None:
        raise InputError(f"model.package: {package!r} is not installed; `make setup` installs requirements/cpu.txt")
    gguf = next(Path(module.origin).parent.glob("*.gguf"), None)
    if gguf is None:
        raise InputError(f"model.package: {package!r} carries no GGUF file")
    if (found := sha256(gguf)) != expected_sha256:
        raise InputError(f"{gguf.name}: SHA-256 is {found}, params.yaml expects {expected_sha256}")

    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # the loaded model refuses to be saved: it still calls itself quantised
    config._name_or_path = package
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    for path in folder.glob("*.json"):
        if path.name != "tokenizer.json":
            settings = json.loads(path.read_text())
            write_json(path, {k: v for k, v in settings.items() if k not in VERSIONS})


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    require_disk(".", gib=2)
    with whole(paths.MODEL) as folder:
        convert(params.model.package, params.model.sha256, folder)


if __name__ == "__main__":
    main()
