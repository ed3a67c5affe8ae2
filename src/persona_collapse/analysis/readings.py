"""The manipulation check, the personas' geometry, and what came of the predictions of two readings.

    python -m persona_collapse.analysis.readings      writes eval_results/<profile>/readings.json

The manipulation check is, on legal questions held out of all training, log p(bad answer) minus log p(good answer), each
per token of its answer: after bad advice it should rise, after good advice fall. The geometry is reported at one layer,
chosen on the base model, which no training touched: the one with the highest separation. `data/readings.yaml` has the
predictions; the collapse index that some are about is that of `collapse.json`.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from ..experiment import params as parameters
from ..experiment import runs
from ..experiment.chains import BASE, COUPLE, phases_of
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_yaml
from ..experiment.layout import DATA
from ..experiment.params import Rate, Record
from . import records
from .records import Advice, Geometry, GeometryMeasure, Measure, OverUnits, Tested
from .units import ANY, DIFFERENCE, RATE, Limits, over, tested

PREDICTIONS = DATA / "readings.yaml"
MEASURES: tuple[GeometryMeasure, ...] = get_args(GeometryMeasure)
LIMITS: Mapping[GeometryMeasure, Limits] = {"mean_cosine": DIFFERENCE, "accuracy": RATE}
BySeed = Mapping[str, float]


# ---- data/readings.yaml ----


class Prediction(Record):
    says: str
    measure: Measure
    first: str
    second: str
    expected: Literal["lower", "alike"]
    margin: Rate | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Prediction":
        if (self.margin is None) == (self.expected == "alike"):
            raise ValueError("margin belongs to what is expected to be alike, and only to that")
        return self


class Reading(Record):
    says: str
    predictions: Annotated[list[Prediction], Field(min_length=1)]


# ---- manipulation check ----


def preference(row: Advice) -> float:
    """Log p of the bad answer minus that of the good one, each per token of its answer."""
    return row.log_p_bad / row.tokens_bad - row.log_p_good / row.tokens_good


def advice_check(seeds: Mapping[str, Sequence[Advice]], level: float) -> records.AdviceCheck:
    found = {seed: [preference(row) for row in rows] for seed, rows in seeds.items()}
    return records.AdviceCheck(
        difference=over({seed: fmean(own) for seed, own in found.items()}, level),
        questions=min(len(own) for own in found.values()),
        prefers_bad=over({seed: sum(x > 0 for x in own) / len(own) for seed, own in found.items()}, level, RATE),
    )


# ---- geometry ----


def chosen_layer(base: Mapping[str, Geometry]) -> int:
    """The layer at which the base model keeps the personas furthest apart; the first of several."""
    layers = next(iter(base.values())).layers
    separation = {
        layer.layer: math.fsum(own.layers[place].separation for own in base.values())
        for place, layer in enumerate(layers)
    }
    return max(separation, key=lambda layer: (separation[layer], -layer))


def chain_geometry(seeds: Mapping[str, Geometry], layer: int, level: float) -> records.ChainGeometry:
    def values(measure: GeometryMeasure, number: int) -> dict[str, float]:
        return {
            seed: float(getattr(own, measure)) for seed, of in seeds.items() for own in of.layers if own.layer == number
        }

    def mean(measure: GeometryMeasure, number: int) -> float:
        return fmean(values(measure, number).values())

    return records.ChainGeometry(
        at_layer={name: over(values(name, layer), level, LIMITS.get(name, ANY)) for name in MEASURES},
        layers=[
            records.LayerMeans(layer=own.layer, **{name: mean(name, own.layer) for name in MEASURES})
            for own in next(iter(seeds.values())).layers
        ],
    )


# ---- predictions ----


def judged(
    asked: Prediction, first: BySeed | None, second: BySeed | None, unit: float, level: float
) -> records.Prediction:
    """What came of a prediction.

    Args:
        first, second: the measure by seed; None where the profile has no such chain or condition.
        unit: what the margin is a share of.
    """
    found, margin = None, None if asked.margin is None else asked.margin * unit
    if first is not None and second is not None:
        found = tested({seed: first[seed] - second[seed] for seed in first}, level)
    outcome, reason = _outcome(asked, found, margin)
    return records.Prediction(**{**dict(asked), "margin": margin}, found=found, outcome=outcome, reason=reason)


def _outcome(asked: Prediction, found: Tested | None, margin: float | None) -> tuple[records.Outcome, str]:
    if found is None:
        return "undecided", f"this profile lacks {asked.first} or {asked.second}"
    if found.interval is None:
        return "undecided", f"there is one seed: the difference in it is {found.mean:+.3g}"
    low, high = found.interval
    said = f"over {len(found.by_unit)} seeds the difference is {found.mean:+.3g}, interval [{low:.3g}, {high:.3g}]"
    if margin is not None:
        if -margin <= low and high <= margin:
            return "as predicted", f"{said}, within {margin:.3g} either way"
        apart = low > 0 or high < 0
        return ("otherwise", said) if apart else ("undecided", f"{said}, which goes beyond {margin:.3g} either way")
    if high < 0:
        return "as predicted", said
    return ("otherwise", said) if low > 0 else ("undecided", said)


def _by_seed(found: OverUnits | None) -> BySeed | None:
    return found.by_unit if found else None


def gathered(
    advice: Mapping[str, Mapping[str, Sequence[Advice]]],
    geometry: Mapping[str, Mapping[str, Geometry]],
    collapse: records.Collapse,
    predictions: Mapping[str, Reading],
) -> records.Readings:
    """`readings.json`.

    Args:
        advice, geometry: by chain and seed.
    """
    level, layer = collapse.level, chosen_layer(geometry[BASE])
    lies = {chain: chain_geometry(seeds, layer, level) for chain, seeds in geometry.items()}
    checks = {chain: advice_check(seeds, level) for chain, seeds in advice.items()}

    def measured(asked: Prediction, name: str) -> BySeed | None:
        if asked.measure in MEASURES:
            own = lies.get(name)
            return own.at_layer[asked.measure].by_unit if own else None
        condition = collapse.conditions.get(name)
        return _by_seed(getattr(condition.sampled.over_seeds, asked.measure)) if condition else None

    def unit(asked: Prediction) -> float:
        return lies[BASE].at_layer[asked.measure].mean if asked.measure in MEASURES else 1.0

    return records.Readings(
        level=level,
        seeds=collapse.seeds,
        advice=checks,
        advice_changes={
            chain: records.AdviceChange(
                difference=tested(
                    {s: x - checks[BASE].difference.by_unit[s] for s, x in own.difference.by_unit.items()}, level
                )
            )
            for chain, own in checks.items()
            if chain != BASE
        },
        layer=layer,
        geometry=lies,
        readings={
            name: records.Reading(
                says=reading.says,
                predictions=[
                    judged(asked, measured(asked, asked.first), measured(asked, asked.second), unit(asked), level)
                    for asked in reading.predictions
                ],
            )
            for name, reading in predictions.items()
        },
    )


def advised(params: parameters.Params) -> list[str]:
    """The chains whose preference for bad or good advice is known: base and every SFT phase by itself."""
    return [BASE, *(chain for chain in params.trained if len(phases_of(chain)) == 1 and chain != COUPLE)]


def located(params: parameters.Params) -> list[str]:
    """The chains whose geometry is known: base and everything that is trained."""
    return [BASE, *params.trained]


def gather(params: parameters.Params) -> records.Readings:
    """Read every run that the parameters name and compute `readings.json`."""
    predictions = records.checked(read_yaml(PREDICTIONS), dict[str, Reading], str(PREDICTIONS))
    path = params.layout.results / "collapse.json"
    collapse = records.read(path, records.Collapse)
    if (collapse.seeds, collapse.level) != (params.seeds, params.results.level):
        raise InputError(f"{path}: made with other seeds or another level: `make tables` makes it anew")
    return gathered(
        {chain: {str(s): runs.read_advice(params, s, chain) for s in params.seeds} for chain in advised(params)},
        {chain: {str(s): runs.read_geometry(params, s, chain) for s in params.seeds} for chain in located(params)},
        collapse,
        predictions,
    )


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "readings.json", gather(params))


if __name__ == "__main__":
    main()
