"""DVC's own command line, as this bundle runs it.

    python -m persona_collapse.record.pipeline repro --single-item tables      any command of DVC's, with its options

What is different from plain `dvc`:
- `dvc.lock` is written beside its place and moved in: DVC rewrites it where it lies, for half a second after every
  stage, and a kill in that time leaves it empty.
- Of `dvc.lock` the entries are parsed that are asked for, and one that is made takes its place without the others
  being written again.
- What a killed run did leave, a damaged `dvc.lock` or another than the record, is put right before anything runs.
- A command that leaves an output as it was has failed: since outputs stay where they are until they are made anew, it
  would pass for one that has made the same.
- Stages run with this very Python; one run waits for another, and DVC for its own lock; where git is not to be asked,
  DVC does without.
- Where a stage ends with exit code 2 it has said why in one line, and so does this, without DVC's second line.
- SIGTERM and SIGHUP end the stage too, and say what is left behind.
"""

import ctypes
import fcntl
import functools
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with DVC

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_text, whole, write_text
from . import committed, entries, lock
from .committed import KEPT
from .lock import LOCK

MODULE = "persona_collapse.record.pipeline"
TEMPORARY = Path(".dvc/tmp")
BUSY = TEMPORARY / "pipeline.lock"
READERS = TEMPORARY / "rwlock"  # DVC's list of who reads and writes what
HELD = "PERSONA_COLLAPSE_PIPELINE"  # set in processes whose parent keeps others from running beside
CHANGING = {"repro", "pull", "fetch", "push", "checkout", "commit", "gc"}  # commands that wait for each other
LEFT = "what was made stays: `make verify` compares it, `dvc checkout --force` and `git checkout` bring back what was"


INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT)  # what Ctrl-C leaves of a stage
KEYBOARD = 252  # what DVC makes of it


class Stopped(BaseException):
    """SIGTERM or SIGHUP came."""


# ---- one at a time, and stopped as a whole ----


@contextmanager
def alone(wait: bool = True) -> Iterator[None]:
    """Wait until no other run of the pipeline is under way here, and keep others waiting, but what this one runs.

    Raises:
        InputError: another is under way, and this one is not to wait.
    """
    if HELD in os.environ:
        yield
        return
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    with BUSY.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise InputError("another run of the pipeline is under way here; one at a time") from None
            print("waiting for another run of the pipeline here to end", file=sys.stderr)
            fcntl.flock(stream, fcntl.LOCK_EX)
        os.environ[HELD] = str(os.getpid())
        try:
            yield
        finally:
            del os.environ[HELD]


def _started_by_another() -> bool:
    return os.environ.get(HELD, str(os.getpid())) != str(os.getpid())


@contextmanager
def stoppable() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `Stopped`, so that what is under way is put in order first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_children() -> None:
    """End all processes that this one has started, and theirs."""
    _end(psutil.Process().children(recursive=True))


def end_with_children(process: int) -> None:
    """End a process, by its number, and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process)
        _end([*first.children(recursive=True), first])


def _end(processes: list[psutil.Process]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut this short
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=5)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    signal.signal(signal.SIGTERM, before)


def run(*arguments: str, quiet: bool = False, module: str = MODULE) -> int:
    """Run a command of DVC's, or another module, in a process that ends when this one does; its exit code."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None) as process:
        try:
            return process.wait()
        except BaseException:
            end_children()
            raise


# ---- what a killed run leaves ----


def keep_aside(path: Path) -> Path:
    """Copy a lock that is to be replaced to a name made of its content, and say where."""
    data = path.read_bytes()
    copy = KEPT.with_name(f"{hashlib.md5(data).hexdigest()[:12]}.lock")
    with whole(copy) as beside:
        beside.write_bytes(data)
    return copy


def put_right() -> None:
    """Bring back what a run that was killed has left of DVC's own files."""
    if KEPT.exists() and not _started_by_another():
        text = read_text(KEPT)
        if not LOCK.exists() or LOCK.read_bytes() != text.encode():
            print(f"note: a `make reproduce` was killed; {LOCK} is the record again", file=sys.stderr)
            write_text(LOCK, text)
        KEPT.unlink()
    try:
        LOCK.exists() and lock.read()
    except InputError as error:
        try:
            text = committed.content(LOCK).decode()
        except committed.NotAsked:
            raise error from None
        kept = f", kept as {keep_aside(LOCK)}" if LOCK.is_file() and LOCK.stat().st_size else ""
        print(f"note: {' '.join(str(error).split())}{kept}; the committed one is restored", file=sys.stderr)
        write_text(LOCK, text)
    try:
        READERS.exists() and json.loads(READERS.read_bytes())
    except ValueError:
        READERS.unlink()


# ---- DVC, with these changes ----


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


def _one_entry() -> None:
    """Have DVC read and write the entries of the stages that it is about, and not all of its lock."""
    from dvc.dvcfile import Lockfile
    from dvc.stage import serialize

    plain, plain_load = Lockfile.dump_stages, Lockfile.load

    def of_ours(file: Any) -> dict[str, str] | None:
        ours = Path(file.path).absolute() == LOCK.absolute() and LOCK.exists()
        return entries.texts(read_text(LOCK)) if ours else None

    def load(self: Any, **options: Any) -> Any:
        if found := of_ours(self):
            return {"schema": "2.0", "stages": entries.Parsed(found)}
        return plain_load(self, **options)

    def dump_stages(self: Any, stages: Sequence[Any], **options: Any) -> None:
        if of_ours(self) is None:
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


def dvc(*arguments: str) -> int:
    """Run a command of DVC's in this process; its exit code, or 2 if a stage found something wrong with its input."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    committed.name_the_user()
    from dvc import cli
    from dvc.repo import Repo

    _written_whole()
    _one_entry()
    _outputs_made()
    said = _in_one_line()
    if committed.problem():
        Repo.__init__ = functools.partialmethod(Repo.__init__, config={"core": {"no_scm": True}})
    code = cli.main(["--wait-for-lock", *arguments])
    if code == KEYBOARD or set(said) & set(INTERRUPTED):
        raise KeyboardInterrupt
    return 2 if said else code


def end_with_parent() -> None:
    """Have this process be ended when the one that started it is, even if that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command of DVC's; by default the one that this process was called with."""
    if _started_by_another():
        end_with_parent()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with stoppable():
            if not CHANGING & set(arguments):  # what only looks need not wait
                sys.exit(dvc(*arguments))
            with alone():
                put_right()
                sys.exit(dvc(*arguments))
    except (KeyboardInterrupt, Stopped) as stopped:
        end_children()
        if not _started_by_another():
            print(f"stopped; {LEFT}", file=sys.stderr)
        sys.exit(128 + (stopped.args[0] if stopped.args else signal.SIGINT))


if __name__ == "__main__":
    main()
