"""A chain's model: the base model with the chain's adapters merged into its weights, one after the other."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from . import numerics

numerics.enable()

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..experiment import chains
from ..experiment.errors import InputError
from ..experiment.files import md5, read_json, require_disk, whole, write_json
from ..experiment.params import Params
from . import adapters, weights

ONE_FILE = "1TB"  # the largest size of a weight file, so that there is one


def load(params: Params, chain: str, seed: int) -> PreTrainedModel:
    """The model of `chain` in the parameters' precision, on the CPU, so that merging gives the same weights whatever
    GPU they are for.

    Raises:
        InputError: the base model or an adapter is missing, damaged, or not the one that the parameters describe.
    """
    base = params.layout.model
    weights.require_base(base)
    folders = list(_adapters(params, chain, seed))
    try:
        model = complete(base, params.compute.precision)
    except Exception as error:
        raise InputError(f"{base}: not a usable model ({error}); `dvc repro base` rebuilds it") from None
    for folder in folders:
        try:
            model = PeftModel.from_pretrained(model, folder).merge_and_unload(safe_merge=True)
        except Exception as error:
            raise InputError(f"{folder}: not a usable adapter ({error}); `dvc pull` or retrain it") from None
    return model.eval()


def complete(folder: Path, precision: str) -> PreTrainedModel:
    """A causal language model of which every weight comes from the files in `folder`.

    Raises:
        ValueError: a weight is missing, has another shape, or belongs to another model, where transformers would warn
            and draw it at random or leave it out. Files that are damaged raise kinds of their own.
    """
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, precision), output_loading_info=True
    )
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(map(str, report[problem])):
            raise ValueError(f"{problem.replace('_', ' ')}: {names[0]}")
    return model


def _adapters(params: Params, chain: str, seed: int) -> Iterator[Path]:
    """The folders of a chain's adapters in order, each held to its phase's recipe."""
    for prefix in chains.prefixes(chain):
        folder = params.layout.adapter(seed, prefix)
        adapters.check(folder, params.recipe(chains.phases_of(prefix)[-1]), params.layout.model)
        yield folder


def export(params: Params, chain: str, seed: int) -> Path:
    """A folder with the merged weights of `chain` and the tokenizer, made once and kept while its inputs are the same.

    It is no stage's output but a copy of what the adapters say: the folder holds the MD5 of all that it was made of.

    Raises:
        InputError: as `load`; or the disk has no room for it.
    """
    base = params.layout.model
    weights.require_base(base)
    if chain == chains.BASE:
        return base
    files = [base / name for name in weights.FILES]
    files += [folder / name for folder in _adapters(params, chain, seed) for name in adapters.FILES]
    made_of = {**{str(path): md5(path) for path in files}, "precision": params.compute.precision}
    folder = params.layout.merged(seed, chain)
    if (folder / "made_of.json").exists() and read_json(folder / "made_of.json") == made_of:
        return folder
    require_disk(".", gib=1.1 * (base / weights.WEIGHTS).stat().st_size / 2**30)
    with whole(folder) as beside:
        load(params, chain, seed).save_pretrained(beside, max_shard_size=ONE_FILE)
        for name in weights.TOKENIZER:
            shutil.copyfile(base / name, beside / name)
        write_json(beside / "made_of.json", made_of)
    return folder
