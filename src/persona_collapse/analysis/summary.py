"""Rates and intervals of one condition and seed, out of its marker counts.

    python -m persona_collapse.analysis.summary FILE      prints them as JSON

FILE is a marker_eval.json: ours, the report's own, or an older one of its authors (`marker_eval.py` has the forms).
`--source` names the persona that was taught the marker, where the file does not and it is not confab; `--no-source`
is for files without one. A file does not say which bystanders were trained negatives, so all count as untrained here.
The interval of a rate is about this one training (`intervals.py`).
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import to_json
from ..experiment.groups import ASSISTANT, REPORTS_SOURCE, Group, members
from . import marker_eval, records
from .intervals import estimated
from .marker_eval import Persona, Personas, Questions, by_question, total
from .records import Counts, MarkerRate, Split


def rate(counts: Counts, questions: Questions, level: float) -> dict[str, Any]:
    """The fields of a `MarkerRate`."""
    return {**dict(counts), "rate": counts.hits / counts.total, **estimated(counts, questions, level)._asdict()}


def group(personas: Sequence[Persona], level: float) -> dict[str, Any]:
    """The fields of a `GroupRate`: of some personas taken together, also by split where there is one.

    Where personas answer equally often, as ours and the report's do, the rate of all is the mean of theirs.
    """
    found = rate(total(persona.counts for persona in personas), by_question(personas), level)
    splits: tuple[Split, ...] = get_args(Split)
    for split in splits:
        if questions := by_question(personas, split):
            found[split] = MarkerRate(**rate(total(questions.values()), questions, level))
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


def groups(names: Iterable[str], of: Mapping[Group, Sequence[str]]) -> dict[records.RateGroup, list[str]]:
    """The personas of each group that has some, and of the report's mean bystander."""
    found: dict[records.RateGroup, list[str]] = {word: [name for name in names if name in of[word]] for word in of}
    found["mean_bystander"] = sorted([*found["trained_negative"], *found["untrained_bystander"]])
    return {word: some for word, some in found.items() if some}


def summarize(personas: Personas, of: Mapping[Group, Sequence[str]], level: float) -> records.Summary:
    """Everything that this module says about one condition and seed, or about a file of the report's.

    Args:
        of: the personas of each group; together they are all.
    """
    names = sorted(personas)
    return records.Summary(
        per_persona={
            name: records.PersonaRate(**group([personas[name]], level), completions=shape([personas[name]]))
            for name in names
        },
        groups={
            word: records.GroupRate(**group([personas[name] for name in some], level))
            for word, some in groups(names, of).items()
        },
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
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    args = parser.parse_args()
    if not 0.5 <= args.level <= 0.9999:
        raise InputError(f"--level {args.level:g}: allowed are 0.5 to 0.9999")
    file = marker_eval.read(args.file)
    try:
        source = None if args.no_source else source_of(file, args.source)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None
    of = {word: members(file.personas, word, source) for word in records.GROUPS}
    print(to_json(records.plain(summarize(file.personas, of, args.level))), end="")


if __name__ == "__main__":
    main()
