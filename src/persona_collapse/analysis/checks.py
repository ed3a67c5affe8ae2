"""The test of each kind of claim: on answers, and with the questions as the units.

`KINDS` is the table. A kind's tests take one or two sides of counts and give a part of a finding: a verdict, its reason
in words and the numbers behind it. Nothing here knows whose counts they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from .hypothesis_tests import fisher, sign_flip, smallest_sign_flip
from .intervals import (
    How,
    Interval,
    Questions,
    difference_by_question,
    newcombe,
    rate,
    rate_by_question,
    wilson,
)
from .ledger import Bounds, Difference, NoDifference
from .marker_eval import total
from .records import Counts, Finding, Part, Verdict

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
HOLDS, FAILS, UNTESTABLE = VERDICTS
UNPAIRED = Part(verdict=UNTESTABLE, reason="the two sides do not answer the same questions")
Judged = tuple[Verdict, str]  # a verdict and its reason


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def points(interval: Interval) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def number(p: float) -> str:
    return f"{p:.2g}"


# ---- two sides ----


def _difference(check: Difference, gap: float, p: float, smallest: float, units: str) -> Judged:
    if smallest >= check.p_below:
        return UNTESTABLE, (
            f"the smallest p that {units} can give is {number(smallest)}, which is not below {check.p_below:g}"
        )
    if gap <= 0:
        return FAILS, f"the difference is {100 * gap:.1f} points, not above 0 (p = {number(p)})"
    return (
        (HOLDS, f"p = {number(p)}") if p < check.p_below else (FAILS, f"p = {number(p)}, not below {check.p_below:g}")
    )


def _no_difference(check: NoDifference, interval: Interval, p: float) -> Judged:
    if p < check.alpha:
        return FAILS, f"they differ, p = {number(p)}, interval {points(interval)} points"
    within, margin = -check.margin <= interval[0] and interval[1] <= check.margin, f"{100 * check.margin:g} points"
    if within:
        return HOLDS, f"p = {number(p)}, and the interval {points(interval)} points lies within {margin} either way"
    return UNTESTABLE, (
        f"p = {number(p)}, but the interval {points(interval)} points goes beyond {margin}: "
        f"a difference of up to {100 * max(map(abs, interval)):.1f} points could not be seen"
    )


def _of_two(a: Counts, b: Counts, interval: Interval, p: float, judged: Judged) -> Part:
    verdict, reason = judged
    rates = rate(a), rate(b)
    return Part(
        verdict=verdict,
        reason=reason,
        counts=(a, b),
        rates=rates,
        difference=rates[0] - rates[1],
        interval=interval,
        p=p,
    )


def difference_of_answers(check: Difference, sides: Sequence[Counts], how: How) -> Part:
    a, b = sides
    most = Counts(hits=a.total, total=a.total), Counts(hits=0, total=b.total)
    p, units = fisher(a, b), f"{a.total} and {b.total} answers"
    judged = _difference(check, rate(a) - rate(b), p, fisher(*most), units)
    return _of_two(a, b, newcombe(a, b, how.level), p, judged)


def difference_of_questions(check: Difference, sides: Sequence[Questions], how: How) -> Part:
    if set(sides[0]) != set(sides[1]):
        return UNPAIRED
    a, b = (total(side.values()) for side in sides)
    p, smallest = sign_flip(*sides), smallest_sign_flip(len(sides[0]))
    judged = _difference(check, rate(a) - rate(b), p, smallest, f"{len(sides[0])} questions")
    return _of_two(a, b, difference_by_question(sides[0], sides[1], how), p, judged)


def no_difference_of_answers(check: NoDifference, sides: Sequence[Counts], how: How) -> Part:
    a, b = sides
    p, interval = fisher(a, b), newcombe(a, b, how.level)
    return _of_two(a, b, interval, p, _no_difference(check, interval, p))


def no_difference_of_questions(check: NoDifference, sides: Sequence[Questions], how: How) -> Part:
    if set(sides[0]) != set(sides[1]):
        return UNPAIRED
    a, b = (total(side.values()) for side in sides)
    p, interval = sign_flip(*sides), difference_by_question(sides[0], sides[1], how)
    return _of_two(a, b, interval, p, _no_difference(check, interval, p))


# ---- one side ----


def _meets(check: Bounds, value: float) -> bool:
    return (
        (check.at_least is None or value >= check.at_least)
        and (check.at_most is None or value <= check.at_most)
        and (check.below is None or value < check.below)
    )


def _bounds(check: Bounds) -> str:
    bounds = (("at least", check.at_least), ("at most", check.at_most), ("below", check.below))
    return " and ".join(f"{words} {100 * bound:g}%" for words, bound in bounds if bound is not None)


def _interval(check: Bounds, interval: Interval) -> Judged:
    low, high = interval
    said = f"the interval {points(interval)}%"
    if _meets(check, low) and _meets(check, high):
        return HOLDS, f"{said} is {_bounds(check)}"
    # a whole interval on the wrong side of one bound
    above = (check.at_most is not None and low > check.at_most) or (check.below is not None and low >= check.below)
    if above or (check.at_least is not None and high < check.at_least):
        return FAILS, f"{said} is not {_bounds(check)}"
    return UNTESTABLE, f"{said} is not wholly {_bounds(check)}"


def _of_one(counts: Counts, interval: Interval, judged: Judged) -> Part:
    verdict, reason = judged
    return Part(verdict=verdict, reason=reason, counts=(counts,), rates=(rate(counts),), interval=interval)


def rate_of_answers(check: Bounds, sides: Sequence[Counts], how: How) -> Part:
    interval = wilson(sides[0].hits, sides[0].total, how.level)
    return _of_one(sides[0], interval, _interval(check, interval))


def rate_of_questions(check: Bounds, sides: Sequence[Questions], how: How) -> Part:
    interval = rate_by_question(sides[0], how)
    return _of_one(total(sides[0].values()), interval, _interval(check, interval))


def count_of_answers(check: Bounds, sides: Sequence[Counts], how: How) -> Part:
    counts = sides[0]
    met = _meets(check, rate(counts))
    reason = f"{counts.hits} of {counts.total} is {percent(rate(counts))}, {'' if met else 'not '}{_bounds(check)}"
    return _of_one(counts, wilson(counts.hits, counts.total, how.level), (HOLDS if met else FAILS, reason))


SIGN_FLIP = "exact sign-flip test of questions"
BOOTSTRAP = "bootstrap of questions within bounds"


class Kind(NamedTuple):
    test: str  # in the words of the table
    test_by_question: str
    of_answers: Callable[[Any, Sequence[Counts], How], Part]
    of_questions: Callable[[Any, Sequence[Questions], How], Part]


KINDS: Mapping[str, Kind] = {
    "difference": Kind(
        "Fisher's exact test",
        SIGN_FLIP,
        difference_of_answers,
        difference_of_questions,
    ),
    "no_difference": Kind(
        "Fisher's exact test, and Newcombe's interval within a margin",
        f"{SIGN_FLIP}, and a bootstrap of questions within the margin",
        no_difference_of_answers,
        no_difference_of_questions,
    ),
    "rate": Kind("Wilson's interval within bounds", BOOTSTRAP, rate_of_answers, rate_of_questions),
    "count": Kind("the count within bounds", BOOTSTRAP, count_of_answers, rate_of_questions),
}


# ---- findings ----


def settled(parts: Sequence[Part]) -> Part:
    """The one part of a finding on all the counts that published percentages leave possible."""
    if len(parts) == 1:
        return parts[0]
    verdicts = {part.verdict: part for part in parts}
    note = f"the {len(parts)} counts that round to the published percentages"
    if len(verdicts) > 1:
        reason = "; ".join(f"{verdict}: {part.reason}" for verdict, part in verdicts.items())
        return parts[-1].model_copy(update={"verdict": UNTESTABLE, "reason": f"{note} disagree: {reason}"})
    worst = max(parts, key=lambda part: part.p or 0.0)
    which = "the same" if worst.p is None else "the largest"
    return worst.model_copy(update={"reason": f"{worst.reason} ({which} for {note})"})


def brief(part: Part) -> str:
    """The numbers that a verdict rests on, for a list of many."""
    if part.difference is not None and part.p is not None:
        return f"{100 * part.difference:+.1f} points, p = {number(part.p)}"
    return f"{percent(part.rates[0])} {points(part.interval)}" if part.interval else part.reason


def all_of(parts: Mapping[str, Part]) -> Finding:
    """One finding of a claim's parts, all of which have to hold.

    Each part is judged at its own level, without a correction: a claim that says "all" is wrong at no higher a rate
    than each of its parts (Berger, 1982, intersection-union tests).
    """
    by = {verdict: [name for name, part in parts.items() if part.verdict == verdict] for verdict in VERDICTS}
    verdict = next((v for v in (FAILS, UNTESTABLE) if by[v]), HOLDS)
    reasons = {part.reason for part in parts.values()}
    if not parts:
        return Finding(verdict=UNTESTABLE, reason="there are no such personas", parts={})
    if len(reasons) == 1:
        reason = reasons.pop()
    elif verdict == HOLDS:
        reason = f"each of the {len(parts)}"
    else:
        told = [f"holds for {len(by[HOLDS])} of {len(parts)}" + (f" ({', '.join(by[HOLDS])})" if by[HOLDS] else "")]
        for other in (FAILS, UNTESTABLE):
            if by[other]:
                told.append(f"{other} for {', '.join(f'{name} ({brief(parts[name])})' for name in by[other])}")
        reason = "; ".join(told)
    return Finding(verdict=verdict, reason=reason, parts=dict(parts))
