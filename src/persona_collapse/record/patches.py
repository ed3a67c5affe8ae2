"""What the pipeline changes in DVC, which is a library here as well as a command.

- `dvc.lock` is written beside its place and moved in: DVC rewrites it where it lies, for half a second after every
  stage, and a kill in that time leaves it empty.
- Of `dvc.lock` the entries are parsed that are asked for, and one that is made takes its place without the others
  being written again; `params.yaml` is parsed once, and not for each stage.
- A command that leaves an output as it was has failed: since outputs stay where they are until they are made anew, it
  would pass for one that has made the same.
- A stage of which an input is missing does not run, and one line says which it is and how it comes back.
- Weights that a stage merged for an engine that reads them from files go when it ends: of all chains at once they would
  fill a disk. No two stages of one run have the same at a time.
- Where a stage ends with exit code 2 it has said why in one line, and DVC's second line is left out.
"""

import copy
import functools
import logging
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..experiment import params as parameters
from ..experiment.files import read_text, whole
from . import committed, entries
from .lock import LOCK

MERGING = ("coupling", "evaluate")  # stages whose engine may read weights from files
MERGES = re.compile(rf"bin/stage sampling\.(?:{'|'.join(MERGING)}) --seed (\d+) --(?:chain|parent) (\S+)$")
READERS = Path(".dvc/tmp/rwlock")  # DVC's list of who reads and writes what
INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT)  # what Ctrl-C leaves of a stage


def apply() -> list[int]:
    """Make all the changes; the exit codes, as they come, of the stages that have said themselves why they ended."""
    _written_whole()
    reading()
    _outputs_made()
    said = _in_one_line()
    _inputs_there(said)
    _merged_removed()
    return said


def _written_whole() -> None:
    """Have DVC write its own two files beside their places."""
    from dvc.fs import LocalFileSystem

    plain = LocalFileSystem.open

    @contextmanager
    def beside(path: str, mode: str, **options: Any) -> Iterator[Any]:
        with whole(path) as unfinished, unfinished.open(mode, **options) as stream:
            yield stream

    def open_whole(self: Any, path: str, mode: str = "r", **options: Any) -> Any:
        if "w" in mode and Path(path).name in (LOCK.name, READERS.name):
            return beside(path, mode, **options)
        return plain(self, path, mode, **options)

    LocalFileSystem.open = open_whole


@functools.cache  # once a process
def reading() -> None:
    """Have DVC parse what it is asked for, and once: of hundreds of stages each would parse params.yaml anew."""
    _one_entry()
    _one_parse()


def _one_parse() -> None:
    from dvc.utils.serialize import _yaml

    parsed = functools.lru_cache(maxsize=8)(_yaml.parse_yaml)

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        return copy.deepcopy(parsed(text, path, typ))  # what one takes out of it and changes, another may want

    _yaml.parse_yaml = parse_yaml


def _one_entry() -> None:
    """Have DVC read and write the entries of the stages that it is about, and not all of its lock."""
    from dvc.dvcfile import Lockfile
    from dvc.stage import serialize

    plain, plain_load = Lockfile.dump_stages, Lockfile.load

    def load(self: Any, **options: Any) -> Any:
        if Path(self.path).exists() and (found := entries.texts(read_text(self.path))):
            return {"schema": "2.0", "stages": entries.Parsed(found)}
        return plain_load(self, **options)

    def dump_stages(self: Any, stages: Sequence[Any], **options: Any) -> None:
        ours = Path(self.path).absolute() == LOCK.absolute() and LOCK.exists()
        if not ours or entries.texts(read_text(LOCK)) is None:
            plain(self, stages, **options)
            return
        made = {name: entry for stage in stages for name, entry in serialize.to_lockfile(stage, **options).items()}
        if entries.take(made):
            self.repo.scm_context.track_file(self.relpath)

    Lockfile.dump_stages, Lockfile.load = dump_stages, load


def _outputs_made() -> None:
    """Have DVC refuse a command that does not write every output of its stage."""
    from dvc.exceptions import DvcException
    from dvc.stage import run

    plain = run.cmd_run

    def stamp(path: str) -> tuple[int, int] | None:
        with suppress(OSError):
            about = Path(path).stat()
            return about.st_ino, about.st_mtime_ns
        return None

    def cmd_run(stage: Any, dry: bool = False, **options: Any) -> None:
        before = {out.def_path: stamp(out.fs_path) for out in stage.outs}
        plain(stage, dry=dry, **options)
        left = [out.def_path for out in stage.outs if not dry and stamp(out.fs_path) == before[out.def_path]]
        if left:
            raise DvcException(f"the command ended well and has not written {', '.join(left)}")

    run.cmd_run = cmd_run


def _way_back(stage: Any, path: str) -> str:
    """What brings back an input of a stage that is not where it should be."""
    outs = [out.def_path for other in stage.repo.index.stages for out in other.outs]
    if any(out == path or out.startswith(f"{path}/") for out in outs):
        return "`dvc pull` fetches it where it is recorded, `make reproduce` makes it"
    with suppress(committed.NotAsked):
        committed.content(path)
        return f"`git checkout -- {path}` brings it back"
    return "it belongs to what you have changed"


def _inputs_there(said: list[int]) -> None:
    """Have DVC name an input that is missing, where it would fail somewhere on the way; `said` takes the exit code."""
    from dvc.exceptions import DvcException
    from dvc.stage import Stage

    plain = Stage.run

    def run(stage: Any, dry: bool = False, allow_missing: bool = False, **options: Any) -> None:
        missing = [dep.def_path for dep in stage.deps if not (dry or allow_missing or dep.exists)]
        if missing:
            error = DvcException(f"{missing[0]} is missing")
            error.said = True
            said.append(2)
            back = _way_back(stage, missing[0])
            print(f"error: {missing[0]}: no such file, and {stage.addressing} reads it; {back}", file=sys.stderr)
            raise error
        plain(stage, dry=dry, allow_missing=allow_missing, **options)

    Stage.run = run


def _merged_removed() -> None:
    """Have what a stage merged be removed when it ends, however that is."""
    from dvc.stage import Stage

    plain = Stage.run

    def run(stage: Any, **options: Any) -> None:
        try:
            plain(stage, **options)
        finally:
            if not options.get("dry") and (found := MERGES.match(str(stage.cmd))):
                shutil.rmtree(parameters.load().layout.merged(int(found[1]), found[2]), ignore_errors=True)

    Stage.run = run


def _in_one_line() -> list[int]:
    """Have DVC leave out its echo of what a stage has said itself; the exit codes of such stages, as they come."""
    from dvc.stage.exceptions import StageCmdFailedError

    codes: list[int] = []
    plain = StageCmdFailedError.__init__

    def noting(self: Any, cmd: str, status: int | None = None) -> None:
        self.said = status == 2 or status in INTERRUPTED
        codes.extend([status] if status is not None and self.said else [])
        plain(self, cmd, status)

    def news(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not getattr(getattr(error, "__cause__", None), "said", isinstance(error, KeyboardInterrupt))

    StageCmdFailedError.__init__ = noting
    for handler in logging.getLogger("dvc").handlers:
        handler.addFilter(news)
    return codes
