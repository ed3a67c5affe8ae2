"""Where a number of the paper comes from: file, stages, adapters, data and parameters, nearest first, with hashes.

    python -m persona_collapse.record.provenance                          every key, with its number
    python -m persona_collapse.record.provenance headline.B.assistant       what is behind that number

Keys are those of `paper/tables/<profile>/numbers.json`; the rest is read from `dvc.lock`, and nothing is run. Whatever
is not as recorded is marked with `!`. Exit code 1 if a file or a parameter differs from its record, if the number is
not what its file holds, or if the counts behind it do not add up to it; a file that is not on disk is marked, but
contradicts nothing. Exit code 2: an unknown key, or nothing to look it up in.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..analysis import records
from ..analysis.records import Number
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5, read_json, read_yaml
from . import graph, lineage, lock, repository, verify
from .counts import Steps, added_up, sums
from .disk import Disk
from .lock import LOCK, Entry, Stage
from .trace_lines import as_registered, block, file_lines, origin_lines, stage_lines, wrap

KINDS: dict[str, type[object]] = {
    "statistics.json": records.Statistics,
    "contrasts.json": records.Contrasts,
    "collapse.json": records.Collapse,
    "shapes.json": records.Shapes,
    "readings.json": records.Readings,
    "claims.json": records.Claims,
    "lengths.json": records.Lengths,
}
MISSING = "is missing"


class Judged(NamedTuple):
    """A number compared with its file, and the counts behind it with both."""

    chains: list[str] | None  # behind the number, as of `lineage.rests_on`
    lines: list[str]  # on the counts
    problems: list[str]


def dotted(path: Steps) -> str:
    return " > ".join(map(str, path))


def judge(number: Number, conditions: Mapping[str, str], params: parameters.Params) -> Judged:
    """Compare a number with its file, and the counts behind it with both.

    Args:
        conditions: the chain of each condition.

    Raises:
        InputError: the file is damaged.
    """
    chains = [number.chain] if number.chain else None
    file = Path(number.file)
    if file.parent != params.layout.results or not file.exists():
        return Judged(chains, [], [])
    content = read_json(file)
    record = records.checked(content, KINDS.get(file.name, object), str(file))
    where = f"{file} at {dotted(number.path)}"
    try:
        found = lineage.look_up(content, number.path)
    except (LookupError, TypeError):
        return Judged(chains, [], [f"{where} has nothing; `make tables` reads it anew"])
    # some numbers are made of what is there: how many, in words
    stale = type(found) is type(number.value) and found != number.value
    problems = [f"{where} has {json.dumps(found)}; `make tables` reads it anew"] if stale else []
    lines: list[str] = []
    for one in sums(number.path):
        if not isinstance(record, records.Statistics):
            break
        counted, problem = added_up(one, record, params.layout)
        lines += ["", *counted, *([f"  ! {problem}"] if problem else [])]
        problems += [problem] if problem else []
    return Judged(lineage.rests_on(number, content, conditions), lines, problems)


def on_disk(entries: Iterable[Entry], made: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What is wrong with each file that is missing or not as recorded, by path and recorded MD5.

    Folders of outputs are left to their files.
    """
    disk = Disk(repository.opened())
    states = {
        (entry.path, entry.md5): disk.state(entry) for entry in entries if not entry.folder or entry.path not in made
    }
    return {key: state for key, state in states.items() if state}


def different_parameters(stages: Mapping[str, Stage]) -> list[str]:
    """One phrase for each parameter that has another value than a stage was run with."""
    files = {file: read_yaml(file) for file in {file for stage in stages.values() for file in stage.params}}
    phrases = (phrase for stage in stages.values() for phrase in verify.different_parameters(stage, files))
    return list(dict.fromkeys(phrases))


def trace(
    key: str, number: Number, stages: Mapping[str, Stage], params: parameters.Params
) -> tuple[list[str], list[str]]:
    """What is behind a number.

    Args:
        stages: of `dvc.lock`.

    Returns:
        Lines to print, and what is not as recorded.
    """
    numbers = str(params.layout.tables / "numbers.json")
    made = graph.makers(stages)
    maker = min(made.get(number.file, ()), default=None)
    conditions = stages[maker].values.get("conditions", {}) if maker else {}
    chains, counted, problems = judge(number, conditions, params)
    behind = lineage.behind(stages, maker, chains, lineage.reads_of(number)) if maker else {}
    recorded = {entry.path: entry for stage in stages.values() for entry in stage.entries}
    shown_files = [recorded[path] for path in (numbers, number.file) if path in recorded]
    states = on_disk([*shown_files, *(entry for stage in behind.values() for entry in stage.entries)], made)
    problems += [f"{path} {state}" for (path, _), state in states.items() if state != MISSING]

    lines = [f"{key}: {number.text}"]
    lines += block("value", [json.dumps(number.value)] if number.value is not None else [])
    for label, path in (("listed", numbers), ("read", number.file)):
        if path in recorded:
            makers = ", ".join(sorted(made.get(path, ()))) or "no stage"
            first, *wrong = file_lines(recorded[path], states)
            same = "" if wrong else f", as {LOCK} records it"
            lines += block(label, [first, f"{'':<14}made by {makers}{same}{as_registered(recorded[path])}", *wrong])
        else:
            found = md5(path)[:12] if Path(path).exists() else MISSING
            lines += block(label, [f"{found:<12}  {path}  not recorded in {LOCK}"])
    lines += block("at", [dotted(number.path)] if number.path else [])
    if not maker:
        takers = lineage.takers(number, stages, params.profile)
        lines += block("used by", wrap(", ".join(takers)))
        return [*lines, "", "no stage makes this file: the trace ends here"], problems + different_parameters(takers)
    problems += different_parameters(behind)
    followed = "all" if chains is None else ", ".join(chains) or "none: no run is behind it"
    lines += [*block("chains", [followed]), *counted]
    shown: dict[str, Any] = {}
    for name in behind:
        lines += ["", *stage_lines(name, behind, made, states, shown)]
    if origins := origin_lines(behind, states):
        lines += ["", "origins", *origins]
    if absent := sorted({path for (path, _), state in states.items() if state == MISSING}):
        lines += ["", f"not on disk: {len(absent)} files; `dvc pull` fetches them, `dvc repro base` makes the model"]
    return lines, problems


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("key", nargs="?", help="of a number in numbers.json; without it, all are listed")
    key = parser.parse_args().key
    params = parameters.load()
    path = params.layout.tables / "numbers.json"
    if not path.exists():
        raise InputError(f"{path}: no such file; `make tables` makes it")
    numbers: dict[str, Number] = records.read(path, records.Numbers)
    if key is None:
        width = max(map(len, numbers))
        print("\n".join(f"{name:<{width}}  {number.text}" for name, number in numbers.items()))
        return
    if key not in numbers:
        close = difflib.get_close_matches(key, numbers, n=5, cutoff=0.4)
        raise InputError(f"unknown key {key!r}; {'closest: ' + ', '.join(close) if close else f'{path} has them all'}")
    if not LOCK.exists():
        raise InputError(f"{LOCK}: no such file; `make reproduce` makes it")
    lines, problems = trace(key, numbers[key], lock.read(), params)
    print("\n".join(lines))
    print("\n" + "\n".join([f"! {problem}" for problem in problems] or ["nothing contradicts the record"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
