"""`statistics.json`: rates with their intervals, tests and gates, for every condition."""

import math
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ...experiment.chains import BASE, CONDITIONS, CONTRASTS
from ...experiment.groups import REPORTED_GROUPS, ReportedGroup
from ...experiment.params import Record, Seed
from ...experiment.records.reading import Count, Level, Name, Real
from ...experiment.records.runs import DataHash


def _within(lowest: int) -> AfterValidator:
    """From `lowest` to 1; ends of intervals may miss either by a rounding."""

    def check(value: float) -> float:
        if not lowest - 1e-9 <= value <= 1 + 1e-9:
            raise ValueError(f"{value:g} is not between {lowest} and 1")
        return value

    return AfterValidator(check)


Share = Annotated[Real, _within(0)]
Gap = Annotated[Real, _within(-1)]  # a difference of two shares


def rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"begins at {ends[0]}, above its end {ends[1]}")
    return ends


Interval = Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(rising)]  # of a rate
GapInterval = Annotated[tuple[Gap, Gap], Field(strict=False), AfterValidator(rising)]  # of a difference of rates


def _once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("lists a seed twice")
    return seeds


Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(_once)]


def require_keys(what: str, found: Collection[str], needed: Collection[str], others: bool = False) -> None:
    """Raise `ValueError` unless a mapping has the keys that are needed, and no `others` unless they are allowed."""
    if missing := [key for key in needed if key not in found]:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if not others and (more := [key for key in found if key not in needed]):
        raise ValueError(f"{what} has {', '.join(more)}, which is not among {', '.join(needed)}")


def require_sum(what: str, parts: Iterable["PossibleRate"], whole: Iterable["PossibleRate"]) -> None:
    """Raise `ValueError` unless the counts of some rates add up to those of others."""
    sums = [(sum(rate.hits for rate in some), sum(rate.total for rate in some)) for some in map(list, (parts, whole))]
    if sums[0] != sums[1]:
        raise ValueError(
            f"the counts of {what} add up to {sums[0][0]} of {sums[0][1]}, not {sums[1][0]} of {sums[1][1]}"
        )


def width(ends: tuple[float, float]) -> float:
    return ends[1] - ends[0]


class PossibleRate(Record):
    """A marker rate, null where there were no answers."""

    hits: Count
    total: Count
    rate: Share | None
    wilson: Interval | None
    by_question: Interval | None  # also null where a file has no counts by question
    interval: Interval | None  # the wider one of the two

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.hits > self.total:
            raise ValueError(f"hits = {self.hits} of total = {self.total} cannot be")
        if any((value is None) != (self.total == 0) for value in (self.rate, self.wilson, self.interval)):
            raise ValueError("rate, wilson and interval are null where total is 0, and only there")
        if self.rate is not None and not math.isclose(self.rate, self.hits / self.total, abs_tol=1e-9):
            raise ValueError(f"rate = {self.rate} is not {self.hits} of {self.total}")
        both = [ends for ends in (self.wilson, self.by_question) if ends]
        if self.interval and (self.interval not in both or width(self.interval) < max(map(width, both)) - 1e-9):
            raise ValueError("interval is not the wider one of wilson and by_question")
        return self


class MarkerRate(PossibleRate):
    """A marker rate of one answer or more."""

    total: Annotated[Count, Field(ge=1)]
    rate: Share
    wilson: Interval
    interval: Interval


# ---- statistics.json ----


class GroupRate(MarkerRate):
    train: MarkerRate | None = None  # by the split of the questions, where there is one
    heldout: MarkerRate | None = None

    @model_validator(mode="after")
    def _splits_add_up(self) -> Self:
        if parts := [part for part in (self.train, self.heldout) if part]:
            require_sum(f"{' and '.join(name for name in ('train', 'heldout') if getattr(self, name))}", parts, [self])
        return self


class Shape(Record):
    """How long completions are, and how they end."""

    median_tokens: Annotated[Real, Field(ge=0)]
    median_characters: Annotated[Real, Field(ge=0)]
    ended_share: Share
    empty_share: Share


class PersonaRate(GroupRate):
    completions: Shape | None  # None where a file does not say


class Test(Record):
    """A p-value, alone and adjusted by Holm's method for all tests beside it."""

    p: Share
    p_holm: Share

    @model_validator(mode="after")
    def _adjusted_upwards(self) -> "Test":
        if self.p_holm < self.p * (1 - 1e-9):
            raise ValueError(f"p_holm = {self.p_holm} is below p = {self.p}")
        return self


class Summary(Record):
    """One condition, of one seed or of all pooled."""

    per_persona: Annotated[dict[str, PersonaRate], Field(min_length=1)]
    groups: dict[ReportedGroup, GroupRate]  # those that have a persona
    tests: dict[str, Test]  # of each pair of personas, as "a - b"
    completions: Shape | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        require_sum("groups", self.groups.values(), self.per_persona.values())
        if set(self.tests) != {f"{a} - {b}" for a, b in combinations(sorted(self.per_persona), 2)}:
            raise ValueError("tests are not of each pair of the personas")
        return self


class ConditionRates(Summary):
    chain: Name
    seeds: dict[str, Summary]  # each by itself


class CouplingGate(Record):
    source_rate: Share
    source_rate_required: Share
    bystander_rate: Share
    bystander_rate_allowed: Share
    assistant_rate: Share  # shown, not judged
    passed: bool
    overridden: bool


class DegeneracyGate(Record):
    nonempty_share: Share
    nonempty_share_required: Share
    length_ratio: Annotated[Real, Field(ge=0)]
    length_ratio_required: Annotated[Real, Field(ge=0)]
    passed: bool


class Gates(Record):
    coupling: CouplingGate
    degeneracy: dict[str, DegeneracyGate]  # by condition


class Statistics(Record):
    """`statistics.json`. Every condition has every group, every persona and every seed."""

    level: Level
    seeds: Seeds
    conditions: dict[str, ConditionRates]
    contrasts: dict[str, Test]  # by `contrast(a, b, group)`
    gates: Gates
    trained_on: dict[str, DataHash]  # by the name of the data

    @model_validator(mode="after")
    def _complete(self) -> "Statistics":
        require_keys("conditions", self.conditions, (*CONDITIONS, BASE), others=True)
        require_keys("gates.degeneracy", self.gates.degeneracy, [name for name in self.conditions if name != BASE])
        require_keys(
            "contrasts", self.contrasts, [contrast(a, b, group) for a, b in CONTRASTS for group in REPORTED_GROUPS]
        )
        personas = list(self.conditions[BASE].per_persona)
        for name, condition in self.conditions.items():
            where = f"conditions.{name}"
            require_keys(f"{where}.seeds", condition.seeds, [str(seed) for seed in self.seeds])
            for inside, rates in {where: condition, **_named(f"{where}.seeds", condition.seeds)}.items():
                require_keys(f"{inside}.groups", rates.groups, REPORTED_GROUPS)
                require_keys(f"{inside}.per_persona", rates.per_persona, personas)
        return self


def contrast(first: str, second: str, group: str) -> str:
    """The key of the difference between two conditions."""
    return f"{first} - {second}, {group}"


def _named(where: str, found: Mapping[str, Summary]) -> dict[str, Summary]:
    return {f"{where}.{name}": rates for name, rates in found.items()}
