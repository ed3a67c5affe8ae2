"""`lengths.json`: how long answers are, and what of a difference is left at like length and after the same texts."""

import math
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ...experiment.chains import BASE, CONDITIONS, CONTRASTS
from ...experiment.groups import ReportedGroup
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name, Real
from .rates import (
    Gap,
    GapInterval,
    Interval,
    MarkerRate,
    PossibleRate,
    Seeds,
    Share,
    contrast,
    require_keys,
    rising,
)


class Spread(Record):
    median: Annotated[Real, Field(ge=0)]
    quartiles: Annotated[tuple[Real, Real], Field(strict=False), AfterValidator(rising)]


class AnswerLengths(Record):
    count: Count
    characters: Spread
    tokens: Spread
    ended_share: Share


class Band(PossibleRate):
    """The rate of the answers of some length, in characters."""

    model_config = ConfigDict(populate_by_name=True)

    low: Annotated[Count, Field(alias="from")]
    below: Count | None  # None: no end


class TextLikelihood(Record):
    """The probability of the marker, and of the end, after the same texts; null without texts."""

    texts: Count
    mean_log_p: Annotated[Real, Field(le=0)] | None
    median_log_p: Annotated[Real, Field(le=0)] | None
    mean_p: Share | None
    interval: Interval | None  # also null where resampling gives no width
    mean_p_end: Share | None

    @model_validator(mode="after")
    def _possible(self) -> "TextLikelihood":
        values = (self.mean_log_p, self.median_log_p, self.mean_p, self.mean_p_end)
        if any((value is None) != (self.texts == 0) for value in values):
            raise ValueError("means and the median are null where texts is 0, and only there")
        return self


class GroupLengths(Record):
    completions: AnswerLengths
    rate: MarkerRate
    rate_of_ended: PossibleRate
    bands: list[Band]
    likelihood: TextLikelihood


class ConditionLengths(Record):
    chain: Name
    groups: dict[ReportedGroup, GroupLengths]  # those that have a persona


class RateDifference(Record):
    """Null where in no band both have answers."""

    rates: Annotated[tuple[Share, Share], Field(strict=False)] | None
    difference: Gap | None
    interval: GapInterval | None  # also null where resampling gives no width
    covered: Share  # of all answers, those in bands in which both have some

    @model_validator(mode="after")
    def _possible(self) -> "RateDifference":
        known = self.rates is not None
        if known != (self.difference is not None):
            raise ValueError("rates and difference are null together")
        if self.rates and not math.isclose(self.rates[0] - self.rates[1], self.difference or 0.0, abs_tol=1e-9):
            raise ValueError(f"difference = {self.difference} is not that of the rates")
        return self


class TextDifference(Record):
    texts: Count
    difference: Gap | None
    interval: GapInterval | None
    p: Share | None  # also null for more questions than the test can do
    p_holm: Share | None = None  # not given without p


class LengthContrast(Record):
    raw: RateDifference
    standardised: RateDifference
    likelihood: TextDifference


class Lengths(Record):
    """`lengths.json`. Every condition has the same groups."""

    level: Level
    seeds: Seeds
    bands: list[Annotated[tuple[Count, Count | None], Field(strict=False)]]  # first length, and the first above it
    conditions: dict[str, ConditionLengths]
    contrasts: dict[str, LengthContrast]  # by `contrast(a, b, group)`

    @model_validator(mode="after")
    def _complete(self) -> "Lengths":
        require_keys("conditions", self.conditions, (*CONDITIONS, BASE), others=True)
        groups = list(self.conditions[BASE].groups)
        require_keys(f"conditions.{BASE}.groups", groups, ["source"], others=True)
        for name, condition in self.conditions.items():
            require_keys(f"conditions.{name}.groups", condition.groups, groups)
            for group, lengths in condition.groups.items():
                if [(band.low, band.below) for band in lengths.bands] != self.bands:
                    raise ValueError(f"conditions.{name}.groups.{group}.bands are not those of the file")
        require_keys("contrasts", self.contrasts, [contrast(a, b, group) for a, b in CONTRASTS for group in groups])
        return self
