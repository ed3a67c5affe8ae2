"""Entries of `dvc.lock`, written as DVC writes them: those that it wrote elsewhere, and one without all the others.

DVC parses and writes the whole of its lock after every stage, for seconds where it has hundreds of them. The text of
an entry does not depend on the others, so it can take its place among them as it is.
"""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..experiment.files import read_text, write_text
from . import lock
from .lock import LOCK

HEAD = "schema: '2.0'\nstages:\n"
ENTRY = re.compile(r"^  (?=[^ \n])", re.MULTILINE)  # where an entry begins: what belongs to it is further in
NAME = re.compile(r"([\w@.-]+):\n")


def read() -> dict[str, Any]:
    """What `dvc.lock` has of each stage, in its order; nothing if there is none."""
    return lock.value(read_text(LOCK))["stages"] if LOCK.exists() else {}


def take(taken: Mapping[str, Any]) -> bool:
    """Add entries, or put them in the place of those that are there; does that change anything?"""
    before = read_text(LOCK) if LOCK.exists() else ""
    here = texts(before or HEAD)
    if here is None:
        here = {name: text(name, entry) for name, entry in read().items()}
    after = HEAD + "".join({**here, **{name: text(name, entry) for name, entry in taken.items()}}.values())
    if not taken or after == before:
        return False
    write_text(LOCK, after)
    return True


class Parsed(Mapping[str, Any]):
    """The entries in the text of a `dvc.lock`, by name; each is parsed when it is asked for."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self.texts = found

    def __getitem__(self, name: str) -> Any:
        return lock.value(HEAD + self.texts[name])["stages"][name]

    def __contains__(self, name: object) -> bool:
        return name in self.texts  # a mapping's own would parse it

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


def order(names: list[str]) -> None:
    """Have `dvc.lock` list its stages in this order."""
    here = texts(read_text(LOCK))
    if here is None:
        entries = read()
        here = {name: text(name, entries[name]) for name in entries}
    write_text(LOCK, HEAD + "".join(here[name] for name in names))


def texts(of: str) -> dict[str, str] | None:
    """The text of each entry in that of a `dvc.lock`, by its name; None if it is not as DVC writes it."""
    if not of.startswith(HEAD) or re.search(r"^[^ \n]", of[len(HEAD) :], re.MULTILINE):
        return None
    first, *found = ENTRY.split(of[len(HEAD) :])
    names = [NAME.match(entry) for entry in found]
    if first or not all(names):
        return None
    return {name[1]: f"  {entry}" for name, entry in zip(names, found, strict=True) if name}


def text(name: str, entry: Any) -> str:
    """An entry as it stands in `dvc.lock`."""
    from dvc.utils.serialize import _yaml

    stream = io.StringIO()
    _yaml._dump({"schema": "2.0", "stages": {name: entry}}, stream)
    return stream.getvalue().removeprefix(HEAD)
