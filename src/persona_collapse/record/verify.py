"""Compare what is on disk with the record, stage by stage and file by file, running nothing.

    python -m persona_collapse.record.verify                   with dvc.lock as committed; without git, as it lies here
    python -m persona_collapse.record.verify --recorded FILE   with another lock

Exit code 0 if all is identical, 1 if anything differs, 2 if there is nothing to compare with. Where a stage's outputs
differ, it says where that began, what is different about this machine, and whether the results agree all the same.
What is compared, and what could not be, is said in the last lines but one.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_bytes, read_yaml, to_json
from ..experiment.layout import PARAMS, Layout
from . import committed, disk, environment, graph, lock, repository
from .committed import Record
from .disk import REMOTE, Disk
from .lock import LOCK, Entry, Stage, Stages
from .repository import Declared

# what decides neither a result nor a verdict; everything else that is committed is compared with the commit
BESIDE = (
    *("docs/", "tests/", "benchmarks/", ".ci/", "run_info/", ".gitignore"),
    *("README.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff"),
    str(LOCK),  # compared stage by stage
)
CODE = ("src", "bin")  # folders that may hold nothing but what is committed: Python looks for modules there

Rows = dict[str, list[str]]  # by stage or other subject: what is wrong


class Comparison(NamedTuple):
    rows: Rows
    outputs: Rows  # of stages: what is wrong with their outputs alone
    covers: list[str]  # lines on what was compared, and what was not
    absent: Mapping[str, list[str]]  # by stage, recorded files that a clone cannot have


def compare(record: Record, repo: Any, params: parameters.Params) -> Comparison:
    """Compare a profile's record with `dvc.yaml`, `params.yaml` and what is on disk.

    Args:
        repo: as of `repository.checked`.
    """
    layout, declared = params.layout, repository.declared(repo)
    stages = concerned(record.stages, declared, params.profile)
    absent = not_here(stages, declared, params)
    made = {out.path: out.md5 for stage in stages.values() for out in stage.outs}
    on_disk = Disk(repo, {path for paths in absent.values() for path in paths}, made)
    values = {file: read_yaml(file) for file in {file for stage in stages.values() for file in stage.params}}
    outputs = {name: wrong_files(stage.outs, on_disk) for name, stage in stages.items()}
    rows: Rows = {"(data and code)": given(stages, made, on_disk)}
    known = {*made, *(path for stage in declared.values() for path in stage.outs)}
    rows["(other files)"] = [
        f"{path} is there, and no stage makes it" for path in disk.undeclared(places(layout), known)
    ]
    covers = [f"covers {len(stages)} stages of {params.profile} by {record.source}:"]
    covers.append("  commands, parameters, every file that they read or make, and what else lies beside their outputs")
    if REMOTE.is_dir():
        rows["(remote)"] = disk.wrong_names()
    try:
        rows["(commit)"] = since_commit(stages)
        covers.append("  every other file but documents and tests, by the commit; objects of the remote by their names")
    except committed.NotAsked as error:
        covers.append(
            f"  not compared: requirements, Makefile, Dockerfile, image/, proof/ and dvc.yaml itself ({error})"
        )
    for name in [*stages, *(name for name in declared if name not in stages)]:
        rows[name] = [*structure(stages.get(name), declared.get(name)), *outputs.get(name, [])]
        if name in stages:
            rows[name] += [*different_parameters(stages[name], values), *reads(stages[name], made, on_disk)]
    if record.committed and read_bytes(LOCK) != record.text.encode():
        now = concerned(lock.read(), declared, params.profile)
        for name in {**stages, **now}:
            if stages.get(name) != now.get(name):
                rows.setdefault(name, []).append(f"{LOCK} here has another record of it than the commit")
    return Comparison(rows, {name: wrong for name, wrong in outputs.items() if wrong}, covers, absent)


def concerned(stages: Stages, declared: Mapping[str, Declared], profile: str) -> Stages:
    """The stages of a lock that a profile has or had: the lock keeps those of every profile that was ever run."""
    own = lock.of_profile(stages, profile)
    return {name: stage for name, stage in stages.items() if name in declared or name in own}


# ---- files ----


def wrong_files(entries: tuple[Entry, ...], on_disk: Disk) -> list[str]:
    """One phrase for each recorded file or folder that is not as recorded."""
    return [f"{entry.path} {state}" for entry in entries if (state := on_disk.state(entry))]


def given(stages: Mapping[str, Stage], made: Mapping[str, str], on_disk: Disk) -> list[str]:
    """What is wrong with what no stage makes: data and code."""
    entries = {(dep.path, dep.md5): dep for stage in stages.values() for dep in stage.deps if not _made(dep.path, made)}
    return wrong_files(tuple(entries[key] for key in sorted(entries)), on_disk)


def reads(stage: Stage, made: Mapping[str, str], on_disk: Disk) -> list[str]:
    """What is wrong with what a stage reads; briefly where another row has said it of the same record."""
    phrases, elsewhere = [], []
    for dep in stage.deps:
        state = on_disk.state(dep)
        if not state:
            continue
        if made.get(dep.path) == dep.md5 or not _made(dep.path, made):
            elsewhere.append(dep.path)
        elif dep.path in made:
            phrases.append(f"read another {dep.path} than the record has: {dep.md5[:12]}, not {made[dep.path][:12]}")
        else:
            phrases.append(f"reads {dep.path}, which {state}")
    return phrases + ([f"reads what is not as recorded: {', '.join(elsewhere)}"] if elsewhere else [])


def _made(path: str, made: Mapping[str, str]) -> bool:
    return any(out == path or out.startswith(f"{path}/") for out in made)


def not_here(
    stages: Mapping[str, Stage], declared: Mapping[str, Declared], params: parameters.Params
) -> dict[str, list[str]]:
    """By stage, its files that are kept nowhere, if none of their kind and seed is here: a clone is complete without.

    There are two kinds: the base model, and the adapters of a profile that records them by their hash alone, of which
    a run of some seeds makes no others.
    """

    def of_base(path: str, out: repository.Output) -> bool:
        return Path(path).parent == params.layout.model and not out.cached

    def of_adapter(path: str, out: repository.Output) -> bool:
        return disk.by_hash_alone(path, params)

    absent: dict[str, list[str]] = {}
    for kind in (of_base, of_adapter):
        found = {
            name: [path for path, out in declared[name].outs.items() if kind(path, out)]
            for name in stages
            if name in declared
        }
        for seed in {graph.seed_of(name) for name in found}:
            own = {name: paths for name, paths in found.items() if paths and graph.seed_of(name) == seed}
            if not any(Path(path).exists() for paths in own.values() for path in paths):
                absent |= own
    return absent


def places(layout: Layout) -> list[Path]:
    """The folders in which everything is some stage's output: what else lies there may be read unasked."""
    return [
        layout.model,
        layout.prepared("any").parent,
        layout.coupling(0, "any").parent.parent,
        layout.adapter(0, "any").parent.parent,
        layout.results,
        layout.tables,
        layout.figures,
        Path("paper") / layout.profile,
    ]


def since_commit(stages: Mapping[str, Stage]) -> list[str]:
    """What differs from the commit, of files that no stage reads or makes; `NotAsked` without git.

    `params.yaml` may be any of the committed profiles, which `make profile` makes it.
    """
    listed = committed.files()
    profiles = {recorded for path, recorded in listed.items() if path.startswith("profiles/")}
    entries = {entry.path for stage in stages.values() for entry in stage.entries}
    found = []
    for path, recorded in listed.items():
        covered = path.startswith(BESIDE) or any(path == entry or path.startswith(f"{entry}/") for entry in entries)
        if covered or (path.startswith(f"{REMOTE}/") and Path(path).is_file()):  # objects are in another row
            continue
        if Path(path).is_symlink():  # git's content of a link is where it points
            wrong, content = "", os.fsencode(Path(path).readlink())
        else:
            wrong = disk.trouble(Path(path))
            content = b"" if wrong else read_bytes(path)
        if wrong:
            found.append(f"{path} {wrong}")
        elif (now := committed.blob(content, recorded)) != recorded and not (path == str(PARAMS) and now in profiles):
            found.append(f"{path} is not as committed")
    more = (path for path in disk.undeclared(map(Path, CODE), listed) if not disk.left_by_python(path))
    return found + [f"{path} is not committed" for path in more]


# ---- what is declared ----


def structure(recorded: Stage | None, declared: Declared | None) -> list[str]:
    """How a stage of `dvc.yaml` differs from the one that was recorded."""
    if recorded is None:
        return ["is not recorded"]
    if declared is None:
        return ["is recorded, but dvc.yaml has no such stage"]
    found = [f"is {oddity}" for oddity in declared.oddities]
    if recorded.cmd != declared.cmd:
        found.append(f"runs `{declared.cmd}`, recorded was `{recorded.cmd}`")
    keys = {(file, key) for file, values in recorded.params.items() for key in values}
    whole = {file for file, key in declared.params if not key}
    for what, before, now in (
        ("dependency", {dep.path for dep in recorded.deps}, set(declared.deps)),
        ("parameter", {key for file, key in keys if file not in whole}, {key for _, key in declared.params if key}),
        ("output", {out.path for out in recorded.outs}, set(declared.outs)),
    ):
        found += [f"{what} {one} was recorded and is no longer declared" for one in sorted(before - now)]
        found += [f"{what} {one} is declared and was not recorded" for one in sorted(now - before)]
    return found


def different_parameters(stage: Stage, files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One phrase for each of a stage's parameters that has another value in `files` than the stage was run with."""
    for file, recorded in stage.params.items():
        for key, value in recorded.items():
            now: Any = files[file]
            for step in key.split("."):
                now = now.get(step) if isinstance(now, Mapping) else None
            if to_json(now) != to_json(value):  # 1, 1.0 and true are three values
                yield f"{file}: {key} differs: recorded {value}, found {now}"


# ---- the command ----


def page(found: Comparison) -> list[str]:
    """What the command prints: a row for each subject and stage, what was compared, and the verdict."""
    width = max(map(len, found.rows))
    absent = {name: f"not here: {', '.join(paths)}" for name, paths in found.absent.items()}
    lines = [
        f"{name:<{width}}  {'; '.join(wrong) or absent.get(name, 'identical')}" for name, wrong in found.rows.items()
    ]
    lines += found.covers
    if any(found.rows.values()):
        return [*lines, "NOT identical to the record"]
    if absent:
        base = [name for name in absent if name.startswith("base@")]
        said = [f"the base model is not (`dvc repro {' '.join(base)}` makes it)"] if base else []
        said += (
            [f"{len(absent) - len(base)} adapters are recorded by their hash alone"] if len(absent) > len(base) else []
        )
        return [*lines, f"all identical that is here; {', and '.join(said)}"]
    return [*lines, "all identical"]


def verify(params: parameters.Params, record: Record) -> int:
    """Print the comparison; the exit code."""
    repo = repository.checked()
    found = compare(record, repo, params)
    print("\n".join(page(found)), flush=True)
    if found.outputs:
        from . import diagnosis  # and with it SciPy, which takes a second

        cache = Path(repo.cache.local.path)
        where = environment.recorded(params.layout)
        print("\n" + "\n".join(diagnosis.explain(record.stages, found.outputs, where, cache)), flush=True)
    return 1 if any(found.rows.values()) else 0


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, help="the lock to compare with (default: dvc.lock as committed)")
    path = parser.parse_args().recorded
    params = parameters.load()
    environment.require_own_code()
    record = (
        committed.record(params.profile) if path is None else Record("", lock.read(path), str(path), committed=False)
    )
    if record is None or not lock.of_profile(record.stages, params.profile):
        raise InputError(f"{path or LOCK}: no stage of {params.profile} is recorded; `make reproduce` records it")
    sys.exit(verify(params, record))


if __name__ == "__main__":
    main()
