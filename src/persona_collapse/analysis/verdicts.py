"""Verdicts in four words, on several units: seeds, questions or runs. A reason is a sentence without its full stop.

*supported*: the interval says so. *contradicted*: it excludes what the claim says, or leaves less of it than matters.
*inconclusive*: neither, with what would have been seen; one unit never gives more. *not comparable*: the design here
cannot bear on it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .intervals import Ends
from .records import Finding, Judgement, OverUnits, Tested, Unit, Verdict, worst
from .units import POWER

SUPPORTED: Verdict = "supported"
CONTRADICTED: Verdict = "contradicted"
INCONCLUSIVE: Verdict = "inconclusive"
NOT_COMPARABLE: Verdict = "not comparable"


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def ends(interval: Ends) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def of_p(p: float) -> str:
    return f"p = {p:.2g}" if p else "p < 1e-300"


def not_comparable(reason: str, blocked: bool = False) -> Judgement:
    return Judgement(verdict=NOT_COMPARABLE, reason=reason, blocked=blocked)


def one_unit(estimate: float, what: str, unit: Unit) -> Judgement:
    """What a single unit can say: nothing about others."""
    said = points(estimate) if what == "difference" else percent(estimate)
    one = f"there is one {unit.removesuffix('s')}"
    reason = f"{one}: the {what} in it is {said}, and how far another would differ is unknown"
    return Judgement(verdict=INCONCLUSIVE, reason=reason, estimate=estimate, units=1)


def _numbers(found: Tested) -> dict[str, Any]:
    return {
        "estimate": found.mean,
        "interval": found.interval,
        "p": found.p,
        "sign_flip": found.sign_flip,
        "smallest_sign_flip": found.smallest_sign_flip,
        "detectable": found.detectable,
        "units": len(found.by_unit),
    }


def _would(found: Tested) -> str:
    return f"a difference of {100 * (found.detectable or 0.0):.1f} points would have been seen with {POWER:.0%} power"


def of_difference(found: Tested, unit: Unit, margin: float, alpha: float, p_holm: float | None = None) -> Judgement:
    """Is the mean difference above 0, and not surely below the margin that matters?

    Args:
        p_holm: the adjusted p-value, for a member of the family.
    """
    if found.interval is None or found.p is None:
        return one_unit(found.mean, "difference", unit)
    low, high = found.interval
    p = found.p if p_holm is None else p_holm
    adjusted = "" if p_holm is None else ", Holm-adjusted"
    said = (
        f"over {len(found.by_unit)} {unit} the difference is {points(found.mean)}, interval {ends(found.interval)},"
        f" {of_p(p)}{adjusted}"
    )
    if found.sd == 0:
        said = f"in each of {len(found.by_unit)} {unit} the difference is {points(found.mean)} exactly"
    numbers = _numbers(found)
    if high < 0:
        return Judgement(verdict=CONTRADICTED, reason=f"it is the other way round: {said}", reversed=True, **numbers)
    if high < margin:
        why = f"{said}, so it is surely below the {100 * margin:g} points that matter"
        return Judgement(verdict=CONTRADICTED, reason=why, **numbers)
    if low > 0 and p < alpha:
        return Judgement(verdict=SUPPORTED, reason=said, **numbers)
    return Judgement(verdict=INCONCLUSIVE, reason=f"{said}; {_would(found)}", **numbers)


def of_alike(found: Tested, unit: Unit, margin: float) -> Judgement:
    """Is the mean difference surely within a margin of 0?"""
    if found.interval is None:
        return one_unit(found.mean, "difference", unit)
    low, high = found.interval
    said = f"over {len(found.by_unit)} {unit} the difference is {points(found.mean)}, interval {ends(found.interval)}"
    numbers, within = _numbers(found), f"{100 * margin:g} points either way"
    if -margin <= low and high <= margin:
        return Judgement(verdict=SUPPORTED, reason=f"{said}, within {within}", **numbers)
    if low > 0 or high < 0:
        return Judgement(verdict=CONTRADICTED, reason=f"they differ: {said}", **numbers)
    return Judgement(verdict=INCONCLUSIVE, reason=f"{said}, which goes beyond {within}; {_would(found)}", **numbers)


Bound = tuple[float | None, float | None]  # at least, at most


def bounds_in_words(bounds: Bound) -> str:
    some = zip(("at least", "at most"), bounds, strict=True)
    return " and ".join(f"{words} {100 * bound:g}%" for words, bound in some if bound is not None)


def meets(value: float, bounds: Bound) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value <= high)


def misses(interval: Ends, bounds: Bound) -> bool:
    """Whether a whole interval is on the wrong side of a bound."""
    low, high = bounds
    return (low is not None and interval[1] < low) or (high is not None and interval[0] > high)


def of_bounds(found: OverUnits, unit: Unit, bounds: Bound, own: Sequence[Ends]) -> Judgement:
    """Is the mean rate surely within bounds?

    Args:
        own: each unit's own interval. Where units agree to the last answer, which leaves no width between them, all
            of these must be within the bounds instead.
    """
    if found.interval is None:
        return one_unit(found.mean, "rate", unit)
    interval, words = found.interval, bounds_in_words(bounds)
    said = f"over {len(found.by_unit)} {unit} the rate is {percent(found.mean)}, interval {ends(interval)}%"
    if found.sd == 0:
        interval = min(low for low, _ in own), max(high for _, high in own)
        said = (
            f"all {len(found.by_unit)} {unit} have {percent(found.mean)}, and each by itself lies in {ends(interval)}%"
        )
    numbers: dict[str, Any] = {"estimate": found.mean, "interval": interval, "units": len(found.by_unit)}
    if all(meets(end, bounds) for end in interval):
        return Judgement(verdict=SUPPORTED, reason=f"{said}, {words}", **numbers)
    if misses(interval, bounds):
        return Judgement(verdict=CONTRADICTED, reason=f"{said}, not {words}", **numbers)
    return Judgement(verdict=INCONCLUSIVE, reason=f"{said}, not wholly {words}", **numbers)


# ---- findings ----


def brief(one: Judgement) -> str:
    """The number that a verdict rests on, for a list of many."""
    if one.estimate is None:
        return one.verdict
    numbers = [f"{100 * one.estimate:.1f}", *([of_p(one.p)] if one.p is not None else [])]
    return ", ".join(numbers)


def all_of(personas: Mapping[str, Judgement], unit: Unit, test: str) -> Finding:
    """One finding of several judgements, all of which have to hold.

    Each is at its own level, without a correction: a claim that says "all" is wrong at no higher a rate than each of
    its parts (Berger, 1982, intersection-union tests).
    """
    verdict = worst([one.verdict for one in personas.values()])
    of_it = {name: one for name, one in personas.items() if one.verdict == verdict}
    reasons = {one.reason for one in personas.values()}
    if not personas:
        reason = "there are no such personas"
    elif len(reasons) == 1:
        reason = reasons.pop()
    elif len(of_it) == len(personas):
        reason = f"so it is for each of the {len(personas)}"
    else:
        held = sum(one.verdict == SUPPORTED for one in personas.values())
        listed = ", ".join(f"{name} ({brief(one)})" for name, one in of_it.items())
        reason = f"supported for {held} of {len(personas)}; {verdict} for {listed}"
    return Finding(
        verdict=verdict,
        reason=reason,
        reversed=any(one.reversed for one in of_it.values()),
        blocked=any(one.blocked for one in of_it.values()),
        unit=unit,
        test=test,
        personas=dict(personas),
    )
