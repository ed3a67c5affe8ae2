"""`data/published_counts.json`: the marker counts by persona and question that the report's authors made public."""

from typing import Annotated

from pydantic import Field, model_validator

from ...experiment.params import Positive, Record
from ...experiment.records.reading import Count, Name

TRAINED, HELD_OUT = 20, 8  # questions: the first are those that coupling data were made of


class PublicRun(Record):
    name: Name  # experiment/condition/seed
    what: Name  # the training, in order
    source: Name  # the persona that was taught the marker
    seed: Count
    answers: Positive  # to each question
    file: Name  # in the authors' repository
    branch: Name
    hits: Annotated[dict[str, Annotated[list[Count], Field(min_length=1)]], Field(min_length=1)]  # by question

    @model_validator(mode="after")
    def _possible(self) -> "PublicRun":
        for persona, hits in self.hits.items():
            if len(hits) != TRAINED + HELD_OUT or max(hits) > self.answers:
                raise ValueError(f"hits.{persona}: needs {TRAINED + HELD_OUT} counts from 0 to {self.answers}")
        return self


class PublicCounts(Record):
    """`published_counts.json`."""

    note: str
    runs: Annotated[list[PublicRun], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> "PublicCounts":
        if len({run.name for run in self.runs}) < len(self.runs):
            raise ValueError("runs has a name twice")
        return self
