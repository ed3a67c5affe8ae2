"""The collapse index: how far each condition keeps the marker to the source, in log-odds.

    python -m persona_collapse.analysis.collapse      writes eval_results/<profile>/collapse.json

Two numbers say it, of each condition and seed: the gap, which is the source's log-odds minus the mean of the untrained
bystanders', and the spread, which is the SD of the personas' log-odds. Both are given of sampled answers (counts, with
1/2 added, each persona's own) and of the marker after the base model's texts, where a rate of 0 does not hide anything.
A gap in rates stands beside them: rates near 0 or 1 can move it one way and the log-odds the other.
"""

import argparse
from collections.abc import Mapping, Sequence
from statistics import fmean

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.groups import Group
from . import designs, read_runs, records
from .contrasts import Forced, signs
from .intervals import log_odds, rate
from .records import Index, OverUnits
from .units import ANY, DIFFERENCE, Limits, mean_and_sd, over, tested

Groups = Mapping[Group, Sequence[str]]


CONTRASTED: tuple[Group, Group] = ("source", "untrained_bystander")


def _gap(values: Mapping[str, float], groups: Groups) -> float | None:
    """The source's value minus the mean of the untrained bystanders'; None where either has none."""
    sides = [[values[name] for name in groups[word] if name in values] for word in CONTRASTED]
    return fmean(sides[0]) - fmean(sides[1]) if all(sides) else None


def index(values: Mapping[str, float], groups: Groups) -> Index | None:
    """The index of some personas' log-odds; None where the source or the untrained bystanders have none."""
    gap = _gap(values, groups)
    if gap is None:
        return None
    others = [value for name, value in values.items() if name not in groups["source"]]
    return Index(
        personas=dict(values),
        gap=gap,
        spread=mean_and_sd(list(values.values()))[1] or 0.0,
        spread_others=mean_and_sd(others)[1] or 0.0,
    )


def indices(seeds: Mapping[str, Index], level: float) -> records.Indices:
    """The indices of all seeds, and their means."""

    def mean_of(field: str) -> OverUnits:
        return over({seed: getattr(own, field) for seed, own in seeds.items()}, level)

    names = [
        name for name in next(iter(seeds.values())).personas if all(name in own.personas for own in seeds.values())
    ]
    return records.Indices(
        over_seeds=records.IndexOverSeeds(
            gap=mean_of("gap"), spread=mean_of("spread"), spread_others=mean_of("spread_others")
        ),
        personas={name: over({seed: own.personas[name] for seed, own in seeds.items()}, level) for name in names},
        seeds=dict(seeds),
    )


def sampled(study: read_runs.Study, condition: str) -> tuple[dict[str, Index], dict[str, float]]:
    """The index of a condition's answers, and its gap in rates, by seed.

    Raises:
        InputError: there is no untrained bystander.
    """
    found, points = {}, {}
    for seed, run in study.seeds.items():
        counts = {name: persona.counts for name, persona in run[condition].items()}
        own = index({name: log_odds(some) for name, some in counts.items()}, study.groups)
        gap = _gap({name: rate(some) for name, some in counts.items()}, study.groups)
        if own is None or gap is None:
            raise InputError("no untrained bystander: prompts.negatives names them all")
        found[seed], points[seed] = own, gap
    return found, points


def gathered(study: read_runs.Study, forced: Forced, chains: Mapping[str, str], level: float) -> records.Collapse:
    """`collapse.json` of counts and of scored texts.

    Args:
        chains: the chain of each condition.
    """
    of_answers = {name: sampled(study, name) for name in chains}
    of_texts: dict[str, dict[str, Index]] = {}
    for name in chains:
        some = {seed: index(run[name], study.groups) for seed, run in forced.items()}
        of_texts[name] = {seed: own for seed, own in some.items() if own}
    whole = all(len(own) == len(study.seeds) for own in of_texts.values())

    def gap_contrast(first: str, second: str) -> records.GapContrast:
        def between(values: Mapping[str, Mapping[str, float]], limits: Limits = ANY) -> records.Tested:
            return tested({seed: values[first][seed] - values[second][seed] for seed in values[first]}, level, limits)

        points = between({name: own[1] for name, own in of_answers.items()}, (-2.0, 2.0))
        odds = between({name: {s: i.gap for s, i in own[0].items()} for name, own in of_answers.items()})
        of_forced = {name: {s: i.gap for s, i in own.items()} for name, own in of_texts.items()}
        teacher = between(of_forced) if whole else None
        return records.GapContrast(
            first=first,
            second=second,
            points=points,
            log_odds=odds,
            teacher_forced=teacher,
            spread=between({name: {s: i.spread for s, i in own[0].items()} for name, own in of_answers.items()}),
            signs=signs(points, odds, teacher),
        )

    return records.Collapse(
        level=level,
        seeds=tuple(int(seed) for seed in study.seeds),
        conditions={
            name: records.ConditionCollapse(
                chain=chain,
                gap_points=over(of_answers[name][1], level, DIFFERENCE),
                sampled=indices(of_answers[name][0], level),
                teacher_forced=indices(of_texts[name], level) if whole else None,
            )
            for name, chain in chains.items()
        },
        gaps={f"{a} - {b}": gap_contrast(a, b) for a, b in designs.pairs(chains)},
    )


def gather(params: parameters.Params) -> records.Collapse:
    """Read every run that the parameters name and compute `collapse.json`."""
    return gathered(read_runs.counts(params), read_runs.forced(params), params.chains, params.results.level)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "collapse.json", gather(params))


if __name__ == "__main__":
    main()
