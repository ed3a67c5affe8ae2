"""What git says was committed: the record that everything is compared with, and the files that no stage declares.

Without git, in an unpacked archive for instance, or where git refuses, everything else works, and what could not be
asked is said in git's own words.
"""

import hashlib
import io
import os
import pwd
import subprocess
import tarfile
from pathlib import Path
from typing import Literal, NamedTuple

from ..experiment.errors import InputError
from ..experiment.files import read_text
from . import lock
from .lock import LOCK, Stages

KEPT = Path("run_info/recorded.lock")  # the record, while `reproduce` runs
HERE = Path(".git")  # a bundle inside another repository is not that repository's


class NotAsked(Exception):
    """Git is not here or refuses; the message is its reason, in one line."""


class Record(NamedTuple):
    """What a profile is compared with."""

    text: str
    stages: Stages  # of all profiles
    source: str  # where it was read, in words
    committed: bool


class Commit(NamedTuple):
    hash: str
    time: int  # of the commit, in seconds since 1970


class Member(NamedTuple):
    """A file of a tree: its bytes, or of a link where it points."""

    content: bytes
    kind: Literal["file", "program", "link"] = "file"


KINDS: dict[str, Literal["file", "program", "link"]] = {"100644": "file", "100755": "program", "120000": "link"}


def record(profile: str) -> Record | None:
    """The committed record of a profile; where there is none, the one that lies here, if there is one.

    Raises:
        InputError: a lock is damaged.
    """
    reason = problem()
    if not reason:
        try:
            text = content(LOCK).decode(errors="replace")
        except NotAsked as error:
            reason = str(error)
        else:
            stages = lock.parse(text, f"{LOCK} as committed")
            if lock.of_profile(stages, profile):
                return Record(text, stages, f"{LOCK} as committed in {head()}", committed=True)
            reason = f"the committed {LOCK} has no stage of {profile}"
    source = KEPT if KEPT.exists() else LOCK  # after a `reproduce` that was killed, the lock is that run's own
    if not source.exists():
        return None
    text = read_text(source)
    stages = lock.parse(text, str(source))
    if not lock.of_profile(stages, profile):
        return None
    return Record(text, stages, f"{source} as it lies here: {reason}", committed=False)


def _git(*arguments: str, given: bytes = b"") -> bytes:
    if not HERE.exists():
        raise NotAsked("there is no git repository here")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-c", "core.quotePath=off", "-c", "core.autocrlf=false", *arguments]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, check=False, env={**environment, "LC_ALL": "C"}
        )
    except OSError as error:
        raise NotAsked(f"git: {error.strerror}") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise NotAsked(f"git says: {said or f'exit code {done.returncode}'}")
    return done.stdout


def problem() -> str:
    """Why git cannot be asked here, in one line; nothing if it can."""
    try:
        _git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except NotAsked:
        try:
            _git("log", "-1", "--format=")  # says why in words
        except NotAsked as error:
            return str(error)
        return "git says: HEAD is no commit"
    return ""


def name_the_user() -> None:
    """DVC asks for the user's name, which a user id without an entry in the system's list has none of."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"user{os.getuid()}")


def head() -> str:
    """The commit that is checked out, abbreviated."""
    return _git("rev-parse", "--short", "HEAD").decode().strip()


def commit() -> Commit:
    """The commit that is checked out."""
    name = _git("rev-parse", "HEAD").decode().strip()
    lines = _git("cat-file", "commit", name).decode(errors="replace").splitlines()
    committer = next(line for line in lines if line.startswith("committer "))
    return Commit(name, int(committer.split()[-2]))


def different(*paths: str) -> list[str]:
    """The files, here or in some folders, that are not as committed, those too that git neither has nor ignores."""
    options = ("--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    rows = _git("status", *options, "--", *paths).split(b"\0")
    return [row[3:].decode(errors="surrogateescape") for row in rows if row]


def require_as_committed(what: str) -> None:
    """Raise `InputError` if files here are not as committed, or git cannot be asked; `what` is made of a commit."""
    try:
        changed = different()
    except NotAsked as error:
        raise InputError(f"{what} belongs to a commit: {error}") from None
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise InputError(f"not as committed: {', '.join(changed[:3])}{more}; commit it or put it away")


def tree() -> dict[str, Member]:
    """Every committed file, by its path."""
    listed = _listed()
    asked = "".join(f"{name}\n" for _, name in listed.values())
    stream = io.BytesIO(_git("cat-file", "--batch", given=asked.encode()))
    found = {}
    for path, (mode, _) in listed.items():
        size = int(stream.readline().split()[2])
        found[path] = Member(stream.read(size), KINDS[mode])
        stream.read(1)  # the end of the line
    return found


def content(path: Path | str) -> bytes:
    """The bytes of a committed file; `NotAsked` if there is none."""
    return _git("cat-file", "blob", f"HEAD:./{path}")


def files(*paths: str) -> dict[str, str]:
    """Git's hash of every committed file, or of those in some folders."""
    return {path: name for path, (_, name) in _listed(*paths).items()}


def _listed(*paths: str) -> dict[str, tuple[str, str]]:
    """Git's mode and hash of every committed file, or of those in some folders."""
    listed = _git("ls-tree", "-r", "-z", "HEAD", "--", *paths)
    rows = [row.decode(errors="surrogateescape").split("\t", 1) for row in listed.split(b"\0") if row]
    abouts = {path: about.split() for about, path in rows}
    return {path: (mode, name) for path, (mode, kind, name) in abouts.items() if kind == "blob"}


def ignored(path: Path | str) -> bool:
    """Does git leave a file out? Without git there is nothing to leave it out of."""
    if problem():
        return True
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "--", str(path))
    return not listed


def blob(data: bytes, like: str) -> str:
    """Git's hash of bytes, by the algorithm that made the hash `like`."""
    algorithm = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return algorithm(b"blob %d\0" % len(data) + data).hexdigest()


def in_folder(path: str) -> dict[str, str]:
    """The MD5 of every committed file of a folder, by its path in it; empty if nothing of it is committed."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", "HEAD", "--", path))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {
            name.removeprefix(f"{path}/"): hashlib.md5(stream.read()).hexdigest()
            for name, stream in members.items()
            if stream is not None and name.startswith(f"{path}/")
        }
