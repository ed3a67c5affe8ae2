"""Run stages one after the other in one process, and note which files and parameters each of them reads.

    python tests/run_stages.py STAGES.json READ.json

STAGES.json is a list of {name, cmd}; READ.json becomes, by name, {"files": [...], "params": [...]}, the files under the
working directory and the parameters by dotted key. A file that a library opens outside of Python is not seen.
"""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persona_collapse.model import numerics

numerics.enable()

from persona_collapse.experiment import params as parameters

HERE = Path.cwd()
files: set[str] = set()
keys: set[str] = set()
places: dict[int, str] = {}  # of each record of the parameters in use, by identity, its key
kept: list[Any] = []  # so that no identity is used twice


def opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        path = Path(arguments[0])
        if (path if path.is_absolute() else HERE / path).is_relative_to(HERE):
            files.add(str((HERE / path).relative_to(HERE)))


def sections(record: parameters.Record, key: str = "") -> Iterator[tuple[parameters.Record, str]]:
    yield record, key
    for name in type(record).model_fields:
        value = object.__getattribute__(record, name)
        inside = isinstance(value, dict)
        for at, child in {f"{name}.{inner}": v for inner, v in value.items()}.items() if inside else [(name, value)]:
            if isinstance(child, parameters.Record):
                yield from sections(child, f"{key}{at}.")


def noted(record: Any, name: str) -> Any:
    value = object.__getattribute__(record, name)
    place = places.get(id(record))
    if place is not None and name in type(record).model_fields and not isinstance(value, parameters.Record | dict):
        keys.add(f"{place}{name}")
    return value


def main() -> None:
    load = parameters.load

    def watched(*arguments: Any) -> parameters.Params:
        parameters.Record.__getattribute__ = object.__getattribute__  # type: ignore[method-assign]
        params = load(*arguments)
        if not arguments:  # the parameters in use, and not another profile's
            kept.append(params)
            for record, key in sections(params):
                places[id(record)] = key
        parameters.Record.__getattribute__ = noted  # type: ignore[method-assign]
        return params

    parameters.load = watched
    sys.addaudithook(opened)
    found = {}
    for stage in json.loads(Path(sys.argv[1]).read_text()):
        files.clear()
        keys.clear()
        door, module, *arguments = stage["cmd"].split()
        assert door == "bin/stage", stage
        sys.argv[0:] = [module, *arguments]
        runpy.run_module(f"persona_collapse.{module}", run_name="__main__")
        found[stage["name"]] = {"files": sorted(files), "params": sorted(keys)}
    Path(READ).write_text(json.dumps(found))


READ = sys.argv[2]
main()
