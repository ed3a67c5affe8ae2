"""What is left of a rate, or of a difference of two, when answers are of like length and texts are the same.

Conditions are compared raw; by the rates standardised for length, each band's weighted by the answers that both have
in it, over the bands in which both have any; and by the probability of the marker after the same texts. A difference
is that of one seed, and their mean has the seeds as its units.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from ..experiment.groups import Group
from . import designs, records
from .units import DIFFERENCE, over


class Answer(NamedTuple):
    """One completion, its lengths without the marker."""

    seed: int
    group: Group
    characters: int
    tokens: int
    ended: bool
    marker: bool


class Scored(NamedTuple):
    """A text of the fixed set, and what a condition's model makes of it."""

    group: Group
    log_p: float  # of the marker
    log_p_end: float


Answers = Sequence[Answer]
Texts = Mapping[tuple[int, str, str], Scored]  # by seed, persona and question


class Condition(NamedTuple):
    answers: list[Answer]
    texts: dict[tuple[int, str, str], Scored]

    def of(self, group: Group) -> tuple[Answers, Texts]:
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


def rate(answers: Answers) -> dict[str, Any]:
    """The fields of a `PossibleRate`: the marker rate of answers, None where there are none."""
    hits = sum(answer.marker for answer in answers)
    return {"hits": hits, "total": len(answers), "rate": hits / len(answers) if answers else None}


def likelihood(texts: Texts) -> records.TextLikelihood:
    """The probability of the marker, and of the end, after texts; None where there are none."""
    if not texts:
        names = ("mean_log_p", "median_log_p", "mean_p", "mean_p_end")
        return records.TextLikelihood(texts=0, **dict.fromkeys(names))
    log_p = [text.log_p for text in texts.values()]
    return records.TextLikelihood(
        texts=len(texts),
        mean_log_p=fmean(log_p),
        median_log_p=float(np.median(log_p)),
        mean_p=fmean(map(math.exp, log_p)),
        mean_p_end=fmean(math.exp(text.log_p_end) for text in texts.values()),
    )


def described(answers: Answers, texts: Texts, edges: Sequence[int]) -> records.GroupLengths:
    """Everything about one group of personas in one condition, all seeds together."""
    in_band = [[a for a in answers if band_of(a, edges) == number] for number in range(len(edges) + 1)]
    return records.GroupLengths(
        completions=completions(answers),
        rate=records.PossibleRate(**rate(answers)),
        rate_of_ended=records.PossibleRate(**rate([a for a in answers if a.ended])),
        bands=[
            records.Band(low=low, below=below, **rate(some))
            for (low, below), some in zip(bands(edges), in_band, strict=True)
        ],
        likelihood=likelihood(texts),
    )


# ---- two conditions ----


def standardised(a: Answers, b: Answers, edges: Sequence[int]) -> tuple[float | None, int]:
    """The difference of two rates, each band's weighted by the answers that both have in it.

    Returns:
        The difference, None where in no band both have answers; and the answers in bands in which both have some.
    """
    counts = np.zeros((2, 2, len(edges) + 1), dtype=int)  # hits and totals, of a and b
    for side, answers in enumerate((a, b)):
        for answer in answers:
            counts[:, side, band_of(answer, edges)] += (answer.marker, 1)
    hits, totals = counts.tolist()
    shared = [n for n in range(len(edges) + 1) if totals[0][n] and totals[1][n]]
    weights = {n: totals[0][n] + totals[1][n] for n in shared}
    if not shared:
        return None, 0
    gaps = (weights[n] * (hits[0][n] / totals[0][n] - hits[1][n] / totals[1][n]) for n in shared)
    return math.fsum(gaps) / sum(weights.values()), sum(weights.values())


def difference(a: Answers, b: Answers, edges: Sequence[int], level: float) -> records.RateDifference:
    """The difference of two rates, standardised for the bands between `edges`: without any it is the raw one."""
    found, covered = {}, 0
    for seed in sorted({answer.seed for answer in (*a, *b)}):
        own, inside = standardised([x for x in a if x.seed == seed], [y for y in b if y.seed == seed], edges)
        covered += inside
        if own is not None:
            found[str(seed)] = own
    share = covered / (len(a) + len(b))
    return records.RateDifference(over_seeds=over(found, level, DIFFERENCE) if found else None, covered=share)


def likelihood_difference(a: Texts, b: Texts, level: float) -> records.OverUnits | None:
    """Of the marker's mean probability after the same texts; None without any."""
    by_seed: dict[str, list[float]] = {}
    for key, text in a.items():
        by_seed.setdefault(str(key[0]), []).append(math.exp(text.log_p) - math.exp(b[key].log_p))
    means = {seed: fmean(own) for seed, own in by_seed.items()}
    return over(means, level, DIFFERENCE) if means else None


def contrasts(
    conditions: Mapping[str, Condition], groups: Sequence[Group], edges: Sequence[int], level: float
) -> dict[str, records.LengthContrast]:
    """The differences between the conditions that `designs.py` compares."""
    found = {}
    for first, second in designs.pairs(conditions):
        for group in groups:
            a, b = conditions[first].of(group), conditions[second].of(group)
            found[records.contrast(first, second, group)] = records.LengthContrast(
                raw=difference(a[0], b[0], (), level),
                standardised=difference(a[0], b[0], edges, level),
                likelihood=likelihood_difference(a[1], b[1], level),
            )
    return found
