"""JSON and YAML read strictly: each key once, finite numbers, whole characters; of YAML only what JSON can say too."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import yaml

DIGITS = 308  # of the longest number: more do not fit into a float, and nobody means them
DEPTH = 50  # of brackets in YAML: the time to read them grows with the square


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"the number {text[:20]}... is too large")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:20]} is not finite")
    return number


def _require_whole_characters(value: Any, text: str) -> None:
    """Raise `ValueError` for half a character, which escapes can write and no file can hold."""
    if "\\u" in text or "\\U" in text:
        json.dumps(value, ensure_ascii=False).encode()


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_int=_integer, parse_constant=_finite)


def from_json(text: str) -> Any:
    """The value of a JSON text; a `ValueError` or a `RecursionError` says what is wrong with it."""
    value = _JSON.decode(text)
    _require_whole_characters(value, text)
    return value


class _Plain(yaml.SafeLoader):
    """YAML of texts, numbers, true, false, null, lists and mappings from texts, each key once.

    Plain words mean what they do to DVC, which reads params.yaml too: `no` is a text and 5e-4 a number. What it takes
    for a date or for a number in another notation (0x10, 1_000, 010) is a text here. Aliases are refused, because a
    few of them make a small file a huge value, and so are tags.
    """

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level == DEPTH:
            raise _refused(self.get_mark(), f"more than {DEPTH} brackets in each other")
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        for what in ("anchor", "tag"):
            if (given := getattr(event, what, None)) is not None:
                raise _refused(event.start_mark, f"{what} {given!r}: anchors, aliases and tags are not read here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != f"{TAG}str":
                raise _refused(key.start_mark, "expected text as a key")
            if key.value in seen:
                raise _refused(key.start_mark, f"key {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refused(mark: yaml.Mark, why: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, why, mark)


def _number(parse: Callable[[str], float]) -> Callable[[Any, Any], float]:
    def construct(_: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
        try:
            return parse(node.value)
        except ValueError as error:
            raise _refused(node.start_mark, str(error)) from None

    return construct


TAG = "tag:yaml.org,2002:"
_Plain.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+|[-+]?[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Plain.add_implicit_resolver(TAG + _kind, re.compile(f"(?:{_pattern})$"), _first)
_Plain.add_constructor(f"{TAG}int", _number(_integer))
_Plain.add_constructor(f"{TAG}float", _number(_finite))


def from_yaml(text: str) -> Any:
    """The value of a YAML text; a `ValueError` or a `RecursionError` says in one line what is wrong with it."""
    try:
        value = yaml.load(text, _Plain)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    _require_whole_characters(value, text)
    return value
