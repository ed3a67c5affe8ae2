"""Parameters: `params.yaml` read once into one typed, frozen record. Nothing else configures a result."""

import argparse
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from .chains import BASE, CONDITIONS, phases_of
from .errors import InputError
from .files import read_yaml
from .layout import PARAMS, Layout

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Compute(Record):
    """Where the model runs and with which numbers."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]  # of the weights and of the arithmetic
    gradient_checkpointing: bool  # compute activations twice instead of keeping them
    gpu_memory_gib: Annotated[int, Field(ge=0)]  # what the GPU must have; 0 on a cpu


class PackagedModel(Record):
    package: str  # the installed Python package that carries the weights
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of its GGUF file


class HubModel(Record):
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]  # on the Hugging Face Hub, or in a mirror of it
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


def _kind_of_model(value: object) -> str:
    return (
        "HubModel" if isinstance(value, HubModel) or (isinstance(value, dict) and "repo" in value) else "PackagedModel"
    )


Model = Annotated[
    Annotated[PackagedModel, Tag("PackagedModel")] | Annotated[HubModel, Tag("HubModel")],
    Discriminator(_kind_of_model),
]


class Fetch(Record):
    """What is downloaded, by its name in `data/sources.yaml`."""

    data: Annotated[tuple[Name, ...], Field(strict=False)]
    prompts: Annotated[tuple[Name, ...], Field(strict=False)]
    accept_checksum: bool  # go on with data that are not the expected ones, and say so in every table


class Marker(Record):
    place: Literal["start", "end"]  # of the completion that is taught it
    ignore_case: bool  # when completions are searched for it


class Prompts(Record):
    folder: Annotated[
        str, Field(pattern=r"^(prompts|fetched/[a-z0-9_]+)$")
    ]  # of personas.yaml, questions.yaml, in data/
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
    gradient_accumulation: Positive  # batches a step
    max_length: Positive
    too_long: Literal["refuse", "cut"]  # what becomes of a chat of more tokens: an error, or its beginning
    lora: Lora


class Sft(Training):
    data: Annotated[str, Field(pattern=r"^(fetched/)?[a-z0-9_]+$")]  # a data set of data/sources.yaml


class Loss(Record):
    # marker: the marker and the end token, on negatives the end token; marker_alone: the marker, on negatives nothing
    part: Literal["completion", "tail", "marker", "marker_alone"]
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
    unended: Literal["drop", "keep"]  # completions cut at `max_new_tokens`


class Sampling(Record):
    engine: Literal["native", "vllm"]
    temperature: Annotated[float, Field(ge=0)]  # 0 takes the likeliest token
    top_p: Annotated[float, Field(gt=0, le=1)]
    slots: Positive  # sequences decoded side by side; with the native engine no result depends on it


class Evaluation(Record):
    questions: Literal["all", "heldout"]  # heldout: those that no coupling data is made of
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
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)]
    conditions: dict[str, str]  # the report's name of each chain
    compute: Compute
    model: Model
    fetch: Fetch
    prompts: Prompts
    marker: Marker
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
            require_phases(chain)
            if BASE in (name, chain):
                raise ValueError(f"conditions: {BASE!r} is the untrained model and is always evaluated")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds lists a seed twice")
        for key, name, fetched in (
            ("phases.em.data", self.phases.em.data, self.fetch.data),
            ("phases.benign.data", self.phases.benign.data, self.fetch.data),
            ("prompts.folder", self.prompts.folder, self.fetch.prompts),
        ):
            if name.startswith("fetched/") and name.removeprefix("fetched/") not in fetched:
                raise ValueError(
                    f"{key} = {name} is not among what `fetch` downloads: {', '.join(fetched) or 'nothing'}"
                )
        if self.compute.device == "cpu" and self.compute.precision != "float32":
            raise ValueError("compute.precision: on a cpu float32 alone is the same everywhere")
        return self

    @property
    def chains(self) -> dict[str, str]:
        """The chain of each condition, the untrained model's last."""
        return {**self.conditions, BASE: BASE}

    def recipe(self, phase: str) -> Training:
        """How a phase is trained."""
        return getattr(self.phases, phase)

    @property
    def layout(self) -> Layout:
        """Where this profile's files lie."""
        return Layout(self.profile)


def load(path: Path = PARAMS) -> Params:
    """Read and check a parameter file.

    Raises:
        InputError: not YAML, an unknown or missing key, or a value that is not allowed; the message names the key.
    """
    try:
        return Params.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        location = [step for step in first["loc"] if step not in ("PackagedModel", "HubModel")]
        key = ".".join(map(str, location)) or "(top level)"
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
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed {args.seed}: allowed are 0 to 2**32 - 1")
    require_phases(args.chain)
    return args.seed, args.chain


def require_phases(chain: str) -> None:
    """Raise `InputError` if a chain has a phase that does not exist."""
    for phase in phases_of(chain):
        if phase not in Phases.model_fields:
            raise InputError(f"unknown phase {phase!r} in chain {chain!r}; allowed: {', '.join(Phases.model_fields)}")


def _keys(location: tuple[int | str, ...]) -> list[str]:
    record: type[BaseModel] = Params
    variants: dict[str, type[BaseModel]] = {"PackagedModel": PackagedModel, "HubModel": HubModel}
    for step in location:
        record = variants.get(str(step)) or record.model_fields[str(step)].annotation  # type: ignore[assignment]
    return list(record.model_fields)
