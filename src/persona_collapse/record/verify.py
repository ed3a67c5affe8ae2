"""Compare what is on disk with what `dvc.lock` records, file by file, running nothing.

    python -m persona_collapse.record.verify                   every file, parameter and stage that the lock names
    python -m persona_collapse.record.verify --recorded FILE   the same against another lock

Exit code 0 if all is identical, 1 if anything differs, 2 if there is nothing to compare with. Where a stage's outputs
differ, it says where that began, what is different about this machine, and whether the results agree all the same.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5, read_yaml
from ..experiment.layout import SOURCES
from ..inputs import datasets
from . import diagnosis, environment

LOCK = Path("dvc.lock")


def read_lock(path: Path) -> dict[str, Any]:
    """The stages of a `dvc.lock`, in the order in which they were first run."""
    try:
        stages = read_yaml(path)["stages"]
        assert stages and all(
            isinstance(entry["path"], str) and isinstance(entry["md5"], str)
            for stage in stages.values()
            for entry in [*stage.get("deps", []), *stage.get("outs", [])]
        )
    except (TypeError, KeyError, AttributeError, AssertionError):
        raise InputError(f"{path}: not a dvc.lock with recorded stages") from None
    return stages


def different_files(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One phrase for each recorded file that is missing or has other bytes; folders are left to their files' stages."""
    for entry in entries:
        path = Path(entry["path"])
        if entry["md5"].endswith(".dir"):
            continue
        if not path.exists():
            yield f"{path} is missing"
        elif (found := md5(path)) != entry["md5"]:
            yield f"{path} differs: recorded {entry['md5'][:12]}, found {found[:12]}"


def inputs(stages: Mapping[str, Any], sources: Path = SOURCES) -> list[Mapping[str, Any]]:
    """What no stage makes: the recorded data and code, and every registered data set, used by a stage or not."""
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    found = {dep["path"]: dep for stage in stages.values() for dep in stage.get("deps", []) if dep["path"] not in made}
    if sources.exists():
        for name, (path, expected) in datasets.registered(sources).items():
            if not name.startswith(datasets.DOWNLOADED):
                found.setdefault(str(path), {"path": str(path), "md5": expected})
    return [entry for _, entry in sorted(found.items())]


def different_parameters(stages: Mapping[str, Any]) -> Iterator[str]:
    """One phrase for each recorded parameter that has another value now."""
    recorded = {
        (file, key): value
        for stage in stages.values()
        for file, values in stage.get("params", {}).items()
        for key, value in values.items()
    }
    for (file, key), value in recorded.items():
        now: Any = read_yaml(file)
        for step in key.split("."):
            now = now.get(step) if isinstance(now, dict) else None
        if now != value:
            yield f"{file}: {key} differs: recorded {value}, found {now}"


def report(stages: Mapping[str, Any], expected: Iterable[str]) -> list[tuple[str, list[str]]]:
    """A row (what, differences) for inputs, for parameters, and for each stage, recorded or only expected."""
    rows = [("(data and code)", list(different_files(inputs(stages))))]
    rows.append(("(parameters)", list(different_parameters(stages))))
    rows += [(name, list(different_files(stage.get("outs", [])))) for name, stage in stages.items()]
    rows += [(name, ["is not recorded"]) for name in expected if name not in stages]
    return rows


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, default=LOCK, help="the lock to compare with (default: %(default)s)")
    args = parser.parse_args()
    layout = parameters.load().layout
    recorded = read_lock(args.recorded)
    expected = [stage.name for stage in Repo().index.stages]
    # the lock keeps the stages of every profile that has been run; these are the active one's
    stages = {name: stage for name, stage in recorded.items() if name in expected}
    rows = report(stages, expected)
    width = max(len(name) for name, _ in rows)
    for name, differences in rows:
        print(f"{name:<{width}}  {'; '.join(differences) or 'identical'}")
    identical = not any(differences for _, differences in rows)
    print("all identical" if identical else "NOT identical to the record")
    if different := {name: phrases for name, phrases in rows if phrases and name in stages}:
        print("\n" + "\n".join(diagnosis.explain(stages, different, environment.recorded(layout))))
    sys.exit(0 if identical else 1)


if __name__ == "__main__":
    main()
