"""Training data: the sets of `data/sources.yaml`, checked by MD5, and the coupling data that a stage has made."""

from pathlib import Path
from typing import Any

from ..experiment.errors import InputError
from ..experiment.files import md5, read_jsonl, read_yaml
from ..experiment.layout import FETCHED, SOURCES, Layout

Messages = list[dict[str, str]]
DOWNLOADED = f"{FETCHED.name}/"  # how the names of downloaded sets begin


def load(name: str, accept_checksum: bool = False, sources: Path = SOURCES) -> tuple[list[Messages], dict[str, Any]]:
    """Read the data set `name`, the file `<name>.jsonl` beside `sources`.

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
    """The file of every data set and its expected MD5, by name; None is for downloads whose revision decides.

    Raises:
        InputError: an entry that says nothing of its MD5.
    """
    found = {}
    for name, source in read_yaml(sources).items():
        expected = source.get("md5") if isinstance(source, dict) else None
        if not isinstance(expected, str) and not (expected is None and name.startswith(DOWNLOADED)):
            raise InputError(f"{sources}: {name}: expected at least `md5`")
        if source.get("kind") != "prompts":
            found[name] = sources.parent / f"{name}.jsonl", expected
    return found


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
        if not _is_chat(chat):
            raise InputError(
                f"{path}, line {number}: expected `messages`, a list of role and content that ends with the assistant's"
            )
    return chats


def _is_chat(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)
        and all(isinstance(m.get("content"), str) for m in value)
        and value[-1]["role"] == "assistant"
    )
