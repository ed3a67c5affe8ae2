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
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..analysis.ledger import CLAIMS
from ..experiment import params as parameters
from ..experiment.chains import BASE
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5, read_json, read_yaml
from ..experiment.layout import DATA, PARAMS, SOURCES
from ..inputs import datasets
from . import diagnosis, verify
from .counts import Steps, added_up, sums

Entry = Mapping[str, Any]  # {path, md5} of a file or folder in dvc.lock
States = Mapping[tuple[str, str], str]  # by path and recorded MD5: what is wrong with the file on disk
COUNTED = ("statistics.json", "claims.json")  # of all that a run leaves, they are made of its marker_eval.json
CODE = "src/persona_collapse/"
MISSING = "is missing"
WIDTH = 94  # of what is wrapped, beside a margin of 10


class Number(NamedTuple):
    """What `numbers.json` says of a number."""

    text: str  # as the paper shows it
    value: Any
    file: str
    path: Steps  # of the value in the file
    chain: str | None  # the one chain that it is about


# ---- the number and its file ----


def read_numbers(path: Path) -> dict[str, Number]:
    """Every number that the paper may quote, by key; an `InputError` if there is no such file or it is another."""
    if not path.exists():
        raise InputError(f"{path}: no such file; `make tables` makes it")
    try:
        return {key: Number(**{name: entry[name] for name in Number._fields}) for key, entry in read_json(path).items()}
    except (AttributeError, TypeError, KeyError):
        raise InputError(f"{path}: not a list of numbers; `make tables` makes it anew") from None


def look_up(content: Any, path: Steps) -> Any:
    """The value that keys lead to; a `LookupError` or a `TypeError` where there is none."""
    for step in path:
        content = content[step]
    return content


def dotted(path: Steps) -> str:
    return " > ".join(map(str, path))


def rests_on(number: Number, content: Any, conditions: Mapping[str, str]) -> list[str] | None:
    """The chains that are behind a number; None for all of them.

    Args:
        content: of its file.
        conditions: the chain of each condition.
    """
    match list(number.path):
        case ["gates", "degeneracy", name, *_]:  # compares the condition with the untrained model
            names = [str(name), BASE]
        case _ if number.chain:
            return [number.chain]
        case ["seeds" | "level"] | ["claims", int(), "claim" | "published" | "as_published", *_]:
            return []  # parameters, and the report's own words and counts
        case ["claims", int(index), "reproduced" | "cluster_robust", *_]:
            claim = read_yaml(CLAIMS)["claims"].get(content["claims"][index]["id"], {})
            names = [side["condition"] for side in claim.get("check", {}).values() if isinstance(side, dict)]
        case path:
            names = [one.condition for one in sums(path)]
    chains = {**conditions, BASE: BASE}
    return list(dict.fromkeys(chains[name] for name in names if name in chains)) or None


# ---- the stages ----


def lineage(stages: diagnosis.Stages, maker: str, chains: Sequence[str] | None, reads: str = "") -> diagnosis.Stages:
    """The stages behind a stage's output, nearest first, itself among them.

    A stage that gathers the runs reads those of all chains; of them, only what leads to `chains` is followed, and the
    other files are left out of what it reads.

    Args:
        chains: None for all.
        reads: how the names of the runs' files end that it does read.

    Raises:
        InputError: a chain of which nothing is recorded.
    """
    followed = dict(stages)
    if chains is not None and "--seed" not in stages[maker]["cmd"]:
        behind: set[str] = set()
        for chain in chains:
            own = [
                name
                for name, stage in stages.items()
                if f"--chain {chain} " in f"{stage['cmd']} "
                and any(o["path"].endswith(reads) for o in stage.get("outs", []))
            ]
            if not own:
                raise InputError(f"{verify.LOCK}: no stage of the chain {chain}; `make reproduce` runs and records it")
            behind.update(*(diagnosis.ancestry(stages, name) for name in own))
        followed = {name: stage for name, stage in stages.items() if "--seed" not in stage["cmd"] or name in behind}
    others = {out["path"] for name, stage in stages.items() if name not in followed for out in stage.get("outs", [])}
    return {
        name: {**stages[name], "deps": [dep for dep in stages[name].get("deps", []) if dep["path"] not in others]}
        for name in reversed(diagnosis.ancestry(followed, maker))
    }


def entries(stage: Mapping[str, Any]) -> list[Entry]:
    """Everything that a stage reads and makes."""
    return [*stage.get("deps", []), *stage.get("outs", [])]


def values_of(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's parameters as recorded."""
    return {key: value for values in stage.get("params", {}).values() for key, value in values.items()}


def wrap(text: str) -> list[str]:
    """Lines of at most `WIDTH`; a no-break space is where none may end."""
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return [line.replace("\xa0", " ") for line in lines]


def in_yaml(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()


def block(label: str, lines: Iterable[str]) -> list[str]:
    return [f"  {'' if i else label:<8}{line}" for i, line in enumerate(lines)]


def file_lines(entry: Entry, states: States) -> list[str]:
    """A file or folder with its recorded MD5, and below it what is wrong with the one on disk."""
    path, recorded = entry["path"], entry["md5"]
    state = states.get((path, recorded))
    return [
        f"{recorded[:12]}  {path}{'/' if recorded.endswith('.dir') else ''}",
        *([f"{'':<14}! {state}"] if state else []),
    ]


def stage_lines(name: str, stages: diagnosis.Stages, states: States, shown: dict[str, Any]) -> list[str]:
    """One stage: its command, parameters, inputs by the stage that made them, code and outputs.

    Args:
        stages: those behind the number.
        shown: the parameters of nearer stages, to which this one's are added; what is there is not written out again.
    """
    stage, values = stages[name], values_of(stages[name])
    fresh = {key: value for key, value in values.items() if key not in shown or shown[key] != value}
    shown.update(fresh)
    settings = [line for key, value in fresh.items() for line in wrap(in_yaml({key: value})[1:-1])]
    if again := [key for key in values if key not in fresh]:
        settings += wrap(f"as above: {', '.join(again)}")
    given: dict[str, list[str]] = {}
    code = []
    for dep in stage.get("deps", []):
        file, *wrong = file_lines(dep, states)
        if dep["path"].startswith(CODE):
            words = [dep["path"].removeprefix(CODE), dep["md5"][:12], *(line.strip() for line in wrong)]
            code.append(" ".join(words).replace(" ", "\xa0"))
            continue
        nowhere = "a folder of which nothing is behind this number" if dep["md5"].endswith(".dir") else "no stage"
        makers = ", ".join(sorted(diagnosis.makers(stages, dep["path"]))) or nowhere
        given.setdefault(makers, []).extend([file, *wrong])
    inputs = [
        line for makers in sorted(given) for line in (*wrap(f"from {makers}"), *(f"  {f}" for f in given[makers]))
    ]
    return [
        f"stage {name}",
        *block("runs", [stage["cmd"]]),
        *block("with", settings),
        *block("reads", inputs),
        *block("code", wrap(", ".join(code))),
        *block("makes", [line for out in stage.get("outs", []) for line in file_lines(out, states)]),
    ]


# ---- where it ends ----


def as_registered(entry: Entry) -> str:
    """What `data/sources.yaml` has to say of a data file's recorded MD5; nothing if it does not name the file."""
    for path, expected in datasets.registered().values() if SOURCES.exists() else ():
        if str(path) == entry["path"] and expected:
            same = expected == entry["md5"]
            return f"  {SOURCES} {'has the same' if same else f'expects {expected[:12]}'}"
    return ""


def origin_lines(stages: diagnosis.Stages, states: States) -> list[str]:
    """Trained adapters, data, the model, and the parameters of the phases, of the stages behind a number."""
    adapters: list[str] = []
    given: dict[str, Entry] = {}
    values: dict[str, Any] = {}
    for stage in stages.values():
        values = {**values_of(stage), **values}
        for entry in entries(stage):
            if entry["path"].startswith(f"{DATA}/"):
                given[entry["path"]] = entry
        for out in stage.get("outs", []):
            if Path(out["path"]).name == "adapter_model.safetensors":
                adapters += file_lines(out, states)
    files: list[str] = []
    for path in sorted(given):
        first, *wrong = file_lines(given[path], states)
        files += [first + as_registered(given[path]), *wrong]
    model = [f"{key} {value}" for key, value in values.get("model", {}).items()]
    phases = {key.removeprefix("phases."): flat(value) for key, value in values.items() if key.startswith("phases.")}
    rows = [["", *phases]] if phases else []
    for key in dict.fromkeys(key for phase in phases.values() for key in phase):
        rows.append([key, *(in_yaml(phase[key]) if key in phase else "-" for phase in phases.values())])
    table = ["".join(f"{cell:<22}" for cell in row).rstrip() for row in rows]
    blocks = {"trained": adapters, "data": files, "model": model, "phases": table}
    return [line for label, lines in blocks.items() for line in block(label, lines)]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested parameters, by dotted key."""
    leaves = {}
    for key, inner in value.items():
        leaves.update(flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner})
    return leaves


# ---- the whole ----


def judge(
    number: Number, conditions: Mapping[str, str], settings: parameters.Params
) -> tuple[list[str] | None, list[str], list[str]]:
    """Compare a number with its file, and the counts behind it with both.

    Returns:
        The chains behind the number as of `rests_on`, lines on the counts, and what is wrong.
    """
    chains = [number.chain] if number.chain else None
    file = Path(number.file)
    if file.parent != settings.layout.results or not file.exists():
        return chains, [], []
    content = read_json(file)
    where = f"{file} at {dotted(number.path)}"
    try:
        found = look_up(content, number.path)
    except (LookupError, TypeError):
        return chains, [], [f"{where} has nothing; `make tables` reads it anew"]
    # some numbers are made of what is there: how many, in words
    stale = type(found) is type(number.value) and found != number.value
    problems = [f"{where} has {json.dumps(found)}; `make tables` reads it anew"] if stale else []
    lines: list[str] = []
    for one in sums(number.path) if file == settings.layout.statistics else []:
        counted, problem = added_up(one, content, settings.layout, settings.prompts.source)
        lines += ["", *counted, *([f"  ! {problem}"] if problem else [])]
        problems += [problem] if problem else []
    return rests_on(number, content, conditions), lines, problems


def on_disk(files: Iterable[Entry]) -> dict[tuple[str, str], str]:
    """What is wrong with each file that is missing or not as recorded, by path and recorded MD5."""
    once = {(entry["path"], entry["md5"]): entry for entry in files}
    return {key: phrase.removeprefix(f"{key[0]} ") for key in once for phrase in verify.different_files([once[key]])}


def takers_of(number: Number, stages: diagnosis.Stages, profile: str) -> diagnosis.Stages:
    """The stages that a parameter is recorded for; none if the number is no parameter."""
    if number.file != str(PARAMS):
        return {}
    key = ".".join(map(str, number.path))
    return {
        name: stage
        for name, stage in stages.items()
        if f"@{profile}" in name and any(f"{key}.".startswith(f"{taken}.") for taken in values_of(stage))
    }


def trace(
    key: str, number: Number, stages: diagnosis.Stages, settings: parameters.Params
) -> tuple[list[str], list[str]]:
    """What is behind a number.

    Args:
        stages: of `dvc.lock`.

    Returns:
        Lines to print, and what is not as recorded.
    """
    numbers = str(settings.layout.tables / "numbers.json")
    maker = next(iter(diagnosis.makers(stages, number.file)), None)
    conditions = values_of(stages[maker]).get("conditions", {}) if maker else {}
    chains, counted, problems = judge(number, conditions, settings)
    reads = "marker_eval.json" if Path(number.file).name in COUNTED else ""
    behind = lineage(stages, maker, chains, reads) if maker else {}
    recorded = {entry["path"]: entry for stage in stages.values() for entry in entries(stage)}
    shown_files = [recorded[path] for path in (numbers, number.file) if path in recorded]
    states = on_disk([*shown_files, *(entry for stage in behind.values() for entry in entries(stage))])
    problems += [f"{path} {state}" for (path, _), state in states.items() if state != MISSING]
    problems += verify.different_parameters(behind)

    lines = [f"{key}: {number.text}"]
    lines += block("value", [json.dumps(number.value)] if number.value is not None else [])
    for label, path in (("listed", numbers), ("read", number.file)):
        if path in recorded:
            makers = ", ".join(diagnosis.makers(stages, path)) or "no stage"
            first, *wrong = file_lines(recorded[path], states)
            same = "" if wrong else f", as {verify.LOCK} records it"
            origin = f"made by {makers}{same}{as_registered(recorded[path])}"
            lines += block(label, [first, f"{'':<14}{origin}", *wrong])
        else:
            found = md5(path)[:12] if Path(path).exists() else MISSING
            lines += block(label, [f"{found:<12}  {path}  not recorded in {verify.LOCK}"])
    lines += block("at", [dotted(number.path)] if number.path else [])
    if not maker:
        takers = takers_of(number, stages, settings.profile)
        lines += block("used by", wrap(", ".join(takers)))
        problems += verify.different_parameters(takers)
        return [*lines, "", "no stage makes this file: the trace ends here"], problems
    followed = "all" if chains is None else ", ".join(chains) or "none: no run is behind it"
    lines += [*block("chains", [followed]), *counted]
    shown: dict[str, Any] = {}
    for name in behind:
        lines += ["", *stage_lines(name, behind, states, shown)]
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
    settings = parameters.load()
    path = settings.layout.tables / "numbers.json"
    numbers = read_numbers(path)
    if key is None:
        width = max(map(len, numbers), default=0)
        print("\n".join(f"{name:<{width}}  {number.text}" for name, number in numbers.items()))
        return
    if key not in numbers:
        close = difflib.get_close_matches(key, numbers, n=5, cutoff=0.4)
        raise InputError(f"unknown key {key!r}; {'closest: ' + ', '.join(close) if close else f'{path} has them all'}")
    if not verify.LOCK.exists():
        raise InputError(f"{verify.LOCK}: no such file; `make reproduce` makes it")
    lines, problems = trace(key, numbers[key], verify.read_lock(verify.LOCK), settings)
    print("\n".join(lines))
    print("\n" + "\n".join([f"! {problem}" for problem in problems] or ["nothing contradicts the record"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
