"""Verdicts on the report's own counts, by tests that treat its answers as independent, as the report's do.

What follows from the counts of one run is judged here, and nothing about other trainings.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from .hypothesis_tests import fisher
from .intervals import Ends, rate, wilson
from .ledger import Alike, AnyCheck, Bounds, Difference, Side
from .records import Counts, Finding, Judgement
from .verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    SUPPORTED,
    all_of,
    bounds_in_words,
    ends,
    meets,
    misses,
    not_comparable,
    of_p,
    percent,
    points,
)

# The counts that some personas of a condition may have; none where the report gives none.
Possible = Callable[[str, Sequence[str]], Sequence[Counts]]
ALPHA = 0.05


def newcombe(a: Counts, b: Counts, level: float) -> Ends:
    """Hybrid score interval of rate(a) - rate(b) for independent answers (Newcombe, 1998, method 10)."""
    (low_a, high_a), (low_b, high_b) = (wilson(side.hits, side.total, level) for side in (a, b))
    p, q = rate(a), rate(b)
    below = ((p - low_a) ** 2 + (high_b - q) ** 2) ** 0.5
    above = ((high_a - p) ** 2 + (q - low_b) ** 2) ** 0.5
    return p - q - below, p - q + above


def _difference(check: Difference, sides: Sequence[Counts]) -> Judgement:
    a, b = sides
    gap, p, below = rate(a) - rate(b), fisher(a, b), check.p_below or ALPHA
    said = f"the difference is {points(gap)}, {of_p(p)}"
    verdict = SUPPORTED if gap > 0 and p < below else CONTRADICTED
    if verdict == CONTRADICTED:
        said += f", not below {below:g}" if gap > 0 else ", not above 0"
        if check.p_below is None and p >= ALPHA:
            verdict = INCONCLUSIVE
    turned = gap < 0 and verdict == CONTRADICTED and p < ALPHA
    return Judgement(verdict=verdict, reason=said, estimate=gap, p=p, reversed=turned, counts=tuple(sides))


def _alike(check: Alike, sides: Sequence[Counts], level: float) -> Judgement:
    gap, interval = rate(sides[0]) - rate(sides[1]), newcombe(sides[0], sides[1], level)
    low, high = interval
    said, within = f"the difference is {points(gap)}, interval {ends(interval)}", f"{100 * check.margin:g} points"
    if -check.margin <= low and high <= check.margin:
        verdict, said = SUPPORTED, f"{said}, within {within} either way"
    elif low > 0 or high < 0:
        verdict, said = CONTRADICTED, f"they differ: {said}"
    else:
        verdict, said = INCONCLUSIVE, f"{said}, which goes beyond {within} either way"
    return Judgement(verdict=verdict, reason=said, estimate=gap, interval=interval, counts=tuple(sides))


def _bounds(check: Bounds, sides: Sequence[Counts], level: float) -> Judgement:
    counts, bounds = sides[0], (check.at_least, check.at_most)
    found, interval = rate(counts), wilson(counts.hits, counts.total, level)
    words = bounds_in_words(bounds)
    if check.counted:
        met = meets(found, bounds)
        said = f"{counts.hits} of {counts.total} is {percent(found)}, {'' if met else 'not '}{words}"
        return Judgement(verdict=SUPPORTED if met else CONTRADICTED, reason=said, estimate=found, counts=(counts,))
    said = f"the interval {ends(interval)}% of {counts.hits} of {counts.total} is"
    if all(meets(end, bounds) for end in interval):
        verdict, said = SUPPORTED, f"{said} {words}"
    elif misses(interval, bounds):
        verdict, said = CONTRADICTED, f"{said} not {words}"
    else:
        verdict, said = INCONCLUSIVE, f"{said} not wholly {words}"
    return Judgement(verdict=verdict, reason=said, estimate=found, interval=interval, counts=(counts,))


def test_of(check: AnyCheck) -> str:
    """The test in words."""
    if isinstance(check, Difference):
        return "Fisher's exact test of answers"
    if isinstance(check, Alike):
        return "Newcombe's interval of answers within a margin"
    return "the count within bounds" if check.counted else "Wilson's interval of answers within bounds"


def _one(check: AnyCheck, sides: Sequence[Counts], level: float) -> Judgement:
    if isinstance(check, Difference):
        return _difference(check, sides)
    return _alike(check, sides, level) if isinstance(check, Alike) else _bounds(check, sides, level)


def settled(found: Sequence[Judgement]) -> Judgement:
    """The one judgement of all the counts that published percentages leave possible."""
    if len(found) == 1:
        return found[0]
    by_verdict = {one.verdict: one for one in found}
    note = f"the {len(found)} counts that round to the published percentages"
    if len(by_verdict) > 1:
        reason = "; ".join(f"{verdict}: {one.reason}" for verdict, one in by_verdict.items())
        return Judgement(verdict=INCONCLUSIVE, reason=f"{note} disagree: {reason}")
    last = max(found, key=lambda one: one.p or 0.0)
    which = "the same" if last.p is None else "the largest p"
    return last.model_copy(update={"reason": f"{last.reason} ({which} of {note})"})


def judge(check: AnyCheck, parts: Mapping[str, Sequence[Side]], possible: Possible, level: float) -> Finding:
    """The finding on a part of a claim, on the counts that the report leaves possible.

    Args:
        parts: from `ledger.comparisons`.
    """
    found = {}
    for label, sides in parts.items():
        options = [possible(condition, chosen) if chosen else [] for condition, chosen in sides]
        missing = next((side for side, option in zip(sides, options, strict=True) if not option), None)
        found[label] = (
            not_comparable(f"the report has no counts of {missing[0]} for these personas")
            if missing
            else settled([_one(check, choice, level) for choice in product(*options)])
        )
    return all_of(found, "answers", test_of(check))
