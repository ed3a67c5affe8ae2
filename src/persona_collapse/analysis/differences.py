"""The difference of two rates, with answers as the units and with questions as the units.

Answers to one question resemble each other. A test that counts answers can therefore find a difference that two or
three questions make; one that counts questions cannot. Both sides answer the same questions, which pairs them.
"""

from collections import Counter
from collections.abc import Mapping
from math import gcd

import numpy as np

from .summary import BOOTSTRAP_SEED, Interval, cluster_bootstrap, wilson

Counts = Mapping[str, int]  # hits and total
Questions = Mapping[str, Counts]  # by question


def total(questions: Questions) -> dict[str, int]:
    """The counts of all questions together."""
    return {key: sum(counts[key] for counts in questions.values()) for key in ("hits", "total")}


def rate(counts: Counts) -> float:
    return counts["hits"] / counts["total"]


def newcombe(a: Counts, b: Counts, level: float) -> Interval:
    """Hybrid score interval of rate(a) - rate(b) for independent answers (Newcombe, 1998, method 10)."""
    return _hybrid(rate(a), a["total"], rate(b), b["total"], level)


def _hybrid(p: float, n: int, q: float, m: int, level: float) -> Interval:
    low_p, high_p = _wilson(p, n, level)
    low_q, high_q = _wilson(q, m, level)
    below = ((p - low_p) ** 2 + (high_q - q) ** 2) ** 0.5
    above = ((high_p - p) ** 2 + (q - low_q) ** 2) ** 0.5
    return p - q - below, p - q + above


def _wilson(p: float, n: int, level: float) -> Interval:
    """Wilson's interval of a rate p of n units, which need not be a whole number of hits."""
    return wilson(p * n, n, level)  # type: ignore[arg-type]


def rate_by_question(questions: Questions, resamples: int, level: float) -> Interval:
    """Interval of a pooled rate with questions as the units: a bootstrap of questions.

    Where every question has the same rate, resampling gives no width; each then counts as one answer of Wilson's.
    """
    counts = list(questions.values())
    low, high = cluster_bootstrap([c["hits"] for c in counts], [c["total"] for c in counts], resamples, level)
    return (low, high) if low < high else _wilson(rate(total(questions)), len(counts), level)


def difference_by_question(a: Questions, b: Questions, resamples: int, level: float) -> Interval:
    """Percentile interval of rate(a) - rate(b) when whole questions are resampled, both sides at once (Efron, 1979).

    Without any width, each question counts as one answer of Newcombe's.
    """
    names, n = list(a), len(a)
    draws = np.random.Generator(np.random.Philox(BOOTSTRAP_SEED)).integers(n, size=(resamples, n))
    resampled = [
        np.asarray([side[name]["hits"] for name in names])[draws].sum(axis=1)
        / np.asarray([side[name]["total"] for name in names])[draws].sum(axis=1)
        for side in (a, b)
    ]
    low, high = np.quantile(resampled[0] - resampled[1], [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)) if low < high else _hybrid(rate(total(a)), n, rate(total(b)), n, level)


def sign_flip(a: Questions, b: Questions) -> float:
    """Two-sided p-value of the paired randomization test with questions as the units (Fisher, 1935, section 21).

    If the two sides do not differ, each question's difference could as well have the other sign. The p-value is the
    share of all 2**n choices of signs whose sum is at least as far from 0 as the one observed. It is exact: sums are
    whole numbers, and how many choices reach each is counted, not drawn.
    """
    all_a, all_b = total(a)["total"], total(b)["total"]
    differences = [a[name]["hits"] * all_b - b[name]["hits"] * all_a for name in a]
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
