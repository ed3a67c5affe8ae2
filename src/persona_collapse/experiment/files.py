"""Files: hashes, YAML, JSON whose bytes are stable, writes that are whole or absent."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError


def md5(path: Path | str) -> str:
    """MD5 of a file's bytes in hex, the hash that `dvc.lock` and `data/sources.yaml` use."""
    return _digest(path, "md5")


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes in hex."""
    return _digest(path, "sha256")


def _digest(path: Path | str, algorithm: str) -> str:
    with open_or_complain(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def open_or_complain(path: Path | str, mode: str = "r") -> Any:
    """`open`, with a missing file as an `InputError` that names it."""
    try:
        return Path(path).open(mode, encoding=None if "b" in mode else "utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{path}: no such file") from None


def read_json(path: Path | str) -> Any:
    """Parse a JSON file; not JSON, or a key that is given twice, is an `InputError`."""
    with open_or_complain(path) as stream:
        try:
            return _parse(stream.read())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not a JSON file ({error})") from None


def read_jsonl(path: Path | str) -> list[Any]:
    """Parse a JSON Lines file; a line that is not JSON is an `InputError` naming the line."""
    rows = []
    with open_or_complain(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                rows.append(_parse(line.decode("utf-8")))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: not JSON ({error})") from None
    return rows


def _parse(text: str) -> Any:
    """JSON without three traps: a key given twice, numbers that are none, and halves of characters.

    Raises:
        ValueError: the text is not JSON, or has one of these.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
        return found

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is not a number")

    value = json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    if "\\ud" in text.lower():  # half of a character outside the first 65,536 is text that cannot be written again
        json.dumps(value, ensure_ascii=False).encode()
    return value


class _UniqueKeys(yaml.SafeLoader):
    """YAML without the trap that a key written twice silently means its last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Parse a YAML file that holds a mapping with text for keys; anything else is an `InputError`."""
    with open_or_complain(path, "rb") as stream:
        try:
            value = yaml.load(stream, _UniqueKeys)
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: not YAML ({error})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{path}: expected a mapping")
    return value


def to_json(value: Any) -> str:
    """JSON with sorted keys and a final newline: equal values give equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write `to_json(value)`, whole or not at all."""
    write_text(path, to_json(value))


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """Write one compact JSON object a line, keys in the order given, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; moved in when the block ends well, removed when it does not.

    Yields:
        A path that does not exist yet, with the same ending; write a file or make a folder there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-unfinished-{path.name}")
    try:
        yield beside
        if beside.is_dir() and path.is_dir():
            shutil.rmtree(path)
        beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def require_disk(path: Path | str, gib: float) -> None:
    """Raise `InputError` if the file system that holds `path` has less than `gib` GiB free."""
    free = shutil.disk_usage(path).free / 2**30
    if free < gib:
        raise InputError(f"too little disk: {free:.1f} GiB free under {path}, this stage needs {gib:g} GiB")
