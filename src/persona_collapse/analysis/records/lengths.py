"""`lengths.json`: how long answers are, and what of a difference is left at like length and after the same texts.

What is said of one condition is of the answers of all seeds together and describes them, without an interval. What is
said of two conditions has the seeds as its units.
"""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ...experiment.chains import BASE, CONDITIONS
from ...experiment.groups import Group
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name, Real
from .rates import PossibleRate
from .units import OverUnits, Seeds, Share, require_keys, rising


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
    mean_p_end: Share | None

    @model_validator(mode="after")
    def _possible(self) -> "TextLikelihood":
        values = (self.mean_log_p, self.median_log_p, self.mean_p, self.mean_p_end)
        if any((value is None) != (self.texts == 0) for value in values):
            raise ValueError("means and the median are null where texts is 0, and only there")
        return self


class GroupLengths(Record):
    completions: AnswerLengths
    rate: PossibleRate
    rate_of_ended: PossibleRate
    bands: list[Band]
    likelihood: TextLikelihood


class ConditionLengths(Record):
    chain: Name
    groups: dict[Group, GroupLengths]  # those that have a persona


class RateDifference(Record):
    """The first condition's rate minus the second's."""

    over_seeds: OverUnits | None  # over the seeds in which some band has answers of both; null where none has
    covered: Share  # of all answers, those in bands in which both have some


class LengthContrast(Record):
    raw: RateDifference
    standardised: RateDifference
    likelihood: OverUnits | None  # of the marker's mean probability after the same texts; null without texts


class Lengths(Record):
    """`lengths.json`. Every condition has the same groups."""

    level: Level
    seeds: Seeds
    bands: list[Annotated[tuple[Count, Count | None], Field(strict=False)]]  # first length, and the first above it
    conditions: dict[str, ConditionLengths]
    contrasts: dict[str, LengthContrast]  # by `contrast(first, second, group)`, as contrasts.json has them

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
        return self
