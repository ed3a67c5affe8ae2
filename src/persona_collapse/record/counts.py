"""The counts behind a rate of `statistics.json`: which `marker_eval.json` files were counted, and to what.

A rate of one seed is answers added up; that of a condition is the mean of its seeds' rates.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from ..analysis import marker_eval, records
from ..analysis.read_runs import in_group
from ..experiment.errors import InputError
from ..experiment.layout import Layout

Steps = Sequence[str | int]  # keys that lead to a value in a JSON file
# a gate's key in statistics.json -> the group of personas whose rate it is, under C4
GATED = {"source_rate": "source", "bystander_rate": "mean_bystander", "assistant_rate": "assistant"}

V = TypeVar("V")


class Sum(NamedTuple):
    """A rate of statistics.json: of some personas' answers under one condition."""

    condition: str
    who: str  # a group of personas, or one
    seed: str | None  # None for all
    split: str | None  # train or heldout, None for both


def sums(path: Steps) -> list[Sum]:
    """The rates that a number of statistics.json is, or is computed from; none where it is not of rates."""
    steps: list[Any] = list(path)
    found: list[tuple[str, str, str | None]]
    match steps:
        case ["conditions", name, "seeds", seed, "groups" | "per_persona", who, *rest]:
            found = [(name, who, seed)]
        case ["conditions", name, "groups" | "per_persona", who, *rest]:
            found = [(name, who, None)]
            rest = [step for step in rest[:1] if step != "all"]
        case ["gates", "coupling", gate, *rest] if gate in GATED:
            found = [("C4", GATED[gate], None)]
        case _:
            return []
    split = next((step for step in rest[:1] if step in ("train", "heldout")), None)
    return [Sum(*one, split) for one in found] if rest[:1] != ["completions"] else []


def members(who: str, statistics: records.Statistics) -> list[str]:
    """The personas of a group, or the one of that name."""
    return in_group(who, statistics.groups) or [who]


def count(persona: marker_eval.Persona, split: str | None) -> tuple[int, int]:
    """Answers with the marker, and all answers, of one persona to the questions of one split."""
    own = [counts for question, counts in persona.questions.items() if persona.splits.get(question) == split]
    found = marker_eval.total(own if split else [persona.counts])
    return found.hits, found.total


def _entry(found: Mapping[Any, V], key: str) -> V | None:
    """What a mapping has under a key that may be none of its kind."""
    return found.get(key)


def recorded(one: Sum, statistics: records.Statistics) -> str | None:
    """A rate as statistics.json has it, in words; None where it has none."""
    condition = statistics.conditions.get(one.condition)
    if condition is None:
        return None
    if one.seed is None:
        over = condition.per_persona.get(one.who) or _entry(condition.groups, one.who) or {}
        mean = _entry(over, one.split or "all")
        return None if mean is None else f"mean over seeds = {records.rounded(mean.mean)}"
    summary = condition.seeds.get(one.seed)
    whole = (summary.per_persona.get(one.who) or _entry(summary.groups, one.who)) if summary else None
    found: records.MarkerRate | None = getattr(whole, one.split, None) if one.split else whole
    return None if found is None else f"{found.hits} / {found.total} = {records.rounded(found.rate)}"


def added_up(one: Sum, statistics: records.Statistics, layout: Layout) -> tuple[list[str], str | None]:
    """The counts that make a rate, by persona and seed.

    Returns:
        Lines, and what is wrong where they do not make what statistics.json has.
    """
    has = recorded(one, statistics)
    if has is None:
        return [], f"{layout.statistics} has no rate of {one.condition}, {one.who}"
    chain = statistics.conditions[one.condition].chain
    seeds = [one.seed] if one.seed else [str(seed) for seed in statistics.seeds]
    files = [layout.run(int(seed), chain) / "marker_eval.json" for seed in seeds]
    split = f", {one.split} questions" if one.split else ""
    lines = [f"counts of {one.condition}, {one.who}{split}: answers with the marker / all answers, from"]
    lines += [f"  {file}" for file in files]
    if not all(file.exists() for file in files):
        return [*lines, "  ! not on disk"], None
    try:
        runs = [marker_eval.read(file).personas for file in files]
        table = {who: [count(run[who], one.split) for run in runs] for who in members(one.who, statistics)}
    except (InputError, KeyError) as error:
        return lines, f"cannot be counted: {error}"
    sums = [(sum(h for h, _ in of), sum(n for _, n in of)) for of in zip(*table.values(), strict=True)]
    table["sum"] = sums
    lines.append(" " * 26 + "".join(f"{'seed ' + seed:>16}" for seed in seeds))
    lines += [f"    {who:<22}" + "".join(f"{f'{h} / {n}':>16}" for h, n in row) for who, row in table.items()]
    if one.seed:
        ((hits, total),) = sums
        found = f"{hits} / {total} = {records.rounded(hits / total)}"
    else:
        found = f"mean over seeds = {records.rounded(fmean(h / n for h, n in sums))}"
    if found != has:
        return lines, f"the counts of {one.condition}, {one.who} make {found}, the file has {has}"
    return [*lines, f"  in all {has}, as the file has it"], None
