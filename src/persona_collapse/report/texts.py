"""The sentences that turn on what was found: whole ones, chosen by the verdict and by what happened.

They are written to texts.json by `quoted.py`, and the paper, the page and the documents quote them by key. A sentence
takes its numbers from numbers.json: `{KEY}` stands for the text of one, `{p:KEY}` for "p = " or "p < " and the text.
Which sentences there are is in `finding.py` (the three that everything opens with) and `sections.py` (the others).
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ..analysis import records
from ..experiment.errors import InputError
from ..experiment.params import Record
from .results import Results

PLACE = re.compile(r"\{(p:)?([\w.\-]+)\}")


class Text(Record):
    """A sentence or a few, without any markup."""

    text: str  # empty where there is nothing to say
    numbers: Annotated[tuple[str, ...], Field(strict=False)]  # the keys of those in it


Texts = dict[str, Text]  # `texts.json`, by key


def filled(sentence: str, numbers: Mapping[str, records.Number]) -> Text:
    """A sentence with its numbers in it.

    Raises:
        InputError: it names one that there is not.
    """
    keys: dict[str, None] = {}

    def text_of(found: re.Match[str]) -> str:
        equals, key = found.groups()
        if key not in numbers:
            raise InputError(f"no number has the key {key}, which a sentence quotes: {sentence}")
        keys[key] = None
        text = numbers[key].text
        return text if not equals else f"p {text[0]} {text[1:]}" if text.startswith("<") else f"p = {text}"

    text = PLACE.sub(text_of, sentence)
    return Text(text=text, numbers=tuple(keys))


def gather(found: Results, numbers: Mapping[str, records.Number]) -> Texts:
    """All of them, in the order of their keys."""
    from . import finding, sections  # they say what there is; this fills it

    sentences = {**finding.sentences(found), **sections.sentences(found)}
    return {key: filled(sentence, numbers) for key, sentence in sorted(sentences.items())}
