"""Intervals of rates, of means and of their differences, with answers or with questions as the units.

Answers to one question resemble each other, so an interval that treats them as independent is too narrow. With
questions as the units, whole questions are resampled with replacement (Efron, 1979), by SciPy's bootstrap. They are
drawn from one fixed stream and in alphabetical order: an interval is a function of the counts, whatever their order in
a file, and two conditions that answer the same questions draw the same ones.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm

from .records import Counts

SEED = 20_240_229  # of the bootstrap
BATCH = 10_000  # draws that are in memory at once; the result does not depend on it

Interval = tuple[float, float]
Array = NDArray[Any]
Questions = Mapping[str, Counts]
Values = Sequence[tuple[str, float]]  # the question that each belongs to, and the number


class How(NamedTuple):
    resamples: int  # of the bootstrap
    level: float  # of every interval


def rate(counts: Counts) -> float:
    return counts.hits / counts.total


# ---- answers as the units ----


def wilson(hits: float, total: int, level: float) -> Interval:
    """Wilson's score interval for a binomial rate (Wilson, 1927).

    `binomtest` of SciPy gives the same, but only for whole hits: a rate of questions need not have any.
    """
    z = float(norm.ppf((1 + level) / 2))
    rate, z2 = hits / total, z * z
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * (rate * (1 - rate) / total + z2 / (4 * total * total)) ** 0.5
    # the exact ends are 0 and 1 there; rounding would put them a hair inside
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == total else centre + half)


def newcombe(a: Counts, b: Counts, level: float) -> Interval:
    """Hybrid score interval of rate(a) - rate(b) for independent answers (Newcombe, 1998, method 10)."""
    return _hybrid(rate(a), a.total, rate(b), b.total, level)


def _hybrid(p: float, n: int, q: float, m: int, level: float) -> Interval:
    low_p, high_p = wilson(p * n, n, level)
    low_q, high_q = wilson(q * m, m, level)
    below = ((p - low_p) ** 2 + (high_q - q) ** 2) ** 0.5
    above = ((high_p - p) ** 2 + (q - low_q) ** 2) ** 0.5
    return p - q - below, p - q + above


# ---- questions as the units ----


def resampled(statistic: Callable[[Array], Array], questions: int, how: How) -> Interval | None:
    """Percentile interval of a statistic of questions.

    Args:
        statistic: of the places [..., n] of n questions, its value for each draw [...]; NaN where it has none.

    Returns:
        The interval, which may have no width; None where no draw has a value.
    """
    if questions < 2:  # which SciPy refuses: there is one draw
        values = statistic(np.zeros((1, questions), dtype=int))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)  # of draws without a value, which are left out here
            values = bootstrap(
                (np.arange(questions),),
                lambda places, axis: statistic(places),
                n_resamples=how.resamples,
                batch=BATCH,
                confidence_level=how.level,
                method="percentile",
                rng=np.random.Generator(np.random.Philox(SEED)),
            ).bootstrap_distribution
    if np.isnan(values).all():
        return None
    low, high = np.nanquantile(values, [(1 - how.level) / 2, (1 + how.level) / 2]).tolist()
    return low, high


def cluster_bootstrap(questions: Questions, how: How) -> Interval:
    """Interval of the pooled rate; without width where every question has the same rate."""
    hits, totals = _arrays(questions)
    if hits.sum() in (0, totals.sum()):  # every draw is the same
        return (float(hits[0] / totals[0]),) * 2
    found = resampled(lambda places: hits[places].sum(axis=-1) / totals[places].sum(axis=-1), len(hits), how)
    assert found  # a question has an answer
    return found


def rate_by_question(questions: Questions, how: How) -> Interval:
    """Interval of the pooled rate; where resampling gives no width, each question counts as one answer of Wilson's."""
    low, high = cluster_bootstrap(questions, how)
    hits, totals = _arrays(questions)
    n = len(questions)
    return (low, high) if low < high else wilson(float(hits.sum() / totals.sum()) * n, n, how.level)


def difference_by_question(a: Questions, b: Questions, how: How) -> Interval:
    """Interval of rate(a) - rate(b) when both sides' questions are resampled at once.

    Without any width, each question counts as one answer of Newcombe's.
    """
    (hits_a, totals_a), (hits_b, totals_b) = _arrays(a), _arrays(b)

    def difference(places: Array) -> Array:
        first = hits_a[places].sum(axis=-1) / totals_a[places].sum(axis=-1)
        second: Array = hits_b[places].sum(axis=-1) / totals_b[places].sum(axis=-1)
        return first - second

    n, found = len(a), resampled(difference, len(a), how)
    if found and found[0] < found[1]:
        return found
    return _hybrid(float(hits_a.sum() / totals_a.sum()), n, float(hits_b.sum() / totals_b.sum()), n, how.level)


def mean_interval(values: Values, how: How) -> Interval | None:
    """Interval of the mean of numbers of which each question has several; None without any width."""
    sums, counts = sums_by_question(values)
    found = resampled(lambda places: sums[places].sum(axis=-1) / counts[places].sum(axis=-1), len(sums), how)
    return with_width(found)


def with_width(found: Interval | None) -> Interval | None:
    """An interval, or None if it has no width."""
    return found if found and found[0] < found[1] else None


def mean(values: Values) -> float:
    return math.fsum(value for _, value in values) / len(values)


def sums_by_question(values: Values) -> Array:
    """Sum and number of each question's values, [2, questions]."""
    own: dict[str, list[float]] = {}
    for question, value in sorted(values):
        own.setdefault(question, []).append(value)
    return np.array([[math.fsum(some) for some in own.values()], [len(some) for some in own.values()]])


def _arrays(questions: Questions) -> tuple[Array, Array]:
    """Hits and totals of the questions in alphabetical order, [questions] each."""
    counts = [questions[name] for name in sorted(questions)]
    return np.array([c.hits for c in counts]), np.array([c.total for c in counts])
