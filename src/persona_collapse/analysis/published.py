"""The counts that the report published, as far as they can be known.

It gives each persona's count for one condition, and for the others percentages with one decimal. Several counts may
round to one percentage: 0.0% of 2800 is 0 or 1. A count is therefore a range here, and what is concluded from it has
to hold for all of the range.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ..experiment.errors import InputError
from ..experiment.layout import PUBLISHED

SOURCE = "confab"


class Block(NamedTuple):
    """Some personas of one condition whose hits add up to something from `low` to `high`."""

    personas: frozenset[str]
    low: int
    high: int


# The counts that some personas of a condition may have, {hits, total} each; none where the report gives none.
Possible = Callable[[str, Sequence[str]], list[dict[str, int]]]


def rounding_to(percent: float, total: int) -> tuple[int, int]:
    """The fewest and the most hits of `total` that are `percent` when rounded to one decimal.

    Raises:
        InputError: there are none.
    """
    stated = Fraction(str(percent))
    hits = [h for h in range(total + 1) if abs(Fraction(100 * h, total) - stated) <= Fraction(5, 100)]
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


def answers(published: Mapping[str, Any]) -> int:
    """How many answers a persona the report has: the file names its counts `<condition>_hits_of_<answers>`."""
    return next(int(key.rsplit("_", 1)[1]) for key in published if "_hits_of_" in key)


def personas(published: Any) -> list[str]:
    """The personas that the report names, with its source among them."""
    names = published.get("personas") if isinstance(published, dict) else None
    if not isinstance(names, list) or not {SOURCE, "assistant"} < {str(name) for name in names}:
        raise InputError(f"{PUBLISHED}: needs `personas`, with {SOURCE} and assistant")
    return [str(name) for name in names]


def read(published: Mapping[str, Any], stated: Mapping[str, int]) -> Possible:
    """Look-up of the counts in `published.json`.

    Args:
        stated: hits of all personas together, by condition, where the report's text gives them.
    Raises:
        InputError: the file lacks a number, or has an impossible one.
    """
    try:
        names = personas(published)
        bystanders = frozenset(names) - {SOURCE, "assistant"}
        exact = {
            match[1]: (key, int(match[2])) for key in published if (match := re.fullmatch(r"(\w+)_hits_of_(\d+)", key))
        }
        each = next(iter(exact.values()))[1]
        blocks = {}
        for condition, percent in published["headline_percent"].items():
            groups = {SOURCE: {SOURCE}, "assistant": {"assistant"}, "mean_bystander": bystanders}
            blocks[condition] = [
                Block(frozenset(group), *rounding_to(percent[key], each * len(group))) for key, group in groups.items()
            ]
        for condition, (key, _) in exact.items():
            hits = published[key]
            if not all(type(hits[name]) is int and 0 <= hits[name] <= each for name in names):
                raise InputError(f"{PUBLISHED}: {key}: needs whole numbers from 0 to {each}")
            blocks[condition] = [Block(frozenset({name}), hits[name], hits[name]) for name in names]
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise InputError(f"{PUBLISHED}: not the published numbers ({type(error).__name__}: {error})") from None

    def possible(condition: str, chosen: Sequence[str]) -> list[dict[str, int]]:
        if condition not in blocks or not set(chosen) <= set(names):
            return []
        hits = within(blocks[condition], chosen, each, stated.get(condition))
        return [{"hits": h, "total": each * len(chosen)} for h in hits]

    return possible
