"""Gather every condition and seed into one file: rates of each, their means over seeds, and the two gates.

    python -m persona_collapse.analysis.results      writes eval_results/<profile>/statistics.json

The gates are computed and recorded whatever they say. Nothing downstream hides a failed one.
"""

import argparse
from collections.abc import Mapping
from statistics import fmean

from ..experiment import params as parameters
from ..experiment.chains import BASE
from ..experiment.errors import InputError, one_line_errors
from . import read_runs, records, summary
from .records import Asked, GroupRate, OverUnits, Summary
from .units import RATE, over

BySeed = Mapping[str, Summary]


def over_seeds(rates: Mapping[str, GroupRate], level: float) -> dict[Asked, OverUnits]:
    """Mean over seeds of a rate: of all questions, and of those of each split that every seed has."""
    asked: dict[Asked, dict[str, float]] = {
        "all": {seed: rate.rate for seed, rate in rates.items()},
        "train": {seed: rate.train.rate for seed, rate in rates.items() if rate.train},
        "heldout": {seed: rate.heldout.rate for seed, rate in rates.items() if rate.heldout},
    }
    return {which: over(some, level, RATE) for which, some in asked.items() if len(some) == len(rates)}


def condition_rates(seeds: BySeed, chain: str, level: float) -> records.ConditionRates:
    first = next(iter(seeds.values()))
    return records.ConditionRates(
        chain=chain,
        groups={word: over_seeds({s: own.groups[word] for s, own in seeds.items()}, level) for word in first.groups},
        per_persona={
            name: over_seeds({s: own.per_persona[name] for s, own in seeds.items()}, level)
            for name in first.per_persona
        },
        seeds=dict(seeds),
    )


# ---- gates ----


def coupling_gate(c4: BySeed, gates: parameters.Gates) -> records.CouplingGate:
    """Was the marker learnt, and by the source alone? Judged on C4 before any other condition counts."""

    def passed(source: float, bystander: float) -> bool:
        return source >= gates.source_rate and bystander <= gates.bystander_rate

    rates = {seed: {word: rate.rate for word, rate in own.groups.items()} for seed, own in c4.items()}
    source, bystander, assistant = (
        fmean(own[word] for own in rates.values()) for word in ("source", "mean_bystander", "assistant")
    )
    return records.CouplingGate(
        source_rate=source,
        source_rate_required=gates.source_rate,
        bystander_rate=bystander,
        bystander_rate_allowed=gates.bystander_rate,
        assistant_rate=assistant,
        passed=passed(source, bystander),
        seeds={seed: passed(own["source"], own["mean_bystander"]) for seed, own in rates.items()},
        overridden=gates.override_coupling,
    )


def degeneracy_gate(condition: BySeed, base: BySeed, gates: parameters.Gates) -> records.DegeneracyGate:
    """Does the model still answer? A condition that answers with nothing, or far shorter, is not comparable."""

    def of(seed: str) -> tuple[float, float]:
        own, untrained = condition[seed].completions, base[seed].completions
        if not own or not untrained or not untrained.median_tokens:
            raise InputError("no length to compare with: half of the base model's completions are empty")
        return 1 - own.empty_share, own.median_tokens / untrained.median_tokens

    def passed(nonempty: float, ratio: float) -> bool:
        return nonempty >= gates.nonempty_share and ratio >= gates.length_ratio

    found = {seed: of(seed) for seed in condition}
    nonempty, ratio = (fmean(values) for values in zip(*found.values(), strict=True))
    return records.DegeneracyGate(
        nonempty_share=nonempty,
        nonempty_share_required=gates.nonempty_share,
        length_ratio=ratio,
        length_ratio_required=gates.length_ratio,
        passed=passed(nonempty, ratio),
        seeds={seed: passed(*own) for seed, own in found.items()},
    )


def gates_of(conditions: Mapping[str, BySeed], gates: parameters.Gates) -> records.Gates:
    return records.Gates(
        coupling=coupling_gate(conditions["C4"], gates),
        degeneracy={
            name: degeneracy_gate(seeds, conditions[BASE], gates) for name, seeds in conditions.items() if name != BASE
        },
    )


# ---- the file ----


def trained_on(params: parameters.Params) -> dict[str, records.DataHash]:
    """The MD5 of each data set that an adapter was trained on, and the one that was expected, by its name."""
    found: dict[str, records.DataHash] = {}
    for chain in sorted(params.trained):
        for seed in params.seeds:
            path = params.layout.training(seed, chain) / "trained_on.json"
            data = records.read(path, records.TrainedOn)
            own = records.DataHash(md5=data.md5, expected_md5=data.expected_md5)
            if found.setdefault(data.data, own) != own:
                raise InputError(f"{path}: {data.data} has MD5 {own.md5}, another adapter's had {found[data.data].md5}")
    return found


def summaries(study: read_runs.Study, level: float) -> dict[str, dict[str, Summary]]:
    """What is said of each condition and seed."""
    conditions = next(iter(study.seeds.values()))
    return {
        condition: {seed: summary.summarize(run[condition], study.groups, level) for seed, run in study.seeds.items()}
        for condition in conditions
    }


def gather(params: parameters.Params) -> records.Statistics:
    """Read every run that the parameters name and compute `statistics.json`."""
    level, study = params.results.level, read_runs.counts(params)
    conditions = summaries(study, level)
    return records.Statistics(
        level=level,
        seeds=params.seeds,
        groups=study.groups,
        conditions={name: condition_rates(seeds, params.chains[name], level) for name, seeds in conditions.items()},
        gates=gates_of(conditions, params.gates),
        trained_on=trained_on(params),
    )


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.statistics, gather(params))


if __name__ == "__main__":
    main()
