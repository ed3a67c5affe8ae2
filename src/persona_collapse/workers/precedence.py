"""Which stages come before which."""

from collections.abc import Collection, Mapping

import networkx  # type: ignore[import-untyped]  # comes with DVC, whose graphs are its

from ..planning.states import Stage


def ancestors(stages: Collection[Stage]) -> dict[str, set[str]]:
    """Of each stage, all that lead to it."""
    graph = networkx.DiGraph((one, stage.name) for stage in stages for one in stage.before)
    graph.add_nodes_from(stage.name for stage in stages)
    return {name: networkx.ancestors(graph, name) for name in graph}


def nearest(above: Mapping[str, set[str]], names: Collection[str]) -> dict[str, set[str]]:
    """Of each named stage, the named ones that must be done first, but for those that others of them wait for."""
    chosen = set(names)
    found = {}
    for name in names:
        before = above[name] & chosen
        found[name] = before - set().union(*(above[one] for one in before))
    return found
