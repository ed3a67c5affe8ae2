"""Damage to what a file holds, of the kinds that hands, disks and half-finished tools do to it.

    for what, content in damaged_files(path.read_text(), seed=1, count=200):    damaged JSON, as bytes
    for what, value in damaged(read_yaml(path), seed=1, count=200):             damaged values, to be written as YAML

What is damaged is drawn with `seed`: the same cases each time. Not every case is wrong: a text may become another text,
and a key that a file may lack may go. What a test demands is that a reader refuses what it cannot use in one line.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

Steps = tuple[str | int, ...]
WRONG: dict[str, Any] = {  # what stands in a value's place
    "null": None,
    "a truth": True,
    "a text": "text",
    "no text": "",
    "a number": 7,
    "a fraction": 0.5,
    "a negative number": -3,
    "a huge number": 10**30,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a list": ["a", 1],
    "no list": [],
    "a mapping": {"a": 1},
    "no mapping": {},
}


def damaged(value: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """`count` damaged copies of a value that a JSON or YAML file holds, each with what was done to it.

    A key or row is removed, given another name or put in twice, or something else stands in its place. Places near the
    top are chosen as often as the many at the bottom.
    """
    drawn = random.Random(seed)
    by_depth: dict[int, list[Steps]] = {}
    for steps in _places(value):
        by_depth.setdefault(len(steps), []).append(steps)
    for _ in range(count):
        steps = drawn.choice(by_depth[drawn.choice(list(by_depth))])
        how = drawn.choice(["removed", "renamed", "doubled", *WRONG] if steps else list(WRONG))
        changed = _with(value, steps, how)
        if repr(changed) != repr(value):
            yield f"{'.'.join(map(str, steps)) or '(all)'}: {how}", changed


def _with(value: Any, steps: Steps, how: str) -> Any:
    """`value` with one place changed; what is elsewhere is shared, not copied."""
    if not steps:
        return WRONG[how]
    step: Any = steps[0]
    inside = value.copy()
    if len(steps) > 1 or how in WRONG:
        inside[step] = _with(value[step], steps[1:], how)
    elif how == "removed":
        del inside[step]
    elif isinstance(inside, list):
        inside.insert(step, inside[step])
    else:
        inside[f"{step}s"] = inside[step] if how == "doubled" else inside.pop(step)
    return inside


def damaged_files(text: str, seed: int, count: int, lines: bool = False) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files of JSON, or of JSON Lines: damaged values, and text that is cut, garbled or not UTF-8."""
    drawn = random.Random(seed)
    value = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for what, changed in damaged(value, seed, count - count // 5):
        if not lines:
            yield what, json.dumps(changed).encode()
        elif isinstance(changed, list):
            yield what, "".join(json.dumps(row) + "\n" for row in changed).encode()
    for _ in range(count // 5):
        at = drawn.randrange(len(text) - 1)
        kind = drawn.choice(["cut", "a byte that is no UTF-8", "a brace too many", "a key twice", "half a character"])
        if kind == "cut":
            yield f"cut at {at}", text[:at].encode()
        elif kind == "a key twice" and (begin := text.find("{", at)) >= 0:
            yield f"{kind} at {begin}", (text[: begin + 1] + '"a": 1, "a": 2, ' + text[begin + 1 :]).encode()
        elif kind == "half a character" and (begin := text.find('"', at)) >= 0:
            yield f"{kind} at {begin}", (text[: begin + 1] + r"\ud83d" + text[begin + 1 :]).encode()
        elif kind == "a brace too many":
            yield f"{kind} at {at}", (text[:at] + "}" + text[at:]).encode()
        else:
            yield f"{kind} at {at}", text[:at].encode() + b"\xff" + text[at:].encode()


def _places(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    yield steps
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*steps, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*steps, number))
