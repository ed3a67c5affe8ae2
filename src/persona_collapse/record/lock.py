"""`dvc.lock` and `dvc.yaml`, read here alone: what is recorded of each stage, what is declared of it, and their graph.

The lock is parsed as it stands; of `dvc.yaml` DVC itself says what it comes to under `params.yaml`. A file of theirs
that is damaged, or that is no file, is an `InputError` of one line that names it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import networkx  # type: ignore[import-untyped]  # comes with DVC, whose graphs are its
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..experiment import strict
from ..experiment.errors import InputError
from ..experiment.files import read_text
from ..experiment.layout import PARAMS
from ..experiment.strict import from_yaml

LOCK, PIPELINE, CONFIG = Path("dvc.lock"), Path("dvc.yaml"), Path(".dvc/config")
EXPANDED = 200_000  # values in a dvc.yaml with all its aliases written out; ours has some 2,000
NESTED = 50  # lists and mappings in each other; ours has 8
SEED = re.compile(r"@\w+-(\d+)(?:-|$)")  # in a stage's name: <form>@<profile>-<seed>-<phase>


# ---- what is recorded ----


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


# ---- what is declared ----


class Output(NamedTuple):
    cached: bool  # does DVC keep a copy? What git keeps, and the base model, it does not
    persists: bool  # does it stay where it is until the stage has made it anew?


class Declared(NamedTuple):
    """A stage of `dvc.yaml` under the parameters of `params.yaml`."""

    cmd: str
    deps: frozenset[str]
    params: frozenset[tuple[str, str]]  # file and dotted key; no key stands for the whole file
    outs: Mapping[str, Output]
    oddities: tuple[str, ...]  # what no record shows and changes what a run does


def opened(**options: Any) -> Any:
    """DVC's own view of the repository here, before it reads its files; `options` are those of `dvc.repo.Repo`.

    Raises:
        InputError: .dvc/config is missing, damaged or no file.
    """
    from dvc.repo import Repo  # a second to import, which who only reads the lock need not wait for

    from . import committed

    read_text(CONFIG)
    if (ignored := Path(".dvcignore")).exists():
        read_text(ignored)
    committed.name_the_user()
    if committed.problem():
        options.setdefault("config", {"core": {"no_scm": True}})
    try:
        return Repo(**options)
    except Exception as error:  # DVC does not foresee all that a file may hold
        raise InputError(f"{CONFIG} or .dvcignore: {_in_a_line(error)}") from None


def repository(**options: Any) -> Any:
    """As `opened`, with its files read and the graph of its stages checked.

    Raises:
        InputError: dvc.yaml, dvc.lock or .dvc/config is missing, damaged or no file.
    """
    from dvc.utils.strictyaml import YAMLValidationError

    _require_small(PIPELINE)
    for path in (LOCK, PARAMS):
        if path.exists():
            read_text(path)
    found = opened(**options)
    try:
        found.index.graph  # noqa: B018  # refuses two makers of one file, and circles
    except YAMLValidationError as error:
        first = getattr(error.exc, "errors", [error.exc])[0]
        key = ".".join(map(str, getattr(first, "path", [])))
        raise InputError(f"{Path(error.path).name}: {key}: {getattr(first, 'msg', error)}") from None
    except Exception as error:  # DVC does not foresee all that a file may hold
        raise InputError(f"{PIPELINE} or {LOCK}: {_in_a_line(error)}") from None
    return found


def declared(repo: Any) -> dict[str, Declared]:
    """The stages of `dvc.yaml`, and of whatever else DVC takes for a file of stages, by name."""
    from dvc.dependency.param import ParamsDependency

    found = {}
    for stage in repo.index.stages:
        params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
        oddities = {
            "frozen: it would never run": stage.frozen,
            "always_changed: it counts as out of date for ever": stage.always_changed,
            "wdir: it runs in another folder": Path(stage.wdir) != Path(repo.root_dir),
        }
        found[stage.addressing] = Declared(
            cmd="\n".join(map(str, stage.cmd)) if isinstance(stage.cmd, list) else str(stage.cmd or ""),
            deps=frozenset(dep.def_path for dep in stage.deps if dep not in params),
            params=frozenset((dep.def_path, key) for dep in params for key in dep.params or [""]),
            outs={out.def_path: Output(out.use_cache, out.persist) for out in stage.outs},
            oddities=tuple(oddity for oddity, so in oddities.items() if so),
        )
    return found


def kept(stages: Mapping[str, Stage], of: Mapping[str, Declared]) -> list[Entry]:
    """The recorded outputs that DVC keeps a copy of, by what is declared."""
    return [
        out
        for name, stage in stages.items()
        for out in stage.outs
        if name in of and out.path in of[name].outs and of[name].outs[out.path].cached
    ]


def _require_small(path: Path) -> None:
    """Raise `InputError` if a file is not YAML, or is a small text for a huge value, as a few aliases can make it."""
    sizes: dict[str, int] = {}  # of what an anchor names, with all its own aliases written out
    inside: list[list[Any]] = [[None, 0]]  # the anchor and the size so far of each list and mapping that is open
    try:
        for event in yaml.parse(read_text(path), yaml.CSafeLoader):
            anchor, size = getattr(event, "anchor", None), 0
            match event:
                case yaml.CollectionStartEvent():
                    inside.append([anchor, 1])
                case yaml.AliasEvent():
                    size, anchor = sizes.get(str(anchor), EXPANDED), None  # one that is still open has no end
                case yaml.ScalarEvent():
                    size = 1
                case yaml.CollectionEndEvent():
                    anchor, size = inside.pop()
            inside[-1][1] += size
            if anchor and size:
                sizes[anchor] = size
            if inside[-1][1] > EXPANDED or len(inside) > NESTED:
                raise InputError(f"{path}: stands for more than {EXPANDED:,} values, or for {NESTED} in each other")
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not YAML ({_in_a_line(error)})") from None


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# ---- the graph ----


def makers(stages: Mapping[str, Stage]) -> dict[str, set[str]]:
    """The stages that make a file, or some of what lies in a folder, by its path."""
    found: dict[str, set[str]] = {}
    for name, stage in stages.items():
        for out in stage.outs:
            for path in (out.path, *map(str, PurePosixPath(out.path).parents)):
                found.setdefault(path, set()).add(name)
    return found


def graph(stages: Mapping[str, Stage]) -> Any:
    """A `networkx.DiGraph` of the stages' names, with an edge from each stage to those that read what it makes."""
    made_by = makers(stages)
    whole = {out.path: name for name, stage in stages.items() for out in stage.outs if out.folder}
    found = networkx.DiGraph()
    found.add_nodes_from(stages)
    for name, stage in stages.items():
        for dep in stage.deps:
            above = {whole[str(path)] for path in PurePosixPath(dep.path).parents if str(path) in whole}
            found.add_edges_from((maker, name) for maker in made_by.get(dep.path, set()) | above)
    return found


def ancestry(of: Any, name: str) -> list[str]:
    """The stages that lead to one, each after those that it needs, itself last; `of` is a graph as of `graph`."""
    return list(networkx.dfs_postorder_nodes(of.reverse(copy=False), name, sort_neighbors=sorted))


def first_different(of: Any, different: Sequence[str]) -> list[str]:
    """Of the differing stages, those before which nothing differs."""
    return [name for name in different if not networkx.ancestors(of, name) & set(different)]


def declared_graph(repo: Any) -> Any:
    """As `graph`, of the declared stages."""
    names = {stage: stage.addressing for stage in repo.index.graph}
    return networkx.relabel_nodes(repo.index.graph.reverse(), names)  # DVC's edges go to what is needed


def order(repo: Any) -> list[str]:
    """The declared stages in an order in which they can run."""
    return list(networkx.topological_sort(declared_graph(repo)))


def seed_of(stage: str) -> str:
    """The seed that a stage is one of, by its name (`train@smollm2-42-em`); nothing if it is of none."""
    found = SEED.search(stage)
    return found[1] if found else ""


def of_seeds(of: Any, seeds: Collection[str]) -> set[str]:
    """The stages of some seeds, and those of no seed that they need; `of` is a graph as of `graph`.

    Raises:
        InputError: a seed that no stage is of.
    """
    seed = {name: seed_of(name) for name in of}
    if unknown := [one for one in seeds if one not in seed.values()]:
        known = ", ".join(dict.fromkeys(one for one in seed.values() if one))
        raise InputError(f"SEEDS={unknown[0]}: no such seed; {PARAMS} has {known}")
    chosen = {name for name in of if seed[name] in seeds}
    return chosen.union(*(networkx.ancestors(of, name) for name in chosen))
