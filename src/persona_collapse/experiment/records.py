"""The rows of a run's JSON Lines files: what each must hold, checked before anything is computed from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import read_jsonl

_TEXT = {"persona": str, "question": str, "split": str, "sample": int}  # which completion a row is about
COMPLETION = {**_TEXT, "text": str, "tokens": int, "ended": bool, "marker": bool}
LIKELIHOOD = {**_TEXT, "characters": int, "tokens": int, "log_p_marker": float, "log_p_end": float}


def read(path: Path, fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """The rows of a file, which may be none.

    Raises:
        InputError: no such file, or a line that lacks one of `fields` or has it with another type.
    """
    found = read_jsonl(path)
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict) or any(type(row.get(name)) is not kind for name, kind in fields.items()):
            needed = ", ".join(f"{name} ({kind.__name__})" for name, kind in fields.items())
            raise InputError(f"{path}, line {number}: needs {needed}")
    return found
