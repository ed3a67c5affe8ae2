"""Verdicts on our runs: seeds are the units, and gates that failed make what rests on them not comparable."""

from collections.abc import Sequence
from typing import NamedTuple

from ..experiment.chains import BASE
from . import designs
from .contrasts import difference, group_counts
from .intervals import Ends, estimated, rate
from .ledger import Alike, AnyCheck, Bounds, Check, Difference, Side, comparisons, named
from .marker_eval import Personas, by_question
from .read_runs import Study
from .records import Asked, Counts, Finding, Gates, Judgement, contrast
from .units import DIFFERENCE, RATE, holm, over, tested
from .verdicts import all_of, not_comparable, of_alike, of_bounds, of_difference, percent


class Here(NamedTuple):
    """Our runs and what is known of them."""

    study: Study
    gates: Gates
    level: float

    @property
    def conditions(self) -> list[str]:
        return list(next(iter(self.study.seeds.values())))

    @property
    def names(self) -> list[str]:
        return sorted(name for some in self.study.groups.values() for name in some)


def _rates(here: Here, side: Side, asked: Asked) -> dict[str, float] | None:
    """The rate of a side, by seed; None where there are no such questions."""
    found = {seed: group_counts(run[side[0]], side[1], asked) for seed, run in here.study.seeds.items()}
    known = {seed: rate(counts) for seed, counts in found.items() if counts}
    return known if len(known) == len(found) else None


def _own(personas: Personas, names: Sequence[str], asked: Asked, level: float) -> Ends:
    """The interval of one seed's rate by itself."""
    questions = by_question([personas[name] for name in names], None if asked == "all" else asked)
    counts = group_counts(personas, names, asked) or Counts(hits=0, total=1)
    return estimated(counts, questions, level).interval


def adjusted(here: Here) -> dict[str, float]:
    """Holm-adjusted p-values of the family, by key; none for one seed."""
    names, p_values = here.study.groups[designs.TESTED_GROUP], {}
    for pair in designs.pairs(here.conditions):
        key = contrast(*pair, designs.TESTED_GROUP)
        if key in designs.family(here.conditions):
            found = difference(here.study, pair, names, "all", here.level)
            if found and found.points.p is not None:
                p_values[key] = found.points.p
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def failed_gates(check: Check, gates: Gates) -> list[str]:
    """What a check rests on and failed, in words."""
    if not check.gates:
        return []
    failed = []
    if not gates.coupling.passed and not gates.coupling.overridden:
        one = gates.coupling
        failed.append(
            f"the coupling gate failed: under C4 the source has {percent(one.source_rate)} of"
            f" {percent(one.source_rate_required)} required, bystanders {percent(one.bystander_rate)} of"
            f" {percent(one.bystander_rate_allowed)} allowed"
        )
    for condition in dict.fromkeys(side.condition for side in check.sides.values()):
        if condition != BASE and not gates.degeneracy[condition].passed:
            ratio = gates.degeneracy[condition].length_ratio
            failed.append(
                f"{condition} failed the degeneracy gate: its answers are {ratio:.2f} times the base's length"
            )
    return failed


def blocked(check: Check, here: Here, source: str) -> Judgement | None:
    """Why a check cannot be made here; None where it can."""
    if isinstance(check, Difference) and check.p_below is not None:
        return not_comparable(
            f"p < {check.p_below:g} is a statement about the published counts; its plain form is tested"
        )
    for sample in (*check.sides.values(), *check.where):
        if sample.condition not in here.conditions:
            return not_comparable(f"this profile has no condition {sample.condition}")
    if failed := failed_gates(check, here.gates):
        return not_comparable("; ".join(failed), blocked=True)
    for need in check.where:
        negatives = here.study.groups["trained_negative"]
        names = named(here.names, need.personas, need.without, source, negatives)
        rates = _rates(here, (need.condition, names), "all") or {"": 0.0}
        if (mean := sum(rates.values()) / len(rates)) < need.at_least:
            who = " and ".join(need.personas).replace("_", " ")
            return not_comparable(
                f"it is about nothing here: the rate of {who} under {need.condition} is {percent(mean)},"
                f" below {percent(need.at_least)}"
            )
    return None


def test_of(check: AnyCheck) -> str:
    """The test in words."""
    if isinstance(check, Difference):
        return "t-test of seeds, sign-flip test beside it"
    return f"t interval of seeds within {'a margin' if isinstance(check, Alike) else 'bounds'}"


def _one(check: AnyCheck, sides: Sequence[Side], here: Here, p_holm: dict[str, float]) -> Judgement:
    missing = [name for _, names in sides for name in names if name not in here.names]
    if missing or not all(names for _, names in sides):
        return not_comparable(f"this profile has no persona {missing[0]}" if missing else "there are no such personas")
    rates = [_rates(here, side, check.questions) for side in sides]
    if not all(rates):
        return not_comparable(f"this profile evaluates no {check.questions} questions")
    first, *others = [own or {} for own in rates]
    if isinstance(check, Bounds):
        bounds = (
            None if check.at_least is None else check.at_least - check.margin,
            None if check.at_most is None else check.at_most + check.margin,
        )
        (condition, names), level = sides[0], here.level
        own = [_own(run[condition], names, check.questions, level) for run in here.study.seeds.values()]
        return of_bounds(over(first, level, RATE), "seeds", bounds, own)
    found = tested({seed: first[seed] - others[0][seed] for seed in first}, here.level, DIFFERENCE)
    if isinstance(check, Alike):
        return of_alike(found, "seeds", check.margin)
    key = None
    if check.questions == "all" and all(set(n) == set(here.study.groups[designs.TESTED_GROUP]) for _, n in sides):
        key = contrast(sides[0][0], sides[1][0], designs.TESTED_GROUP)
    return of_difference(found, "seeds", check.margin, 1 - here.level, p_holm.get(key or ""))


def judge(check: AnyCheck, here: Here, source: str, p_holm: dict[str, float]) -> Finding:
    """The finding on a part of a claim, on our runs.

    Args:
        p_holm: from `adjusted`.
    """
    if reason := blocked(check, here, source):
        return all_of({"": reason}, "seeds", test_of(check))
    sides = comparisons(check, here.names, source, here.study.groups["trained_negative"])
    return all_of({label: _one(check, own, here, p_holm) for label, own in sides.items()}, "seeds", test_of(check))
