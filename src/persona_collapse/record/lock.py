"""`dvc.lock`, parsed here alone: what is recorded of each stage.

A lock that is damaged, or that is no file, is an `InputError` of one line that names it.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..experiment import strict
from ..experiment.errors import InputError
from ..experiment.files import read_text
from ..experiment.strict import from_yaml

LOCK = Path("dvc.lock")


def _inside(path: str) -> str:
    if not path or "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("not a path inside the bundle")
    return path


class Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Entry(Recorded):
    """A file with the MD5 of its bytes, or a folder with that of the list of its files, which ends in `.dir`."""

    path: Annotated[str, AfterValidator(_inside)]
    hash: Literal["md5"]
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]

    @property
    def folder(self) -> bool:
        return self.md5.endswith(".dir")


def _one_text(cmd: object) -> object:
    return "\n".join(cmd) if isinstance(cmd, list) and all(isinstance(line, str) for line in cmd) else cmd


class Stage(Recorded):
    """What DVC recorded when it last ran a stage."""

    cmd: Annotated[str, BeforeValidator(_one_text)]
    deps: Annotated[tuple[Entry, ...], Field(strict=False)] = ()
    params: dict[str, dict[str, Any]] = {}  # values by file and dotted key
    outs: Annotated[tuple[Entry, ...], Field(strict=False)] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything that it reads and makes."""
        return (*self.deps, *self.outs)

    @property
    def values(self) -> dict[str, Any]:
        """Its parameters, by dotted key."""
        return {key: value for values in self.params.values() for key, value in values.items()}


Stages = dict[str, Stage]  # in the order in which they were first run


class _Lock(Recorded):
    version: Literal["2.0"] = Field(alias="schema")
    stages: Annotated[Stages, Field(min_length=1)]


def read(path: Path = LOCK) -> Stages:
    """The stages of a `dvc.lock`.

    Raises:
        InputError: no such file, or it is damaged; the message names the key.
    """
    return parse(read_text(path), str(path))


class _InC(yaml.CSafeLoader):
    """The rules of `strict` for a text without anchors, tags and escapes, which need its own parser."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag == f"{strict.TAG}str"]
        if len(set(keys)) < len(node.value):
            raise yaml.YAMLError("a key that is no text, or that is given twice")
        return super().construct_mapping(node, deep)


_InC.yaml_implicit_resolvers = strict._Plain.yaml_implicit_resolvers
_InC.yaml_constructors = strict._Plain.yaml_constructors


def value(text: str) -> Any:
    """The value of a `dvc.lock`, in a tenth of the time that `strict` takes where it is as DVC writes it."""
    if not any(sign in text for sign in "&*!\\"):
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(text, _InC)  # a safe loader
    return from_yaml(text)  # and says what is wrong


def parse(text: str, where: str) -> Stages:
    """The stages in the text of a `dvc.lock`; an `InputError` begins with `where`."""
    try:
        return _Lock.model_validate(value(text)).stages
    except (ValueError, RecursionError) as error:  # pydantic's is a ValueError too
        if not isinstance(error, ValidationError):
            raise InputError(f"{where}: not YAML as DVC writes it ({error})") from None
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(top level)"
        raise InputError(f"{where}: not a dvc.lock with recorded stages: {key}: {first['msg']}") from None


def of_profile(stages: Mapping[str, Stage], profile: str) -> Stages:
    """The stages that make a profile's files: those of what is downloaded belong to none."""
    return {
        name: stage
        for name, stage in stages.items()
        if name.partition("@")[2].partition("-")[0] == profile
        or any(profile in PurePosixPath(out.path).parts for out in stage.outs)
    }
