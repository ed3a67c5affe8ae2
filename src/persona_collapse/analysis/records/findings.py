"""`published.json`, `claims.json` and `numbers.json`: what the report says, what was found, what texts may quote."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ...experiment.chains import CONDITIONS
from ...experiment.groups import ASSISTANT, REPORTED_GROUPS, REPORTS_SOURCE, ReportedGroup, members
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name, Real
from .units import Ends, Seeds, Share, require_keys

# ---- claims.json ----

# not comparable: the design here cannot bear on it, or a gate that it rests on failed
Verdict = Literal["supported", "contradicted", "inconclusive", "not comparable"]
Unit = Literal["answers", "questions", "runs", "seeds"]


class Counts(Record):
    hits: Count
    total: Annotated[Count, Field(ge=1)]

    @model_validator(mode="after")
    def _possible(self) -> "Counts":
        if self.hits > self.total:
            raise ValueError(f"hits = {self.hits} of total = {self.total} cannot be")
        return self


class Judgement(Record):
    """A verdict, its reason in a whole sentence without its full stop, and the numbers that it rests on."""

    verdict: Verdict
    reason: str
    estimate: Real | None = None  # the rate, or the difference of rates, as a share
    interval: Ends | None = None
    p: Share | None = None  # by the interval's method, where there is an interval
    sign_flip: Share | None = None
    smallest_sign_flip: Share | None = None
    detectable: Real | None = None  # the difference that would have been seen with 80% power
    units: Count = 0  # how many there are of the units of its part
    reversed: bool = False  # surely the other way round
    blocked: bool = False  # a gate that it rests on failed
    counts: Annotated[tuple[Counts, ...], Field(strict=False, max_length=2)] = ()  # of the sides, where answers count

    @model_validator(mode="after")
    def _possible(self) -> "Judgement":
        if self.blocked and self.verdict != "not comparable":
            raise ValueError("what rests on a failed gate is not comparable")
        if self.reversed and self.verdict != "contradicted":
            raise ValueError("what is surely the other way round is contradicted")
        return self


class Overall(Record):
    verdict: Verdict
    reason: str
    reversed: bool


class Finding(Overall):
    """What was found of all personas of a part, each judged by itself, or of one with the name ''."""

    unit: Unit
    test: str  # in words
    blocked: bool
    personas: dict[str, Judgement]

    @model_validator(mode="after")
    def _of_its_personas(self) -> Self:
        if self.personas and self.verdict != worst([one.verdict for one in self.personas.values()]):
            raise ValueError(f"the verdict {self.verdict!r} does not follow from those of the personas")
        return self


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on what holds if all of its parts do; without parts it is not comparable."""
    order: tuple[Verdict, ...] = ("contradicted", "not comparable", "inconclusive", "supported")
    return next((verdict for verdict in order if verdict in verdicts), "not comparable")


class Part(Record):
    id: Name
    says: str
    published: str | None  # as the report writes it; null where it is not the report's
    as_published: Finding | None  # on the report's own counts; null where the report says nothing of the kind
    public: Finding | None  # on the authors' public counts by question; null where they have nothing of the kind
    here: Finding | None  # on our runs; null where it is about public counts alone


class Claim(Record):
    id: Name
    claim: str
    whose: Literal["report", "ours"]
    as_published: Overall
    public: Overall | None
    here: Overall
    parts: Annotated[list[Part], Field(min_length=1)]


class Claims(Record):
    """`claims.json`."""

    level: Level
    seeds: Seeds
    claims: Annotated[list[Claim], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> "Claims":
        ids = [claim.id for claim in self.claims] + [part.id for claim in self.claims for part in claim.parts]
        if len(set(ids)) < len(ids):
            raise ValueError("claims has an id twice")
        if len(self.seeds) == 1:
            for claim in self.claims:
                if claim.here.verdict in ("supported", "contradicted"):
                    raise ValueError(f"{claim.id} is {claim.here.verdict} by one seed, which can decide nothing")
        return self


# ---- published.json ----

Percent = Annotated[float, Field(ge=0, le=100)]  # with one decimal
HITS = re.compile(r"(\w+)_hits_of_(\d{1,4})")


class Headline(Record):
    chain: Name
    confab: Percent
    assistant: Percent
    mean_bystander: Percent

    def of(self, group: ReportedGroup) -> float:
        return {"source": self.confab, "assistant": self.assistant, "mean_bystander": self.mean_bystander}[group]


class Published(Record):
    """`published.json`. The counts of a condition stand under `<condition>_hits_of_<answers>`, by persona."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Count]] = Field(init=False)

    note: str
    personas: Annotated[list[Name], Field(min_length=1)]
    headline_percent: dict[str, Headline]
    claims: list[str]

    @model_validator(mode="after")
    def _possible(self) -> "Published":
        if len(set(self.personas)) < len(self.personas):
            raise ValueError("personas has a name twice")
        require_keys("personas", self.personas, (REPORTS_SOURCE, ASSISTANT), others=True)
        require_keys("headline_percent", self.headline_percent, CONDITIONS, others=True)
        for key, hits in self.__pydantic_extra__.items():
            if not (found := HITS.fullmatch(key)):
                raise ValueError(f"unknown key {key}; allowed: <condition>_hits_of_<answers>")
            if int(found[2]) != self.answers:
                raise ValueError(f"{key}: the counts of another condition are of {self.answers} answers")
            if set(hits) != set(self.personas) or max(hits.values()) > self.answers:
                raise ValueError(f"{key}: needs each of the personas, with a number from 0 to {self.answers}")
        if "B" not in self.hits or self.answers < 1:
            raise ValueError("needs B_hits_of_<answers>")
        for condition, percents in self.headline_percent.items():
            for group in REPORTED_GROUPS:
                some = members(self.personas, group, REPORTS_SOURCE)
                percent, total = percents.of(group), len(some) * self.answers
                near = round(percent * total / 100)
                known = [sum(self.hits[condition][name] for name in some)] if condition in self.hits else None
                if some and not any(rounds_to(hits, total, percent) for hits in known or range(near - 1, near + 2)):
                    count = f"not {known[0]} of {total}" if known else f"no count of {total}"
                    raise ValueError(f"headline_percent.{condition}: {percent}% of the {group} is {count}")
        return self

    @property
    def answers(self) -> int:
        """How many answers a persona the report has."""
        return next((int(found[2]) for key in self.__pydantic_extra__ if (found := HITS.fullmatch(key))), 0)

    @property
    def hits(self) -> dict[str, dict[str, int]]:
        """By condition and persona, where the report gives them."""
        return {found[1]: hits for key, hits in self.__pydantic_extra__.items() if (found := HITS.fullmatch(key))}


def rounds_to(hits: int, total: int, percent: float) -> bool:
    """Whether a count is this percentage when it is rounded to one decimal."""
    return abs(Fraction(100 * hits, total) - Fraction(str(percent))) <= Fraction(5, 100)


# ---- numbers.json ----


class Number(Record):
    text: str  # as it is printed
    value: Any  # None where there is no single one
    file: Name
    path: Annotated[tuple[str | int, ...], Field(strict=False)]  # of the value in the file
    chain: Name | None  # the one chain that it is about


Numbers = Annotated[dict[str, Number], Field(min_length=1)]  # `numbers.json`, by key
