"""Marker counts, in one form whoever wrote them: ours, the report's own files, and older ones of its authors.

The report's form has the personas under `per_persona`, each with `strict_hits` and `total`, and `per_question` with the
same; ours adds what `records.MarkerEval` says. In the older form the top level is the personas, and hits are `found`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..experiment.errors import InputError
from ..experiment.files import read_json
from . import records
from .records import Counts, Split

Count = Annotated[int, Field(ge=0, lt=2**31)]  # in a file, so that sums of them are exact everywhere
Questions = Mapping[str, Counts]  # by question, in alphabetical order, so that nothing depends on the file's


@dataclass(frozen=True)
class Lengths:
    """Of completions: a length each, and how many ended by themselves or are empty."""

    tokens: Sequence[int]
    characters: Sequence[int]
    ended: int
    empty: int


@dataclass(frozen=True)
class Persona:
    """One persona's completions, counted."""

    counts: Counts
    questions: Questions  # none where a file does not say
    splits: Mapping[str, Split]  # of the questions; none where a file does not say
    lengths: Lengths | None


Personas = Mapping[str, Persona]  # in alphabetical order


def total(counts: Iterable[Counts]) -> Counts:
    """Counts added up."""
    some = list(counts)
    return Counts(hits=sum(c.hits for c in some), total=sum(c.total for c in some))


def by_question(personas: Iterable[Persona], split: Split | None = None) -> Questions:
    """The counts of each question (of a split), summed over personas; none unless every persona has some."""
    summed: dict[str, list[Counts]] = {}
    for persona in personas:
        own = {q: c for q, c in persona.questions.items() if split is None or persona.splits.get(q) == split}
        if not own:
            return {}
        for question, counts in own.items():
            summed.setdefault(question, []).append(counts)
    return {question: total(summed[question]) for question in sorted(summed)}


def counted(tallies: Mapping[str, records.PersonaTally]) -> dict[str, Persona]:
    """The personas of one of our own files."""
    return {
        name: Persona(
            Counts(hits=tally.strict_hits, total=tally.total),
            {
                question: Counts(hits=own.strict_hits, total=own.total)
                for question, own in sorted(tally.per_question.items())
            },
            {question: own.split for question, own in tally.per_question.items()},
            Lengths(tally.tokens, tally.characters, tally.ended, tally.empty),
        )
        for name, tally in sorted(tallies.items())
    }


# ---- files that others may have written ----


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Tally(_Loose):
    strict_hits: Count
    total: Annotated[Count, Field(ge=1)]
    strict_rate: float | None = None
    split: Split | None = None

    @model_validator(mode="after")
    def _possible(self) -> "_Tally":
        if self.strict_hits > self.total:
            raise ValueError(f"{self.strict_hits} hits of a total of {self.total} cannot be")
        if self.strict_rate is not None and not math.isclose(
            self.strict_rate, self.strict_hits / self.total, abs_tol=1e-3
        ):
            raise ValueError(f"the rate {self.strict_rate} is not {self.strict_hits} of {self.total}")
        return self


class _Persona(_Tally):
    per_question: Annotated[Mapping[str, _Tally], Field(min_length=1)] | None = None
    tokens: list[Count] | None = None
    characters: list[Count] | None = None
    ended: Count | None = None
    empty: Count | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> "_Persona":
        if self.per_question:
            questions = self.per_question.values()
            sums = sum(q.strict_hits for q in questions), sum(q.total for q in questions)
            if sums != (self.strict_hits, self.total):
                raise ValueError("the counts of its questions do not add up to its own")
            if len({question.split is None for question in questions}) > 1:
                raise ValueError("per_question: some of the questions have a split and others none")
        given = (self.tokens, self.characters, self.ended, self.empty)
        if any(value is not None for value in given):
            lengths_fit = len(self.tokens or ()) == len(self.characters or ()) == self.total
            if None in given or not lengths_fit or max(self.ended or 0, self.empty or 0) > self.total:
                raise ValueError("needs a length a completion (tokens, characters) and counts (ended, empty)")
        return self


class _OlderTally(_Tally):
    strict_hits: Annotated[Count, Field(alias="found")]
    strict_rate: Annotated[float | None, Field(alias="rate")] = None


class _OlderPersona(_Persona):
    strict_hits: Annotated[Count, Field(alias="found")]
    strict_rate: Annotated[float | None, Field(alias="rate")] = None
    per_question: Annotated[Mapping[str, _OlderTally], Field(min_length=1)] | None = None


class _Config(_Loose):
    source: str | None = None


class _File(_Loose):
    per_persona: Annotated[dict[str, _Persona], Field(min_length=1)]
    config: _Config = _Config()


@dataclass(frozen=True)
class File:
    personas: dict[str, Persona]
    source: str | None  # None where the file does not say


def read(path: Path | str) -> File:
    """The personas of a `marker_eval.json` of any form.

    Raises:
        InputError: the file is none, or its counts are impossible; the message names the key.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: not a marker_eval.json: expected a mapping")
    if "per_persona" in content:
        file = records.checked(content, _File, str(path))
        return File(_personas(file.per_persona), file.config.source)
    if not any(isinstance(persona, dict) and "found" in persona for persona in content.values()):
        raise InputError(
            f"{path}: not a marker_eval.json: neither `per_persona`, nor personas with `found` and `total` as older "
            "files have them"
        )
    return File(_personas(records.checked(content, dict[str, _OlderPersona], str(path))), None)


def _personas(tallies: Mapping[str, _Persona]) -> dict[str, Persona]:
    personas = {}
    for name, tally in sorted(tallies.items()):
        questions = dict(sorted((tally.per_question or {}).items()))
        lengths = None
        if tally.tokens is not None and tally.characters is not None:
            lengths = Lengths(tally.tokens, tally.characters, tally.ended or 0, tally.empty or 0)
        personas[name] = Persona(
            Counts(hits=tally.strict_hits, total=tally.total),
            {question: Counts(hits=own.strict_hits, total=own.total) for question, own in questions.items()},
            {question: own.split for question, own in questions.items() if own.split},
            lengths,
        )
    return personas
