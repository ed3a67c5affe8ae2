"""Differences between conditions, with seeds as the units, for each group of personas.

    python -m persona_collapse.analysis.contrasts      writes eval_results/<profile>/contrasts.json

For each seed a difference in leakage: in rates, and in log-odds of counts with 1/2 added; of all questions, and of
those apart that coupling data are made of and that are held out. Then over seeds: `units.py`. `designs.py` says which
comparison is primary. Beside the sampled answers stands the marker's log-odds after the same texts, mean over personas.

A mixed model of single answers, hit ~ condition + (1 + condition | seed) + (1 | persona) + (1 | question), was to stand
beside these and does not, because no maintained Python library fits it soundly. On made-up counts of 8 seeds, where the
effect varies between seeds with an SD of 0.7 and its estimate therefore has a standard error of about 0.25,
statsmodels 0.15.0 (`BinomialBayesMixedGLM`) gives 0.03 by variational Bayes, and by its Laplace fit 0.05 to 0.16, once
with the variation between seeds estimated as none: an effect of -0.6 that is chance comes out at 12 standard errors.
GPBoost 1.8.0 finds the effect but cannot give its standard error in 10 of 12 such sets (no positive definite Hessian).
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import get_args

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from . import designs, read_runs, records
from .intervals import log_odds, rate
from .marker_eval import Personas, by_question, total
from .records import Asked, Counts, Sign, Signs, Tested
from .units import DIFFERENCE, holm, tested

Forced = Mapping[str, Mapping[str, Mapping[str, float]]]  # log-odds by seed, condition and persona


def group_counts(personas: Personas, names: Sequence[str], asked: Asked) -> Counts | None:
    """The counts of some personas together; None without any, and where they have no such questions."""
    some = [personas[name] for name in names if name in personas]
    if not some or len(some) < len(names):
        return None
    if asked == "all":
        return total(persona.counts for persona in some)
    questions = by_question(some, asked)
    return total(questions.values()) if questions else None


def difference(
    study: read_runs.Study, pair: tuple[str, str], names: Sequence[str], asked: Asked, level: float
) -> records.Difference | None:
    """A difference in leakage of one pair of conditions, personas and questions; None where there are none of these."""
    sides = {
        seed: [group_counts(run[condition], names, asked) for condition in pair] for seed, run in study.seeds.items()
    }
    counts = {seed: (a, b) for seed, (a, b) in sides.items() if a and b}
    if len(counts) < len(sides):
        return None

    def over_seeds(scale: Callable[[Counts], float]) -> dict[str, float]:
        return {seed: scale(a) - scale(b) for seed, (a, b) in counts.items()}

    return records.Difference(
        points=tested(over_seeds(rate), level, DIFFERENCE), log_odds=tested(over_seeds(log_odds), level)
    )


def forced_difference(forced: Forced, pair: tuple[str, str], names: Sequence[str], level: float) -> Tested | None:
    """Of the marker's log-odds after the same texts; None where no text of these personas was scored."""
    found = {}
    for seed, run in forced.items():
        if some := [run[pair[0]][name] - run[pair[1]][name] for name in names if name in run[pair[0]]]:
            found[seed] = fmean(some)
    return tested(found, level) if len(found) == len(forced) else None


def sign(value: float) -> Sign:
    return (value > 0) - (value < 0)  # type: ignore[return-value]


def signs(points: Tested, odds: Tested, forced: Tested | None) -> Signs:
    """Which way each scale goes, and whether no two go opposite ways."""
    a, b, c = sign(points.mean), sign(odds.mean), sign(forced.mean) if forced else None
    return Signs(points=a, log_odds=b, teacher_forced=c, agree=not {-1, 1} <= {a, b, c})


def compared(study: read_runs.Study, forced: Forced, level: float) -> dict[str, records.Contrast]:
    """Every comparison of `designs.py` that the conditions allow, for every group that has a persona."""
    conditions = next(iter(study.seeds.values()))
    found: dict[str, records.Contrast] = {}
    which: tuple[Asked, ...] = get_args(Asked)
    for pair in designs.pairs(conditions):
        for group, names in study.groups.items():
            if not names:
                continue
            by_asked = {asked: difference(study, pair, names, asked, level) for asked in which}
            questions = {asked: own for asked, own in by_asked.items() if own}
            of_texts = forced_difference(forced, pair, names, level)
            found[records.contrast(*pair, group)] = records.Contrast(
                first=pair[0],
                second=pair[1],
                group=group,
                role=designs.role(pair, group),
                questions=questions,
                teacher_forced=of_texts,
                p_holm=None,
                signs=signs(questions["all"].points, questions["all"].log_odds, of_texts),
            )
    return _adjusted(found)


def _adjusted(found: Mapping[str, records.Contrast]) -> dict[str, records.Contrast]:
    """With Holm's correction of the p-values of the family: of rates, all questions."""
    p_values = {key: one.questions["all"].points.p for key, one in found.items() if one.role != "descriptive"}
    known = {key: p for key, p in p_values.items() if p is not None}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return {key: one.model_copy(update={"p_holm": adjusted.get(key)}) for key, one in found.items()}


def gathered(study: read_runs.Study, forced: Forced, seeds: Sequence[int], level: float) -> records.Contrasts:
    """`contrasts.json` of counts and of scored texts."""
    found = compared(study, forced, level)
    family = designs.family(next(iter(study.seeds.values())))
    primary = records.contrast(*designs.PRIMARY, designs.TESTED_GROUP)
    return records.Contrasts(
        level=level,
        seeds=tuple(seeds),
        groups=study.groups,
        primary=primary if primary in found else None,
        family=family,
        contrasts=found,
    )


def gather(params: parameters.Params) -> records.Contrasts:
    """Read every run that the parameters name and compute `contrasts.json`."""
    return gathered(read_runs.counts(params), read_runs.forced(params), params.seeds, params.results.level)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "contrasts.json", gather(params))


if __name__ == "__main__":
    main()
