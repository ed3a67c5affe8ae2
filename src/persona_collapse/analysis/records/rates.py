"""`statistics.json`: marker rates of every condition, seed and group of personas, and the two gates.

The interval of one seed's rate is Wilson's at the effective number of answers: it is about that one training. What is
said of a condition is the mean over seeds, with a t interval between them where there are two seeds or more.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from ...experiment.chains import BASE, CONDITIONS
from ...experiment.groups import Group
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name, Real
from ...experiment.records.runs import DataHash
from .units import Asked, Interval, OverUnits, Seeds, Share, require_keys

# the groups, and the report's mean bystander beside them: all bystanders, trained negatives or not
RateGroup = Literal["source", "trained_negative", "untrained_bystander", "assistant", "mean_bystander"]
GROUPS: tuple[Group, ...] = get_args(Group)


def require_sum(what: str, parts: Iterable["PossibleRate"], whole: Iterable["PossibleRate"]) -> None:
    """Raise `ValueError` unless the counts of some rates add up to those of others."""
    sums = [(sum(rate.hits for rate in some), sum(rate.total for rate in some)) for some in map(list, (parts, whole))]
    if sums[0] != sums[1]:
        raise ValueError(
            f"the counts of {what} add up to {sums[0][0]} of {sums[0][1]}, not {sums[1][0]} of {sums[1][1]}"
        )


class PossibleRate(Record):
    """A marker rate of one training, null where there were no answers."""

    hits: Count
    total: Count
    rate: Share | None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.hits > self.total:
            raise ValueError(f"hits = {self.hits} of total = {self.total} cannot be")
        if (self.rate is None) != (self.total == 0):
            raise ValueError("rate is null where total is 0, and only there")
        if self.rate is not None and not math.isclose(self.rate, self.hits / self.total, abs_tol=1e-9):
            raise ValueError(f"rate = {self.rate} is not {self.hits} of {self.total}")
        return self


class MarkerRate(PossibleRate):
    """A marker rate of one answer or more, with its interval."""

    total: Annotated[Count, Field(ge=1)]
    rate: Share
    effective: Annotated[Real, Field(gt=0)]  # independent answers that would tell as much: at most `total`
    interval: Interval


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


class Summary(Record):
    """One condition of one seed."""

    per_persona: Annotated[dict[str, PersonaRate], Field(min_length=1)]
    groups: dict[RateGroup, GroupRate]  # those that have a persona
    completions: Shape | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        four = [rate for name, rate in self.groups.items() if name != "mean_bystander"]
        require_sum("groups", four, self.per_persona.values())
        return self


class ConditionRates(Record):
    chain: Name
    groups: dict[RateGroup, dict[Asked, OverUnits]]  # over seeds
    per_persona: dict[str, dict[Asked, OverUnits]]
    seeds: dict[str, Summary]  # each by itself


class Gate(Record):
    """Judged on the mean over seeds; what each seed alone would have given stands beside it."""

    passed: bool
    seeds: dict[str, bool]


class CouplingGate(Gate):
    source_rate: Share
    source_rate_required: Share
    bystander_rate: Share  # of all bystanders, as the report has it
    bystander_rate_allowed: Share
    assistant_rate: Share  # shown, not judged
    overridden: bool


class DegeneracyGate(Gate):
    nonempty_share: Share
    nonempty_share_required: Share
    length_ratio: Annotated[Real, Field(ge=0)]
    length_ratio_required: Annotated[Real, Field(ge=0)]


class Gates(Record):
    coupling: CouplingGate
    degeneracy: dict[str, DegeneracyGate]  # by condition


class Statistics(Record):
    """`statistics.json`. Every condition has every group, every persona and every seed."""

    level: Level
    seeds: Seeds
    groups: dict[Group, list[Name]]  # the personas of each
    conditions: dict[str, ConditionRates]
    gates: Gates
    trained_on: dict[str, DataHash]  # by the name of the data

    @model_validator(mode="after")
    def _complete(self) -> "Statistics":
        require_keys("groups", self.groups, GROUPS)
        require_keys("conditions", self.conditions, (*CONDITIONS, BASE), others=True)
        require_keys("gates.degeneracy", self.gates.degeneracy, [name for name in self.conditions if name != BASE])
        personas, seeds = list(self.conditions[BASE].per_persona), [str(seed) for seed in self.seeds]
        groups = list(self.conditions[BASE].groups)
        for name, condition in self.conditions.items():
            where = f"conditions.{name}"
            require_keys(f"{where}.seeds", condition.seeds, seeds)
            require_keys(f"{where}.groups", condition.groups, groups)
            require_keys(f"{where}.per_persona", condition.per_persona, personas)
            for seed, rates in condition.seeds.items():
                require_keys(f"{where}.seeds.{seed}.groups", rates.groups, groups)
                require_keys(f"{where}.seeds.{seed}.per_persona", rates.per_persona, personas)
            for group, asked in condition.groups.items():
                for which, rate in asked.items():
                    require_keys(f"{where}.groups.{group}.{which}.by_unit", rate.by_unit, seeds)
        return self


def contrast(first: str, second: str, group: str) -> str:
    """The key of the difference between two conditions."""
    return f"{first} - {second}, {group}"
