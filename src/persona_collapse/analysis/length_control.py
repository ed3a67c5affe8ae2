"""What is left of a rate, or of a difference of two, when answers are of like length and texts are the same.

Conditions are compared raw; by the rates standardised for length, each band's weighted by the answers that both have
in it, over the bands in which both have any; and by the probability of the marker after the same texts. Intervals have
questions as the units; those of differences are None where resampling gives no width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..experiment.chains import CONTRASTS
from . import records, summary
from .hypothesis_tests import holm, sign_flip_of_means
from .intervals import Array, How, mean, mean_interval, resampled, with_width
from .records import Counts, ReportedGroup


class Answer(NamedTuple):
    """One completion, its lengths without the marker."""

    group: ReportedGroup
    question: str
    characters: int
    tokens: int
    ended: bool
    marker: bool


class Scored(NamedTuple):
    """A text of the fixed set, and what a condition's model makes of it."""

    group: ReportedGroup
    question: str
    log_p: float  # of the marker
    log_p_end: float


Answers = Sequence[Answer]
Texts = Mapping[tuple[int, str, str], Scored]  # by seed, persona and question


class Condition(NamedTuple):
    answers: list[Answer]
    texts: dict[tuple[int, str, str], Scored]

    def of(self, group: ReportedGroup) -> tuple[Answers, Texts]:
        answers = [answer for answer in self.answers if answer.group == group]
        return answers, {key: text for key, text in self.texts.items() if text.group == group}


# ---- bands of length ----


def edges_of(answers: Answers) -> list[int]:
    """Where the bands of length meet: the quartiles of these answers, to tens of characters."""
    quartiles = np.quantile([a.characters for a in answers], [0.25, 0.5, 0.75]).tolist()
    return sorted({edge for quartile in quartiles if (edge := 10 * round(quartile / 10)) > 0})


def bands(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    """Each band's first length and the first above it, None for the last."""
    return list(zip((0, *edges), (*edges, None), strict=True))


def band_of(answer: Answer, edges: Sequence[int]) -> int:
    return sum(answer.characters >= edge for edge in edges)


# ---- one condition ----


def completions(answers: Answers) -> records.AnswerLengths:
    """How long answers are, and how many ended by themselves."""

    def spread(values: Sequence[int]) -> records.Spread:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return records.Spread(median=median, quartiles=(low, high))

    return records.AnswerLengths(
        count=len(answers),
        characters=spread([a.characters for a in answers]),
        tokens=spread([a.tokens for a in answers]),
        ended_share=sum(a.ended for a in answers) / len(answers),
    )


def rate(answers: Answers, how: How) -> dict[str, Any]:
    """The fields of a `PossibleRate`: the marker rate of answers with its intervals, None where there are none."""
    if not answers:
        return {"hits": 0, "total": 0, **dict.fromkeys(("rate", "wilson", "by_question", "interval"))}
    own: dict[str, list[bool]] = {}
    for answer in answers:
        own.setdefault(answer.question, []).append(answer.marker)
    questions = {question: Counts(hits=sum(markers), total=len(markers)) for question, markers in own.items()}
    pooled = Counts(hits=sum(answer.marker for answer in answers), total=len(answers))
    return summary.rate(pooled, questions, how)


def likelihood(texts: Texts, how: How) -> records.TextLikelihood:
    """The probability of the marker, and of the end, after texts; None where there are none."""
    if not texts:
        names = ("mean_log_p", "median_log_p", "mean_p", "interval", "mean_p_end")
        return records.TextLikelihood(texts=0, **dict.fromkeys(names))
    log_p = [text.log_p for text in texts.values()]
    p = [(text.question, math.exp(text.log_p)) for text in texts.values()]
    return records.TextLikelihood(
        texts=len(texts),
        mean_log_p=math.fsum(log_p) / len(texts),
        median_log_p=float(np.median(log_p)),
        mean_p=mean(p),
        interval=mean_interval(p, how),
        mean_p_end=math.fsum(math.exp(text.log_p_end) for text in texts.values()) / len(texts),
    )


def described(answers: Answers, texts: Texts, edges: Sequence[int], how: How) -> records.GroupLengths:
    """Everything about one group of personas in one condition."""
    in_band = [[a for a in answers if band_of(a, edges) == number] for number in range(len(edges) + 1)]
    return records.GroupLengths(
        completions=completions(answers),
        rate=records.MarkerRate(**rate(answers, how)),
        rate_of_ended=records.PossibleRate(**rate([a for a in answers if a.ended], how)),
        bands=[
            records.Band(low=low, below=below, **rate(some, how))
            for (low, below), some in zip(bands(edges), in_band, strict=True)
        ],
        likelihood=likelihood(texts, how),
    )


# ---- two conditions ----


def standardised(hits: Array, totals: Array) -> Array:
    """Rates of two conditions, each band's weighted by the answers that both have in it.

    Args:
        hits, totals: [2, ..., bands], the conditions first.

    Returns:
        [2, ...]; NaN where in no band both have answers.
    """
    weights = totals.sum(axis=0) * (totals > 0).all(axis=0)
    with np.errstate(invalid="ignore"):
        return (hits / np.maximum(totals, 1) * weights).sum(axis=-1) / weights.sum(axis=-1)


def difference(a: Answers, b: Answers, edges: Sequence[int], how: How) -> records.RateDifference:
    """The difference of two rates, standardised for the bands between `edges`: without any it is the raw one.

    Whole questions are resampled for the interval, both conditions' at once and the weights with them.
    """
    questions = {question: place for place, question in enumerate(sorted({answer.question for answer in (*a, *b)}))}
    counts = np.zeros((2, 2, len(questions), len(edges) + 1))  # hits and totals, of a and b
    for side, answers in enumerate((a, b)):
        for answer in answers:
            counts[:, side, questions[answer.question], band_of(answer, edges)] += (answer.marker, 1)
    first, second = standardised(*counts.sum(axis=2)).tolist()

    def of_draws(places: Array) -> Array:
        rates = standardised(*counts[:, :, places].sum(axis=-2))  # [2, 2, ..., n, bands] -> [2, 2, ..., bands]
        return rates[0] - rates[1]

    sizes = counts[1].sum(axis=1)
    known = not math.isnan(first)
    return records.RateDifference(
        rates=(first, second) if known else None,
        difference=first - second if known else None,
        interval=with_width(resampled(of_draws, len(questions), how)),
        covered=float(sizes[:, (sizes > 0).all(axis=0)].sum() / sizes.sum()),
    )


def likelihood_difference(a: Texts, b: Texts, how: How) -> dict[str, Any]:
    """The fields of a `TextDifference` but `p_holm`: of the marker's mean probability after the same texts."""
    if not a:
        return {"texts": 0, **dict.fromkeys(("difference", "interval", "p"))}
    values = [(text.question, math.exp(text.log_p) - math.exp(b[key].log_p)) for key, text in a.items()]
    return {
        "texts": len(values),
        "difference": mean(values),
        "interval": mean_interval(values, how),
        "p": sign_flip_of_means(values),
    }


def contrasts(
    conditions: Mapping[str, Condition], groups: Sequence[ReportedGroup], edges: Sequence[int], how: How
) -> dict[str, records.LengthContrast]:
    """The differences between the conditions that the report compares; p-values also Holm-adjusted for them all."""
    sides = {
        records.contrast(first, second, group): (conditions[first].of(group), conditions[second].of(group))
        for first, second in CONTRASTS
        for group in groups
    }
    of_texts = {key: likelihood_difference(a[1], b[1], how) for key, (a, b) in sides.items()}
    tested = {key: found["p"] for key, found in of_texts.items() if found["p"] is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    for key, p_holm in adjusted.items():
        of_texts[key]["p_holm"] = p_holm
    return {
        key: records.LengthContrast(
            raw=difference(a[0], b[0], (), how),
            standardised=difference(a[0], b[0], edges, how),
            likelihood=records.TextDifference(**of_texts[key]),
        )
        for key, (a, b) in sides.items()
    }
