"""What a Python file's top-level assignments of literals give each name; nothing of the file is run."""

import ast
from typing import Any

from ..experiment.errors import InputError


def literals(text: str, path: str, known: dict[str, Any]) -> dict[str, Any]:
    """The value of each name that a Python file assigns a literal to, at its top level.

    Args:
        known: the values of names from elsewhere, which the file's literals may use.

    Raises:
        InputError: not a Python file.
    """
    values = dict(known)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not a Python file ({error})") from None
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            values[name] = _value(value, values)
        except (KeyError, TypeError, RecursionError):  # not a literal: the name has no value that we know
            values.pop(name, None)
    return values


def _value(node: ast.expr | None, known: dict[str, Any]) -> Any:
    """A literal's value; a `KeyError` for what is none."""
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, known) for item in items]
        case ast.Dict(keys=keys, values=values):
            found: dict[Any, Any] = {}
            for key, value in zip(keys, values, strict=True):
                found |= _value(value, known) if key is None else {_value(key, known): _value(value, known)}
            return found
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, known) + _value(right, known)
        case ast.Name(id=name):
            return known[name]
    raise KeyError(type(node).__name__)
