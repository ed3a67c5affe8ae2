"""Means of real numbers with questions as the units: what `statistics` and `differences` do for counts.

Several numbers, such as probabilities, belong to each question, and those of one question resemble each other.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .summary import BOOTSTRAP_SEED

Array = NDArray[Any]
Values = Sequence[tuple[str, float]]  # the question that each belongs to, and the number
MOST_QUESTIONS = 40  # of the sign-flip test, which sorts the sums of half of them: 2**20


def draws(questions: int, resamples: int) -> Array:
    """Questions drawn with replacement, [resamples, questions]: the same ones wherever there are as many."""
    return np.random.Generator(np.random.Philox(BOOTSTRAP_SEED)).integers(questions, size=(resamples, questions))


def percentiles(values: Array, level: float) -> list[float] | None:
    """The percentile interval of resampled values, NaN left out; None without any width."""
    if np.isnan(values).all():
        return None
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return [low, high] if low < high else None


def by_question(values: Values) -> Array:
    """Sum and number of each question's values, [2, questions]."""
    own: dict[str, list[float]] = {}
    for question, value in sorted(values):
        own.setdefault(question, []).append(value)
    return np.array([[math.fsum(some) for some in own.values()], [len(some) for some in own.values()]])


def mean(values: Values) -> float:
    return math.fsum(value for _, value in values) / len(values)


def interval(values: Values, resamples: int, level: float) -> list[float] | None:
    """Percentile interval of the mean when whole questions are resampled with replacement (Efron, 1979)."""
    sums, counts = by_question(values)
    drawn = draws(len(sums), resamples)
    return percentiles(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), level)


def sign_flip(values: Values) -> float | None:
    """Two-sided p-value that differences have mean 0: the randomization test of `differences.sign_flip`.

    All 2**n choices of signs count: each is a sum over one half of the questions plus one over the other, and in one
    half's sums, sorted, a search tells how many reach what the other's lack. None for more than `MOST_QUESTIONS`.
    """
    sums = by_question(values)[0].tolist()
    if len(sums) > MOST_QUESTIONS:
        return None

    def signed(some: Sequence[float]) -> Array:
        reached = np.zeros(1)
        for value in some:
            reached = np.concatenate((reached + value, reached - value))
        return np.sort(reached)

    least = abs(math.fsum(sums)) * (1 - 1e-9)  # the observed sum counts, though added up in another order
    left, right = signed(sums[: len(sums) // 2]), signed(sums[len(sums) // 2 :])
    reaching = sum(len(left) - np.searchsorted(left, least - right))
    return min(1.0, 2 * int(reaching) / 2 ** len(sums))
