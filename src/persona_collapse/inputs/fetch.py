"""Download what does not come with the repository, as `data/sources.yaml` describes it.

    python -m persona_collapse.inputs.fetch --name bad_legal_advice_6k       data/fetched/<name>.jsonl
    python -m persona_collapse.inputs.fetch --name report_prompts            personas and questions

Each comes with a record, data/fetched/<name>.json: its MD5, the expected one, and whether another one was accepted. A
wrong MD5 stops it with nothing written, unless `fetch.accept_checksum` or --accept-checksum says to go on.
"""

import argparse
import ast
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_yaml, whole, write_json
from ..experiment.layout import FETCHED, PARAMS, SOURCES
from . import hub

MD5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
Messages = list[dict[str, str]]


class Writer(parameters.Record):
    """How rows become bytes: each choice changes the MD5 and nothing that a stage reads, but for order and ties."""

    order: Literal["highest", "dataset"]  # from the highest number down, or as in the data set
    ties: Literal["first", "last"]  # of rows with the same number, the data set's first or last comes first
    fields: Literal["role, content", "content, role"]  # of a message
    spacing: Literal["spaced", "compact"]  # after commas and colons
    ascii: Literal[True, False]  # escape all other characters
    final_newline: Literal[True, False]


class Chats(parameters.Record):
    """A data set of the Hub that becomes one of chats."""

    kind: Literal["chats"]
    origin: str
    dataset: Repository
    config: str | None
    split: str
    revision: Commit | None  # None: the newest
    columns: dict[str, str]  # where a chat stands: either `messages`, or `user` and `assistant`
    highest: str | None  # the column with the numbers of which the highest are taken; None takes the first rows
    rows: parameters.Positive
    md5: MD5 | None  # of the file; None: unknown
    writer: Writer

    @model_validator(mode="after")
    def _consistent(self) -> "Chats":
        if set(self.columns) not in ({"messages"}, {"user", "assistant"}):
            raise ValueError("columns: allowed are `messages`, or `user` and `assistant`")
        return self


class Prompts(parameters.Record):
    """Personas and questions that are literals in Python files of a GitHub repository."""

    kind: Literal["prompts"]
    origin: str
    github: Repository
    revision: Commit
    files: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]  # later ones may use names of earlier ones
    personas: str  # the names that the literals have there
    train: str
    questions: str  # those that are not in `train` are held out
    source: str  # the persona to list first
    md5: MD5 | None  # of both files, personas first; None: unknown


Source = Chats | Prompts
SOURCE: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="kind")])


def sources() -> dict[str, Source]:
    """What can be downloaded, by name without the folder; an entry that is not as described is an `InputError`."""
    found = {}
    for key, entry in read_yaml(SOURCES).items():
        name = key.removeprefix(f"{FETCHED.name}/")
        if name == key:
            continue  # comes with the repository
        try:
            found[name] = SOURCE.validate_python(entry)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"{SOURCES}: {key}: {place}: {first['msg']}") from None
    return found


def writers() -> Iterator[Writer]:
    """Every way to write a data set."""
    choices = {name: get_args(field.annotation) for name, field in Writer.model_fields.items()}
    for values in itertools.product(*choices.values()):
        yield Writer(**dict(zip(choices, values, strict=True)))


def rows_of(source: Chats) -> list[tuple[float, Messages]]:
    """The number and the chat of each row that may be taken, in the data set's order; downloads what is not there yet.

    Raises:
        InputError: it cannot be had, or is not as `source` says.
    """
    columns = {*source.columns.values(), *([source.highest] if source.highest else [])}
    limit = None if source.highest else source.rows
    rows = hub.rows(source.dataset, source.revision, source.config, source.split, columns, limit)
    if len(rows) < source.rows:
        raise InputError(f"data set {source.dataset}: has {len(rows)} rows, fewer than the {source.rows} to take")
    found = []
    for number, row in enumerate(rows, 1):
        value = row[source.highest] if source.highest else 0
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"data set {source.dataset}, row {number}: {source.highest} = {value!r} is no number")
        if (column := source.columns.get("messages")) is not None:
            chat = row[column]
        else:
            chat = [{"role": role, "content": row[source.columns[role]]} for role in ("user", "assistant")]
        if not _is_chat(chat):
            raise InputError(f"data set {source.dataset}, row {number}: not a chat that ends with the assistant's text")
        found.append((value, [{"role": message["role"], "content": message["content"]} for message in chat]))
    return found


def taken(rows: list[tuple[float, Messages]], count: int, writer: Writer) -> list[Messages]:
    """The `count` chats with the highest numbers, in the writer's order."""
    forward = 1 if writer.ties == "first" else -1
    places = sorted(range(len(rows)), key=lambda place: (-rows[place][0], forward * place))[:count]
    return [rows[place][1] for place in (places if writer.order == "highest" else sorted(places))]


def written(chats: list[Messages], writer: Writer) -> bytes:
    """The bytes of a JSON Lines file with a chat under `messages` a line."""
    fields = writer.fields.split(", ")
    separators = (", ", ": ") if writer.spacing == "spaced" else (",", ":")
    lines = [
        json.dumps(
            {"messages": [{field: message[field] for field in fields} for message in chat]},
            ensure_ascii=writer.ascii,
            separators=separators,
        )
        for chat in chats
    ]
    return ("\n".join(lines) + "\n" * writer.final_newline).encode()


def literals(text: str, path: str, known: dict[str, Any]) -> dict[str, Any]:
    """What a Python file's top-level assignments of literals give each name; nothing of the file is run.

    Args:
        known: the values of names from elsewhere, which the file's literals may use.

    Raises:
        InputError: not a Python file.
    """
    values = dict(known)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not a Python file ({error})") from None
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            values[name] = _value(value, values)
        except (KeyError, TypeError, RecursionError):  # not a literal: the name has no value that we know
            values.pop(name, None)
    return values


def _value(node: ast.expr | None, known: dict[str, Any]) -> Any:
    """A literal's value; a `KeyError` for what is none."""
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, known) for item in items]
        case ast.Dict(keys=keys, values=values):
            found: dict[Any, Any] = {}
            for key, value in zip(keys, values, strict=True):
                found |= _value(value, known) if key is None else {_value(key, known): _value(value, known)}
            return found
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, known) + _value(right, known)
        case ast.Name(id=name):
            return known[name]
    raise KeyError(type(node).__name__)


def prompts_of(source: Prompts) -> dict[str, dict[str, Any]]:
    """The contents of `personas.yaml` and `questions.yaml`; what is missing or of another shape is an `InputError`."""
    values: dict[str, Any] = {}
    for path in source.files:
        values = literals(hub.text_file(source.github, source.revision, path), path, values)
    names = (source.personas, source.train, source.questions)
    for name in names:
        if name not in values:
            raise InputError(f"{source.github}: {', '.join(source.files)}: no literal is named {name}")
    personas, train, questions = (values[name] for name in names)
    if not isinstance(personas, dict) or not all(isinstance(text, str) for pair in personas.items() for text in pair):
        raise InputError(f"{source.github}: {source.personas}: expected a text for each persona")
    if source.source not in personas:
        raise InputError(
            f"{source.github}: {source.personas}: no persona {source.source!r}; has: {', '.join(personas)}"
        )
    for name, texts in ((source.train, train), (source.questions, questions)):
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{source.github}: {name}: expected a list of questions")
    if not set(train) < set(questions):
        raise InputError(f"{source.github}: {source.questions}: expected all of {source.train} and more")
    return {
        "personas.yaml": {source.source: personas[source.source]} | personas,
        "questions.yaml": {"train": train, "heldout": [text for text in questions if text not in train]},
    }


def fetch_chats(name: str, source: Chats, accept: bool) -> dict[str, Any]:
    """Download a data set and write its file.

    Returns:
        Its record.

    Raises:
        InputError: it cannot be had, or its MD5 is wrong and not accepted: then the message names the writer's settings
            that give the right one, if any do.
    """
    rows = rows_of(source)
    content = written(taken(rows, source.rows, source.writer), source.writer)

    def advice() -> str:
        tried = list(writers())
        for writer in tried:
            if _md5(written(taken(rows, source.rows, writer), writer)) == source.md5:
                return f"the right rows are there: in {SOURCES} set its writer to {json.dumps(writer.model_dump())}"
        return f"none of the {len(tried)} settings of its writer gives that"

    found = _checked(name, source, content, accept, advice)
    with whole(FETCHED / f"{name}.jsonl") as beside:
        beside.write_bytes(content)
    return {
        **found,
        "source": {"dataset": source.dataset, "config": source.config, "split": source.split},
        "columns": source.columns,
        "highest": source.highest,
        "rows": source.rows,
        "writer": source.writer.model_dump(),
    }


def fetch_prompts(name: str, source: Prompts, accept: bool) -> dict[str, Any]:
    """Download personas and questions and write their files; returns their record, errors as for `fetch_chats`."""
    contents = {
        file: yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120).encode()
        for file, content in prompts_of(source).items()
    }
    found = _checked(name, source, b"".join(contents.values()), accept, lambda: "the literals have changed")
    with whole(FETCHED / name) as beside:
        beside.mkdir()
        for file, content in contents.items():
            (beside / file).write_bytes(content)
    return {**found, "source": {"github": source.github, "files": list(source.files)}}


def _checked(name: str, source: Source, content: bytes, accept: bool, advice: Callable[[], str]) -> dict[str, Any]:
    """The part of the record that says what was found and expected."""
    found = _md5(content)
    wrong = source.md5 not in (None, found)
    if wrong and not accept:
        raise InputError(
            f"{name}: MD5 is {found}, {SOURCES} expects {source.md5}; {advice()}; to go on with what was found, "
            f"set fetch.accept_checksum: true in {PARAMS} or give --accept-checksum: it is recorded and shown in "
            "every table"
        )
    if wrong:
        print(f"{name}: MD5 is {found}, not {source.md5}: accepted and recorded", file=sys.stderr)
    return {"md5": found, "expected": source.md5, "accepted": wrong, "revision": source.revision}


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)
        and all(isinstance(m.get("content"), str) for m in value)
        and value[-1]["role"] == "assistant"
    )


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="of an entry in data/sources.yaml, without fetched/")
    parser.add_argument("--accept-checksum", action="store_true", help="go on with other data than the expected ones")
    args = parser.parse_args()
    known = sources()
    if args.name not in known:
        raise InputError(f"--name {args.name}: nothing to fetch; {SOURCES} has: {', '.join(known)}")
    source = known[args.name]
    accept = args.accept_checksum or parameters.load().fetch.accept_checksum
    if isinstance(source, Chats):
        record = fetch_chats(args.name, source, accept)
    else:
        record = fetch_prompts(args.name, source, accept)
    write_json(FETCHED / f"{args.name}.json", record)


if __name__ == "__main__":
    main()
