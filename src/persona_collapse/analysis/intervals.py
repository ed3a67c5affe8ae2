"""Rates, their log-odds, and the one interval of a single training's rate.

Answers to one question resemble each other, so an interval that treats them as independent is too narrow. It is
Wilson's (1927) at the effective number of answers, as Rao and Scott (1992) have it: the number of answers over the
design effect, which is how much wider the questions make the rate vary than answers alone would, and is at least 1.
It is about this one training, its personas and questions like these: how much another seed would change is not in it.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from scipy.special import ndtri

from .records import Counts

Ends = tuple[float, float]
Questions = Mapping[str, Counts]


class Estimated(NamedTuple):
    effective: float  # independent answers that would tell as much
    interval: Ends


def rate(counts: Counts) -> float:
    return counts.hits / counts.total


def log_odds(counts: Counts) -> float:
    """Natural log-odds with 1/2 added to hits and to misses, so that none and all have some (Haldane, Anscombe)."""
    return math.log((counts.hits + 0.5) / (counts.total - counts.hits + 0.5))


def wilson(hits: float, total: float, level: float) -> Ends:
    """Wilson's score interval for a binomial rate (Wilson, 1927).

    `binomtest` of SciPy gives the same, but only for whole hits: those of an effective number of answers are not.
    """
    z = float(ndtri((1 + level) / 2))
    share, z2 = hits / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * (share * (1 - share) / total + z2 / (4 * total * total)) ** 0.5
    # the exact ends are 0 and 1 there; rounding would put them a hair inside
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == total else centre + half)


def design_effect(questions: Questions) -> float:
    """The variance of the pooled rate between questions (linearised) over that of independent answers, at least 1."""
    hits, total = (sum(own) for own in zip(*((c.hits, c.total) for c in questions.values()), strict=True))
    if len(questions) < 2 or hits in (0, total):
        return 1.0
    share = hits / total
    squares = math.fsum((c.hits - share * c.total) ** 2 for c in questions.values())
    between = len(questions) / (len(questions) - 1) * squares / total**2
    return max(1.0, between / (share * (1 - share) / total))


def estimated(counts: Counts, questions: Questions, level: float) -> Estimated:
    """The interval of one training's rate; without counts by question each answer counts as one."""
    effective = counts.total / (design_effect(questions) if questions else 1.0)
    return Estimated(effective, wilson(rate(counts) * effective, effective, level))
