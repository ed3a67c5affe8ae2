"""Files: hashes, JSON whose bytes are stable, and writes that are whole or absent. Also the one error users see."""

import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Something the user gave us is wrong. The message is one line: what is wrong and what is allowed."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an `InputError` or a full disk becomes one line on stderr and exit code 2."""

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            main(*args, **kwargs)
        except InputError as error:
            sys.exit(_complain(str(error)))
        except OSError as error:
            if error.errno is None or (error.filename is None and error.errno != 28):
                raise
            sys.exit(_complain(f"{error.filename or 'disk'}: {error.strerror}"))

    return wrapped


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


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
    """Parse a JSON file; not JSON is an `InputError`."""
    with open_or_complain(path) as stream:
        try:
            return json.load(stream)
        except ValueError as error:
            raise InputError(f"{path}: not a JSON file ({error})") from None


def read_jsonl(path: Path | str) -> list[Any]:
    """Parse a JSON Lines file; a line that is not JSON is an `InputError` naming the line."""
    rows = []
    with open_or_complain(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error})") from None
    return rows


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
