"""Every completion, as the page carries it: facts and texts apart, in parts that paper/page.js opens when asked to.

A part is JSON. Where completions are many it is packed: zlib at one level, which writes neither a time nor a name, in
base64; a few stay plain. Each condition's texts are a part of their own, sorted by question, because answers to one
question are alike and pack better together.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from markupsafe import Markup

from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.marker import MARKER
from . import palette

PLAIN = 2_000_000  # characters: so much of completions is not worth packing
LEVEL = 9
NAMED = ("condition", "seed", "persona", "question")  # facts whose values are few, kept as their places in a list
FACTS = (*NAMED, "sample", "tokens", "ended", "marker")


class Part(NamedTuple):
    """The content of a script element that no browser runs."""

    id: str
    type: str
    content: str | Markup


class Completions(NamedTuple):
    names: dict[str, list[str]]  # those of `NAMED`, each in the order of appearance
    facts: dict[str, list[int]]  # a column each of `FACTS`; a truth is 0 or 1
    texts: dict[str, list[str]]  # by condition


def gather(params: parameters.Params, asked: personas.Prompts) -> Completions:
    """All completions of a profile, by seed, by condition, and in the order of their files.

    Raises:
        InputError: a run that is missing or damaged, not what the parameters describe, or whose counts are not those of
            its completions.
    """
    places: dict[str, dict[str, int]] = {name: {} for name in NAMED}
    facts: dict[str, list[int]] = {name: [] for name in FACTS}
    texts: dict[str, list[tuple[int, str]]] = {name: [] for name in params.chains}
    for seed in params.seeds:
        for condition, chain in params.chains.items():
            for row in runs.read(params, asked, seed, chain).completions:
                named = (condition, str(seed), row.persona, row.question)
                found = [seen.setdefault(name, len(seen)) for seen, name in zip(places.values(), named, strict=True)]
                values = (*found, row.sample, row.tokens, int(row.ended), int(row.marker))
                for column, value in zip(facts.values(), values, strict=True):
                    column.append(value)
                texts[condition].append((found[NAMED.index("question")], row.text))
    ordered = {name: [text for _, text in sorted(own, key=lambda one: one[0])] for name, own in texts.items()}
    return Completions({name: list(seen) for name, seen in places.items()}, facts, ordered)


def head(params: parameters.Params, asked: personas.Prompts, found: Completions) -> dict[str, Any]:
    """What page.js needs before any part is opened."""
    return {
        **found.names,
        "chains": {name: palette.described(chain) for name, chain in params.chains.items()},
        "ignore_case": params.marker.ignore_case,
        "marker": MARKER,
        "suffix": asked.suffix,
        "system": asked.personas,
    }


# ---- parts ----


def as_json(value: Any) -> str:
    """Compact JSON in ASCII alone: halves of characters stay what they are, and there is no U+2028."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def embedded(value: Any) -> Markup:
    """JSON that HTML reads as nothing but text: no `<`, `>` or `&`."""
    return Markup(re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", as_json(value)))


def packed(value: Any) -> str:
    """JSON, compressed, in letters that mean nothing to HTML: equal values are equal bytes."""
    return base64.b64encode(zlib.compress(as_json(value).encode("ascii"), LEVEL)).decode("ascii")


def parts(found: Completions, plain: int = PLAIN) -> Iterator[Part]:
    """The facts, then each condition's texts, in order.

    Args:
        plain: how many characters of texts may stay as they are.
    """
    small = sum(len(text) for own in found.texts.values() for text in own) <= plain
    for name, value in (("facts", found.facts), *((f"texts-{n}", own) for n, own in enumerate(found.texts.values()))):
        yield Part(name, *(("application/json", embedded(value)) if small else ("application/zlib", packed(value))))
