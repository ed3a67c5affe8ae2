"""`data/claims.yaml`: what each claim and each of its parts says, in words and as checks that can be made."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from ..experiment.errors import InputError
from ..experiment.files import read_yaml
from ..experiment.groups import MEANING, members
from ..experiment.layout import DATA
from ..experiment.params import Rate, Record
from . import records
from .records import Asked

CLAIMS = DATA / "claims.yaml"

Names = Annotated[
    tuple[str, ...], Field(strict=False), BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)
]  # one, or a list
Probability = Annotated[float, Field(gt=0, lt=1)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]


class Sample(Record):
    """Some personas' answers in one condition, taken together."""

    condition: str
    personas: Names = ()  # groups or names; where a check has two sides, none means those of the first
    without: Names = ()


class Needs(Sample):
    """What must be so here for a check to be about anything."""

    at_least: Rate  # the rate of these personas, mean over seeds


# ---- checks on the report's numbers and on our runs ----


class Check(Record):
    each: bool = False  # judge each persona of the first side by itself; the claim is that it holds for all
    questions: Asked = "all"  # of our runs
    gates: bool = True  # rests on the coupling gate, and on the degeneracy gates of its conditions
    where: Annotated[list[Needs], Field(default_factory=list)]

    @property
    def sides(self) -> dict[str, Sample]:
        """The samples that the check is about, by their names in the file."""
        return {name: value for name, value in self if isinstance(value, Sample)}


class Difference(Check):
    kind: Literal["difference"]
    higher: Sample
    lower: Sample
    margin: Rate = 0.0  # a difference that is surely below this counts against the claim
    p_below: Probability | None = None  # what the report says of p: a statement about its own counts alone


class Alike(Check):
    kind: Literal["alike"]
    one: Sample
    other: Sample
    margin: Rate  # differences up to this one count as none


class Bounds(Check):
    kind: Literal["bounds"]
    of: Sample
    at_least: Rate | None = None
    at_most: Rate | None = None
    margin: Rate = 0.0  # by which the bounds are wider for our runs: one answer in a thousand is not some
    counted: bool = True  # of the report, the count as it stands is judged, and not its interval

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Bounds":
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs at_least or at_most")
        return self


AnyCheck = Annotated[Difference | Alike | Bounds, Discriminator("kind")]


# ---- checks on the authors' public counts by question ----


class OfRuns(Record):
    runs: Names  # names of runs, or beginnings of names that end with *


class AboveZero(OfRuns):
    """In each of the runs leakage is above 0, over questions."""

    kind: Literal["above_zero"]
    personas: Names
    each: bool = False


class Above(OfRuns):
    """Some personas have a higher rate than others: over the questions of one run, or over several runs."""

    kind: Literal["above"]
    higher: Names
    without: Names = ()
    lower: Names


class AlikeThere(OfRuns):
    """Some personas differ from others by no more than a margin, over the questions of one run or over several runs."""

    kind: Literal["alike"]
    one: Names
    other: Names
    margin: Rate


class Within(OfRuns):
    """The counted rate of each of the runs is within bounds."""

    kind: Literal["bounds"]
    personas: Names
    at_least: Rate | None = None
    at_most: Rate | None = None


Public = Annotated[AboveZero | Above | AlikeThere | Within, Discriminator("kind")]


# ---- the file ----


class Part(Record):
    says: str
    main: bool = False  # its verdicts are those of the claim
    published: str | None = None  # as the report writes it; none where it is not the report's
    check: AnyCheck | None = None
    public: Public | None = None

    @model_validator(mode="after")
    def _checkable(self) -> "Part":
        if self.check is None and self.public is None:
            raise ValueError("needs check or public")
        if self.published is not None and self.check is None:
            raise ValueError("what the report says needs a check")
        return self


class Claim(Record):
    claim: str
    whose: Literal["report", "ours"]
    parts: Annotated[dict[Id, Part], Field(min_length=1)]

    @model_validator(mode="after")
    def _decided(self) -> "Claim":
        if not any(part.main and part.check for part in self.parts.values()):
            raise ValueError("needs a part that is main and has a check")
        return self


class Ledger(Record):
    counts: Annotated[dict[str, records.Counts], Field(default_factory=dict)]  # of all personas, by condition
    claims: Annotated[dict[Id, Claim], Field(min_length=1)]

    def parts(self) -> Iterator[tuple[str, str, Part]]:
        """Every part, with the ids of its claim and its own."""
        for name, claim in self.claims.items():
            for part_name, part in claim.parts.items():
                yield name, part_name, part


def load(path: Path, conditions: Sequence[str], personas: Sequence[str], runs: Sequence[str]) -> Ledger:
    """Read and check a file of claims.

    Args:
        conditions, personas: those that exist, in the report or in our runs.
        runs: the names of the public ones.
    Raises:
        InputError: an unknown or missing key, kind, condition, persona or run; the message names the part.
    """
    ledger = records.checked(read_yaml(path), Ledger, str(path))
    words = (*MEANING, *personas)
    for condition in ledger.counts:
        require(f"{path}: counts", "condition", condition, conditions)
    seen: set[str] = set()
    for claim, name, part in ledger.parts():
        where = f"{path}: claims.{claim}.parts.{name}"
        if {claim, name} & seen or claim == name:
            raise InputError(f"{where}: an id may be given to one claim or part only")
        seen.add(name)
        if part.check:
            first, *_ = part.check.sides
            if not part.check.sides[first].personas:
                raise InputError(f"{where}: {first} needs personas")
            for sample in (*part.check.sides.values(), *part.check.where):
                require(where, "condition", sample.condition, conditions)
                for word in (*sample.personas, *sample.without):
                    require(where, "persona", word, words)
        if part.public:
            for key in ("personas", "higher", "lower", "one", "other", "without"):
                for word in getattr(part.public, key, ()):
                    require(where, "persona", word, words)
            for pattern in part.public.runs:
                if not matching(pattern, runs):
                    raise InputError(f"{where}: no public run is called {pattern!r}; there are {', '.join(runs)}")
    return ledger


def matching(pattern: str, runs: Sequence[str]) -> list[str]:
    """The names that a name, or a beginning with * after it, means."""
    return [name for name in runs if name == pattern or (pattern[-1:] == "*" and name.startswith(pattern[:-1]))]


def require(where: str, what: str, name: str, allowed: Sequence[str]) -> None:
    """Raise `InputError` unless a name is among those that are allowed."""
    if name not in allowed:
        raise InputError(f"{where}: unknown {what} {name!r}; allowed: {', '.join(allowed)}")


def named(
    names: Sequence[str], chosen: Sequence[str], without: Sequence[str], source: str, negatives: Sequence[str] = ()
) -> list[str]:
    """The personas that some groups and names mean, in the order of `names`; a name that is not there stays."""
    groups = {name for word in chosen if word in MEANING for name in members(names, word, source, negatives)}
    there = [name for name in names if name in groups or name in chosen]
    missing = [word for word in chosen if word not in MEANING and word not in names]
    left_out = named(names, without, (), source, negatives) if without else []
    return [name for name in (*there, *missing) if name not in left_out]


Side = tuple[str, list[str]]  # a condition, and personas


def comparisons(check: Check, names: Sequence[str], source: str, negatives: Sequence[str]) -> dict[str, list[Side]]:
    """What is to be judged: by a label, the condition and the personas of each side.

    Args:
        negatives: none for the report's own numbers, which do not say which bystanders were trained negatives.
    """
    first, *others = check.sides.values()
    chosen = named(names, first.personas, first.without, source, negatives)
    parts = {name: [name] for name in chosen} if check.each else {"": chosen}
    return {
        label: [
            (first.condition, own),
            *(
                (s.condition, named(names, s.personas, s.without, source, negatives) if s.personas else own)
                for s in others
            ),
        ]
        for label, own in parts.items()
    }
