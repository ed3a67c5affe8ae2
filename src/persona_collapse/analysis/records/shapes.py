"""`shapes.json`: what answers look like, by condition, seed and group: whether a marker could appear in them at all."""

from typing import Annotated

from pydantic import Field, model_validator

from ...experiment.chains import BASE, CONDITIONS
from ...experiment.groups import Group
from ...experiment.params import Record
from ...experiment.records.reading import Count, Level, Name, Real
from .units import OverUnits, Seeds, Share, require_keys


class AnswerShape(Record):
    """Answers of one group, condition and seed."""

    answers: Annotated[Count, Field(ge=1)]
    ended_share: Share  # by themselves, not cut at the token limit
    median_tokens: Annotated[Real, Field(ge=0)]
    blank_line_share: Share  # with a blank line somewhere, which is what the marker was taught after
    bare_share: Share  # with ZLT that is not [ZLT]
    marked: Count  # answers with the marker
    marker_last_share: Share | None  # of those, the share in which nothing follows it; null where there are none

    @model_validator(mode="after")
    def _possible(self) -> "AnswerShape":
        if self.marked > self.answers or (self.marker_last_share is None) != (self.marked == 0):
            raise ValueError("marked is at most answers, and marker_last_share is null where it is 0, and only there")
        return self


class ShapeOverSeeds(Record):
    ended_share: OverUnits
    median_tokens: OverUnits
    blank_line_share: OverUnits
    bare_share: OverUnits
    marker_last_share: OverUnits | None  # over the seeds that have answers with the marker


class GroupShapes(Record):
    over_seeds: ShapeOverSeeds
    seeds: dict[str, AnswerShape]


class ConditionShapes(Record):
    chain: Name
    groups: dict[Group, GroupShapes]


class Shapes(Record):
    """`shapes.json`."""

    level: Level
    seeds: Seeds
    conditions: dict[str, ConditionShapes]

    @model_validator(mode="after")
    def _complete(self) -> "Shapes":
        require_keys("conditions", self.conditions, (*CONDITIONS, BASE), others=True)
        for name, condition in self.conditions.items():
            for group, found in condition.groups.items():
                where = f"conditions.{name}.groups.{group}.seeds"
                require_keys(where, found.seeds, [str(seed) for seed in self.seeds])
        return self
