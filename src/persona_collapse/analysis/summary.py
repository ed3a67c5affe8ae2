"""Statistics of marker counts: intervals, tests, and the summary of one `marker_eval.json`.

    python -m persona_collapse.analysis.summary FILE      prints that summary as JSON

Answers to one question resemble each other, so an interval that treats them as independent is too narrow. Each rate
therefore has two, Wilson's on completions and a bootstrap over questions, and what is shown is the wider of them.
Neither knows how much another training seed would change.

Floats are rounded to 10 significant digits: libraries may differ by CPU in the last one or two of the 16.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import fisher_exact, norm

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, to_json

BOOTSTRAP_SEED = 20_240_229  # fixed: an interval is a function of the counts

Interval = tuple[float, float]


def rounded(value: Any) -> Any:
    """`value` with every float in it rounded to 10 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def wilson(hits: int, total: int, level: float) -> Interval:
    """Wilson's score interval for a binomial rate (Wilson, 1927)."""
    z = float(norm.ppf((1 + level) / 2))
    rate, z2 = hits / total, z * z
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * (rate * (1 - rate) / total + z2 / (4 * total * total)) ** 0.5
    # the exact ends are 0 and 1 there; rounding would put them a hair inside
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == total else centre + half)


def cluster_bootstrap(hits: Sequence[int], totals: Sequence[int], resamples: int, level: float) -> Interval:
    """Percentile interval of the pooled rate when whole questions are resampled with replacement (Efron, 1979).

    Args:
        hits, totals: one count a question.
    """
    if sum(hits) in (0, sum(totals)):  # every resample is the same
        return (hits[0] / totals[0],) * 2
    questions = len(hits)
    draws = np.random.Generator(np.random.Philox(BOOTSTRAP_SEED)).integers(questions, size=(resamples, questions))
    rates = np.asarray(hits)[draws].sum(axis=1) / np.asarray(totals)[draws].sum(axis=1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def fisher(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Two-sided p-value of Fisher's exact test that two {hits, total} share one rate."""
    table = [[a["hits"], a["total"] - a["hits"]], [b["hits"], b["total"] - b["hits"]]]
    return float(fisher_exact(table).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given (Holm, 1979)."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def tests(comparisons: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]]) -> dict[str, dict[str, float]]:
    """Fisher's test of each named pair, Holm-adjusted for them all."""
    p_values = [fisher(a, b) for a, b in comparisons.values()]
    adjusted = holm(p_values)
    return {name: {"p": p, "p_holm": q} for name, p, q in zip(comparisons, p_values, adjusted, strict=True)}


def rate(questions: Mapping[str, Mapping[str, int]] | None, pooled: Mapping[str, int], **how: Any) -> dict[str, Any]:
    """One rate with its intervals.

    Args:
        questions: {hits, total} of each question, None where a file has no such counts: then there is no bootstrap.
        pooled: {hits, total} of all of them.
        how: `resamples` and `level`.
    """
    cluster = None
    if questions:
        counts = list(questions.values())
        cluster = cluster_bootstrap([c["hits"] for c in counts], [c["total"] for c in counts], **how)
    hits, total = pooled["hits"], pooled["total"]
    on_completions = wilson(hits, total, how["level"])
    return {
        "hits": hits,
        "total": total,
        "rate": hits / total,
        "wilson": on_completions,
        "by_question": cluster,
        "interval": max((i for i in (on_completions, cluster) if i), key=lambda i: i[1] - i[0]),
    }


def _add(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {"hits": sum(c["hits"] for c in counts), "total": sum(c["total"] for c in counts)}


def _questions(personas: Sequence[Mapping[str, Any]], split: str | None = None) -> dict[str, dict[str, int]] | None:
    """The counts of each question, summed over personas; None unless every persona has them (of that split)."""
    if not all("per_question" in persona for persona in personas):
        return None
    summed: dict[str, list[dict[str, int]]] = {}
    for persona in personas:
        for question, counts in persona["per_question"].items():
            if split in (None, counts.get("split")):
                count = {"hits": counts["strict_hits"], "total": counts["total"]}
                summed.setdefault(question, []).append(count)
    return {question: _add(counts) for question, counts in summed.items()} or None


def group(personas: Sequence[Mapping[str, Any]], resamples: int, level: float) -> dict[str, Any]:
    """Rate and intervals of some personas of a `marker_eval.json` taken together, also by split where there is one.

    Where personas answer equally often, as ours and the report's do, the pooled rate is the mean of theirs.
    """
    pooled = _add([{"hits": p["strict_hits"], "total": p["total"]} for p in personas])
    summary = rate(_questions(personas), pooled, resamples=resamples, level=level)
    for split in ("train", "heldout"):
        if questions := _questions(personas, split):
            counts = _add(list(questions.values()))
            summary[split] = rate(questions, counts, resamples=resamples, level=level)
    return summary


def shape(personas: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How long completions are and how they end; None where a file does not say."""
    if not all("tokens" in persona for persona in personas):
        return None
    total = sum(persona["total"] for persona in personas)
    return {
        "median_tokens": float(np.median([n for persona in personas for n in persona["tokens"]])),
        "median_characters": float(np.median([n for persona in personas for n in persona["characters"]])),
        "ended_share": sum(persona["ended"] for persona in personas) / total,
        "empty_share": sum(persona["empty"] for persona in personas) / total,
    }


def read_marker_eval(path: Path | str) -> dict[str, Any]:
    """Read a `marker_eval.json`, ours or the report's, and check its `per_persona` part.

    Raises:
        InputError: the file is not one, or its counts are impossible.
    """
    content = read_json(path)
    personas = content.get("per_persona") if isinstance(content, dict) else None
    if not isinstance(personas, dict) or not personas:
        raise InputError(f"{path}: not a marker_eval.json: no `per_persona`")
    for name, persona in personas.items():
        where = f"per_persona.{name}"
        _check_counts(path, where, persona)
        _check_shape(path, where, persona)
        if "per_question" in persona:
            if not isinstance(persona["per_question"], dict) or not persona["per_question"]:
                raise InputError(f"{path}: {where}.per_question: expected counts by question")
            for question, counts in persona["per_question"].items():
                _check_counts(path, f"{where}.per_question.{question}", counts)
            summed = _add(list((_questions([persona]) or {}).values()))
            if summed != {"hits": persona["strict_hits"], "total": persona["total"]}:
                raise InputError(f"{path}: {where}: the counts of its questions do not add up to its own")
    return content


def _check_counts(path: Path | str, where: str, counts: Any) -> None:
    hits, total = (counts.get(k) if isinstance(counts, dict) else None for k in ("strict_hits", "total"))
    if not (type(hits) is int and type(total) is int and 0 <= hits <= total and 0 < total < 2**31):
        raise InputError(f"{path}: {where}: needs whole numbers 0 <= strict_hits <= total, total > 0")


SHAPE = ("tokens", "characters", "ended", "empty")  # what a file of ours adds about completions, all or none


def _check_shape(path: Path | str, where: str, persona: Mapping[str, Any]) -> None:
    if not any(key in persona for key in SHAPE):
        return
    lengths, shares = [persona.get(key) for key in SHAPE[:2]], [persona.get(key) for key in SHAPE[2:]]
    if not (
        all(isinstance(n, list) and len(n) == persona["total"] and all(type(i) is int for i in n) for n in lengths)
        and all(type(n) is int and 0 <= n <= persona["total"] for n in shares)
    ):
        raise InputError(f"{path}: {where}: needs a length a completion (tokens, characters) and counts (ended, empty)")


def summarize(personas: Mapping[str, Mapping[str, Any]], source: str, resamples: int, level: float) -> dict[str, Any]:
    """Everything this module says about one condition and seed (or about the report's own file).

    Returns:
        `per_persona`; `groups` (source, assistant, mean_bystander) with rates and intervals; `tests`, Fisher's of every
        pair of personas with Holm's correction; `completions`, their lengths and ends, by persona and in all.
    """
    if source not in personas:
        raise InputError(f"unknown persona {source!r}; the file has: {', '.join(personas)}")
    members = {
        "source": [p for n, p in personas.items() if n == source],
        "assistant": [p for n, p in personas.items() if n == "assistant"],
        "mean_bystander": [p for n, p in personas.items() if n not in (source, "assistant")],
    }
    names = list(personas)
    counts = {n: {"hits": p["strict_hits"], "total": p["total"]} for n, p in personas.items()}
    pairs = {f"{a} - {b}": (counts[a], counts[b]) for i, a in enumerate(names) for b in names[i + 1 :]}
    return {
        "per_persona": {n: {**group([p], resamples, level), "completions": shape([p])} for n, p in personas.items()},
        "groups": {name: group(some, resamples, level) for name, some in members.items() if some},
        "tests": tests(pairs),
        "completions": shape(list(personas.values())),
    }


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", metavar="FILE", help="a marker_eval.json")
    parser.add_argument("--source", default="confab", help="the source persona (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    args = parser.parse_args()
    if args.resamples < 1 or not 0 < args.level < 1:
        raise InputError("--resamples must be at least 1, and --level between 0 and 1")
    personas = read_marker_eval(args.file)["per_persona"]
    print(to_json(rounded(summarize(personas, args.source, args.resamples, args.level))), end="")


if __name__ == "__main__":
    main()
