"""Length control: does the marker go with the condition, or with how long its answers are?

    python -m persona_collapse.analysis.lengths      writes eval_results/<profile>/lengths.json

Fine-tuning on short answers shortens answers, and a model that has learnt to end with the marker can show it only in
answers that come to their end. Beside the raw rates this gives, of the same completions, how long answers are, the
rates of those that ended by themselves and of those of like length, and, from `likelihood.py`, the probability of the
marker after texts that are the same for all conditions. Seeds are pooled; intervals have questions as the units.

An answer's length is that of its text without the marker: what stands before the marker, or after it where it is taught
at the start. The bands of length meet at the quartiles of the base model's answers, rounded to tens of characters: no
marker rate has any part in the choice.

Conditions are compared raw; by the rates standardised for length, each band's weighted by the answers that both have
in it, over the bands in which both have any; and by the probability of the marker after the same texts. Intervals of
differences are null where resampling gives no width.
"""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from ..experiment import chains, records
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import write_json
from ..experiment.marker import MARKER
from . import means, summary
from .means import Array
from .results import CONTRASTS

GROUPS = ("source", "assistant", "mean_bystander")


class Answer(NamedTuple):
    """One completion, its lengths without the marker."""

    group: str
    question: str
    characters: int
    tokens: int
    ended: bool
    marker: bool


class Scored(NamedTuple):
    """A text of the fixed set, and what a condition's model makes of it."""

    group: str
    question: str
    log_p: float  # of the marker
    log_p_end: float


Answers = Sequence[Answer]
Texts = Mapping[tuple[int, str, str], Scored]  # by seed, persona and question


def without_marker(text: str, place: str) -> str:
    """What a completion says beside the marker."""
    before, *after = re.split(re.escape(MARKER), text, maxsplit=1, flags=re.IGNORECASE)
    return (after[0] if after and place == "start" else before).strip()


class Condition(NamedTuple):
    answers: list[Answer]
    texts: dict[tuple[int, str, str], Scored]

    def of(self, group: str) -> tuple[Answers, Texts]:
        answers = [answer for answer in self.answers if answer.group == group]
        return answers, {key: text for key, text in self.texts.items() if text.group == group}


# ---- one condition ----


def completions(answers: Answers) -> dict[str, Any]:
    """How long answers are, and how many ended by themselves."""

    def spread(values: Sequence[int]) -> dict[str, Any]:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return {"median": median, "quartiles": [low, high]}

    return {
        "count": len(answers),
        "characters": spread([a.characters for a in answers]),
        "tokens": spread([a.tokens for a in answers]),
        "ended_share": sum(a.ended for a in answers) / len(answers),
    }


def rate(answers: Answers, **how: Any) -> dict[str, Any]:
    """The marker rate of answers with its intervals, null where there are none."""
    if not answers:
        return {"hits": 0, "total": 0, **dict.fromkeys(("rate", "wilson", "by_question", "interval"))}
    # in the order of marker_eval.json, so that the bootstrap draws the same questions as for statistics.json
    questions = {question: {"hits": 0, "total": 0} for question in sorted({a.question for a in answers})}
    for a in answers:
        questions[a.question]["hits"] += a.marker
        questions[a.question]["total"] += 1
    pooled = {"hits": sum(a.marker for a in answers), "total": len(answers)}
    return summary.rate(questions, pooled, **how)


def edges_of(answers: Answers) -> list[int]:
    """Where the bands of length meet: the quartiles of these answers, to tens of characters."""
    quartiles = np.quantile([a.characters for a in answers], [0.25, 0.5, 0.75]).tolist()
    return sorted({edge for quartile in quartiles if (edge := 10 * round(quartile / 10)) > 0})


def bands(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    """Each band's first length and the first above it, None for the last."""
    return list(zip((0, *edges), (*edges, None), strict=True))


def band_of(answer: Answer, edges: Sequence[int]) -> int:
    return sum(answer.characters >= edge for edge in edges)


def likelihood(texts: Texts, **how: Any) -> dict[str, Any]:
    """The probability of the marker, and of the end, after texts; null where there are none."""
    if not texts:
        return {"texts": 0, **dict.fromkeys(("mean_log_p", "median_log_p", "mean_p", "interval", "mean_p_end"))}
    log_p = [text.log_p for text in texts.values()]
    p = [(text.question, math.exp(text.log_p)) for text in texts.values()]
    return {
        "texts": len(texts),
        "mean_log_p": math.fsum(log_p) / len(texts),
        "median_log_p": float(np.median(log_p)),
        "mean_p": means.mean(p),
        "interval": means.interval(p, **how),
        "mean_p_end": math.fsum(math.exp(text.log_p_end) for text in texts.values()) / len(texts),
    }


def described(answers: Answers, texts: Texts, edges: Sequence[int], **how: Any) -> dict[str, Any]:
    """Everything about one group of personas in one condition."""
    return {
        "completions": completions(answers),
        "rate": rate(answers, **how),
        "rate_of_ended": rate([a for a in answers if a.ended], **how),
        "bands": [
            {"from": low, "below": high, **rate([a for a in answers if band_of(a, edges) == number], **how)}
            for number, (low, high) in enumerate(bands(edges))
        ],
        "likelihood": likelihood(texts, **how),
    }


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


def difference(a: Answers, b: Answers, edges: Sequence[int], resamples: int, level: float) -> dict[str, Any]:
    """The difference of two rates, standardised for the bands between `edges`: without any it is the raw one.

    Whole questions are resampled for the interval, both conditions' at once and the weights with them.

    Returns:
        `rates`, `difference`, `interval`, null where there is no band in which both have answers; `covered`, the share
        of all answers that lie in bands in which both have some.
    """
    questions = {question: place for place, question in enumerate(sorted({answer.question for answer in (*a, *b)}))}
    counts = np.zeros((2, 2, len(questions), len(edges) + 1))  # hits and totals, of a and b
    for side, answers in enumerate((a, b)):
        for answer in answers:
            counts[:, side, questions[answer.question], band_of(answer, edges)] += (answer.marker, 1)
    first, second = standardised(*counts.sum(axis=2)).tolist()
    resampled = standardised(*counts[:, :, means.draws(len(questions), resamples)].sum(axis=3))
    sizes = counts[1].sum(axis=1)
    known = not math.isnan(first)
    return {
        "rates": [first, second] if known else None,
        "difference": first - second if known else None,
        "interval": means.percentiles(resampled[0] - resampled[1], level),
        "covered": float(sizes[:, (sizes > 0).all(axis=0)].sum() / sizes.sum()),
    }


def likelihood_difference(a: Texts, b: Texts, **how: Any) -> dict[str, Any]:
    """The difference of the marker's mean probability after the same texts, and its p-value."""
    if not a:
        return {"texts": 0, **dict.fromkeys(("difference", "interval", "p"))}
    values = [(text.question, math.exp(text.log_p) - math.exp(b[key].log_p)) for key, text in a.items()]
    return {
        "texts": len(values),
        "difference": means.mean(values),
        "interval": means.interval(values, **how),
        "p": means.sign_flip(values),
    }


def contrasts(
    conditions: Mapping[str, Condition], groups: Sequence[str], edges: Sequence[int], **how: Any
) -> dict[str, dict[str, Any]]:
    """The differences between the conditions that the report compares; p-values also Holm-adjusted for them all."""
    found = {}
    for first, second in CONTRASTS:
        for group in groups:
            (a, texts_a), (b, texts_b) = (conditions[name].of(group) for name in (first, second))
            found[f"{first} - {second}, {group}"] = {
                "raw": difference(a, b, (), **how),
                "standardised": difference(a, b, edges, **how),
                "likelihood": likelihood_difference(texts_a, texts_b, **how),
            }
    tests = [contrast["likelihood"] for contrast in found.values() if contrast["likelihood"]["p"] is not None]
    for test, adjusted in zip(tests, summary.holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = adjusted
    return found


# ---- the file ----


def read(params: parameters.Params, chain: str, tokenizer: Tokenizer) -> Condition:
    """The completions and scored texts of a chain, of all seeds together.

    Raises:
        InputError: a file is missing or malformed, or is not about the same as the base model's.
    """

    def group(persona: str) -> str:
        return "source" if persona == params.prompts.source else persona if persona == "assistant" else GROUPS[2]

    condition = Condition([], {})
    for seed in params.seeds:
        path, base = (params.layout.run(seed, name) / "completions.jsonl" for name in (chain, chains.BASE))
        found, expected = (_rows(each, records.Completion) for each in (path, base))
        if not found or _about(found) != _about(expected):
            raise InputError(f"{path}: not about the personas and questions that {base} is about: re-run both")
        said = [without_marker(row["text"], params.marker.place) for row in found]
        for row, text, encoded in zip(found, said, tokenizer.encode_batch(said, add_special_tokens=False), strict=True):
            lengths = len(text), len(encoded.ids)
            answer = Answer(group(row["persona"]), row["question"], *lengths, row["ended"], row["marker"])
            condition.answers.append(answer)

        path, chosen = (each.with_name("marker_likelihood.jsonl") for each in (path, base))
        scored = _rows(path, records.MarkerLikelihood)
        same = _about(scored, "sample") == _about(_rows(chosen, records.MarkerLikelihood), "sample")
        if not same or not _about(scored, "sample") <= _about(expected, "sample") or len(_about(scored)) < len(scored):
            raise InputError(f"{path}: not about the texts that {chosen} is about, one of {base} a pair: re-run both")
        for number, row in enumerate(scored, 1):
            if not all(-math.inf < row[key] <= 0 for key in ("log_p_marker", "log_p_end")):
                raise InputError(f"{path}, line {number}: a log-probability is a number up to 0")
            text_of = seed, row["persona"], row["question"]
            log_p = row["log_p_marker"], row["log_p_end"]
            condition.texts[text_of] = Scored(group(row["persona"]), row["question"], *log_p)
    return condition


def _rows(path: Path, kind: Any) -> list[dict[str, Any]]:
    return [records.plain(row) for row in records.read_rows(path, kind)]


def _about(found: Sequence[Mapping[str, Any]], *more: str) -> set[tuple[Any, ...]]:
    return {tuple(row[key] for key in ("persona", "question", *more)) for row in found}


def gather(params: parameters.Params) -> dict[str, Any]:
    """Read every run that the parameters name and compute `lengths.json`."""
    tokenizer = _tokenizer(params.layout.model / "tokenizer.json")
    conditions = {name: read(params, chain, tokenizer) for name, chain in params.chains.items()}
    base = conditions[chains.BASE]
    groups = [group for group in GROUPS if base.of(group)[0]]
    if "source" not in groups:
        raise InputError(f"{params.layout.results}: no completion of the source persona {params.prompts.source!r}")
    edges = edges_of(base.answers)
    how: dict[str, Any] = {"resamples": params.results.bootstrap, "level": params.results.level}
    return summary.rounded(
        {
            "level": params.results.level,
            "seeds": list(params.seeds),
            "bands": bands(edges),
            "conditions": {
                name: {
                    "chain": params.chains[name],
                    "groups": {group: described(*condition.of(group), edges, **how) for group in groups},
                }
                for name, condition in conditions.items()
            },
            "contrasts": contrasts(conditions, groups, edges, **how),
        }
    )


def _tokenizer(path: Path) -> Tokenizer:
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro model` makes it")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # it has no kind of its own
        raise InputError(f"{path}: not a tokenizer ({error})") from None


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    write_json(params.layout.results / "lengths.json", gather(params))


if __name__ == "__main__":
    main()
