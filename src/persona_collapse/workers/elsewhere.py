"""Run one stage in a clone that is not the coordinator's, and exchange files through a DVC remote.

It is given what DVC recorded of the stages before, where they ran; this clone's `dvc.lock` takes it over, and DVC
fetches the files. What is kept in no remote, the base model, the clone makes itself. A file that does not have its
hash is removed from the remote, and the stage that made it is named for the coordinator to run again. A remote that
cannot be reached is asked again for `PATIENCE` seconds. What DVC records of the stage goes to .dvc/tmp/workers/, for
the worker to send.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5, write_text
from ..record import entries, lock, pipeline, repository
from .task import LOGS

PATIENCE = 600.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0


def run(stage: str, given: Mapping[str, Any], remote: str, force: bool) -> dict[str, Any]:
    """What DVC records of the stage, or `{"damaged": stage}` if what that one made is no good.

    Raises:
        InputError: the remote cannot be reached, or the stage fails.
    """
    with repository.opened(_wait_for_lock=True).lock:  # other stages of this clone write it too
        entries.take(given)
    before = lock.parse(json.dumps({"schema": "2.0", "stages": dict(given)}), "what ran before") if given else {}
    repo = repository.checked()
    declared = repository.declared(repo)
    reads = declared[stage].deps
    for name, other in before.items():
        kept = [out for out in other.outs if declared[name].outs[out.path].cached]
        if len(kept) < len(other.outs) and any(_feeds(out.path, reads) for out in other.outs):
            _make(name, other)
    wanted = {out.path: name for name, other in before.items() for out in other.outs if _feeds(out.path, reads)}
    if damaged := fetch(wanted, before, remote):
        return {"damaged": damaged}
    if code := pipeline.dvc("repro", "--single-item", *(["--force"] if force else []), stage):
        sys.exit(code)
    patiently(lambda: repository.checked().push(targets=[stage], remote=remote), remote)
    return {stage: entries.read()[stage]}


def _feeds(path: str, reads: frozenset[str]) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in reads)


def _make(name: str, recorded: lock.Stage) -> None:
    """Run a stage whose files no remote keeps, if they are not here."""
    if all(Path(out.path).exists() and md5(out.path) == out.md5 for out in recorded.outs):
        return
    if code := pipeline.run("repro", "--single-item", "--force", name):
        sys.exit(code)
    for out in recorded.outs:
        if (found := md5(out.path)) != out.md5:
            raise InputError(f"{out.path}: MD5 here is {found}, where the run is led from it is {out.md5}")


def fetch(wanted: Mapping[str, str], before: Mapping[str, lock.Stage], remote: str) -> str:
    """Bring files here, given each with the stage that made it; the maker of one whose bytes are not its hash's."""
    recorded = {out.path: out.md5 for name in set(wanted.values()) for out in before[name].outs}
    missing = [path for path in wanted if not (Path(path).exists() and md5(path) == recorded[path])]
    repo = repository.checked()
    outs = {str(out): out for stage in repo.index.stages for out in stage.outs}
    missing = [path for path in missing if outs[path].use_cache]
    if not missing:
        return ""
    cached = {path: Path(repo.cache.local.oid_to_path(recorded[path])) for path in missing}

    def ask() -> None:
        repo.fetch(targets=missing, remote=remote)
        where = repo.cloud.get_remote_odb(name=remote)
        if not all(file.exists() for file in cached.values()) and not where.fs.exists(where.path):
            raise ConnectionError(f"there is no {where.path}")  # DVC takes a folder that is gone for an empty one

    patiently(ask, remote)
    for path, file in cached.items():
        if not file.exists() or md5(file) != recorded[path]:
            file.unlink(missing_ok=True)
            where = repo.cloud.get_remote_odb(name=remote)
            if where.exists(recorded[path]):
                where.delete(recorded[path])  # or the good bytes would not be sent
            return wanted[path]
    with repo.lock:
        for path in missing:
            outs[path].checkout(force=True)
    return ""


def patiently(act: Callable[[], Any], remote: str) -> Any:
    """Do something with a remote, again and again if it cannot be reached; an `InputError` if it never can."""
    start, wait = time.monotonic(), FIRST_WAIT
    while True:
        try:
            return act()
        except Exception as error:  # what a remote raises depends on its kind
            if time.monotonic() - start + wait > PATIENCE:
                raise InputError(f"remote {remote}: {' '.join(str(error).split())}") from None
            print(f"remote {remote}: {' '.join(str(error).split())}; asked again in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


@one_line_errors
def main(stage: str, force: bool, given: Mapping[str, Any], remote: str) -> None:
    """The whole of it, in a process of its own; what comes of it goes to a file."""
    pipeline.end_with_parent()
    with pipeline.stoppable():
        try:
            made = run(stage, given, remote, force)
        except pipeline.Stopped as stopped:
            pipeline.end_children()
            sys.exit(128 + stopped.args[0])
    write_text(LOGS / f"{stage}.json", json.dumps(made))  # in the order in which DVC wrote it
