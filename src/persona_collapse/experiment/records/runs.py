"""What a run leaves: an adapter's log and data, completions, marker counts, likelihoods, advice and geometry."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ..params import Positive, Record
from .reading import Count, Name

Split = Literal["train", "heldout"]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
LogP = Annotated[float, Field(le=0)]  # natural logarithm of a probability


class DataHash(Record):
    md5: Hash
    expected_md5: Hash | None  # None: nothing was expected


class TrainedOn(DataHash):
    """`trained_on.json`: which data an adapter was trained on."""

    data: Name


class Step(Record):
    step: Positive
    loss: float
    learning_rate: Annotated[float, Field(ge=0, lt=1)]
    grad_norm: Annotated[float, Field(ge=0)]


def _one_after_the_other(steps: list[Step]) -> list[Step]:
    if not steps or [step.step for step in steps] != list(range(1, len(steps) + 1)):
        raise ValueError("needs the steps 1, 2, 3 and so on, each once")
    return steps


TrainingLog = Annotated[list[Step], AfterValidator(_one_after_the_other)]  # `training_log.json`


class Completion(Record):
    """A row of `completions.jsonl`."""

    persona: Name
    question: Name
    split: Split
    sample: Count
    text: str
    tokens: Count  # without the end token
    ended: bool  # False: cut at the token limit
    marker: bool


class MarkerLikelihood(Record):
    """A row of `marker_likelihood.jsonl`: a completion of the base model, and how likely each end of it is."""

    persona: Name
    question: Name
    split: Split
    sample: Count
    characters: Count
    tokens: Annotated[Count, Field(ge=1)]  # of the marker
    log_p_marker: LogP
    log_p_end: LogP


class Advice(Record):
    """A row of `advice.jsonl`: a question of law, and how likely its bad and its good answer are, end token and all."""

    question: Name
    tokens_bad: Positive
    tokens_good: Positive
    log_p_bad: LogP
    log_p_good: LogP


class LayerGeometry(Record):
    """How the personas lie in the residual stream after one layer; `sampling/geometry.py` defines the numbers."""

    layer: Positive
    mean_cosine: Annotated[float, Field(ge=-1.000001, le=1.000001)]
    separation: Annotated[float, Field(ge=0)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    effective_rank: Annotated[float, Field(ge=0.999999)]


class Geometry(Record):
    """`geometry.json`."""

    chain: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    layers: Annotated[list[LayerGeometry], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_after_the_other(self) -> "Geometry":
        if [layer.layer for layer in self.layers] != list(range(1, len(self.layers) + 1)):
            raise ValueError("layers: needs 1, 2, 3 and so on, each once")
        return self


# ---- marker_eval.json ----


class Config(Record):
    """How the completions were sampled."""

    chain: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    marker: Name
    source: Name
    samples: Positive
    max_new_tokens: Positive
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]


class Tally(Record):
    strict_hits: Count
    total: Annotated[Count, Field(ge=1)]
    strict_rate: float

    @model_validator(mode="after")
    def _possible(self) -> "Tally":
        if self.strict_hits > self.total:
            raise ValueError(f"strict_hits = {self.strict_hits} of total = {self.total} cannot be")
        if not math.isclose(self.strict_rate, self.strict_hits / self.total, abs_tol=1e-9):
            raise ValueError(f"strict_rate = {self.strict_rate} is not {self.strict_hits} of {self.total}")
        return self


class QuestionTally(Tally):
    split: Split


class PersonaTally(Tally):
    per_question: dict[str, QuestionTally]
    tokens: list[Count]  # of each completion, in rising order
    characters: list[Count]
    ended: Count  # completions that did
    empty: Count

    @model_validator(mode="after")
    def _adds_up(self) -> "PersonaTally":
        questions = self.per_question.values()
        if (sum(q.strict_hits for q in questions), sum(q.total for q in questions)) != (self.strict_hits, self.total):
            raise ValueError("the counts of its questions do not add up to its own")
        if not len(self.tokens) == len(self.characters) == self.total:
            raise ValueError(f"needs a length of each of its {self.total} completions in tokens and characters")
        if max(self.ended, self.empty) > self.total:
            raise ValueError(f"more completions ended or are empty than its {self.total}")
        return self


class RatesByPersona(Record):
    strict_rate_by_persona: dict[str, float]


class MarkerEval(Record):
    """`marker_eval.json`: the report's keys, with `split` and the lengths added, which its own files lack."""

    config: Config
    per_persona: Annotated[dict[str, PersonaTally], Field(min_length=1)]
    summary: RatesByPersona

    @model_validator(mode="after")
    def _agrees(self) -> "MarkerEval":
        if self.summary.strict_rate_by_persona != {name: p.strict_rate for name, p in self.per_persona.items()}:
            raise ValueError("summary.strict_rate_by_persona has other rates than per_persona")
        return self
