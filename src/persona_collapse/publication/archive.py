"""Pack a commit and its record into one file, the same bytes each time and on each machine.

    python -m persona_collapse.publication.archive     writes dist/<name>-<version>-<commit>.tar.zst, prints its SHA-256

In it are the committed files without git, those objects of the remote that `dvc.lock` names, the list of packages of
each lock, RO-Crate metadata, and a manifest. It is unpacked, and `make` works in it as in a clone. Names are sorted,
owners are none, the time of every file is the commit's, and the compressor is pinned: see requirements/archive.in.
"""

import argparse
import hashlib
import io
import json
import posixpath
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import zstandard

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import sha256, whole
from ..record import committed, disk, environment, lock, repository
from ..record.committed import Member
from ..record.disk import REMOTE
from ..record.lock import LOCK, Stages
from ..record.repository import Declared
from . import DIST, citation, crate, sbom

MANIFEST = "manifest-sha256.txt"
MODES = {"file": 0o644, "program": 0o755, "link": 0o777}
LEVEL = 12  # the highest, 19, makes it 7% smaller and takes 14 times as long
WINDOW = 27  # bits: the widest that every zstd unpacks unasked, so that what lies twice in the archive is packed once

Tree = dict[str, Member]


def contents(params: parameters.Params) -> tuple[str, int, Tree]:
    """What is packed: the archive's name, the time of its files, and the files.

    Raises:
        InputError: git cannot be asked, something is not as committed, the remote lacks an object of the active
            profile, or a file that the metadata are made of is missing or damaged.
    """
    committed.require_as_committed("the archive")
    commit, tree = committed.commit(), committed.tree()
    stages = lock.parse(_text(tree, str(LOCK)), f"{LOCK} as committed")
    tree = without_unnamed(tree, stages)
    lacking = lacks(tree, lock.of_profile(stages, params.profile), repository.declared(repository.checked()), params)
    if lacking:
        raise InputError(f"{REMOTE}: lacks what is recorded of {', '.join(lacking[:3])}; `make record` pushes it")
    about = citation.read(_text(tree, citation.CITATION))
    for path in sorted(path for path in tree if PurePosixPath(path).match("requirements/*.txt")):
        listed = sbom.listing(_text(tree, path), path, about, commit.time)
        tree[f"sbom/{PurePosixPath(path).stem}.cdx.json"] = Member(listed.encode())
    data_licence = crate.licence_of_data(_text(tree, crate.SHEET))
    described = crate.metadata({*tree, MANIFEST}, about, data_licence, commit, params.profile)
    tree[crate.NAME] = Member(described.encode())
    tree[MANIFEST] = Member(manifest(tree).encode())
    return f"{about.name}-{about.version}-{commit.hash[:12]}", commit.time, tree


def _text(tree: Mapping[str, Member], path: str) -> str:
    """A committed text; an `InputError` if there is none."""
    if path not in tree:
        raise InputError(f"{path}: is not committed")
    try:
        return tree[path].content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8 ({error.reason})") from None


# ---- the record's objects ----


def _object(digest: str) -> str:
    """The place of an object in the remote."""
    return str(REMOTE / digest[:2] / digest[2:])


def without_unnamed(tree: Mapping[str, Member], stages: Stages) -> Tree:
    """A tree without the remote's objects that no recorded stage names: those of records that are no more."""
    named = {_object(entry.md5) for stage in stages.values() for entry in stage.entries}
    folders = [path for path in named if path.endswith(".dir") and path in tree]
    named |= {_object(file["md5"]) for path in folders for file in json.loads(tree[path].content)}
    return {path: member for path, member in tree.items() if not path.startswith(f"{REMOTE}/") or path in named}


def lacks(
    tree: Mapping[str, Member], stages: Stages, declared: Mapping[str, Declared], params: parameters.Params
) -> list[str]:
    """The recorded outputs whose bytes neither git nor the remote in a tree has, but for what is kept nowhere."""
    return [
        out.path
        for out in repository.kept(stages, declared)
        if not disk.by_hash_alone(out.path, params) and _object(out.md5) not in tree
    ]


# ---- the file ----


def manifest(tree: Mapping[str, Member]) -> str:
    """Every file with its SHA-256, as `sha256sum --check` reads it; a link with that of the file where it points."""
    lines = []
    for path, member in sorted(tree.items()):
        if member.kind == "link":
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.content.decode()))
            if target not in tree:
                raise InputError(f"{path}: is a link to {target}, which is not committed")
            member = tree[target]
        lines.append(f"{hashlib.sha256(member.content).hexdigest()}  {path}\n")
    return "".join(lines)


def pack(tree: Mapping[str, Member], name: str, time: int, path: Path) -> None:
    """Write a tree as one compressed file.

    Args:
        name: of the folder that it is unpacked into.
        time: of every file in it, in seconds since 1970.
    """
    settings = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=WINDOW, enable_ldm=True, threads=0, write_checksum=True
    )
    with (
        whole(path) as beside,
        beside.open("wb") as stream,
        zstandard.ZstdCompressor(compression_params=settings).stream_writer(stream, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for inside, member in sorted(tree.items()):
            about = tarfile.TarInfo(f"{name}/{inside}")
            about.mode, about.mtime = MODES[member.kind], time
            if member.kind == "link":
                about.type, about.linkname = tarfile.SYMTYPE, member.content.decode()
                archive.addfile(about)
            else:
                about.size = len(member.content)
                archive.addfile(about, io.BytesIO(member.content))


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    environment.require_own_code()
    name, time, tree = contents(params)
    path = DIST / f"{name}.tar.zst"
    pack(tree, name, time, path)
    print(f"{len(tree)} files, {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    print(f"{sha256(path)}  {path}")


if __name__ == "__main__":
    main()
