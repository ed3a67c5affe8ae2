"""The lines of a trace: a file with its hash, a stage with what it read and made, and where everything comes from."""

import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..analysis import records
from ..experiment.files import read_json
from ..experiment.layout import DATA, SOURCES
from ..inputs import datasets, sources
from . import graph
from .lock import Entry, Stage

States = Mapping[tuple[str, str], str]  # by path and recorded MD5: what is wrong with the file on disk
CODE = "src/persona_collapse/"
WIDTH = 94  # of what is wrapped, beside a margin of 10


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
    state = states.get((entry.path, entry.md5))
    return [
        f"{entry.md5[:12]}  {entry.path}{'/' if entry.folder else ''}",
        *([f"{'':<14}! {state}"] if state else []),
    ]


def stage_lines(
    name: str, stages: Mapping[str, Stage], made: Collection[str], states: States, shown: dict[str, Any]
) -> list[str]:
    """One stage: its command, parameters, inputs by the stage that made them, code and outputs.

    Args:
        stages: those behind the number.
        made: the files that any stage makes, and their folders.
        shown: the parameters of nearer stages, to which this one's are added; what is there is not written out again.
    """
    stage, values = stages[name], stages[name].values
    fresh = {key: value for key, value in values.items() if key not in shown or shown[key] != value}
    shown.update(fresh)
    settings = [line for key, value in fresh.items() for line in wrap(in_yaml({key: value})[1:-1])]
    if again := [key for key in values if key not in fresh]:
        settings += wrap(f"as above: {', '.join(again)}")
    made_by = graph.makers(stages)
    given: dict[str, list[str]] = {}
    code = []
    for dep in stage.deps:
        file, *wrong = file_lines(dep, states)
        if dep.path.startswith(CODE):
            path = dep.path.removeprefix(CODE) + "/" * dep.folder
            code.append(" ".join([path, dep.md5[:12], *(line.strip() for line in wrong)]).replace(" ", "\xa0"))
            continue
        nowhere = "a folder of which nothing is behind this number" if dep.path in made else "no stage"
        makers = ", ".join(sorted(made_by.get(dep.path, ()))) or nowhere
        given.setdefault(makers, []).extend([file, *wrong])
    inputs = [
        line for makers in sorted(given) for line in (*wrap(f"from {makers}"), *(f"  {f}" for f in given[makers]))
    ]
    return [
        f"stage {name}",
        *block("runs", stage.cmd.splitlines()),
        *block("with", settings),
        *block("reads", inputs),
        *block("code", wrap(", ".join(code))),
        *block("makes", [line for out in stage.outs for line in file_lines(out, states)]),
    ]


# ---- where it ends ----


def as_registered(entry: Entry) -> str:
    """What `data/sources.yaml` has to say of a data file's recorded MD5; nothing if it does not name the file."""
    for name, source in sources.registry().items() if SOURCES.exists() else ():
        if str(sources.file_of(name)) == entry.path and source.md5:
            same = source.md5 == entry.md5
            return f"  {SOURCES} {'has the same' if same else f'expects {source.md5[:12]}'}"
    return ""


def taken_from(entry: Entry) -> list[str]:
    """A line on the data set that a phase's chats were taken from, if a file is the record of it."""
    path = Path(entry.path)
    if DATA / "prepared" not in path.parents or path.suffix != ".json" or not path.is_file():
        return []
    taken = records.checked(read_json(path), datasets.Prepared, entry.path)
    registered = taken.expected_md5 or "no MD5"
    told = "as registered" if registered == taken.md5 else f"registered is {registered[:12]}"
    return [f"{'':<14}taken from {sources.file_of(taken.data)}, {taken.md5[:12]}, {told}"]


def origin_lines(stages: Mapping[str, Stage], states: States) -> list[str]:
    """Trained adapters, data, the model, and the parameters of the phases, of the stages behind a number."""
    adapters: list[str] = []
    given: dict[str, Entry] = {}
    values: dict[str, Any] = {}
    for stage in stages.values():
        values = {**stage.values, **values}
        given.update({entry.path: entry for entry in stage.entries if entry.path.startswith(f"{DATA}/")})
        for out in stage.outs:
            if Path(out.path).name == "adapter_model.safetensors":
                adapters += file_lines(out, states)
    files: list[str] = []
    for path in sorted(given):
        first, *wrong = file_lines(given[path], states)
        files += [first + as_registered(given[path]), *wrong, *taken_from(given[path])]
    model = [f"{key} {value}" for key, value in values.get("base", {}).items()]
    phases = {key.rpartition(".")[2]: flat(value) for key, value in values.items() if key.startswith("phases.")}
    phases = {key: value for key, value in phases.items() if value}
    rows = [["", *phases]] if phases else []
    for key in dict.fromkeys(key for phase in phases.values() for key in phase):
        rows.append([key, *(in_yaml(phase[key]) if key in phase else "-" for phase in phases.values())])
    table = ["".join(f"{cell:<22}" for cell in row).rstrip() for row in rows]
    blocks = {"trained": adapters, "data": files, "model": model, "phases": table}
    return [line for label, lines in blocks.items() for line in block(label, lines)]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested parameters, by dotted key; none of what is not nested."""
    leaves = {}
    for key, inner in value.items() if isinstance(value, dict) else ():
        leaves.update(flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner})
    return leaves
