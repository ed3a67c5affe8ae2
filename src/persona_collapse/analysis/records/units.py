"""What repeated trainings, or questions, say together: each one's number, their mean, and how sure it is.

The units are the seeds, or for the published counts the questions or the runs. Answers are never the units of what is
said of several trainings.
"""

import math
from collections.abc import Collection
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ...experiment.params import Record, Seed
from ...experiment.records.reading import Real


def _within(lowest: int) -> AfterValidator:
    """From `lowest` to 1; ends of intervals may miss either by a rounding."""

    def check(value: float) -> float:
        if not lowest - 1e-9 <= value <= 1 + 1e-9:
            raise ValueError(f"{value:g} is not between {lowest} and 1")
        return value

    return AfterValidator(check)


Share = Annotated[Real, _within(0)]
Gap = Annotated[Real, _within(-1)]  # a difference of two shares
Asked = Literal["all", "train", "heldout"]  # which questions: all, those that coupling data are made of, the others


def rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"begins at {ends[0]}, above its end {ends[1]}")
    return ends


Ends = Annotated[tuple[Real, Real], Field(strict=False), AfterValidator(rising)]
Interval = Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(rising)]  # of a rate


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


class OverUnits(Record):
    """A number of each unit, and their mean; of one unit alone there is neither a spread nor an interval."""

    by_unit: Annotated[dict[str, Real], Field(min_length=1)]  # by seed, unless said otherwise
    mean: Real
    sd: Annotated[Real, Field(ge=0)] | None  # between the units
    interval: Ends | None  # Student's t; within the limits of what it is an interval of

    @model_validator(mode="after")
    def _follows(self) -> Self:
        if (len(self.by_unit) == 1) != (self.sd is None) or (self.sd is None) != (self.interval is None):
            raise ValueError("sd and interval are null for one unit, and only there")
        mean = fmean(self.by_unit.values())
        if not math.isclose(self.mean, mean, rel_tol=1e-6, abs_tol=1e-8):
            raise ValueError(f"mean = {self.mean} is not that of the units")
        return self


class Tested(OverUnits):
    """Whether the mean is 0: by the t-test, whose interval it is, and by the exact sign-flip test beside it."""

    p: Share | None  # of the t-test
    sign_flip: Share | None  # exact, over all choices of signs
    smallest_sign_flip: Share | None  # what it is where all units are of one sign: no result can give less
    detectable: Annotated[Real, Field(ge=0)] | None  # the true mean that these units would show, with 80% power

    @model_validator(mode="after")
    def _possible(self) -> Self:
        tests = (self.p, self.sign_flip, self.smallest_sign_flip, self.detectable)
        if any((value is None) != (self.sd is None) for value in tests):
            raise ValueError("tests are null for one unit, and only there")
        if self.sign_flip is not None and self.sign_flip < (self.smallest_sign_flip or 0) * (1 - 1e-9):
            raise ValueError("sign_flip is below the smallest that it can be")
        return self
