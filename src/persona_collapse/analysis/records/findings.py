"""`published.json`, `claims.json` and `numbers.json`: what the report says, what was found, what texts may quote."""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ...experiment.chains import CONDITIONS
from ...experiment.groups import ASSISTANT, REPORTED_GROUPS, REPORTS_SOURCE, ReportedGroup, members
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name
from .rates import Gap, GapInterval, Seeds, Share, require_keys

# ---- claims.json ----

Verdict = Literal["holds", "does not hold", "cannot be tested"]


class Counts(Record):
    hits: Count
    total: Annotated[Count, Field(ge=1)]

    @model_validator(mode="after")
    def _possible(self) -> "Counts":
        if self.hits > self.total:
            raise ValueError(f"hits = {self.hits} of total = {self.total} cannot be")
        return self


class Part(Record):
    """A verdict and its reason in words, with the numbers of its one or two sides where there were counts at all."""

    verdict: Verdict
    reason: str
    counts: Annotated[tuple[Counts, ...], Field(strict=False)] = ()
    rates: Annotated[tuple[Share, ...], Field(strict=False)] = ()
    interval: GapInterval | None = None  # of the rate, or of the difference
    difference: Gap | None = None
    p: Share | None = None

    @model_validator(mode="after")
    def _sides(self) -> "Part":
        if len(self.counts) != len(self.rates) or len(self.counts) > 2:
            raise ValueError("counts and rates are of one side or of two")
        if bool(self.counts) != (self.interval is not None):
            raise ValueError("there is an interval where there are counts, and only there")
        if not (self.difference is None) == (self.p is None) == (len(self.counts) != 2):
            raise ValueError("difference and p belong to two sides, and only to two")
        for counts, rate in zip(self.counts, self.rates, strict=True):
            if not math.isclose(rate, counts.hits / counts.total, abs_tol=1e-9):
                raise ValueError(f"rates: {rate} is not {counts.hits} of {counts.total}")
        return self


class Finding(Record):
    """What was found of all parts together, which are each persona's, or one with the name ''."""

    verdict: Verdict
    reason: str
    parts: dict[str, Part]

    @model_validator(mode="after")
    def _of_its_parts(self) -> Self:
        if self.verdict != of_all([part.verdict for part in self.parts.values()]):
            raise ValueError(f"the verdict {self.verdict!r} does not follow from those of the parts")
        return self


def of_all(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim that holds if all of its parts do; without parts it cannot be tested."""
    worst: Verdict = "does not hold" if "does not hold" in verdicts else "cannot be tested"
    return "holds" if verdicts and set(verdicts) == {"holds"} else worst


class Reproduced(Finding):
    seeds: dict[str, Finding]  # each by itself


class ClusterRobust(Record):
    report: Finding
    here: Finding


class Claim(Record):
    id: Name
    claim: str
    published: str  # as the report writes it
    kind: Name
    test: str
    test_by_question: str
    as_published: Finding
    reproduced: Reproduced
    cluster_robust: ClusterRobust


class Claims(Record):
    """`claims.json`."""

    level: Level
    seeds: Seeds
    claims: list[Claim]

    @model_validator(mode="after")
    def _whole(self) -> "Claims":
        if len({claim.id for claim in self.claims}) < len(self.claims):
            raise ValueError("claims has an id twice")
        for number, claim in enumerate(self.claims):
            require_keys(f"claims.{number}.reproduced.seeds", claim.reproduced.seeds, [str(s) for s in self.seeds])
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
