"""Objects to and from a remote: each is checked by its hash, and a remote that says nothing is not waited for.

What is fetched lies in DVC's temporary folder until its MD5 is found right; then it goes into the cache.
"""

import queue
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..experiment.errors import InputError
from ..experiment.files import md5
from .pipeline import TEMPORARY
from .remotes import Remote, complaint

ARRIVING = TEMPORARY / "arriving"
AT_ONCE = 4  # objects under way
PATIENCE = 60.0  # seconds without a byte, after which a remote has stalled
LAST = 3.0  # seconds for what is under way to end once something has gone wrong
SLOWEST = 1e5  # bytes a second of an upload, of which some libraries say nothing until it ends

T = TypeVar("T")


class Pulse:
    """When the last byte moved."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def beat(self, *_: Any, **__: Any) -> None:
        self.last = time.monotonic()

    def callback(self) -> Any:
        """For fsspec, which calls it as bytes move."""
        from fsspec.callbacks import Callback  # type: ignore[import-untyped]

        found = Callback()
        found.call = self.beat
        return found


def each(
    remote: Remote, items: Collection[str], work: Callable[[str, Any], T], patience: float
) -> Iterator[tuple[str, T]]:
    """Do something with each of some objects, a few at a time, and yield what comes of it as it comes.

    Args:
        work: called with an item and a callback for fsspec, in other threads.
        patience: seconds.

    Raises:
        InputError: the first thing that goes wrong, or that no byte has moved for so long; the rest is given up.
    """
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    pulse, over = Pulse(), threading.Event()
    for item in items:
        todo.put(item)

    def worker() -> None:
        while not over.is_set():
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(item, pulse.callback())))
            except BaseException as error:
                done.put((item, complaint(remote, error)))

    def next_done() -> tuple[str, Any]:
        while True:
            try:
                return done.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() - pulse.last > patience:
                    raise remote.trouble(f"has stalled: no byte in {patience:.0f} s") from None

    # a stalled one must not keep this process
    workers = [threading.Thread(target=worker, daemon=True) for _ in range(min(AT_ONCE, len(items)))]
    try:
        for thread in workers:
            thread.start()
        for _ in items:
            item, result = next_done()
            pulse.beat()
            if isinstance(result, InputError):
                raise result
            yield item, result
    finally:
        over.set()
        end = time.monotonic() + LAST
        for thread in workers:
            thread.join(max(end - time.monotonic(), 0))


@contextmanager
def arriving() -> Iterator[Path]:
    """An empty folder for what is not checked yet; what a killed run left of it is removed."""
    shutil.rmtree(ARRIVING, ignore_errors=True)
    ARRIVING.mkdir(parents=True)
    try:
        yield ARRIVING
    finally:
        shutil.rmtree(ARRIVING, ignore_errors=True)


def received(remote: Remote, oid: str, to: Path, callback: Any) -> str:
    """Fetch an object into a file; the MD5 of what came, or nothing if the remote does not have it."""
    try:
        remote.fs.get_file(remote.path(oid), str(to), callback=callback)
    except FileNotFoundError:
        return ""
    return md5(to)


def bring(repo: Any, remote: Remote, wanted: Mapping[str, str], patience: float = PATIENCE) -> set[str]:
    """Fetch objects into the cache; those that the remote does not have.

    Args:
        wanted: a file of each object, by its hash.

    Raises:
        InputError: the remote fails, or serves other bytes than the hash is of. What was right by then is in the cache.
    """
    from dvc.fs import localfs

    lacks = set()
    with arriving() as folder:

        def fetch(oid: str, callback: Any) -> str:
            return received(remote, oid, folder / oid, callback)

        for oid, found in each(remote, list(wanted), fetch, patience):
            if not found:
                lacks.add(oid)
            elif found != oid:
                raise remote.trouble(f"serves other bytes of {wanted[oid]} than recorded: MD5 {found}, recorded {oid}")
            else:
                repo.cache.local.add(str(folder / oid), localfs, oid, check_exists=False)
                (folder / oid).unlink()
    return lacks


def send(repo: Any, remote: Remote, objects: Mapping[str, str], patience: float = PATIENCE) -> int:
    """See that a remote has objects of the cache, each read back whole and its MD5 compared; how many were sent.

    Args:
        objects: as `wanted` of `bring`; all of them are in the cache.

    Raises:
        InputError: the remote fails, or gives other bytes back than it was sent.
    """
    sizes = {oid: Path(repo.cache.local.oid_to_path(oid)).stat().st_size for oid in objects}
    with arriving() as folder:

        def read_back(oid: str, callback: Any) -> str:
            found = received(remote, oid, folder / oid, callback)
            (folder / oid).unlink(missing_ok=True)
            return found

        def put(oid: str, callback: Any) -> bool:
            if read_back(oid, callback) == oid:
                return False
            remote.fs.put_file(repo.cache.local.oid_to_path(oid), remote.path(oid), callback=callback)
            if (found := read_back(oid, callback)) != oid:
                back = f"MD5 {found}" if found else "nothing"
                raise remote.trouble(f"was sent {objects[oid]}, MD5 {oid}, and gives back {back}")
            return True

        slowest = patience + max(sizes.values(), default=0) / SLOWEST
        return sum(sent for _, sent in each(remote, list(objects), put, slowest))
