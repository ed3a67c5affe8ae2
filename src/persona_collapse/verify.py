"""Compare what is on disk with what `dvc.lock` records, output by output.

    python -m persona_collapse.verify                          every file that the lock names
    python -m persona_collapse.verify --recorded FILE          against another lock, one row a stage

Exit code 0 if all is identical, 1 if anything differs, 2 if there is nothing to compare with.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .files import InputError, md5, one_line_errors, open_or_complain

LOCK = Path("dvc.lock")


def read_lock(path: Path) -> dict[str, Any]:
    """The stages of a `dvc.lock`, in the order in which they were first run."""
    with open_or_complain(path) as stream:
        try:
            return yaml.safe_load(stream)["stages"]
        except (yaml.YAMLError, TypeError, KeyError):
            raise InputError(f"{path}: not a dvc.lock") from None


def differences(entries: list[Mapping[str, Any]], root: Path) -> Iterator[str]:
    """One phrase for each recorded file that is missing or has other bytes; folders are left to their files' stages."""
    for entry in entries:
        path = root / entry["path"]
        if entry["md5"].endswith(".dir"):
            continue
        if not path.exists():
            yield f"{entry['path']} is missing"
        elif (found := md5(path)) != entry["md5"]:
            yield f"{entry['path']} differs: recorded {entry['md5'][:12]}, found {found[:12]}"


def inputs(stages: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The recorded dependencies that no stage makes: data and code."""
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
    deps = {dep["path"]: dep for stage in stages.values() for dep in stage.get("deps", [])}
    return [dep for path, dep in sorted(deps.items()) if path not in made]


def report(stages: Mapping[str, Any], root: Path) -> tuple[list[tuple[str, str]], bool]:
    """A row (stage, verdict) for the inputs and for each stage, and whether all is identical."""
    rows = [("(data and code)", list(differences(inputs(stages), root)))]
    rows += [(name, list(differences(stage.get("outs", []), root))) for name, stage in stages.items()]
    return [(name, "; ".join(found) or "identical") for name, found in rows], not any(found for _, found in rows)


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, default=LOCK, help="the lock to compare with (default: %(default)s)")
    args = parser.parse_args()
    rows, identical = report(read_lock(args.recorded), Path())
    width = max(len(name) for name, _ in rows)
    for name, verdict in rows:
        print(f"{name:<{width}}  {verdict}")
    print("all identical" if identical else "NOT identical to the record")
    sys.exit(0 if identical else 1)


if __name__ == "__main__":
    main()
