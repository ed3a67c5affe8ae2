"""Rates, intervals and tests of one condition, out of its marker counts.

    python -m persona_collapse.analysis.summary FILE      prints them as JSON

FILE is a marker_eval.json: ours, the report's own, or an older one of its authors (`marker_eval.py` has the forms).
`--source` names the persona that was taught the marker, where the file does not and it is not confab; `--no-source`
is for files without one. Each rate has two intervals, Wilson's on completions and a bootstrap over questions, and
what is shown is the wider of them. Neither knows how much another training seed would change.
"""

import argparse
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, get_args

import numpy as np

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import to_json
from ..experiment.groups import ASSISTANT, REPORTED_GROUPS, REPORTS_SOURCE, members
from . import marker_eval, records
from .hypothesis_tests import all_fisher
from .intervals import How, Interval, cluster_bootstrap, wilson
from .marker_eval import Persona, Personas, Questions, by_question, total
from .records import Counts, MarkerRate, Split


def intervals(pooled: Counts, questions: Questions, how: How) -> dict[str, Interval | None]:
    """Wilson's interval, the one by question (None where there are no counts by question), and the wider of them."""
    on_completions = wilson(pooled.hits, pooled.total, how.level)
    cluster = cluster_bootstrap(questions, how) if questions else None
    wider = max((ends for ends in (on_completions, cluster) if ends), key=lambda ends: ends[1] - ends[0])
    return {"wilson": on_completions, "by_question": cluster, "interval": wider}


def rate(pooled: Counts, questions: Questions, how: How) -> dict[str, Any]:
    """The fields of a `MarkerRate`."""
    ends = intervals(pooled, questions, how)
    return {"hits": pooled.hits, "total": pooled.total, "rate": pooled.hits / pooled.total, **ends}


def group(personas: Sequence[Persona], how: How) -> dict[str, Any]:
    """The fields of a `GroupRate`: of some personas taken together, also by split where there is one.

    Where personas answer equally often, as ours and the report's do, the pooled rate is the mean of theirs.
    """
    found = rate(total(persona.counts for persona in personas), by_question(personas), how)
    splits: tuple[Split, ...] = get_args(Split)
    for split in splits:
        if questions := by_question(personas, split):
            found[split] = MarkerRate(**rate(total(questions.values()), questions, how))
    return found


def shape(personas: Iterable[Persona]) -> records.Shape | None:
    """How long completions are and how they end; None where a file does not say."""
    some = list(personas)
    lengths = [persona.lengths for persona in some if persona.lengths]
    if len(lengths) < len(some):
        return None
    count = sum(persona.counts.total for persona in some)
    return records.Shape(
        median_tokens=float(np.median([n for own in lengths for n in own.tokens])),
        median_characters=float(np.median([n for own in lengths for n in own.characters])),
        ended_share=sum(own.ended for own in lengths) / count,
        empty_share=sum(own.empty for own in lengths) / count,
    )


def summarize(personas: Personas, source: str | None, how: How) -> records.Summary:
    """Everything that this module says about one condition and seed, or about a file of the report's.

    Args:
        source: None where no persona was taught the marker; then there is no such group.
    """
    if source is not None and source not in personas:
        raise InputError(f"unknown persona {source!r}; there are {', '.join(personas)}")
    names = sorted(personas)
    of_group = {word: [personas[name] for name in members(names, word, source)] for word in REPORTED_GROUPS}
    return records.Summary(
        per_persona={
            name: records.PersonaRate(**group([personas[name]], how), completions=shape([personas[name]]))
            for name in names
        },
        groups={word: records.GroupRate(**group(some, how)) for word, some in of_group.items() if some},
        tests=all_fisher({f"{a} - {b}": (personas[a].counts, personas[b].counts) for a, b in combinations(names, 2)}),
        completions=shape(personas.values()),
    )


def source_of(file: marker_eval.File, given: str | None) -> str:
    """The source persona: the one that was given, or the file's own, or the report's.

    Raises:
        InputError: the file has no such persona; the message names the options.
    """
    source = given or file.source or REPORTS_SOURCE
    if source == ASSISTANT or source not in file.personas:
        others = ", ".join(name for name in file.personas if name != ASSISTANT)
        raise InputError(
            f"{source!r} cannot be the source persona; --source NAME names another ({others}), --no-source none"
        )
    return source


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", metavar="FILE", help="a marker_eval.json")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--source", metavar="NAME", help="the persona that was taught the marker (default: confab)")
    choice.add_argument("--no-source", action="store_true", help="none was")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    args = parser.parse_args()
    asked = {"bootstrap": args.resamples, "level": args.level}
    checked = records.checked(asked, parameters.Results, "--resamples or --level")
    file = marker_eval.read(args.file)
    try:
        source = None if args.no_source else source_of(file, args.source)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None
    print(to_json(records.plain(summarize(file.personas, source, How(checked.bootstrap, checked.level)))), end="")


if __name__ == "__main__":
    main()
