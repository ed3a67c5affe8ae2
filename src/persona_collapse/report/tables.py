"""Every table of the paper and the page, from the results and the parameters that were used.

python -m persona_collapse.report.tables      writes paper/tables/<profile>/<name>.md, .tex and .json
"""

import argparse
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import write_all
from . import effects, ledger, lengths, observed, rates, recipe
from .results import REPORT, Results
from .table import Table, forms


def made(found: Results) -> list[Table]:
    """All tables."""
    params, report = found.params, parameters.load(REPORT)
    return [
        rates.headline(found.statistics, found.published),
        rates.groups(found.statistics),
        rates.per_persona(found.statistics, found.published),
        rates.shapes(found.shapes),
        rates.gates(found.statistics),
        effects.contrasts(found.contrasts),
        effects.contrasts_by_group(found.contrasts),
        effects.collapse(found.collapse),
        effects.dose(found.statistics, params),
        observed.advice(found.readings),
        observed.geometry(found.readings, found.later),
        observed.predictions(found.readings),
        observed.later(found.later),
        lengths.lengths(found.lengths),
        lengths.length_contrasts(found.lengths),
        recipe.hyperparameters(params, report),
        recipe.fidelity(params, report),
        ledger.full(found.claims),
        ledger.short(found.claims),
    ]


def files(found: Results) -> dict[Path, str]:
    """The content of every table's files."""
    folder = found.params.layout.tables
    return {path: text for table in made(found) for path, text in forms(table, folder).items()}


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    write_all(files(Results(parameters.load())))


if __name__ == "__main__":
    main()
