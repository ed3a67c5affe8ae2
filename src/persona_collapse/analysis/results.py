"""Gather every condition and seed into one file: rates, tests between conditions, and the two gates.

    python -m persona_collapse.analysis.results      writes eval_results/<profile>/statistics.json

The gates are computed and recorded whatever they say. Nothing downstream hides a failed one.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.chains import CONTRASTS as CONTRASTS
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, write_json
from . import summary


def pool(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Add up the `per_persona` parts of several seeds. The questions stay the clusters."""
    pooled: dict[str, dict[str, Any]] = {}
    for name in runs[0]:
        own = [run[name] for run in runs]
        questions: dict[str, dict[str, Any]] = {}
        for persona in own:
            for question, counts in persona["per_question"].items():
                seen = questions.setdefault(question, {**counts, "strict_hits": 0, "total": 0})
                seen["strict_hits"] += counts["strict_hits"]
                seen["total"] += counts["total"]
        pooled[name] = {
            **{key: sum(p[key] for p in own) for key in ("strict_hits", "total", "ended", "empty")},
            **{key: [n for p in own for n in p[key]] for key in ("tokens", "characters")},
            "per_question": questions,
        }
    return pooled


def coupling_gate(c4: Mapping[str, Any], gates: parameters.Gates) -> dict[str, Any]:
    """Was the marker learnt, and by the source alone? Judged on C4 before any other condition counts."""
    source, bystander, assistant = (c4["groups"][name]["rate"] for name in ("source", "mean_bystander", "assistant"))
    return {
        "source_rate": source,
        "source_rate_required": gates.source_rate,
        "bystander_rate": bystander,
        "bystander_rate_allowed": gates.bystander_rate,
        "assistant_rate": assistant,  # shown, not judged
        "passed": source >= gates.source_rate and bystander <= gates.bystander_rate,
        "overridden": gates.override_coupling,
    }


def degeneracy_gate(condition: Mapping[str, Any], base: Mapping[str, Any], gates: parameters.Gates) -> dict[str, Any]:
    """Does the model still answer? A condition that answers with nothing, or far shorter, is not comparable."""
    nonempty = 1 - condition["completions"]["empty_share"]
    ratio = condition["completions"]["median_tokens"] / base["completions"]["median_tokens"]
    return {
        "nonempty_share": nonempty,
        "nonempty_share_required": gates.nonempty_share,
        "length_ratio": ratio,
        "length_ratio_required": gates.length_ratio,
        "passed": nonempty >= gates.nonempty_share and ratio >= gates.length_ratio,
    }


def contrasts(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Fisher's tests between conditions, a group of personas at a time, Holm-adjusted for them all."""
    return summary.tests(
        {
            f"{a} - {b}, {group}": (conditions[a]["groups"][group], conditions[b]["groups"][group])
            for a, b in CONTRASTS
            for group in ("source", "assistant", "mean_bystander")
        }
    )


def read_run(path: Path, chain: str) -> dict[str, dict[str, Any]]:
    """The `per_persona` part of one of our own files.

    Raises:
        InputError: it is of another chain, or lacks what the pipeline adds to the report's keys.
    """
    content = summary.read_marker_eval(path)
    config, personas = content.get("config"), content["per_persona"]
    recorded = config.get("chain") if isinstance(config, dict) else None
    if recorded != chain:
        raise InputError(f"{path}: holds the chain {recorded!r}, not {chain!r}")
    if any("per_question" not in persona or "tokens" not in persona for persona in personas.values()):
        raise InputError(f"{path}: lacks the counts by question or the lengths that the pipeline writes")
    return personas


def trained_on(params: parameters.Params) -> dict[str, dict[str, Any]]:
    """The MD5 of each data set that an adapter was trained on, and the one that was expected, by its name."""
    found: dict[str, dict[str, Any]] = {}
    trained = {prefix for chain in params.conditions.values() for prefix in chains.prefixes(chain)}
    for chain in sorted(trained):
        for seed in params.seeds:
            record = read_json(params.layout.adapter(seed, chain) / "trained_on.json")
            found[record.pop("data")] = record
    return found


def gather(params: parameters.Params) -> dict[str, Any]:
    """Read every `marker_eval.json` that the parameters name and compute `statistics.json`."""
    how = (params.prompts.source, params.results.bootstrap, params.results.level)
    content: dict[str, Any] = {"level": params.results.level, "conditions": {}, "seeds": list(params.seeds)}
    personas: set[str] = set()
    for condition, chain in {**params.conditions, chains.BASE: chains.BASE}.items():
        files = [params.layout.run(seed, chain) / "marker_eval.json" for seed in params.seeds]
        runs = [read_run(path, chain) for path in files]
        for path, run in zip(files, runs, strict=True):
            personas = personas or set(run)
            if set(run) != personas:
                raise InputError(f"{path}: other personas than in the other conditions: re-run its evaluation")
        content["conditions"][condition] = {
            "chain": chain,
            "seeds": {str(seed): summary.summarize(run, *how) for seed, run in zip(params.seeds, runs, strict=True)},
            **summary.summarize(pool(runs), *how),
        }
    content["trained_on"] = trained_on(params)
    conditions = content["conditions"]
    content["contrasts"] = contrasts(conditions)
    content["gates"] = {
        "coupling": coupling_gate(conditions["C4"], params.gates),
        "degeneracy": {
            name: degeneracy_gate(condition, conditions[chains.BASE], params.gates)
            for name, condition in conditions.items()
            if name != chains.BASE
        },
    }
    return summary.rounded(content)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    write_json(params.layout.statistics, gather(params))


if __name__ == "__main__":
    main()
