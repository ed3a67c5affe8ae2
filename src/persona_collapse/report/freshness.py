"""Whether what the paper, the page and the documents are made of is what the results give now: if not, nothing is made.

Numbers and tables are made anew, figures are drawn anew, and each is compared with the file that lies there.
"""

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from ..experiment.errors import InputError
from ..experiment.files import read_bytes, read_json
from . import figures, quoted, tables
from .results import Results

ABSENT: Any = object()


def require_tables(found: Results) -> None:
    """Raise `InputError` at the first place where numbers.json or a table is not what the results say."""
    for path, text in {**quoted.files(found), **tables.files(found)}.items():
        if read_bytes(path) == text.encode():
            continue
        what = "it is not what the results say"
        if path.suffix == ".json":
            what = next(differences(read_json(path), json.loads(text)), what)
        raise InputError(f"{path}: out of date, {what}: `make tables` writes it anew")


def require_figures(found: Results, *kinds: str) -> None:
    """Raise `InputError` at the first figure that is not what the results draw, of kinds as of `figures.files`."""
    for path, content in figures.files(found, kinds).items():
        if read_bytes(path) != content:
            raise InputError(f"{path}: out of date, it is not what the results draw: `make figures` draws it anew")


def differences(there: Any, now: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ, in words, in the order of the keys."""
    inside = f"{place}." if place else ""
    if isinstance(there, dict) and isinstance(now, dict):
        for key in sorted({*there, *now}):
            yield from differences(there.get(key, ABSENT), now.get(key, ABSENT), f"{inside}{key}")
    elif isinstance(there, list) and isinstance(now, list):
        for number, (one, other) in enumerate(zip_longest(there, now, fillvalue=ABSENT)):
            yield from differences(one, other, f"{inside}{number}")
    elif there is ABSENT:
        yield f"it lacks {place}"
    elif now is ABSENT:
        yield f"it has {place}, which the results do not give"
    elif there != now or type(there) is not type(now):
        yield f"{place} is {_short(there)} there, the results say {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:56]}..."
