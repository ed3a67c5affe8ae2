"""`readings.json`: did the fine-tuning take, how the personas lie in the model, and what two readings predicted.

`data/readings.yaml` has the predictions, written before the results; `data/published_later.json` what the report's
authors found later, geometry among it.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ...experiment.chains import BASE
from ...experiment.params import Positive, Record
from ...experiment.records.reading import Count, Level, Name, Real
from .units import OverUnits, Seeds, Tested, require_keys

Outcome = Literal["as predicted", "otherwise", "undecided"]
GeometryMeasure = Literal["separation", "mean_cosine", "accuracy", "effective_rank"]
Measure = Literal["separation", "mean_cosine", "accuracy", "effective_rank", "gap", "spread"]  # gap, spread: log-odds


class AdviceCheck(Record):
    """The manipulation check of one chain: log p(bad answer) / its tokens - log p(good answer) / its tokens."""

    difference: OverUnits  # mean over the held-out questions; above 0, bad advice is likelier
    questions: Positive
    prefers_bad: OverUnits  # the share of questions for which it is above 0


class AdviceChange(Record):
    """What fine-tuning did to it: a chain minus the base model."""

    difference: Tested


class LayerMeans(Record):
    """Means over seeds, for a figure over layers."""

    layer: Count
    separation: Real
    mean_cosine: Real
    accuracy: Real
    effective_rank: Real


class ChainGeometry(Record):
    at_layer: dict[GeometryMeasure, OverUnits]
    layers: Annotated[list[LayerMeans], Field(min_length=1)]


class Prediction(Record):
    """One prediction and what came of it: the difference of the first and second chain or condition."""

    says: str
    measure: Measure
    first: Name
    second: Name
    expected: Literal["lower", "alike"]  # the first against the second
    margin: Real | None  # differences up to this count as none; null where the first should be lower
    found: Tested | None  # null where the profile lacks either
    outcome: Outcome
    reason: str


class Reading(Record):
    says: str
    predictions: list[Prediction]


class Readings(Record):
    """`readings.json`."""

    level: Level
    seeds: Seeds
    advice: dict[str, AdviceCheck]  # by chain without coupling, base among them
    advice_changes: dict[str, AdviceChange]  # by the same chains but base
    layer: Count  # the layer that is reported: of the base model's, the one with the highest separation
    geometry: dict[str, ChainGeometry]  # by chain, base among them
    readings: dict[str, Reading]  # compressed, boundary

    @model_validator(mode="after")
    def _complete(self) -> "Readings":
        require_keys("advice", self.advice, [BASE], others=True)
        require_keys("geometry", self.geometry, [BASE], others=True)
        require_keys("advice_changes", self.advice_changes, [name for name in self.advice if name != BASE])
        return self


# ---- data/published_later.json ----


class LaterGeometry(Record):
    layer: Count
    measure: str
    mean_cosine: dict[str, Annotated[list[Real], Field(min_length=1, max_length=2)]]  # one number, or a range's ends
    where: str


class LaterResult(Record):
    result: str  # what was done
    numbers: str  # what was found
    where: str


class Later(Record):
    """`published_later.json`: what the report's authors found after it."""

    note: str
    geometry: LaterGeometry
    results: list[LaterResult]
