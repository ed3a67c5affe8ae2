"""Reading and writing records: a file that is damaged is one line that names the file, the key and what is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, PlainSerializer, TypeAdapter, ValidationError

from ..errors import InputError
from ..files import read_json, read_jsonl, write_json, write_jsonl

DIGITS = 10  # significant ones of a float in results: libraries may differ by CPU in the last one or two of the 16


def rounded(value: float) -> float:
    """A float as results have it."""
    return float(f"{value:.{DIGITS}g}")


Real = Annotated[float, PlainSerializer(rounded)]  # rounded when it is written
Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(min_length=1)]
Level = Annotated[Real, Field(gt=0, lt=1)]
T = TypeVar("T")


def read(path: Path | str, kind: type[T]) -> T:
    """The record, or mapping or list of records, that a JSON file holds.

    Raises:
        InputError: no such file, or not of that kind; `path: key.of.the.place: what is wrong`.
    """
    return checked(read_json(path), kind, str(path))


def read_rows(path: Path | str, kind: type[T]) -> list[T]:
    """The rows of a JSON Lines file, which may be none.

    Raises:
        InputError: no such file, or a line that is not of that kind; the message names the line.
    """
    found = read_jsonl(path)
    try:
        return _adapter(list[kind]).validate_python(found)  # type: ignore[valid-type]
    except ValidationError as error:
        line = int(error.errors()[0]["loc"][0])
        raise InputError(f"{path}, line {line + 1}: {_fault(error, found[line], kind, inside=1)}") from None


def checked(value: Any, kind: type[T], where: str) -> T:
    """`value`, parsed from JSON or YAML, as a record.

    Args:
        where: what the message of an `InputError` begins with.
    """
    of_kind: Any = kind
    try:
        return _adapter(of_kind).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{where}: {_fault(error, value, kind)}") from None


def write(path: Path | str, record: Any) -> None:
    """Write a record, or a mapping or list of records: sorted keys, equal bytes for equal values, whole or not at all.

    A key that was never given is not written; one that is None is null.
    """
    write_json(path, plain(record))


def write_rows(path: Path | str, rows: Iterable[BaseModel]) -> None:
    """Write one record a line, whole or not at all."""
    write_jsonl(path, map(plain, rows))


def plain(value: Any) -> Any:
    """A record as what JSON knows: mappings, lists, text and numbers."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _of_value(value: Any, steps: Sequence[int | str]) -> list[int | str]:
    """The steps that lead into a value: without those that name a variant of a type."""
    kept: list[int | str] = []
    for place, step in enumerate(steps):
        try:
            value = value[step]
        except (LookupError, TypeError):
            if step == "[key]" or not isinstance(value, Mapping) or place < len(steps) - 1:
                continue
        kept.append(step)
    return kept


def _allowed(kind: Any, steps: Sequence[int | str]) -> list[str]:
    """The keys that are allowed where some steps lead to from a record."""
    for step in steps:
        kind, variants = _bare(kind), get_args(_bare(kind))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = next(f.annotation for name, f in kind.model_fields.items() if step in (name, f.alias))
        elif get_origin(kind) in (dict, list, tuple):
            kind = variants[get_origin(kind) is dict]
        else:  # the step names a variant, by the value of one of its fields
            kind = next(v for v in variants if any(step in get_args(f.annotation) for f in v.model_fields.values()))
    return [field.alias or name for name, field in _bare(kind).model_fields.items()]


def _bare(kind: Any) -> Any:
    """A type without its annotations, and without None."""
    while get_origin(kind) is Annotated or type(None) in get_args(kind):
        kind = get_args(kind)[0]
    return kind


def _fault(error: ValidationError, value: Any, kind: Any, inside: int = 0) -> str:
    """The first thing that is wrong: the key, and what of it.

    Args:
        inside: how many steps lead to `value` itself.
    """
    first = error.errors()[0]
    key = ".".join(map(str, _of_value(value, first["loc"][inside:])))
    shown = repr(first["input"])
    if first["type"] == "missing":
        what = "is missing"
    elif first["type"] == "extra_forbidden":
        what = f"unknown key; allowed here: {', '.join(_allowed(kind, first['loc'][inside:-1]))}"
    elif first["type"] == "value_error":
        what = str(first["ctx"]["error"])
    else:
        should = "should be a mapping" if first["type"] in ("model_type", "dict_type") else first["msg"]
        what = f"{should.removeprefix('Input ')}, not {shown if len(shown) < 60 else shown[:56] + '...'}"
    return f"{key}: {what}" if key else what
