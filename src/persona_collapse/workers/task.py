"""One stage on one worker: DVC runs and records it, in the folder that the worker works in.

In the folder of the coordinator that is all. A worker with a clone of its own is told what the stages before have
made, as DVC recorded it, fetches what the stage reads from the remote, and puts there what it makes (`elsewhere`).
"""

import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from ..experiment.errors import FULL
from ..record import pipeline

LOGS = pipeline.TEMPORARY / "workers"  # what each stage has printed
BUSY = "is busy, it is being blocked by"  # DVC's word of a file that a stage that was killed still holds
NO_ROOM = tuple(os.strerror(number) for number in FULL[:2])
NO_MEMORY = ("error: too little memory: ", "OutOfMemoryError")  # our own line for what PyTorch raises, and vLLM's
RUNNING: set[BaseProcess] = set()

# A server that has DVC's code in memory and forks: a stage starts in a fraction of the time that importing it takes.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["dvc.cli", "dvc.commands.repro", "dvc.repo.reproduce", "distributed.cli.dask_worker", f"{__package__}.elsewhere"]
)


class Outcome(NamedTuple):
    """How a stage ended."""

    kind: str  # done, failed, again, full (the worker's disk), crowded (its memory), or damaged (what `stage` made)
    seconds: float
    said: str = ""  # its own last line
    stage: str = ""
    entry: dict[str, Any] | None = None  # what DVC recorded, where the worker has a clone of its own


class Elsewhere(NamedTuple):
    """What a worker with its own clone has to know."""

    entries: Mapping[str, Any]  # of `dvc.lock`, for the stages before
    remote: str


def run(stage: str, force: bool, elsewhere: Elsewhere | None = None) -> Outcome:
    """Run a stage here; how it ended."""
    start = time.monotonic()
    LOGS.mkdir(parents=True, exist_ok=True)
    log, answer = LOGS / f"{stage}.log", LOGS / f"{stage}.json"
    answer.unlink(missing_ok=True)
    process = SERVER.Process(target=_stage, args=(stage, force, elsewhere, log))
    process.start()
    RUNNING.add(process)
    try:
        process.join()
    finally:
        RUNNING.discard(process)
    took = time.monotonic() - start
    text = log.read_text(errors="replace") if log.exists() else ""
    said = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if process.exitcode == 0:
        answered = json.loads(answer.read_text()) if elsewhere else {}
        if "damaged" in answered:
            return Outcome("damaged", took, said, stage=answered["damaged"])
        return Outcome("done", took, entry=answered or None)
    if full := [line for line in text.splitlines() if any(sign in line for sign in NO_ROOM)]:
        return Outcome("full", took, full[0])
    if dry := [line for line in text.splitlines() if any(sign in line for sign in NO_MEMORY)]:
        return Outcome("crowded", took, dry[0])
    return Outcome("again" if BUSY in text else "failed", took, said or f"exit code {process.exitcode}")


def _stage(stage: str, force: bool, elsewhere: Elsewhere | None, log: Path) -> None:
    """In a process of its own, whose output goes to `log`."""
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.setdefault(pipeline.HELD, "a coordinator")
    options = ["--force"] if force else []
    if elsewhere is None:
        pipeline.main(["repro", "--single-item", *options, stage])
    else:
        from . import elsewhere as other  # which imports this module

        other.main(stage, force, elsewhere.entries, elsewhere.remote)


def end() -> None:
    """End the stages that run on this worker."""
    for process in list(RUNNING):
        process.terminate()
    for process in list(RUNNING):
        process.join()
