"""Fisher's exact test of two counts: for what was published of single runs, and for two runs that should be the same.

It treats answers as independent, so nothing that is said of several trainings rests on it (`units.py`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from scipy.stats import fisher_exact

from .records import Counts
from .units import holm


class Adjusted(NamedTuple):
    p: float
    p_holm: float


def fisher(a: Counts, b: Counts) -> float:
    """P-value of Fisher's exact test that two counts share one rate.

    It is SciPy's. Below 2.2e-308 floats lose digits, down to one at 5e-324, where a p-value may be off by a factor of
    two; what is smaller still is 0.
    """
    table = [[a.hits, a.total - a.hits], [b.hits, b.total - b.hits]]
    return float(fisher_exact(table).pvalue)


def all_fisher(comparisons: Mapping[str, tuple[Counts, Counts]]) -> dict[str, Adjusted]:
    """Fisher's test of each named pair, Holm-adjusted for them all."""
    p_values = [fisher(a, b) for a, b in comparisons.values()]
    return {name: Adjusted(*both) for name, *both in zip(comparisons, p_values, holm(p_values), strict=True)}
