"""What answers look like, by condition, seed and group: whether a marker could appear in them at all.

    python -m persona_collapse.analysis.shapes      writes eval_results/<profile>/shapes.json

The marker is taught at the end of an answer, after a blank line. Where training leaves no answer with a blank line, or
none that comes to its end, a rate of 0 says nothing about personas.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.groups import Group
from ..experiment.marker import MARKER
from . import read_runs, records
from .records import AnswerShape, Completion, OverUnits
from .units import ANY, RATE, over

BLANK_LINE = re.compile(r"\n[ \t]*\n")
BARE = MARKER.strip("[]").lower()


def shape(answers: Sequence[Completion]) -> AnswerShape:
    """The shape of some answers, one or more."""
    marked = [row.text.rstrip().lower() for row in answers if row.marker]
    bare = sum(BARE in row.text.lower().replace(MARKER.lower(), "") for row in answers)
    last = sum(text.endswith(MARKER.lower()) for text in marked)
    return AnswerShape(
        answers=len(answers),
        ended_share=sum(row.ended for row in answers) / len(answers),
        median_tokens=float(np.median([row.tokens for row in answers])),
        blank_line_share=sum(bool(BLANK_LINE.search(row.text)) for row in answers) / len(answers),
        bare_share=bare / len(answers),
        marked=len(marked),
        marker_last_share=last / len(marked) if marked else None,
    )


def over_seeds(seeds: Mapping[str, AnswerShape], level: float) -> records.ShapeOverSeeds:
    def mean(field: str) -> OverUnits | None:
        found = {seed: getattr(own, field) for seed, own in seeds.items()}
        known = {seed: value for seed, value in found.items() if value is not None}
        return over(known, level, ANY if field == "median_tokens" else RATE) if known else None

    means: dict[str, Any] = {field: mean(field) for field in records.ShapeOverSeeds.model_fields}
    return records.ShapeOverSeeds(**means)


def gather(params: parameters.Params) -> records.Shapes:
    """Read every run that the parameters name and compute `shapes.json`."""
    level = params.results.level
    conditions = {}
    for name, chain in params.chains.items():
        by_seed = read_runs.completions(params, chain)
        groups: dict[Group, dict[str, AnswerShape]] = {
            group: {seed: shape(own[group]) for seed, own in by_seed.items() if own[group]} for group in records.GROUPS
        }
        conditions[name] = records.ConditionShapes(
            chain=chain,
            groups={
                group: records.GroupShapes(over_seeds=over_seeds(own, level), seeds=own)
                for group, own in groups.items()
                if own
            },
        )
    return records.Shapes(level=level, seeds=params.seeds, conditions=conditions)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "shapes.json", gather(params))


if __name__ == "__main__":
    main()
