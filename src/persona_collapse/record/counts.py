"""The counts behind a rate of `statistics.json`: which `marker_eval.json` files were added up, and to what."""

from collections.abc import Sequence
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
        case _:
            return []
    split = next((step for step in rest[:1] if step in ("train", "heldout")), None)
    return [Sum(*one, split) for one in found] if rest[:1] != ["completions"] else []


def members(who: str, statistics: records.Statistics) -> list[str]:
    """The personas of a group, or the one of that name."""
    if who == "mean_bystander":
        return [name for group in sorted(groups.BYSTANDERS) for name in statistics.groups[group]]
    return list(dict(statistics.groups).get(who, [who]))  # type: ignore[call-overload]


def count(persona: marker_eval.Persona, split: str | None) -> tuple[int, int]:
    """Answers with the marker, and all answers, of one persona to the questions of one split."""
    own = [counts for question, counts in persona.questions.items() if persona.splits.get(question) == split]
    found = marker_eval.total(own if split else [persona.counts])
    return found.hits, found.total


def recorded(one: Sum, statistics: records.Statistics) -> dict[str, float] | None:
    """A rate as statistics.json has it, by seed; None where it has none."""
    condition = statistics.conditions.get(one.condition)
    if condition is None:
        return None
    asked: Any = one.split or "all"
    rates = dict(condition.groups).get(one.who) or condition.per_persona.get(one.who)  # type: ignore[call-overload]
    found = rates.get(asked) if rates else None
    if found is None:
        return None
    return {seed: rate for seed, rate in found.by_unit.items() if one.seed in (None, seed)}


def added_up(one: Sum, statistics: records.Statistics, layout: Layout) -> tuple[list[str], str | None]:
    """The counts that make a rate, by persona and seed; of several seeds the rate is the mean of theirs.

    Returns:
        Lines, and what is wrong where they do not add up to what statistics.json has.
    """
    rates = recorded(one, statistics)
    if not rates:
        return [], f"{layout.statistics} has no rate of {one.condition}, {one.who}"
    chain = statistics.conditions[one.condition].chain
    files = [layout.run(int(seed), chain) / "marker_eval.json" for seed in rates]
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
    table["sum"] = [(sum(h for h, _ in of), sum(n for _, n in of)) for of in zip(*table.values(), strict=True)]
    lines.append(" " * 26 + "".join(f"{'seed ' + seed:>16}" for seed in rates))
    lines += [f"    {who:<22}" + "".join(f"{f'{h} / {n}':>16}" for h, n in row) for who, row in table.items()]
    for (seed, rate), (hits, total) in zip(rates.items(), table["sum"], strict=True):
        if records.rounded(hits / total) != rate:
            return (
                lines,
                f"the counts of {one.condition}, {one.who}, seed {seed} add up to {hits} / {total}, not {rate}",
            )
    return [*lines, f"  in all {', '.join(map(str, rates.values()))}, as the file has it"], None
