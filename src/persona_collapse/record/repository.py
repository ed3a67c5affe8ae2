"""The repository as DVC sees it: what `dvc.yaml` declares under `params.yaml`, and in which order it can run.

A file of DVC's that is damaged, or that is no file, is an `InputError` of one line that names it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import networkx  # type: ignore[import-untyped]  # comes with DVC, whose graphs are its
import yaml

from ..experiment.errors import InputError
from ..experiment.files import read_text
from ..experiment.layout import PARAMS
from . import committed, patches
from .lock import LOCK, Entry, Stage

PIPELINE, CONFIG = Path("dvc.yaml"), Path(".dvc/config")
EXPANDED = 200_000  # values in a dvc.yaml with all its aliases written out; ours has some 2,000
NESTED = 50  # lists and mappings in each other; ours has 8


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

    patches.reading()
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


def checked(**options: Any) -> Any:
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


def graph(repo: Any) -> Any:
    """The graph of the declared stages, as of `graph.of_stages`."""
    names = {stage: stage.addressing for stage in repo.index.graph}
    return networkx.relabel_nodes(repo.index.graph.reverse(), names)  # DVC's edges go to what is needed


def order(repo: Any) -> list[str]:
    """The declared stages in an order in which they can run."""
    return list(networkx.topological_sort(graph(repo)))
