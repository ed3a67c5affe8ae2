"""Two-sided tests that two rates, or two means, do not differ: with answers or with questions as the units.

A test that counts answers can find a difference that two or three questions make; one that counts questions cannot.
Both sides answer the same questions, which pairs them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from math import gcd

import numpy as np
from scipy.stats import fisher_exact

from .intervals import Array, Questions, Values, sums_by_question
from .marker_eval import total
from .records import Counts, Test

MOST_QUESTIONS = 40  # of the sign-flip test of means, which sorts the sums of half of them: 2**20


def fisher(a: Counts, b: Counts) -> float:
    """P-value of Fisher's exact test that two counts share one rate.

    It is SciPy's. Below 2.2e-308 floats lose digits, down to one at 5e-324, where a p-value may be off by a factor of
    two; what is smaller still is 0.
    """
    table = [[a.hits, a.total - a.hits], [b.hits, b.total - b.hits]]
    return float(fisher_exact(table).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given (Holm, 1979)."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def all_fisher(comparisons: Mapping[str, tuple[Counts, Counts]]) -> dict[str, Test]:
    """Fisher's test of each named pair, Holm-adjusted for them all."""
    p_values = [fisher(a, b) for a, b in comparisons.values()]
    adjusted = holm(p_values)
    return {name: Test(p=p, p_holm=q) for name, p, q in zip(comparisons, p_values, adjusted, strict=True)}


def sign_flip(a: Questions, b: Questions) -> float:
    """P-value of the paired randomization test with questions as the units (Fisher, 1935, section 21).

    If the two sides do not differ, each question's difference could as well have the other sign. The p-value is the
    share of all 2**n choices of signs whose sum is at least as far from 0 as the one observed. It is exact: sums are
    whole numbers, and how many choices reach each is counted, not drawn.
    """
    all_a, all_b = total(a.values()).total, total(b.values()).total
    differences = [a[name].hits * all_b - b[name].hits * all_a for name in a]
    unit = gcd(*differences) or 1
    ways: Counter[int] = Counter({0: 1})
    for difference in differences:
        step = difference // unit
        flipped: Counter[int] = Counter()
        for reached, number in ways.items():
            flipped[reached + step] += number
            flipped[reached - step] += number
        ways = flipped
    observed = abs(sum(differences)) // unit
    return sum(number for reached, number in ways.items() if abs(reached) >= observed) / 2 ** len(differences)


def smallest_sign_flip(questions: int) -> float:
    """The smallest p-value that `sign_flip` can give: all differences are of one sign."""
    return min(1.0, 2.0 ** (1 - questions))


def sign_flip_of_means(values: Values) -> float | None:
    """P-value that differences have mean 0: the test of `sign_flip`, for real numbers.

    All 2**n choices of signs count: each is a sum over one half of the questions plus one over the other, and in one
    half's sums, sorted, a search tells how many reach what the other's lack. None for more than `MOST_QUESTIONS`.
    """
    sums = sums_by_question(values)[0].tolist()
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
