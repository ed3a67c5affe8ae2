"""Training data: the embedded sets, checked against `data/sources.yaml`, and the coupling data a stage has made."""

from pathlib import Path
from typing import Any

from . import paths
from .files import InputError, md5, read_jsonl, read_yaml

Messages = list[dict[str, str]]


def load(name: str, sources: Path = paths.SOURCES) -> list[Messages]:
    """Read the data set `name`.

    Returns:
        One chat a row, each a list of `{"role", "content"}` that ends with the assistant's answer.

    Raises:
        InputError: no such data set, a wrong MD5 (the message gives file, expected and found), or a malformed row.
    """
    known = registered(sources)
    if name not in known:
        raise InputError(f"unknown data set {name!r}; {sources} has: {', '.join(known)}")
    path, expected = known[name]
    found = md5(path)
    if found != expected:
        raise InputError(f"{path}: MD5 is {found}, {sources} expects {expected}: restore or re-register it")
    return _chats(path)


def registered(sources: Path = paths.SOURCES) -> dict[str, tuple[Path, str]]:
    """The file and the MD5 of every registered data set, by name; an entry without them is an `InputError`."""
    found = {}
    for name, source in read_yaml(sources).items():
        if not isinstance(source, dict) or not all(isinstance(source.get(key), str) for key in ("file", "md5")):
            raise InputError(f"{sources}: {name}: expected at least `file` and `md5`")
        found[name] = sources.parent / source["file"], source["md5"]
    return found


def load_coupling(seed: int, parent: str) -> list[Messages]:
    """The coupling chats sampled from the chain `parent`; missing or malformed ones are an `InputError`."""
    return _chats(paths.coupling(seed, parent))


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
