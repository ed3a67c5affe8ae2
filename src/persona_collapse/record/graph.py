"""The graph of the stages, by what each reads and makes, and the stages of some seeds in it."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import networkx  # type: ignore[import-untyped]  # comes with DVC, whose graphs are its

from ..experiment.errors import InputError
from ..experiment.layout import PARAMS
from .lock import Stage

SEED = re.compile(r"@\w+-(\d+)(?:-|$)")  # in a stage's name: <form>@<profile>-<seed>-<phase>


def makers(stages: Mapping[str, Stage]) -> dict[str, set[str]]:
    """The stages that make a file, or some of what lies in a folder, by its path."""
    found: dict[str, set[str]] = {}
    for name, stage in stages.items():
        for out in stage.outs:
            for path in (out.path, *map(str, PurePosixPath(out.path).parents)):
                found.setdefault(path, set()).add(name)
    return found


def of_stages(stages: Mapping[str, Stage]) -> Any:
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
    """The stages that lead to one, each after those that it needs, itself last; `of` is a graph as of `of_stages`."""
    return list(networkx.dfs_postorder_nodes(of.reverse(copy=False), name, sort_neighbors=sorted))


def first_different(of: Any, different: Sequence[str]) -> list[str]:
    """Of the differing stages, those before which nothing differs."""
    return [name for name in different if not networkx.ancestors(of, name) & set(different)]


def seed_of(stage: str) -> str:
    """The seed that a stage is one of, by its name (`train@smollm2-42-em`); nothing if it is of none."""
    found = SEED.search(stage)
    return found[1] if found else ""


def of_seeds(of: Any, seeds: Collection[str]) -> set[str]:
    """The stages of some seeds, and those of no seed that they need; `of` is a graph as of `of_stages`.

    Raises:
        InputError: a seed that no stage is of.
    """
    seed = {name: seed_of(name) for name in of}
    if unknown := [one for one in seeds if one not in seed.values()]:
        known = ", ".join(dict.fromkeys(one for one in seed.values() if one))
        raise InputError(f"SEEDS={unknown[0]}: no such seed; {PARAMS} has {known}")
    chosen = {name for name in of if seed[name] in seeds}
    return chosen.union(*(networkx.ancestors(of, name) for name in chosen))
