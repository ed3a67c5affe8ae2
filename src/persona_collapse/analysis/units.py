"""Several trainings, questions or runs as the units: mean, spread, t interval and t-test, sign-flip test, power.

The interval and the p-value are of one method, Student's t. The sign-flip test stands beside it because it assumes
nothing about how units vary; with few of them it cannot give a small p-value, and the smallest it could give is told.
Where all units agree to the last digit, the interval has no width and p is 0, or 1 at a mean of 0: what t says of them.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import fmean

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

from .records import OverUnits, Tested

MOST_UNITS = 40  # of the sign-flip test, which sorts the sums of half of them: 2**20
POWER = 0.8  # at which a difference counts as one that would have been seen
Limits = tuple[float, float]
RATE: Limits = (0.0, 1.0)
DIFFERENCE: Limits = (-1.0, 1.0)
ANY: Limits = (-math.inf, math.inf)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation, None of one value; equal values have exactly none."""
    mean = fmean(values)
    if len(values) < 2:
        return mean, None
    if len(set(values)) == 1:
        return values[0], 0.0
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def t_interval(mean: float, sd: float, n: int, level: float, limits: Limits = ANY) -> tuple[float, float]:
    """Student's interval of a mean of n units, within the limits that the mean has."""
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return max(mean - half, limits[0]), min(mean + half, limits[1])


def over(by_unit: Mapping[str, float], level: float, limits: Limits = ANY) -> OverUnits:
    """What units say together.

    Args:
        by_unit: each one's number, one or more of them.
        limits: what the number cannot go beyond; the interval ends there.
    """
    mean, sd = mean_and_sd(list(by_unit.values()))
    interval = None if sd is None else t_interval(mean, sd, len(by_unit), level, limits)
    return OverUnits(by_unit=dict(by_unit), mean=mean, sd=sd, interval=interval)


def tested(by_unit: Mapping[str, float], level: float, limits: Limits = ANY) -> Tested:
    """The same with the tests that the mean is 0."""
    found, values = over(by_unit, level, limits), list(by_unit.values())
    if found.sd is None:
        return Tested(**dict(found), p=None, sign_flip=None, smallest_sign_flip=None, detectable=None)
    return Tested(
        **dict(found),
        p=t_test(found.mean, found.sd, len(values)),
        sign_flip=sign_flip(values),
        smallest_sign_flip=smallest_sign_flip(len(values)),
        detectable=detectable(found.sd, len(values), 1 - level),
    )


def t_test(mean: float, sd: float, n: int) -> float:
    """Two-sided p-value that the mean of the units is 0."""
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(mean) / sd * math.sqrt(n)))


def sign_flip(values: Sequence[float]) -> float:
    """Two-sided p-value of the exact randomization test that the mean is 0 (Fisher, 1935, section 21).

    If nothing differs, each unit's difference could as well have the other sign. The p-value is the share of all 2**n
    choices of signs whose sum is at least as far from 0 as the one observed. Each is a sum over one half of the units
    plus one over the other, and in one half's sums, sorted, a search tells how many reach what the other's lack.

    Raises:
        ValueError: more than `MOST_UNITS`.
    """
    if len(values) > MOST_UNITS:
        raise ValueError(f"{len(values)} units; the sign-flip test is for {MOST_UNITS} at most")
    ordered = sorted(values, key=abs)

    def signed(some: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        reached = np.zeros(1)
        for value in some:
            reached = np.concatenate((reached + value, reached - value))
        return np.sort(reached)

    # a sum that equals the observed one counts, though added up in another order
    least = abs(math.fsum(ordered)) - 1e-9 * math.fsum(map(abs, ordered))
    left, right = signed(ordered[: len(ordered) // 2]), signed(ordered[len(ordered) // 2 :])
    if least <= 0:
        return 1.0
    reaching = int((len(left) - np.searchsorted(left, least - right)).sum())
    return min(1.0, 2 * reaching / 2 ** len(ordered))


def smallest_sign_flip(units: int) -> float:
    """The smallest p-value that `sign_flip` can give: all differences are of one sign."""
    return min(1.0, 2.0 ** (1 - units))


def power(mean: float, sd: float, n: int, alpha: float) -> float:
    """How often the two-sided t-test of n units sees a true mean."""
    if sd == 0:
        return 1.0
    critical, shift = float(stdtrit(n - 1, 1 - alpha / 2)), abs(mean) / sd * math.sqrt(n)
    upper, lower = float(nct.sf(critical, n - 1, shift)), float(nct.cdf(-critical, n - 1, shift))
    return upper + (0.0 if math.isnan(lower) else lower)


def detectable(sd: float, n: int, alpha: float) -> float:
    """The true mean that n units with this SD show with a power of 80%, to three significant digits."""
    return float(f"{sd * _detectable_in_sds(n, alpha):.3g}")


@cache
def _detectable_in_sds(n: int, alpha: float) -> float:
    high = 1.0
    while power(high, 1.0, n, alpha) < POWER:
        high *= 2
    return float(brentq(lambda mean: power(mean, 1.0, n, alpha) - POWER, 0.0, high, xtol=1e-6))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given (Holm, 1979)."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted
