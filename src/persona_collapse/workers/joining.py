"""A worker and the coordinator meet: who it is, whether it may take stages, and how files get there and back."""

import functools
import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from distributed import Client

from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.files import md5
from ..inputs import machine
from ..planning.preflight import available_memory
from ..record import committed, disk, repository
from .dispatch import Worker
from .elsewhere import patiently

MEMORY = "PERSONA_COLLAPSE_WORKER_MEMORY"  # bytes that a worker may use, of its GPU if it has one; else all there are
DECIDING = ("src", "data", "dvc.yaml", "params.yaml")  # what makes results, besides packages
HOME = "home"  # the name of a worker that is for what must run in the coordinator's folder


@functools.cache
def identity(remote: str = "") -> dict[str, Any]:
    """Of the process that this is called in: the folder that it works in, the code and packages there, what it has."""
    try:
        commit = committed.head()
        changed = bool(committed.different(*DECIDING))
    except committed.NotAsked as error:
        commit, changed = str(error), False
    packages = sorted({(str(one.metadata["Name"]).lower(), one.version) for one in distributions()})
    found: dict[str, Any] = {
        "folder": f"{socket.gethostname()}:{Path.cwd()}",
        "commit": commit,
        "changed": changed,
        "python": platform.python_version(),
        "packages": hashlib.sha256(repr(packages).encode()).hexdigest()[:12],
        "gpu": 0.0,
        "memory": float(available_memory()[0]),
    }
    try:
        rows = subprocess.check_output(machine.QUERY, text=True, stderr=subprocess.DEVNULL, timeout=15).splitlines()
        which = int((os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0])
        found["gpu"] = float(rows[which].split(",")[1]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        pass  # it has none
    if os.environ.get(MEMORY):
        found["memory"] = float(os.environ[MEMORY])
        found["gpu"] = min(found["gpu"], found["memory"])
    if remote:
        found["remote"] = _reached(remote)
    return found


def _reached(remote: str) -> str:
    """Why a remote cannot be reached from here; nothing if it can."""
    try:
        repo = repository.opened()
        where = repo.cloud.get_remote_odb(name=remote)
        where.fs.exists(where.path)
    except Exception as error:  # what a remote raises depends on its kind
        return " ".join(str(error).split())
    return ""


def present(client: Client) -> dict[str, Any]:
    """The workers that are there now, by address, as the scheduler describes them.

    It is asked itself: what `Client.scheduler_info` returns can be the answer to another question, without workers,
    that the client asks every few seconds.
    """
    scheduler: Any = client.scheduler
    workers: dict[str, Any] = client.sync(scheduler.identity, n_workers=-1)["workers"]
    return workers


def meet(client: Client, address: str, remote: str) -> tuple[Worker | None, str]:
    """What a worker that has come can carry; or None, and why it is refused."""
    ours = identity()
    try:
        theirs = client.run(identity, remote, workers=[address])[address]
        info = present(client)[address]
    except Exception as error:  # a worker of other code fails in its own way
        return None, f"it cannot run this code ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})"
    home = theirs["folder"] == ours["folder"]
    if not home and (ours["changed"] or theirs["changed"]):
        return None, f"{'here' if ours['changed'] else 'its clone'} has changes that are not committed"
    for what in ("commit", "python", "packages"):
        if theirs[what] != ours[what]:
            return None, f"its {what} is {theirs[what]}, here {ours[what]}"
    if theirs.get("remote"):
        return None, f"it cannot reach remote {remote}: {theirs['remote']}"
    if not home and not remote:
        return None, "it works in another folder, and no REMOTE= says how files get there"
    return Worker(
        name=address,
        gpu=bool(theirs["gpu"]),
        memory=theirs["gpu"] or theirs["memory"],
        slots=info["nthreads"],
        home=home,
        others=info["name"] != HOME,
    ), ""


def share(stages: Iterable[str], remote: str) -> None:
    """Put what was made before into the remote, so that workers with clones of their own can read it."""
    repo = repository.checked()
    if targets := [stage.addressing for stage in repo.index.stages if stage.addressing in set(stages)]:
        patiently(lambda: repo.push(targets=targets, remote=remote), remote)


def bring_home(stages: Iterable[str], remote: str) -> None:
    """Fetch here what stages have made elsewhere, but for weights that are recorded by their hash alone.

    Raises:
        InputError: a file cannot be had.
    """
    repo, params = repository.checked(), parameters.load()
    names = set(stages)
    outs = [out for stage in repo.index.stages if stage.addressing in names for out in stage.outs if out.use_cache]
    outs = [out for out in outs if not disk.by_hash_alone(str(out), params)]
    missing = [out for out in outs if not Path(str(out)).exists() or md5(str(out)) != out.hash_info.value]
    if not missing:
        return
    patiently(lambda: repo.fetch(targets=[str(out) for out in missing], remote=remote), remote)
    with repo.lock:
        for out in missing:
            if out.changed_cache():
                raise InputError(f"{out}: remote {remote} does not have what the run made")
            out.checkout(force=True)
