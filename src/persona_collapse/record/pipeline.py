"""DVC's own command line, as this bundle runs it.

    .venv/bin/dvc repro --single-item tables      any command of DVC's, with its options

What is different from plain `dvc`, beside what `patches` lists:
- What a killed run did leave, a damaged `dvc.lock` or another than the record, is put right before anything runs.
- Stages run with this very Python; one run waits for another, and DVC for its own lock; where git is not to be asked,
  DVC does without.
- SIGTERM and SIGHUP end the stage too, and say what is left behind.
"""

import ctypes
import fcntl
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]  # comes with DVC

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_text, whole, write_text
from . import committed, lock, patches
from .committed import KEPT
from .lock import LOCK
from .patches import INTERRUPTED, READERS

MODULE = "persona_collapse.record.pipeline"
TEMPORARY = Path(".dvc/tmp")
BUSY = TEMPORARY / "pipeline.lock"
HELD = "PERSONA_COLLAPSE_PIPELINE"  # set in processes whose parent keeps others from running beside
CHANGING = {"repro", "pull", "fetch", "push", "checkout", "commit", "gc", "run", "apply"}  # they wait for each other
LEFT = "what was made stays: `make verify` compares it, `dvc checkout --force` and `git checkout` bring back what was"


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


# ---- DVC's command line ----


def dvc(*arguments: str) -> int:
    """Run a command of DVC's in this process; its exit code, or 2 if a stage found something wrong with its input."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    committed.name_the_user()
    from dvc import cli
    from dvc.repo import Repo

    said = patches.apply()
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
