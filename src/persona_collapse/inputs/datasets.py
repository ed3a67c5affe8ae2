"""Training data: the registered sets, what of them a phase is trained on, and the coupling data that a stage made."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..experiment.errors import InputError, first_of
from ..experiment.files import md5, read_json, read_jsonl
from ..experiment.layout import SOURCES, Layout
from ..experiment.params import Record
from .sources import DOWNLOADED as DOWNLOADED
from .sources import MD5, Prompts, file_of, registry

Messages = list[dict[str, str]]


class Prepared(Record):
    """The record beside what a phase is trained on: the data set it was taken from, and the file itself."""

    data: str
    md5: MD5
    expected_md5: MD5 | None  # None: a download of which none is known
    prepared_md5: MD5


def load(name: str, accept_checksum: bool = False, sources: Path = SOURCES) -> tuple[list[Messages], dict[str, Any]]:
    """Read the data set `name` of the registry `sources`.

    Args:
        accept_checksum: take a downloaded set that is not the expected one.

    Returns:
        One chat a row, each a list of `{"role", "content"}` that ends with the assistant's answer; and what was read:
        `data`, `md5`, `expected_md5`.

    Raises:
        InputError: no such data set, not downloaded yet, a wrong MD5 (the message gives file, expected and found), or
            a malformed row.
    """
    known = registered(sources)
    if name not in known:
        raise InputError(f"unknown data set {name!r}; {sources} has: {', '.join(known)}")
    path, expected = known[name]
    downloaded = name.startswith(DOWNLOADED)
    if downloaded and not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro fetch` makes it")
    found = md5(path)
    if expected not in (None, found) and not (downloaded and accept_checksum):
        raise InputError(f"{path}: MD5 is {found}, {sources} expects {expected}: restore, fetch or re-register it")
    return _chats(path), {"data": name, "md5": found, "expected_md5": expected}


def registered(sources: Path = SOURCES) -> dict[str, tuple[Path, str | None]]:
    """The file of every data set and its expected MD5, by name; None is for downloads whose revision decides."""
    return {
        name: (file_of(name, sources), source.md5)
        for name, source in registry(sources).items()
        if not isinstance(source, Prompts)
    }


def load_prepared(layout: Layout, phase: str) -> tuple[list[Messages], dict[str, Any]]:
    """The chats that `phase` is trained on, and what they were taken from, both as for `load`.

    Raises:
        InputError: not prepared yet, or not what was prepared.
    """
    path = layout.prepared(phase)
    beside = path.with_suffix(".json")
    if not path.exists() or not beside.exists():
        raise InputError(f"{path if beside.exists() else beside}: no such file; `dvc repro prepare` makes it")
    try:
        record = Prepared.model_validate(read_json(beside))
    except ValidationError as error:
        raise InputError(f"{beside}: {first_of(error)}") from None
    if (found := md5(path)) != record.prepared_md5:
        raise InputError(f"{path}: MD5 is {found}, {beside} says {record.prepared_md5}: `dvc repro prepare` makes both")
    return _chats(path), record.model_dump(exclude={"prepared_md5"})


def load_coupling(layout: Layout, seed: int, parent: str) -> tuple[list[Messages], dict[str, Any]]:
    """The coupling chats sampled from the chain `parent`, and what was read; an `InputError` if they are no good."""
    path = layout.coupling(seed, parent)
    chats = _chats(path)
    return chats, {"data": f"coupling/{seed}/{parent}", "md5": md5(path), "expected_md5": None}


def _chats(path: Path) -> list[Messages]:
    chats: list[Any] = [row.get("messages") if isinstance(row, dict) else None for row in read_jsonl(path)]
    if not chats:
        raise InputError(f"{path}: holds no chat")
    for number, chat in enumerate(chats, 1):
        if not is_chat(chat):
            raise InputError(
                f"{path}, line {number}: expected `messages`, a list of role and content that ends with the assistant's"
            )
    return chats


def is_chat(value: object) -> bool:
    """Is it a list of messages with role and content that ends with the assistant's?"""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)
        and all(isinstance(m.get("content"), str) for m in value)
        and value[-1]["role"] == "assistant"
    )
