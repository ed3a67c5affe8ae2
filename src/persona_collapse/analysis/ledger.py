"""`data/claims.yaml`: what each claim says, in words and as a check that can be made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from ..experiment.errors import InputError
from ..experiment.files import read_yaml
from ..experiment.groups import members
from ..experiment.layout import DATA
from ..experiment.params import Rate, Record
from . import records

CLAIMS = DATA / "claims.yaml"
GROUPS = ("source", "assistant", "bystanders", "non_source", "all")  # the words of MEANING that a claim may use

Names = Annotated[
    tuple[str, ...], Field(strict=False), BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)
]  # one, or a list
Probability = Annotated[float, Field(gt=0, lt=1)]


class Sample(Record):
    """Some personas' answers in one condition, taken together."""

    condition: str
    personas: Names = ()  # groups or names; where a check has two sides, none means those of the first
    without: Names = ()


class Check(Record):
    each: bool = False  # judge each persona of the first side by itself; the claim is that it holds for all

    @property
    def sides(self) -> dict[str, Sample]:
        """The samples that the check is about, by their names in the file."""
        return {name: value for name, value in self if isinstance(value, Sample)}


class Difference(Check):
    kind: Literal["difference"]
    higher: Sample
    lower: Sample
    p_below: Probability = 0.05


class NoDifference(Check):
    kind: Literal["no_difference"]
    one: Sample
    other: Sample
    margin: Rate  # differences up to this one count as none
    alpha: Probability = 0.05


class Bounds(Check):
    of: Sample
    at_least: Rate | None = None
    at_most: Rate | None = None
    below: Rate | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Bounds":
        if self.at_least is None and self.at_most is None and self.below is None:
            raise ValueError("needs at_least, at_most or below")
        return self


class RateCheck(Bounds):
    """The rate behind the answers: judged on its interval."""

    kind: Literal["rate"]


class CountCheck(Bounds):
    """The share that was counted, as a gate or a sentence quotes it: judged as it is."""

    kind: Literal["count"]


AnyCheck = Annotated[Difference | NoDifference | RateCheck | CountCheck, Discriminator("kind")]


class Claim(Record):
    claim: str  # in words
    published: str  # as the report writes it
    check: AnyCheck


class Ledger(Record):
    counts: Annotated[dict[str, records.Counts], Field(default_factory=dict)]  # of all personas, by condition
    claims: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Claim]


def load(path: Path, conditions: Sequence[str], personas: Sequence[str]) -> Ledger:
    """Read and check a file of claims.

    Args:
        conditions, personas: those that exist, in the report or in our runs.
    Raises:
        InputError: an unknown or missing key, kind, condition or persona; the message names the claim.
    """
    ledger = records.checked(read_yaml(path), Ledger, str(path))
    for condition in ledger.counts:
        require(f"{path}: counts", "condition", condition, conditions)
    for name, claim in ledger.claims.items():
        first, *_ = claim.check.sides
        if not claim.check.sides[first].personas:
            raise InputError(f"{path}: claims.{name}: {first} needs personas")
        for sample in claim.check.sides.values():
            require(f"{path}: claims.{name}", "condition", sample.condition, conditions)
            for word in (*sample.personas, *sample.without):
                require(f"{path}: claims.{name}", "persona", word, (*GROUPS, *personas))
    return ledger


def require(where: str, what: str, name: str, allowed: Sequence[str]) -> None:
    """Raise `InputError` unless a name is among those that are allowed."""
    if name not in allowed:
        raise InputError(f"{where}: unknown {what} {name!r}; allowed: {', '.join(allowed)}")


def named(names: Sequence[str], chosen: Sequence[str], without: Sequence[str], source: str) -> list[str]:
    """The personas that some groups and names mean, in the order of `names`; a name that is not there stays."""
    groups = {name for word in chosen if word in GROUPS for name in members(names, word, source)}
    there = [name for name in names if name in groups or name in chosen]
    missing = [word for word in chosen if word not in GROUPS and word not in names]
    left_out = named(names, without, (), source) if without else []
    return [name for name in (*there, *missing) if name not in left_out]


def comparisons(check: Check, names: Sequence[str], source: str) -> dict[str, list[tuple[str, list[str]]]]:
    """What is to be judged: by a label, the condition and the personas of each side."""
    first, *others = check.sides.values()
    chosen = named(names, first.personas, first.without, source)
    parts = {name: [name] for name in chosen} if check.each else {"": chosen}
    return {
        label: [
            (first.condition, own),
            *((s.condition, named(names, s.personas, s.without, source) if s.personas else own) for s in others),
        ]
        for label, own in parts.items()
    }
