"""A few numbers for `dvc metrics` and `dvc exp`: rates in percent, gates, and the loss that each training ended with.

python -m persona_collapse.report.metrics      writes eval_results/<profile>/metrics.json

Rates are means over seeds. Keys are short, for they become the heads of columns: `C4.source`, `gates.coupling` (1
passed, 0 failed), `loss.em.42`.
"""

import argparse

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import write_json
from . import recipe
from .results import Results

LAST = 10  # steps whose losses are averaged: one alone depends on its batch


def metrics(results: Results) -> dict[str, float | int]:
    """The numbers by key, rounded as they are to be read."""
    params, statistics = results.params, results.statistics
    found: dict[str, float | int] = {}
    for name, condition in statistics.conditions.items():
        for group, rates in condition.groups.items():
            found[f"{name}.{group}"] = round(100 * rates["all"].mean, 2)
    found["gates.coupling"] = int(statistics.gates.coupling.passed)
    for name, gate in statistics.gates.degeneracy.items():
        found[f"gates.degeneracy.{name}"] = int(gate.passed)
    for seed in params.seeds:
        for chain in params.trained:
            losses = [step.loss for step in recipe.log_of(params, seed, chain)[1]][-LAST:]
            found[f"loss.{chain}.{seed}"] = round(sum(losses) / len(losses), 4)
    return found


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    write_json(params.layout.results / "metrics.json", metrics(Results(params)))


if __name__ == "__main__":
    main()
