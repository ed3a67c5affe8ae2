"""What lies on disk, against what is recorded of it: files, folders as DVC hashes them, and what nobody declared."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..experiment.files import md5
from ..experiment.params import Params
from . import committed
from .lock import Entry

REMOTE = Path("remote/files/md5")  # where DVC keeps what a clone pulls
OURS = ".*-unfinished-*"  # what a killed stage leaves beside its outputs; nothing reads it
SMALL = 2**24  # bytes of a file that is read a second time to look at its line ends


def by_hash_alone(path: str, params: Params) -> bool:
    """Is a recorded file kept nowhere? An adapter of a GPU profile is: they are too large for this repository."""
    adapters = params.layout.adapter(0, "any").parents[1]
    return params.compute.device == "cuda" and Path(path).suffix == ".safetensors" and adapters in Path(path).parents


def trouble(path: Path) -> str:
    """Why a path is no file that can be read; nothing if it is one. A pipe is not opened: that would wait for ever."""
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(kind):
        return "is a folder in a file's place"
    return "" if stat.S_ISREG(kind) else "is no file but a pipe, a socket or a device"


class Disk:
    """Hashes of files and folders, each read once.

    Args:
        repo: DVC's, for what it leaves out of folders (`.dvcignore`).
        absent: recorded files that may be missing: what is kept nowhere.
        made: the MD5 of every recorded output, by path.
    """

    def __init__(self, repo: Any, absent: Iterable[str] = (), made: Mapping[str, str] | None = None) -> None:
        self.repo, self.absent, self.made = repo, frozenset(absent), made or {}
        self._files: dict[str, str] = {}
        self._states: dict[tuple[str, str], str] = {}

    def state(self, entry: Entry) -> str:
        """What is wrong with a recorded file or folder, in a phrase; nothing if it is as recorded."""
        key = (entry.path, entry.md5)
        if key not in self._states:
            self._states[key] = self._folder(entry) if entry.folder else self._file(entry)
        return self._states[key]

    def _md5(self, path: str) -> str:
        if path not in self._files:
            self._files[path] = md5(path)
        return self._files[path]

    def _file(self, entry: Entry) -> str:
        path = Path(entry.path)
        if wrong := trouble(path):
            return "" if wrong == "is missing" and entry.path in self.absent else wrong
        try:
            found = self._md5(entry.path)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if found == entry.md5:
            return ""
        if path.stat().st_size < SMALL:
            lines = path.read_bytes().replace(b"\r\n", b"\n")
            if hashlib.md5(lines).hexdigest() == entry.md5:
                return "differs in its line ends alone: they are CRLF here (git's core.autocrlf, or an editor)"
        return f"differs: recorded {entry.md5[:12]}, found {found[:12]}"

    def _folder(self, entry: Entry) -> str:
        path = Path(entry.path)
        if path.exists() and not path.is_dir():
            return "is no folder"
        if not path.exists() and not any(Path(file).is_relative_to(path) for file in self.absent):
            return "is missing"
        found: dict[str, str] = {}
        for name in self._within(entry.path):
            file = f"{entry.path}/{name}"
            if wrong := trouble(Path(file)):
                return f"differs: {name} {wrong}"
            found[name] = self._md5(file)
        expected = {
            out.removeprefix(f"{entry.path}/"): recorded
            for out, recorded in self.made.items()
            if out.startswith(f"{entry.path}/")
        }
        here = {**{name: expected[name] for name in expected if f"{entry.path}/{name}" in self.absent}, **found}
        digest = folder_md5(here)
        if digest == entry.md5:
            return ""
        about = f"differs: recorded {entry.md5[:12]}, found {digest[:12]}"
        if folder_md5(expected) == entry.md5:
            return f"{about} ({changes(expected, here)})"
        try:
            before = committed.in_folder(entry.path)
        except committed.NotAsked:
            return about
        if folder_md5(before) == entry.md5:
            return f"{about} ({changes(before, here)})"
        since = changes(before, here)
        return (
            f"{about} ({since} since the commit)" if since else f"{about} (recorded with other files than the commit's)"
        )

    def _within(self, folder: str) -> Iterator[str]:
        """The files of a folder by their paths in it, without what DVC ignores."""
        from dvc.fs import localfs

        top = os.path.abspath(folder)  # noqa: PTH100  # as DVC's own walk has it, without following links
        for root, _, names in self.repo.dvcignore.walk(localfs, top):
            for name in names:
                yield os.path.relpath(f"{root}/{name}", top)


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder: the MD5 of the sorted list of its files with theirs, with `.dir` behind."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for name, digest in files.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", digest))
    tree.digest()
    return tree.oid


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The files of a folder that were changed, added or removed, in words."""
    found = {
        "changed": [name for name in now if name in before and now[name] != before[name]],
        "added": [name for name in now if name not in before],
        "missing": [name for name in before if name not in now],
    }
    return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in found.items() if names)


def undeclared(places: Iterable[Path], known: Iterable[str]) -> list[str]:
    """The files in some folders that are not among those known, links followed once."""
    expected, seen, found = set(known), set(), []
    for place in places:
        for root, folders, names in os.walk(place, followlinks=True):
            real = os.path.realpath(root)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            paths = (Path(root) / name for name in names)
            found += [str(path) for path in paths if str(path) not in expected and not path.match(OURS)]
    return sorted(found)


def wrong_names() -> list[str]:
    """The objects of the remote whose name is not the MD5 of their bytes."""
    found = []
    for path in sorted(REMOTE.glob("*/*")):
        named = f"{path.parent.name}{path.name}".removesuffix(".dir")
        if wrong := trouble(path):
            found.append(f"{path} {wrong}")
        elif md5(path) != named:
            found.append(f"{path} is not what its name says")
    return found


def left_by_python(path: str) -> bool:
    """Is a file what Python or an editable install leaves beside modules? Neither is imported in a module's place."""
    return any(part == "__pycache__" or part.endswith(".egg-info") for part in Path(path).parts)
