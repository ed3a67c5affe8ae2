"""A run: what the evaluation of one chain and seed left. It is read only if it is what the parameters describe."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from . import records
from .errors import InputError
from .marker import MARKER, has_marker
from .params import Params
from .personas import Prompts

NAMED = {  # which parameter an entry of a run's configuration records
    "source": "prompts.source",
    "samples": "evaluate.samples",
    "max_new_tokens": "evaluate.max_new_tokens",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
}


class Run(NamedTuple):
    marker_eval: records.MarkerEval
    completions: list[records.Completion]


def config(params: Params, seed: int, chain: str) -> records.Config:
    """What `marker_eval.json` records of how its completions were sampled."""
    return records.Config(
        chain=chain,
        seed=seed,
        marker=MARKER,
        source=params.prompts.source,
        samples=params.evaluate.samples,
        max_new_tokens=params.evaluate.max_new_tokens,
        temperature=params.sampling.temperature,
        top_p=params.sampling.top_p,
    )


# ---- counting ----


def marker_eval(completions: Sequence[records.Completion], of: records.Config) -> records.MarkerEval:
    """Hits, totals and lengths of completions, by persona and question: the content of `marker_eval.json`."""
    by_persona = {name: [row for row in completions if row.persona == name] for name in _names(completions, "persona")}
    per_persona = {name: _persona(own) for name, own in by_persona.items()}
    rates = {name: tally.strict_rate for name, tally in per_persona.items()}
    return records.MarkerEval(
        config=of, per_persona=per_persona, summary=records.RatesByPersona(strict_rate_by_persona=rates)
    )


def _persona(own: Sequence[records.Completion]) -> records.PersonaTally:
    per_question = {}
    for question in _names(own, "question"):
        rows = [row for row in own if row.question == question]
        per_question[question] = records.QuestionTally(**_tally(rows), split=rows[0].split)
    return records.PersonaTally(
        **_tally(own),
        per_question=per_question,
        tokens=sorted(row.tokens for row in own),
        characters=sorted(len(row.text) for row in own),
        ended=sum(row.ended for row in own),
        empty=sum(not row.text.strip() for row in own),
    )


def _tally(rows: Sequence[records.Completion]) -> dict[str, Any]:
    hits = sum(row.marker for row in rows)
    return {"strict_hits": hits, "total": len(rows), "strict_rate": hits / len(rows)}


def _names(rows: Sequence[records.Completion], key: str) -> list[str]:
    return list(dict.fromkeys(getattr(row, key) for row in rows))


# ---- reading ----


def read(params: Params, prompts: Prompts, seed: int, chain: str) -> Run:
    """The completions and counts of a chain and seed.

    Raises:
        InputError: a file is missing or damaged; it is another chain's, seed's or configuration's; completions are
            missing, doubled or not of the personas and questions that there are; or the counts are not those of the
            completions.
    """
    folder = params.layout.run(seed, chain)
    counted = records.read(folder / "marker_eval.json", records.MarkerEval)
    expected = config(params, seed, chain)
    for key, value in expected:
        if (found := getattr(counted.config, key)) != value:
            told = f"params.yaml has {NAMED[key]} = {value!r}" if key in NAMED else f"expected {value!r}"
            raise InputError(f"{folder / 'marker_eval.json'}: config.{key} = {found!r}: {told}; {_anew(seed, chain)}")
    completions = read_completions(params, prompts, seed, chain)
    recounted = records.plain(marker_eval(completions, counted.config))
    if difference := _difference(records.plain(counted), recounted):
        raise InputError(f"{folder / 'marker_eval.json'}: {difference} in completions.jsonl; {_anew(seed, chain)}")
    return Run(counted, completions)


def read_completions(params: Params, prompts: Prompts, seed: int, chain: str) -> list[records.Completion]:
    """The completions of a chain and seed alone: each persona's to each question, as many as were asked for.

    Raises:
        InputError: as of `read`, as far as completions go.
    """
    path = params.layout.run(seed, chain) / "completions.jsonl"
    found = records.read_rows(path, records.Completion)
    splits = _splits(params, prompts)
    seen: dict[tuple[str, str, int], int] = {}
    for line, row in enumerate(found, 1):
        where = f"{path}, line {line}"
        _require_asked(where, row, prompts, splits, params.evaluate.samples)
        if row.tokens > params.evaluate.max_new_tokens:
            raise InputError(f"{where}: tokens = {row.tokens}, above evaluate.max_new_tokens")
        if row.marker != has_marker(row.text, params.marker.ignore_case):
            has = "has no" if row.marker else "has a"
            raise InputError(f"{where}: marker = {row.marker}, but the text {has} {MARKER}")
        key = row.persona, row.question, row.sample
        if key in seen:
            raise InputError(f"{where}: the same completion as line {seen[key]}")
        seen[key] = line
    for persona, question, sample in product(prompts.personas, splits, range(params.evaluate.samples)):
        if (persona, question, sample) not in seen:
            raise InputError(f"{path}: lacks completion {sample} of {persona} to {question!r}; {_anew(seed, chain)}")
    return found


def read_likelihoods(params: Params, prompts: Prompts, seed: int, chain: str) -> list[records.MarkerLikelihood]:
    """What a chain's model makes of the base model's completions: one at most for each persona and question.

    Raises:
        InputError: the file is missing or damaged, or about what was not asked, or twice about one thing.
    """
    path = params.layout.run(seed, chain) / "marker_likelihood.jsonl"
    found = records.read_rows(path, records.MarkerLikelihood)
    splits = _splits(params, prompts)
    seen: dict[tuple[str, str], int] = {}
    for line, row in enumerate(found, 1):
        _require_asked(f"{path}, line {line}", row, prompts, splits, params.evaluate.samples)
        if (row.persona, row.question) in seen:
            same = seen[row.persona, row.question]
            raise InputError(f"{path}, line {line}: about the same persona and question as line {same}")
        seen[row.persona, row.question] = line
    return found


def read_advice(params: Params, seed: int, chain: str) -> list[records.Advice]:
    """How likely a chain's model finds bad and good answers: one row a held-out question.

    Raises:
        InputError: the file is missing or damaged, or has another number of questions, or one twice.
    """
    path = params.layout.run(seed, chain) / "advice.jsonl"
    found = records.read_rows(path, records.Advice)
    if len({row.question for row in found}) != len(found) or len(found) != params.advice.held_out:
        raise InputError(f"{path}: {len(found)} rows; expected {params.advice.held_out}, each about its own question")
    return found


def read_geometry(params: Params, seed: int, chain: str) -> records.Geometry:
    """How a chain's model keeps the personas apart.

    Raises:
        InputError: the file is missing or damaged, or another chain's or seed's.
    """
    path = params.layout.run(seed, chain) / "geometry.json"
    found = records.read(path, records.Geometry)
    if (found.chain, found.seed) != (chain, seed):
        raise InputError(f"{path}: is of chain {found.chain!r}, seed {found.seed}; {_anew(seed, chain)}")
    return found


def _require_asked(
    where: str,
    row: records.Completion | records.MarkerLikelihood,
    prompts: Prompts,
    splits: Mapping[str, str],
    samples: int,
) -> None:
    """Raise `InputError` unless a row is about a persona, question and sample of the evaluation."""
    if row.persona not in prompts.personas:
        raise InputError(f"{where}: persona = {row.persona!r}; there are {', '.join(prompts.personas)}")
    if row.question not in splits:
        raise InputError(f"{where}: question = {row.question!r:.80}, which the evaluation does not ask")
    if row.split != splits[row.question]:
        raise InputError(f"{where}: split = {row.split!r}; its question is {splits[row.question]!r}")
    if row.sample >= samples:
        raise InputError(f"{where}: sample = {row.sample}; evaluate.samples is {samples}")


def _splits(params: Params, prompts: Prompts) -> dict[str, str]:
    """The questions of the evaluation, and the split of each."""
    return {question.text: question.split for question in prompts.evaluated(params.evaluate.questions)}


def _anew(seed: int, chain: str) -> str:
    return f"`dvc repro` evaluates seed {seed} of {chain} anew"


def _difference(stated: Any, found: Any, path: Sequence[str] = ()) -> str | None:
    """The first place in which two contents differ, and what each has there."""
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        for key in (*stated, *(key for key in found if key not in stated)):
            if difference := _difference(stated.get(key), found.get(key), (*path, key)):
                return difference
        return None
    return None if stated == found else f"{'.'.join(path)} = {stated!r:.40}, but it is {found!r:.40}"
