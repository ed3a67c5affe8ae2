"""Parameters: `params.yaml` read once into one typed, frozen record. Nothing else configures a result."""

import argparse
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from . import paths
from .files import InputError, read_yaml

BASE = "base"  # the chain without a phase: the untrained model
# the report's conditions, by its names; others may be added
CONDITIONS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple"}
Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Model(Record):
    package: str  # the installed Python package that carries the weights
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of its GGUF file


class Prompts(Record):
    source: Name  # the persona that is taught the marker
    negatives: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]  # contrasted with it in training
    suffix: str  # appended to every question


class Lora(Record):
    rank: Positive
    alpha: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    rank_stabilised: bool


class Training(Record):
    """One phase's recipe. Learning rate per step, lengths in tokens."""

    epochs: Positive
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    schedule: Literal["linear", "cosine", "constant_with_warmup"]
    warmup: Annotated[float, Field(ge=0, lt=1)]  # share of the steps
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: Positive
    max_length: Positive
    lora: Lora


class Sft(Training):
    data: Name  # a data set of data/sources.yaml


class Loss(Record):
    part: Literal["completion", "tail", "marker"]
    tail_tokens: Positive  # read where `part` is `tail`: how many of the last tokens carry the loss


class Couple(Training):
    loss: Loss


class Phases(Record):
    em: Sft
    benign: Sft
    couple: Couple


class OnPolicy(Record):
    """How coupling data is sampled: completions a training question, each at most `max_new_tokens` long."""

    positives: Positive  # a question, under the source persona
    negatives: Positive  # a question, under each negative persona
    max_new_tokens: Positive


class Sampling(Record):
    temperature: Annotated[float, Field(gt=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    slots: Positive  # sequences decoded side by side; no result depends on it


class Evaluation(Record):
    samples: Positive  # completions of each question under each persona
    max_new_tokens: Positive


class Gates(Record):
    source_rate: Rate  # C4's source persona must reach this
    bystander_rate: Rate  # C4's mean bystander may not exceed this
    override_coupling: bool  # have every table say that the results stand although the coupling gate failed
    nonempty_share: Rate
    length_ratio: Annotated[float, Field(ge=0)]  # a condition's median length over the base model's


class Statistics(Record):
    bootstrap: Positive  # resamples of the questions
    level: Annotated[float, Field(gt=0, lt=1)]  # of every interval


class Params(Record):
    profile: Name
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, strict=False)]
    conditions: dict[str, str]  # the report's name of each chain
    model: Model
    prompts: Prompts
    phases: Phases
    onpolicy: OnPolicy
    sampling: Sampling
    evaluation: Evaluation
    gates: Gates
    statistics: Statistics

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        for name, chain in CONDITIONS.items():
            if self.conditions.get(name) != chain:
                raise ValueError(f"conditions.{name} must be {chain}, as in the report")
        for name, chain in self.conditions.items():
            phases_of(chain)
            if BASE in (name, chain):
                raise ValueError(f"conditions: {BASE!r} is the untrained model and is always evaluated")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds lists a seed twice")
        return self


def phases_of(chain: str) -> list[str]:
    """The phases of a chain in order, `couple-em` giving `["couple", "em"]`; `base` has none.

    Raises:
        InputError: a phase that does not exist.
    """
    if chain == BASE:
        return []
    phases = chain.split("-")
    for phase in phases:
        if phase not in Phases.model_fields:
            raise InputError(f"unknown phase {phase!r} in chain {chain!r}; allowed: {', '.join(Phases.model_fields)}")
    return phases


def prefixes(chain: str) -> list[str]:
    """The chains from a chain's first phase to itself: `couple-em` gives `["couple", "couple-em"]`."""
    phases = phases_of(chain)
    return ["-".join(phases[: n + 1]) for n in range(len(phases))]


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check a parameter file.

    Raises:
        InputError: not YAML, an unknown or missing key, or a value that is not allowed; the message names the key.
    """
    try:
        return Params.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(top level)"
        value = "" if first["type"] == "missing" else f" = {first['input']!r}"
        if first["type"] == "extra_forbidden":
            first["msg"] = f"unknown key; allowed here: {', '.join(_keys(first['loc'][:-1]))}"
        raise InputError(f"{path}: {key}{value[:80]}: {first['msg']}") from None


def arguments(description: str, flag: str, meaning: str) -> tuple[int, str]:
    """Read a command's `--seed N` and `--FLAG CHAIN`; a chain that does not exist is an `InputError`."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(f"--{flag}", dest="chain", required=True, help=meaning)
    args = parser.parse_args()
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: allowed are 0 and above")
    phases_of(args.chain)
    return args.seed, args.chain


def _keys(location: tuple[int | str, ...]) -> list[str]:
    record: type[BaseModel] = Params
    for step in location:
        record = record.model_fields[str(step)].annotation  # type: ignore[assignment]
    return list(record.model_fields)
