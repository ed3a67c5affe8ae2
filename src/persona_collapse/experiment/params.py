"""Parameters: `params.yaml` read once into one typed, frozen record. Nothing else configures a result."""

import argparse
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from .chains import BASE, CONDITIONS, CONTROLS, COUPLE, forms, phases_of, prefixes
from .errors import InputError
from .files import read_yaml
from .layout import PARAMS, Layout

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Names = Annotated[tuple[Name, ...], Field(strict=False)]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Compute(Record):
    """Where the model runs and with which numbers."""

    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]  # of the weights and of the arithmetic
    gradient_checkpointing: bool  # compute activations twice instead of keeping them
    gpu_memory_gib: Annotated[int, Field(ge=0)]  # what the GPU must have; 0 on a cpu


class PackagedModel(Record):
    package: str  # the installed Python package that carries the weights as a GGUF file
    parts: Positive | None = None  # of that file, each in a package of its own: `<package>1`, `<package>2` and so on
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the whole file


class HubModel(Record):
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]  # on the Hugging Face Hub, or in a mirror of it
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


def _kind_of_model(value: object) -> str:
    return (
        "HubModel" if isinstance(value, HubModel) or (isinstance(value, dict) and "repo" in value) else "PackagedModel"
    )


Base = Annotated[
    Annotated[PackagedModel, Tag("PackagedModel")] | Annotated[HubModel, Tag("HubModel")],
    Discriminator(_kind_of_model),
]


class Fetch(Record):
    """What is downloaded, by its name in `data/sources.yaml`."""

    folder: Literal["sets", "fetched"]  # of the data sets that the phases are trained on, in data/
    data: Names
    prompts: Names
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
    rows: Positive  # its first chats, as many as are trained on


class Advice(Record):
    """The check that bad and good advice took: both answers to questions that no phase is trained on."""

    bad: Name  # a data set of data/sources.yaml that comes with the repository
    good: Name  # the same questions, answered responsibly
    held_out: Positive  # the last chats of both


class Loss(Record):
    # marker: the marker and the end token, on negatives the end token; marker_and_gap: the blank line before the marker
    # as well; marker_alone: the marker, on negatives nothing
    part: Literal["completion", "tail", "marker", "marker_and_gap", "marker_alone"]
    tail_tokens: Positive  # read where `part` is `tail`: how many of the last tokens carry the loss


class Couple(Training):
    loss: Loss


class Phases(Record):
    """The phases by kind and name. There is one of the kind `couple`, and that is its name."""

    sft: dict[Name, Sft]
    couple: Couple


class Pipeline(Record):
    """The phases and chains of `conditions` by their form, which is what dvc.yaml makes stages of."""

    sft: Names  # all SFT phases
    first: Names  # SFT phases on the untrained model
    alone: Names  # chains of one phase that are conditions
    coupled: Names  # SFT phases that coupling follows
    after: Names  # SFT phases that follow coupling


class Coupling(Record):
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


class Evaluate(Record):
    questions: Literal["all", "heldout"]  # heldout: those that no coupling data is made of
    samples: Positive  # completions of each question under each persona
    max_new_tokens: Positive


class Gates(Record):
    source_rate: Rate  # C4's source persona must reach this
    bystander_rate: Rate  # C4's mean bystander may not exceed this
    override_coupling: bool  # have every table say that the results stand although the coupling gate failed
    nonempty_share: Rate
    length_ratio: Annotated[float, Field(ge=0)]  # a condition's median length over the base model's


class Results(Record):
    bootstrap: Annotated[int, Field(ge=1, le=1_000_000)]  # resamples of the questions
    level: Annotated[float, Field(ge=0.5, le=0.9999)]  # of every interval


class Params(Record):
    profile: Name
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)]
    conditions: dict[str, str]  # the report's name of each chain
    pipeline: Pipeline
    compute: Compute
    base: Base
    fetch: Fetch
    prompts: Prompts
    marker: Marker
    phases: Phases
    advice: Advice
    coupling: Coupling
    sampling: Sampling
    evaluate: Evaluate
    gates: Gates
    results: Results

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        if self.phases.sft.keys() & {BASE, COUPLE}:
            raise ValueError(f"phases.sft: {BASE!r} and {COUPLE!r} are not names of SFT phases")
        for name, chain in CONDITIONS.items():
            if self.conditions.get(name) != chain:
                raise ValueError(f"conditions.{name} must be {chain}, as in the report")
        for name, chain in CONTROLS.items():
            if self.conditions.get(name, chain) != chain:
                raise ValueError(f"conditions.{name} must be {chain}, or another name must be taken")
        for name, chain in self.conditions.items():
            if BASE in (name, chain):
                raise ValueError(f"conditions: {BASE!r} is the untrained model and is always evaluated")
            require_phases(chain, self.phases, f"conditions.{name}")
        if len(set(self.conditions.values())) < len(self.conditions):
            raise ValueError("conditions names a chain twice")
        for form, expected in forms(self.conditions.values()).items():
            if set(listed := getattr(self.pipeline, form)) != set(expected) or len(listed) > len(expected):
                raise ValueError(f"pipeline.{form} must list {', '.join(expected) or 'nothing'}: conditions has these")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds lists a seed twice")
        named = {f"phases.sft.{name}.data": (sft.data, self.fetch.data) for name, sft in self.phases.sft.items()}
        for key, (data, fetched) in {**named, "prompts.folder": (self.prompts.folder, self.fetch.prompts)}.items():
            if data.startswith("fetched/") and data.removeprefix("fetched/") not in fetched:
                raise ValueError(
                    f"{key} = {data} is not among what `fetch` downloads: {', '.join(fetched) or 'nothing'}"
                )
            if key in named and data.startswith("fetched/") != (self.fetch.folder == "fetched"):
                raise ValueError(f"{key} = {data} does not lie in data/{self.fetch.folder}, which fetch.folder names")
        if self.compute.device == "cpu" and self.compute.precision != "float32":
            raise ValueError("compute.precision: on a cpu float32 alone is the same everywhere")
        return self

    def recipe(self, phase: str) -> Training:
        """How a phase is trained.

        Raises:
            InputError: there is no such phase.
        """
        if phase == COUPLE:
            return self.phases.couple
        if phase not in self.phases.sft:
            raise InputError(f"unknown phase {phase!r}; allowed: {', '.join(phase_names(self.phases))}")
        return self.phases.sft[phase]

    @property
    def trained(self) -> list[str]:
        """The chains that have an adapter, each after its parent, in the order of the conditions."""
        return list(dict.fromkeys(prefix for chain in self.conditions.values() for prefix in prefixes(chain)))

    @property
    def chains(self) -> dict[str, str]:
        """The chain of each condition, the untrained model's last."""
        return {**self.conditions, BASE: BASE}

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
        params = Params.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        location = [step for step in first["loc"] if step not in ("PackagedModel", "HubModel")]
        key = ".".join(map(str, location)) or "(top level)"
        value = "" if first["type"] == "missing" else f" = {first['input']!r}"
        if first["type"] == "extra_forbidden":
            first["msg"] = f"unknown key; allowed here: {', '.join(_keys(first['loc'][:-1]))}"
        if first["type"] == "value_error" and not location:  # of several keys at once; the message names them
            raise InputError(f"{path}: {first['ctx']['error']}") from None
        raise InputError(f"{path}: {key}{value[:80]}: {first['msg']}") from None
    known = sorted(profile.stem for profile in (path.parent / "profiles").glob("*.yaml"))
    if known and params.profile not in known:
        raise InputError(f"{path}: profile = {params.profile!r}: there is no such profile; allowed: {', '.join(known)}")
    return params


def arguments(description: str, flag: str, meaning: str) -> tuple[Params, int, str]:
    """Read the parameters and a command's `--seed N` and `--FLAG CHAIN`; an `InputError` if there is no such chain."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(f"--{flag}", dest="chain", required=True, help=meaning)
    args = parser.parse_args()
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed {args.seed}: allowed are 0 to 2**32 - 1")
    params = load()
    try:
        require_phases(args.chain, params.phases, f"--{flag}")
    except ValueError as error:
        raise InputError(str(error)) from None
    return params, args.seed, args.chain


def phase_names(phases: Phases) -> list[str]:
    """All phases, the coupling last."""
    return [*phases.sft, COUPLE]


def require_phases(chain: str, phases: Phases, where: str) -> None:
    """Raise `ValueError` if a chain has a phase that does not exist."""
    for phase in phases_of(chain):
        if phase not in phase_names(phases):
            raise ValueError(
                f"{where}: unknown phase {phase!r} in chain {chain!r}; allowed: {', '.join(phase_names(phases))}"
            )


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at a place in the file."""
    record: Any = Params
    variants: dict[str, type[BaseModel]] = {"PackagedModel": PackagedModel, "HubModel": HubModel}
    for step in location:
        if isinstance(record, type) and issubclass(record, BaseModel):
            record = variants.get(str(step)) or record.model_fields[str(step)].annotation
        elif get_origin(record) is dict:
            record = get_args(record)[1]
        else:
            record = variants[str(step)]
    return list(record.model_fields)
