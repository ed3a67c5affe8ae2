"""The counts that the report published, as far as they can be known.

It gives each persona's count for one condition, and for the others percentages with one decimal. Several counts may
round to one percentage: 0.0% of 2800 is 0 or 1. A count is therefore a range here, and what is concluded from it has
to hold for all of the range.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..experiment.errors import InputError
from ..experiment.groups import REPORTED_GROUPS, REPORTS_SOURCE, members
from ..experiment.layout import PUBLISHED
from .records import Counts, Published, rounds_to


class Block(NamedTuple):
    """Some personas of one condition whose hits add up to something from `low` to `high`."""

    personas: frozenset[str]
    low: int
    high: int


# The counts that some personas of a condition may have; none where the report gives none.
Possible = Callable[[str, Sequence[str]], list[Counts]]


def rounding_to(percent: float, total: int) -> tuple[int, int]:
    """The fewest and the most hits of `total` that are `percent` when rounded to one decimal.

    Raises:
        InputError: there are none.
    """
    near, far = round(percent * total / 100), total // 1000 + 2
    hits = [hits for hits in range(max(0, near - far), min(total, near + far) + 1) if rounds_to(hits, total, percent)]
    if not hits:
        raise InputError(f"{PUBLISHED}: no count of {total} is {percent}%")
    return hits[0], hits[-1]


def within(blocks: Sequence[Block], chosen: Sequence[str], each: int, most: int | None) -> range:
    """The hits that the chosen personas may have together.

    Args:
        each: answers a persona.
        most: hits of all personas together, where the report states them.
    """
    low = high = 0
    for block in blocks:
        inside = len(block.personas & set(chosen))
        low += max(0, block.low - (len(block.personas) - inside) * each)
        high += min(block.high, inside * each)
    high = high if most is None else min(high, most)
    return range(min(low, high), high + 1)


def read(published: Published, stated: Mapping[str, int]) -> Possible:
    """Look-up of the counts in `published.json`.

    Args:
        stated: hits of all personas together, by condition, where the report's text gives them.
    """
    names, each = published.personas, published.answers
    blocks: dict[str, list[Block]] = {}
    for condition, percents in published.headline_percent.items():
        blocks[condition] = []
        for group in REPORTED_GROUPS:
            if some := members(names, group, REPORTS_SOURCE):
                blocks[condition].append(Block(frozenset(some), *rounding_to(percents.of(group), each * len(some))))
    for condition, hits in published.hits.items():
        blocks[condition] = [Block(frozenset({name}), hits[name], hits[name]) for name in names]

    def possible(condition: str, chosen: Sequence[str]) -> list[Counts]:
        if condition not in blocks or not set(chosen) <= set(names):
            return []
        hits = within(blocks[condition], chosen, each, stated.get(condition))
        return [Counts(hits=h, total=each * len(chosen)) for h in hits]

    return possible
