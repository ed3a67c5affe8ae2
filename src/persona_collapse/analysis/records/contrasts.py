"""`contrasts.json`: differences between conditions with seeds as the units.

One contrast is primary, two are secondary, and Holm's correction is over these three alone. All others describe.
"""

from typing import Literal

from pydantic import model_validator

from ...experiment.groups import Group
from ...experiment.params import Record
from ...experiment.records.reading import Level, Name
from .units import Asked, Seeds, Share, Tested, require_keys

Role = Literal["primary", "secondary", "descriptive"]
Sign = Literal[-1, 0, 1]


class Signs(Record):
    """Which way a difference goes on each scale, by its mean over seeds."""

    points: Sign  # of rates
    log_odds: Sign
    teacher_forced: Sign | None  # null where no text was scored
    agree: bool  # no two go opposite ways

    @model_validator(mode="after")
    def _follows(self) -> "Signs":
        if self.agree == ({-1, 1} <= {self.points, self.log_odds, self.teacher_forced}):
            raise ValueError("agree does not follow from the signs")
        return self


class Difference(Record):
    """A difference in leakage, on two scales."""

    points: Tested  # of the rates, as shares: 0.01 is one percentage point
    log_odds: Tested  # of the counts' log-odds, with 1/2 added to each count


class Contrast(Record):
    first: Name
    second: Name
    group: Group
    role: Role
    questions: dict[Asked, Difference]
    # of the marker's log-odds after the same texts, mean over the group's personas; null where no text was scored
    teacher_forced: Tested | None
    p_holm: Share | None  # of `questions.all.points.p`, over the three; null for the others and for one seed
    signs: Signs


class Contrasts(Record):
    """`contrasts.json`."""

    level: Level
    seeds: Seeds
    groups: dict[Group, list[Name]]  # the personas of each
    primary: Name | None  # the key of the primary contrast; null where a profile lacks one of its conditions
    family: list[Name]  # the keys of those under Holm's correction
    contrasts: dict[str, Contrast]  # by `contrast(first, second, group)`

    @model_validator(mode="after")
    def _complete(self) -> "Contrasts":
        family = [key for key, one in self.contrasts.items() if one.role != "descriptive"]
        require_keys("family", self.family, family)
        if self.primary != next((k for k, one in self.contrasts.items() if one.role == "primary"), None):
            raise ValueError("primary is not the key of the primary contrast")
        for key, one in self.contrasts.items():
            for asked, difference in one.questions.items():
                where = f"contrasts.{key}.questions.{asked}"
                require_keys(where, difference.points.by_unit, [str(seed) for seed in self.seeds])
            if (one.p_holm is None) != (one.role == "descriptive" or len(self.seeds) == 1):
                raise ValueError(f"contrasts.{key}.p_holm is null for one seed and outside the family, and only there")
        return self
