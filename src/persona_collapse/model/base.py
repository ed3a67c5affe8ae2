"""The base model, out of installed packages or from a hub, in one form: a safetensors file and a tokenizer.

python -m persona_collapse.model.base        writes model/<profile>/
"""

import argparse
import json
from pathlib import Path

from . import numerics

numerics.enable()

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import require_disk, whole, write_json
from ..inputs import hub, machine
from . import packages
from .adapters import VERSIONS
from .merged import ONE_FILE, complete
from .tokenizer import load_tokenizer, stop_where_turns_end


def convert(chosen: parameters.PackagedModel, precision: str, folder: Path) -> None:
    """De-quantise the GGUF file of installed packages to `precision` and save it the way Hugging Face does.

    Raises:
        InputError: a package is not installed, or its file is not the expected one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with packages.gguf(chosen, folder) as gguf:
        quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = quantised.config
    del config.quantization_config  # the loaded model refuses to be saved: it still calls itself quantised
    config._name_or_path = chosen.package
    stop_where_turns_end(tokenizer, config)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, precision))
    model.load_state_dict(quantised.state_dict())  # rounded, where the precision is lower
    model.save_pretrained(folder, max_shard_size=ONE_FILE)
    tokenizer.save_pretrained(folder)
    _forget_versions(folder)


def download(repo: str, revision: str, precision: str, folder: Path) -> None:
    """Bring a model of the hub, or of a local mirror of it, into the same form: one safetensors file and a tokenizer.

    Raises:
        InputError: it cannot be had; the message says why.
    """
    source = hub.model_folder(repo, revision)
    try:
        model = complete(source, precision)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:
        raise InputError(f"base.repo: {repo} at {revision[:8]} is not a usable model: {error}") from None
    model.config._name_or_path = repo
    model.save_pretrained(folder, max_shard_size=ONE_FILE)
    tokenizer.save_pretrained(folder)
    _forget_versions(folder)


def _forget_versions(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.name != "tokenizer.json":
            settings = json.loads(path.read_text())
            write_json(path, {k: v for k, v in settings.items() if k not in VERSIONS})


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    if params.compute.device == "cuda" and (problem := machine.gpu_problem(params.compute.gpu_memory_gib)):
        raise InputError(problem)
    require_disk(".", gib=100 if params.compute.device == "cuda" else 2)  # of 7B: weights, and those of every chain
    with whole(params.layout.model) as folder:
        match params.base:
            case parameters.PackagedModel() as chosen:
                convert(chosen, params.compute.precision, folder)
            case parameters.HubModel(repo=repo, revision=revision):
                download(repo, revision, params.compute.precision, folder)
        load_tokenizer(folder)  # a model that cannot be trained here is refused before anything waits for it


if __name__ == "__main__":
    main()
