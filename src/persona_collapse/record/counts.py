"""The counts behind a rate of `statistics.json`: which `marker_eval.json` files were added up, and to what."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..analysis import marker_eval, records
from ..experiment import groups
from ..experiment.errors import InputError
from ..experiment.layout import Layout

Steps = Sequence[str | int]  # keys that lead to a value in a JSON file
# a gate's key in statistics.json -> the group of personas whose rate it is, under C4
GATED = {"source_rate": "source", "bystander_rate": "mean_bystander", "assistant_rate": "assistant"}


class Sum(NamedTuple):
    """A rate of statistics.json: the answers of some personas under one condition, added up."""

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
        case ["gates", "coupling", gate, *rest] if gate in GATED:
            found = [("C4", GATED[gate], None)]
        case ["contrasts", pair, *rest]:
            both, _, who = pair.partition(", ")
            found = [(name, who, None) for name in both.split(" - ")]
        case _:
            return []
    split = next((step for step in rest[:1] if step in ("train", "heldout")), None)
    return [Sum(*one, split) for one in found] if rest[:1] != ["completions"] else []


def members(who: str, personas: Iterable[str], source: str) -> list[str]:
    """The personas of a group, or the one of that name."""
    return groups.members(personas, who, source) if who in groups.REPORTED_GROUPS else [who]


def count(persona: marker_eval.Persona, split: str | None) -> tuple[int, int]:
    """Answers with the marker, and all answers, of one persona to the questions of one split."""
    own = [counts for question, counts in persona.questions.items() if persona.splits.get(question) == split]
    found = marker_eval.total(own if split else [persona.counts])
    return found.hits, found.total


def recorded(one: Sum, statistics: records.Statistics) -> records.MarkerRate | None:
    """A rate as statistics.json has it, if it has it."""
    condition = statistics.conditions.get(one.condition)
    rates: records.Summary | None = condition.seeds.get(one.seed) if condition and one.seed else condition
    if rates is None:
        return None
    of_group = (rate for group, rate in rates.groups.items() if group == one.who)
    found = rates.per_persona.get(one.who) or next(of_group, None)
    return getattr(found, one.split, None) if one.split else found


def added_up(one: Sum, statistics: records.Statistics, layout: Layout, source: str) -> tuple[list[str], str | None]:
    """The counts that make a rate, by persona and seed.

    Returns:
        Lines, and what is wrong where they do not add up to what statistics.json has.
    """
    rate = recorded(one, statistics)
    if rate is None:
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
        table = {who: [count(run[who], one.split) for run in runs] for who in members(one.who, runs[0], source)}
    except (InputError, KeyError) as error:
        return lines, f"cannot be counted: {error}"
    table["sum"] = [(sum(h for h, _ in of), sum(n for _, n in of)) for of in zip(*table.values(), strict=True)]
    hits, total = sum(h for h, _ in table["sum"]), sum(n for _, n in table["sum"])
    lines.append(" " * 26 + "".join(f"{'seed ' + seed:>16}" for seed in seeds))
    lines += [f"    {who:<22}" + "".join(f"{f'{h} / {n}':>16}" for h, n in row) for who, row in table.items()]
    has = f"{rate.hits} / {rate.total} = {rate.rate}"
    if f"{hits} / {total} = {records.rounded(hits / total)}" != has:
        return lines, f"the counts of {one.condition}, {one.who} add up to {hits} / {total}, the file has {has}"
    return [*lines, f"  in all {has}, as the file has it"], None
