"""Files: hashes, YAML and JSON read strictly, JSON whose bytes are stable, writes that are whole or absent."""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError
from .strict import from_json, from_yaml


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
    """`open`; what is missing, no regular file or not to be opened is an `InputError` that names it.

    The kind is asked before the file is opened: opening a pipe waits for whoever writes to it.
    """
    try:
        kind = Path(path).stat().st_mode
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "a pipe, a socket or a device"
            raise InputError(f"{path}: is {what}; expected a file")
        return Path(path).open(mode, encoding=None if "b" in mode else "utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a null character
        raise InputError(f"{str(path)!r}: no path ({error})") from None


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a file."""
    with open_or_complain(path, "rb") as stream:
        return stream.read()


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put first; other bytes are named."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not text in UTF-8 ({error.reason})") from None


def read_json(path: Path | str) -> Any:
    """Parse a JSON file; what is not JSON, a key given twice or a number without end is an `InputError`."""
    text = read_text(path)
    try:
        return from_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from None


def read_jsonl(path: Path | str) -> list[Any]:
    """Parse a JSON Lines file, as strictly as `read_json`; an `InputError` names the line."""
    lines = read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(from_json(line))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
    return rows


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Parse a YAML file that holds a mapping with text for keys; anything else is an `InputError`."""
    text = read_text(path)
    try:
        value = from_yaml(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML as it is read here ({error})") from None
    if not isinstance(value, dict):
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
    write_all({Path(path): text})


def write_all(files: Mapping[Path, bytes | str]) -> None:
    """Write several files, texts as UTF-8: each beside its place, and moved in once all of them are written.

    A disk that fills, or whatever else goes wrong while writing, leaves every file as it was.
    """
    with ExitStack() as stack:
        beside = {path: stack.enter_context(_beside(path)) for path in files}
        for path, content in files.items():
            beside[path].write_bytes(content.encode() if isinstance(content, str) else content)
        for path, written in beside.items():
            _move(written, path)


@contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; moved in when the block ends well, removed when it does not.

    Yields:
        A path that does not exist yet, with the same ending; write a file or make a folder there.
    """
    path = Path(path)
    with _beside(path) as beside:
        yield beside
        _move(beside, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path beside `path` that does not exist; what lies there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    beside = path.with_name(f".{os.getpid()}-unfinished-{path.name}")
    try:
        yield beside
    except OSError as error:
        if error.filename == str(beside):
            error.filename = str(path)  # the name that the user knows
        raise
    finally:
        _remove(beside)


def _move(written: Path, path: Path) -> None:
    """Put what was written in its place; a folder that was there goes only once the new one can no longer fail."""
    if written.is_dir() and path.is_dir():
        old = path.with_name(f".{os.getpid()}-unfinished-{path.name}~")
        path.replace(old)
        written.replace(path)
        _remove(old)
    else:
        written.replace(path)


def _clear(path: Path) -> None:
    """Remove what killed processes have left unfinished of `path`."""
    name = re.compile(rf"\.([0-9]+)-unfinished-{re.escape(path.name)}~?")
    for left in path.parent.iterdir():
        if (match := name.fullmatch(left.name)) and not _runs(int(match[1])):
            _remove(left)


def _runs(process: int) -> bool:
    """Does another process of this number run? One of ours would be an earlier one's, whose number we were given."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return process != os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_disk(path: Path | str, gib: float) -> None:
    """Raise `InputError` if the file system that holds `path` has less than `gib` GiB free."""
    free = shutil.disk_usage(path).free / 2**30
    if free < gib:
        raise InputError(f"too little disk: {free:.1f} GiB free under {path}, this stage needs {gib:g} GiB")
