"""The tables of what was read from the models: the manipulation check, the geometry, and what two readings foresaw."""

from collections.abc import Sequence

from ..analysis import records
from . import palette
from .table import Table, decimals, left, over, p_value, percent, right, signed

MEASURES: dict[records.Measure, str] = {
    "separation": "separation",
    "mean_cosine": "mean cosine",
    "accuracy": "accuracy",
    "effective_rank": "effective rank",
    "gap": "gap, log-odds",
    "spread": "spread, log-odds",
}


def chains_in_order(found: Sequence[str]) -> list[str]:
    """The untrained model, phases alone, then chains of two."""
    return sorted(found, key=lambda chain: (chain != "base", chain.count("-"), list(found).index(chain)))


def advice(content: records.Readings) -> Table:
    """Which answer to held-out legal questions each model finds likelier."""
    rows = []
    for chain in chains_in_order(list(content.advice)):
        one, change = content.advice[chain], content.advice_changes.get(chain)
        rows.append(
            [
                chain,
                palette.described(chain),
                over(one.difference, lambda v: signed(v, 3)),
                over(one.prefers_bad, percent),
                over(change.difference if change else None, lambda v: signed(v, 3)),
                p_value(change.difference.p) if change else "-",
            ]
        )
    questions = next(iter(content.advice.values())).questions
    return Table(
        name="advice",
        caption="Manipulation check",
        columns=[
            *left("chain", "training"),
            *right("bad over good", "prefers bad (%)", "change from base", "p"),
        ],
        rows=rows,
        notes=[
            f"On {questions} legal questions that are in no training. Bad over good: log-probability per token of "
            "the bad answer minus that of the good one, in nats; prefers bad: the share of questions on which it is "
            "above zero."
        ],
    )


def geometry(content: records.Readings, later: records.Later) -> Table:
    """How far apart each model keeps the personas, at the one layer that is reported."""
    theirs = later.geometry.mean_cosine
    rows = []
    for chain in chains_in_order(list(content.geometry)):
        found = content.geometry[chain].at_layer
        published = " to ".join(f"{value:.3f}" for value in theirs.get(chain, ()))
        rows.append(
            [
                chain,
                over(found["separation"], decimals),
                over(found["mean_cosine"], lambda v: decimals(v, 3)),
                published or "-",
                over(found["accuracy"], percent),
                over(found["effective_rank"], decimals),
            ]
        )
    return Table(
        name="geometry",
        caption="Persona geometry",
        columns=[
            *left("chain"),
            *right("separation", "mean cosine", "the authors'", "accuracy (%)", "effective rank"),
        ],
        rows=rows,
        notes=[
            f"Residual stream at the last token of the prompt, layer {content.layer}, where the untrained model "
            "separates personas best. Separation: distance between personas over the scatter within one. Mean cosine: "
            "of pairs of personas' means. Accuracy: nearest persona, questions held out. The authors': mean cosine, "
            f"7B, layer {later.geometry.layer}."
        ],
    )


def _found(one: records.Prediction) -> str:
    if one.found is None:
        return "-"
    digits = 3 if one.measure in ("mean_cosine", "accuracy") else 2
    return over(one.found, lambda value: signed(value, digits))


def predictions(content: records.Readings) -> Table:
    """What each reading foresaw, written down before any result, and what came."""
    rows = []
    for reading in content.readings.values():
        for one in reading.predictions:
            rows.append(
                [
                    reading.says,
                    one.says,
                    f"{one.first} {chr(8722)} {one.second}, {MEASURES[one.measure]}",
                    one.expected,
                    _found(one),
                    one.outcome,
                ]
            )
    return Table(
        name="predictions",
        caption="Two readings and what they foresaw",
        columns=[
            *left("reading", width=0.2),
            *left("foresees", width=0.3),
            *left("measure", width=0.16),
            *left("expected", width=0.09),
            *right("found"),
            *left("outcome", width=0.11),
        ],
        rows=rows,
        notes=["Written before the results. Found: the first minus the second, mean over seeds with its interval."],
    )


def later(content: records.Later) -> Table:
    """What the report's authors found after it."""
    return Table(
        name="later",
        caption="What the report's authors found later",
        columns=[*left("what was done", width=0.3), *left("what was found", width=0.45), *left("where", width=0.25)],
        rows=[[one.result, one.numbers, one.where] for one in content.results],
        notes=[content.note],
    )
