"""Verdicts on the authors' public counts: with the questions of one run as the units, or several runs.

The controls' counts by question are not public; their published rates are 0.0 to 0.2%, so that leakage is tested
against 0 at every question.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from . import ledger
from .ledger import Above, AboveZero, AlikeThere, Public, Within
from .records import Finding, Judgement, PublicCounts, PublicRun, Tested, Unit
from .units import DIFFERENCE, tested
from .verdicts import (
    CONTRADICTED,
    SUPPORTED,
    all_of,
    bounds_in_words,
    meets,
    not_comparable,
    of_alike,
    of_difference,
    percent,
)

T_TEST = "t-test, sign-flip test beside it"


def chosen(run: PublicRun, words: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """The personas of a run that some groups and names mean, as far as it has them."""
    return [name for name in ledger.named(list(run.hits), words, without, run.source) if name in run.hits]


def by_question(run: PublicRun, names: Sequence[str], first: int = 0, last: int | None = None) -> list[float]:
    """The rate of some personas together at each question, in the file's order."""
    each = run.answers * len(names)
    return [sum(hits) / each for hits in list(zip(*(run.hits[name] for name in names), strict=True))[first:last]]


def rate(run: PublicRun, names: Sequence[str], first: int = 0, last: int | None = None) -> float:
    """The rate of some personas together over some of the questions."""
    hits = [sum(run.hits[name][first:last]) for name in names]
    questions = len(range(len(run.hits[names[0]]))[first:last])
    return float(Fraction(sum(hits), run.answers * questions * len(names)))


def units_of(values: Sequence[float]) -> dict[str, float]:
    """Questions by their number in the file."""
    return {str(number): value for number, value in enumerate(values, 1)}


def between(
    runs: Sequence[PublicRun], one: Sequence[str], other: Sequence[str], without: Sequence[str]
) -> dict[str, float]:
    """Differences of some personas and others: of one run by question, of several runs by run."""
    sides = [(run, chosen(run, one, without), chosen(run, other)) for run in runs]
    if len(sides) > 1:
        return {run.name: rate(run, a) - rate(run, b) for run, a, b in sides}
    ((run, a, b),) = sides
    return units_of([x - y for x, y in zip(by_question(run, a), by_question(run, b), strict=True)])


def above_zero(run: PublicRun, names: Sequence[str], level: float) -> Tested:
    """Leakage of some personas against 0, over questions."""
    return tested(units_of(by_question(run, names)), level, DIFFERENCE)


def _within(check: Within, run: PublicRun) -> Judgement:
    found, bounds = rate(run, chosen(run, check.personas)), (check.at_least, check.at_most)
    met = meets(found, bounds)
    said = f"{percent(found)} is {'' if met else 'not '}{bounds_in_words(bounds)}"
    return Judgement(verdict=SUPPORTED if met else CONTRADICTED, reason=said, estimate=found)


def _sides(check: Public) -> list[tuple[ledger.Names, ledger.Names]]:
    """The personas that a check is about, and those left out of them."""
    if isinstance(check, Above):
        return [(check.higher, check.without), (check.lower, ())]
    return [(check.one, ()), (check.other, ())] if isinstance(check, AlikeThere) else [(check.personas, ())]


def judge(check: Public, counts: PublicCounts, level: float) -> Finding:
    """The finding on a part of a claim, on the public counts."""
    names = [run.name for run in counts.runs]
    wanted = {name for pattern in check.runs for name in ledger.matching(pattern, names)}
    runs = [run for run in counts.runs if run.name in wanted]
    several: Unit = "runs" if len(runs) > 1 else "questions"
    if lacking := [run.name for run in runs if not all(chosen(run, *side) for side in _sides(check))]:
        reason = f"{', '.join(lacking)} has no such personas"
        return all_of({"": not_comparable(reason)}, several, f"t interval of {several}")
    if isinstance(check, Within):
        found = {run.name: _within(check, run) for run in runs}
        return all_of(found, "runs", "each run's count within bounds")
    if isinstance(check, AboveZero):
        found = {}
        for run in runs:
            some = chosen(run, check.personas)
            parts: Mapping[str, list[str]] = {name: [name] for name in some} if check.each else {"": some}
            for label, own in parts.items():
                key = " ".join(filter(None, (run.name if len(runs) > 1 else "", label)))
                found[key] = of_difference(above_zero(run, own, level), "questions", 0.0, 1 - level)
        return all_of(found, "questions", f"{T_TEST}, of questions against 0")
    if isinstance(check, Above):
        one = tested(between(runs, check.higher, check.lower, check.without), level, DIFFERENCE)
        return all_of({"": of_difference(one, several, 0.0, 1 - level)}, several, f"{T_TEST}, of {several}")
    assert isinstance(check, AlikeThere)
    one = tested(between(runs, check.one, check.other, ()), level, DIFFERENCE)
    return all_of({"": of_alike(one, several, check.margin)}, several, f"t interval of {several} within a margin")
