"""The registry of data sets, `data/sources.yaml`: what comes with the repository, what is downloaded, and its MD5."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from ..experiment.errors import InputError, first_of
from ..experiment.files import read_yaml
from ..experiment.layout import FETCHED, SETS, SOURCES
from ..experiment.params import Positive, Record

DOWNLOADED = f"{FETCHED.name}/"  # how the names of what is downloaded begin
MD5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class Embedded(Record):
    """A data set that comes with the repository."""

    kind: Literal["embedded"]
    origin: str
    rows: Positive
    md5: MD5


class Writer(Record):
    """How rows become bytes: each choice changes the MD5 and nothing that a stage reads, but for order and ties."""

    order: Literal["highest", "dataset"]  # from the highest number down, or as in the data set
    ties: Literal["first", "last"]  # of rows with the same number, the data set's first or last comes first
    fields: Literal["role, content", "content, role"]  # of a message
    spacing: Literal["spaced", "compact"]  # after commas and colons
    ascii: Literal[True, False]  # escape all other characters
    final_newline: Literal[True, False]


class Chats(Record):
    """A data set of the Hub that becomes one of chats."""

    kind: Literal["chats"]
    origin: str
    dataset: Repository
    config: str | None
    split: str
    revision: Commit | None  # None: the newest
    columns: dict[str, str]  # where a chat stands: either `messages`, or `user` and `assistant`
    highest: str | None  # the column with the numbers of which the highest are taken; None takes the first rows
    rows: Positive
    md5: MD5 | None  # of the file; None: unknown
    writer: Writer

    @model_validator(mode="after")
    def _consistent(self) -> "Chats":
        if set(self.columns) not in ({"messages"}, {"user", "assistant"}):
            raise ValueError("columns: allowed are `messages`, or `user` and `assistant`")
        return self


class Prompts(Record):
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


Source = Embedded | Chats | Prompts
KINDS: dict[str, type[Source]] = {"embedded": Embedded, "chats": Chats, "prompts": Prompts}


def registry(path: Path = SOURCES) -> dict[str, Source]:
    """What is registered, by name: `benign` comes with the repository, `fetched/tulu_6k` is downloaded.

    Raises:
        InputError: an entry that is not as described; the message names it and the key.
    """
    found: dict[str, Source] = {}
    for name, entry in read_yaml(path).items():
        kinds = ["chats", "prompts"] if name.startswith(DOWNLOADED) else ["embedded"]
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if kind not in kinds:
            raise InputError(f"{path}: {name}: expected an entry whose `kind` is {' or '.join(kinds)}")
        try:
            found[name] = KINDS[kind].model_validate(entry)
        except ValidationError as error:
            raise InputError(f"{path}: {name}: {first_of(error)}") from None
    return found


def downloads(path: Path = SOURCES) -> dict[str, Chats | Prompts]:
    """What can be downloaded, by its name without `fetched/`; errors as for `registry`."""
    return {
        name.removeprefix(DOWNLOADED): source
        for name, source in registry(path).items()
        if not isinstance(source, Embedded)
    }


def file_of(name: str, path: Path = SOURCES) -> Path:
    """The file of the data set `name` in the registry `path`: data/sets/benign.jsonl, data/fetched/tulu_6k.jsonl."""
    folder = path.parent if name.startswith(DOWNLOADED) else path.parent / SETS.name
    return folder / f"{name}.jsonl"
