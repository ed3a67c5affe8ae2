"""Download what does not come with the repository, as `data/sources.yaml` describes it.

    python -m persona_collapse.inputs.fetch --name bad_legal_advice_6k       data/fetched/<name>.jsonl
    python -m persona_collapse.inputs.fetch --name report_prompts            personas and questions

Each comes with a record, data/fetched/<name>.json: its MD5, the expected one, and whether another one was accepted. A
wrong MD5 stops it with nothing written, unless `fetch.accept_checksum` or --accept-checksum says to go on.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import to_json, write_all
from ..experiment.layout import FETCHED, PARAMS, SOURCES
from . import hub, sources
from .datasets import Messages, is_chat
from .jsonl import taken, writers, written
from .literals import literals
from .sources import Chats, Prompts

Files = dict[Path, bytes | str]  # what each file is to hold


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
        if not is_chat(chat):
            raise InputError(f"data set {source.dataset}, row {number}: not a chat that ends with the assistant's text")
        found.append((value, [{"role": message["role"], "content": message["content"]} for message in chat]))
    return found


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


def chats_files(name: str, source: Chats, accept: bool) -> Files:
    """Download a data set: its file and its record.

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

    record = {
        **_checked(name, source, content, accept, advice),
        "source": {"dataset": source.dataset, "config": source.config, "split": source.split},
        "columns": source.columns,
        "highest": source.highest,
        "rows": source.rows,
        "writer": source.writer.model_dump(),
    }
    return {FETCHED / f"{name}.jsonl": content, FETCHED / f"{name}.json": to_json(record)}


def prompts_files(name: str, source: Prompts, accept: bool) -> Files:
    """Download personas and questions: their files and their record, errors as for `chats_files`."""
    contents = {
        file: yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120).encode()
        for file, content in prompts_of(source).items()
    }
    found = _checked(name, source, b"".join(contents.values()), accept, lambda: "the literals have changed")
    record = {**found, "source": {"github": source.github, "files": list(source.files)}}
    files: Files = {FETCHED / name / file: content for file, content in contents.items()}
    return {**files, FETCHED / f"{name}.json": to_json(record)}


def _checked(
    name: str, source: Chats | Prompts, content: bytes, accept: bool, advice: Callable[[], str]
) -> dict[str, Any]:
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


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="of an entry in data/sources.yaml, without fetched/")
    parser.add_argument("--accept-checksum", action="store_true", help="go on with other data than the expected ones")
    args = parser.parse_args()
    known = sources.downloads()
    if args.name not in known:
        raise InputError(f"--name {args.name}: nothing to fetch; {SOURCES} has: {', '.join(known)}")
    source = known[args.name]
    accept = args.accept_checksum or parameters.load().fetch.accept_checksum
    if isinstance(source, Chats):
        write_all(chats_files(args.name, source, accept))
    else:
        write_all(prompts_files(args.name, source, accept))


if __name__ == "__main__":
    main()
