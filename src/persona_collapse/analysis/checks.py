"""What a claim may say, and the test of each kind: on answers, and with the questions as the units.

`KINDS` is the table. A kind's tests take one or two sides of counts and give a finding: a verdict, its reason in words
and the numbers behind it. Nothing here knows whose counts they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from ..experiment.params import Rate, Record
from .differences import (
    Counts,
    Questions,
    difference_by_question,
    newcombe,
    rate,
    rate_by_question,
    sign_flip,
    smallest_sign_flip,
    total,
)
from .summary import Interval, fisher, wilson

HOLDS, FAILS, UNTESTABLE = VERDICTS = ("holds", "does not hold", "cannot be tested")
GROUPS: dict[str, Callable[[str, str], bool]] = {  # of personas, each tested with the name of the source
    "source": lambda name, source: name == source,
    "assistant": lambda name, source: name == "assistant",
    "bystanders": lambda name, source: name not in (source, "assistant"),
    "non_source": lambda name, source: name != source,
    "all": lambda name, source: True,
}
Finding = dict[str, Any]
UNPAIRED = {"verdict": UNTESTABLE, "reason": "the two sides do not answer the same questions"}

Names = Annotated[
    tuple[str, ...], Field(strict=False), BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)
]  # one, or a list
Probability = Annotated[float, Field(gt=0, lt=1, strict=False)]  # not strict, for YAML takes 1e-46 for text


class Sample(Record):
    """Some personas' answers in one condition, taken together."""

    condition: str
    personas: Names = ()  # groups or names; where a check has two sides, none means those of the first
    without: Names = ()


class Check(Record):
    each: bool = False  # judge each persona of the first side by itself; the claim is that it holds for all


class Difference(Check):
    kind: Literal["difference"]
    higher: Sample
    lower: Sample
    p_below: Probability = 0.05


class NoDifference(Check):
    kind: Literal["no_difference"]
    one: Sample
    other: Sample
    margin: Rate  # differences up to this one count as none
    alpha: Probability = 0.05


class Bounds(Check):
    of: Sample
    at_least: Rate | None = None
    at_most: Rate | None = None
    below: Rate | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Bounds":
        if self.at_least is None and self.at_most is None and self.below is None:
            raise ValueError("needs at_least, at_most or below")
        return self


class RateCheck(Bounds):
    """The rate behind the answers: judged on its interval."""

    kind: Literal["rate"]


class CountCheck(Bounds):
    """The share that was counted, as a gate or a sentence quotes it: judged as it is."""

    kind: Literal["count"]


AnyCheck = Annotated[Difference | NoDifference | RateCheck | CountCheck, Discriminator("kind")]


class How(NamedTuple):
    resamples: int
    level: float


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def points(interval: Interval) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def number(p: float) -> str:
    return f"{p:.2g}"


# ---- two sides ----


def _difference(check: Difference, gap: float, p: float, smallest: float, units: str) -> tuple[str, str]:
    if smallest >= check.p_below:
        return UNTESTABLE, (
            f"the smallest p that {units} can give is {number(smallest)}, which is not below {check.p_below:g}"
        )
    if gap <= 0:
        return FAILS, f"the difference is {100 * gap:.1f} points, not above 0 (p = {number(p)})"
    return (
        (HOLDS, f"p = {number(p)}") if p < check.p_below else (FAILS, f"p = {number(p)}, not below {check.p_below:g}")
    )


def _no_difference(check: NoDifference, interval: Interval, p: float) -> tuple[str, str]:
    if p < check.alpha:
        return FAILS, f"they differ, p = {number(p)}, interval {points(interval)} points"
    within, margin = -check.margin <= interval[0] and interval[1] <= check.margin, f"{100 * check.margin:g} points"
    if within:
        return HOLDS, f"p = {number(p)}, and the interval {points(interval)} points lies within {margin} either way"
    return UNTESTABLE, (
        f"p = {number(p)}, but the interval {points(interval)} points goes beyond {margin}: "
        f"a difference of up to {100 * max(map(abs, interval)):.1f} points could not be seen"
    )


def _of_two(a: Counts, b: Counts, interval: Interval, p: float, judged: tuple[str, str]) -> Finding:
    verdict, reason = judged
    values = {"rates": [rate(a), rate(b)], "difference": rate(a) - rate(b), "interval": interval, "p": p}
    return {"verdict": verdict, "reason": reason, "counts": [dict(a), dict(b)], **values}


def difference_of_answers(check: Difference, sides: Sequence[Counts], how: How) -> Finding:
    a, b = sides
    most = {"hits": a["total"], "total": a["total"]}, {"hits": 0, "total": b["total"]}
    p, units = fisher(a, b), f"{a['total']} and {b['total']} answers"
    judged = _difference(check, rate(a) - rate(b), p, fisher(*most), units)
    return _of_two(a, b, newcombe(a, b, how.level), p, judged)


def difference_of_questions(check: Difference, sides: Sequence[Questions], how: How) -> Finding:
    if set(sides[0]) != set(sides[1]):
        return dict(UNPAIRED)
    a, b = map(total, sides)
    p, smallest = sign_flip(*sides), smallest_sign_flip(len(sides[0]))
    judged = _difference(check, rate(a) - rate(b), p, smallest, f"{len(sides[0])} questions")
    return _of_two(a, b, difference_by_question(sides[0], sides[1], *how), p, judged)


def no_difference_of_answers(check: NoDifference, sides: Sequence[Counts], how: How) -> Finding:
    a, b = sides
    p, interval = fisher(a, b), newcombe(a, b, how.level)
    return _of_two(a, b, interval, p, _no_difference(check, interval, p))


def no_difference_of_questions(check: NoDifference, sides: Sequence[Questions], how: How) -> Finding:
    if set(sides[0]) != set(sides[1]):
        return dict(UNPAIRED)
    a, b = map(total, sides)
    p, interval = sign_flip(*sides), difference_by_question(sides[0], sides[1], *how)
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


def _interval(check: Bounds, interval: Interval) -> tuple[str, str]:
    low, high = interval
    said = f"the interval {points(interval)}%"
    if _meets(check, low) and _meets(check, high):
        return HOLDS, f"{said} is {_bounds(check)}"
    # a whole interval on the wrong side of one bound
    above = (check.at_most is not None and low > check.at_most) or (check.below is not None and low >= check.below)
    if above or (check.at_least is not None and high < check.at_least):
        return FAILS, f"{said} is not {_bounds(check)}"
    return UNTESTABLE, f"{said} is not wholly {_bounds(check)}"


def _of_one(counts: Counts, interval: Interval, judged: tuple[str, str]) -> Finding:
    verdict, reason = judged
    return {
        "verdict": verdict,
        "reason": reason,
        "counts": [dict(counts)],
        "rates": [rate(counts)],
        "interval": interval,
    }


def rate_of_answers(check: Bounds, sides: Sequence[Counts], how: How) -> Finding:
    interval = wilson(sides[0]["hits"], sides[0]["total"], how.level)
    return _of_one(sides[0], interval, _interval(check, interval))


def rate_of_questions(check: Bounds, sides: Sequence[Questions], how: How) -> Finding:
    interval = rate_by_question(sides[0], *how)
    return _of_one(total(sides[0]), interval, _interval(check, interval))


def count_of_answers(check: Bounds, sides: Sequence[Counts], how: How) -> Finding:
    counts = sides[0]
    met = _meets(check, rate(counts))
    reason = (
        f"{counts['hits']} of {counts['total']} is {percent(rate(counts))}, {'' if met else 'not '}{_bounds(check)}"
    )
    return _of_one(counts, wilson(counts["hits"], counts["total"], how.level), (HOLDS if met else FAILS, reason))


SIGN_FLIP = "exact sign-flip test of questions"
BOOTSTRAP = "bootstrap of questions within bounds"


class Kind(NamedTuple):
    record: type[Check]
    sides: tuple[str, ...]  # the check's fields that are samples
    test: str  # in the words of the table
    test_by_question: str
    of_answers: Callable[[Any, Sequence[Counts], How], Finding]
    of_questions: Callable[[Any, Sequence[Questions], How], Finding]


KINDS: Mapping[str, Kind] = {
    "difference": Kind(
        Difference,
        ("higher", "lower"),
        "Fisher's exact test",
        SIGN_FLIP,
        difference_of_answers,
        difference_of_questions,
    ),
    "no_difference": Kind(
        NoDifference,
        ("one", "other"),
        "Fisher's exact test, and Newcombe's interval within a margin",
        f"{SIGN_FLIP}, and a bootstrap of questions within the margin",
        no_difference_of_answers,
        no_difference_of_questions,
    ),
    "rate": Kind(RateCheck, ("of",), "Wilson's interval within bounds", BOOTSTRAP, rate_of_answers, rate_of_questions),
    "count": Kind(CountCheck, ("of",), "the count within bounds", BOOTSTRAP, count_of_answers, rate_of_questions),
}


def samples(check: Any) -> list[Sample]:
    return [getattr(check, side) for side in KINDS[check.kind].sides]


def members(names: Sequence[str], chosen: Sequence[str], without: Sequence[str], source: str) -> list[str]:
    """The personas that some groups and names mean, in the order of `names`; a name that is not there stays."""
    there = [n for n in names if any(word == n or (word in GROUPS and GROUPS[word](n, source)) for word in chosen)]
    missing = [word for word in chosen if word not in GROUPS and word not in names]
    left_out = members(names, without, (), source) if without else []
    return [name for name in (*there, *missing) if name not in left_out]


def comparisons(check: Any, names: Sequence[str], source: str) -> dict[str, list[tuple[str, list[str]]]]:
    """What is to be judged: by a label, the condition and the personas of each side."""
    first, *others = samples(check)
    chosen = members(names, first.personas, first.without, source)
    parts = {name: [name] for name in chosen} if check.each else {"": chosen}
    return {
        label: [
            (first.condition, own),
            *((s.condition, members(names, s.personas, s.without, source) if s.personas else own) for s in others),
        ]
        for label, own in parts.items()
    }


def brief(finding: Finding) -> str:
    """The numbers that a verdict rests on, for a list of many."""
    if "p" in finding:
        return f"{100 * finding['difference']:+.1f} points, p = {number(finding['p'])}"
    return f"{percent(finding['rates'][0])} {points(finding['interval'])}" if "rates" in finding else finding["reason"]


def all_of(parts: Mapping[str, Finding]) -> Finding:
    """One finding of a claim's parts, all of which have to hold.

    Each part is judged at its own level, without a correction: a claim that says "all" is wrong at no higher a rate
    than each of its parts (Berger, 1982, intersection-union tests).
    """
    by = {verdict: [name for name, part in parts.items() if part["verdict"] == verdict] for verdict in VERDICTS}
    verdict = next((v for v in (FAILS, UNTESTABLE) if by[v]), HOLDS)
    reasons = {part["reason"] for part in parts.values()}
    if not parts:
        return {"verdict": UNTESTABLE, "reason": "there are no such personas", "parts": {}}
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
    return {"verdict": verdict, "reason": reason, "parts": dict(parts)}
