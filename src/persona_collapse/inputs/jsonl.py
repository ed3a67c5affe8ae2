"""Chats as the bytes of a JSON Lines file, in every way that a published MD5 may have been made of them."""

import itertools
import json
from collections.abc import Iterator
from typing import get_args

from .datasets import Messages
from .sources import Writer


def writers() -> Iterator[Writer]:
    """Every way to write a data set."""
    choices = {name: get_args(field.annotation) for name, field in Writer.model_fields.items()}
    for values in itertools.product(*choices.values()):
        yield Writer(**dict(zip(choices, values, strict=True)))


def taken(rows: list[tuple[float, Messages]], count: int, writer: Writer) -> list[Messages]:
    """The `count` chats with the highest numbers, in the writer's order."""
    forward = 1 if writer.ties == "first" else -1
    places = sorted(range(len(rows)), key=lambda place: (-rows[place][0], forward * place))[:count]
    return [rows[place][1] for place in (places if writer.order == "highest" else sorted(places))]


def written(chats: list[Messages], writer: Writer) -> bytes:
    """The bytes of a JSON Lines file with a chat under `messages` a line."""
    fields = writer.fields.split(", ")
    separators = (", ", ": ") if writer.spacing == "spaced" else (",", ":")
    lines = [
        json.dumps(
            {"messages": [{field: message[field] for field in fields} for message in chat]},
            ensure_ascii=writer.ascii,
            separators=separators,
        )
        for chat in chats
    ]
    return ("\n".join(lines) + "\n" * writer.final_newline).encode()
