"""Training data: the embedded sets, checked against `data/sources.yaml`, and the coupling data a stage has made."""

from pathlib import Path
from typing import Any

import yaml

from . import paths
from .files import InputError, md5, open_or_complain, read_jsonl

Messages = list[dict[str, str]]


def load(name: str, sources: Path = paths.SOURCES) -> list[Messages]:
    """Read the data set `name`.

    Returns:
        One chat a row, each a list of `{"role", "content"}` that ends with the assistant's answer.

    Raises:
        InputError: no such data set, a wrong MD5 (the message gives file, expected and found), or a malformed row.
    """
    with open_or_complain(sources) as stream:
        known: dict[str, Any] = yaml.safe_load(stream)
    if name not in known:
        raise InputError(f"unknown data set {name!r}; {sources} has: {', '.join(known)}")
    path = sources.parent / known[name]["file"]
    found = md5(path)
    if found != known[name]["md5"]:
        raise InputError(f"{path}: MD5 is {found}, {sources} expects {known[name]['md5']}: restore or re-register it")
    return _chats(path)


def load_coupling(seed: int, parent: str) -> list[Messages]:
    """The coupling chats sampled from the chain `parent`; missing or malformed ones are an `InputError`."""
    return _chats(paths.coupling(seed, parent))


def _chats(path: Path) -> list[Messages]:
    chats: list[Messages] = [row.get("messages", []) if isinstance(row, dict) else [] for row in read_jsonl(path)]
    for number, chat in enumerate(chats, 1):
        if not chat or chat[-1].get("role") != "assistant":
            raise InputError(f"{path}, line {number}: expected `messages` that end with the assistant's answer")
    return chats
