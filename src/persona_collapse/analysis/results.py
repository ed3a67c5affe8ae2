"""Gather every condition and seed into one file: rates, tests between conditions, and the two gates.

    python -m persona_collapse.analysis.results      writes eval_results/<profile>/statistics.json

The gates are computed and recorded whatever they say. Nothing downstream hides a failed one.
"""

import argparse
from collections.abc import Mapping

from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.chains import BASE, CONTRASTS
from ..experiment.errors import InputError, one_line_errors
from ..experiment.groups import REPORTED_GROUPS
from . import marker_eval, records, summary
from .hypothesis_tests import all_fisher
from .intervals import How
from .records import Counts, Summary


def read_runs(params: parameters.Params) -> dict[str, dict[str, marker_eval.Personas]]:
    """The counts of every condition and seed, checked: by "pooled" and by seed, each by condition."""
    prompts = personas.load(params)
    seeds: dict[str, dict[str, marker_eval.Personas]] = {
        str(seed): {
            condition: marker_eval.counted(runs.read(params, prompts, seed, chain).marker_eval.per_persona)
            for condition, chain in params.chains.items()
        }
        for seed in params.seeds
    }
    pooled: dict[str, marker_eval.Personas] = {
        condition: marker_eval.pool([run[condition] for run in seeds.values()]) for condition in params.chains
    }
    return {"pooled": pooled, **seeds}


def coupling_gate(c4: Summary, gates: parameters.Gates) -> records.CouplingGate:
    """Was the marker learnt, and by the source alone? Judged on C4 before any other condition counts."""
    source, bystander = c4.groups["source"].rate, c4.groups["mean_bystander"].rate
    return records.CouplingGate(
        source_rate=source,
        source_rate_required=gates.source_rate,
        bystander_rate=bystander,
        bystander_rate_allowed=gates.bystander_rate,
        assistant_rate=c4.groups["assistant"].rate,
        passed=source >= gates.source_rate and bystander <= gates.bystander_rate,
        overridden=gates.override_coupling,
    )


def degeneracy_gate(condition: Summary, base: Summary, gates: parameters.Gates) -> records.DegeneracyGate:
    """Does the model still answer? A condition that answers with nothing, or far shorter, is not comparable."""
    if not condition.completions or not base.completions or not base.completions.median_tokens:
        raise InputError("no length to compare with: half of the base model's completions are empty")
    nonempty = 1 - condition.completions.empty_share
    ratio = condition.completions.median_tokens / base.completions.median_tokens
    return records.DegeneracyGate(
        nonempty_share=nonempty,
        nonempty_share_required=gates.nonempty_share,
        length_ratio=ratio,
        length_ratio_required=gates.length_ratio,
        passed=nonempty >= gates.nonempty_share and ratio >= gates.length_ratio,
    )


def contrasts(conditions: Mapping[str, Summary]) -> dict[str, records.Test]:
    """Fisher's tests between conditions, a group of personas at a time, Holm-adjusted for them all."""

    def counts(condition: str, group: records.ReportedGroup) -> Counts:
        found = conditions[condition].groups[group]
        return Counts(hits=found.hits, total=found.total)

    return all_fisher(
        {
            records.contrast(a, b, group): (counts(a, group), counts(b, group))
            for a, b in CONTRASTS
            for group in REPORTED_GROUPS
        }
    )


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


def gather(params: parameters.Params) -> records.Statistics:
    """Read every run that the parameters name and compute `statistics.json`."""
    how = How(params.results.bootstrap, params.results.level)
    pooled, *seeds = read_runs(params).values()
    conditions = {}
    for condition, chain in params.chains.items():
        of_seed = {
            str(seed): summary.summarize(run[condition], params.prompts.source, how)
            for seed, run in zip(params.seeds, seeds, strict=True)
        }
        together = dict(summary.summarize(pooled[condition], params.prompts.source, how))
        conditions[condition] = records.ConditionRates(**together, chain=chain, seeds=of_seed)
    base = conditions[BASE]
    degeneracy = {
        name: degeneracy_gate(condition, base, params.gates) for name, condition in conditions.items() if name != BASE
    }
    return records.Statistics(
        level=how.level,
        seeds=params.seeds,
        conditions=conditions,
        contrasts=contrasts(conditions),
        gates=records.Gates(coupling=coupling_gate(conditions["C4"], params.gates), degeneracy=degeneracy),
        trained_on=trained_on(params),
    )


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.statistics, gather(params))


if __name__ == "__main__":
    main()
