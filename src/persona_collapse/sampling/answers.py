"""Personas answering: what every stage that samples has in common."""

from collections.abc import Sequence
from typing import Any, cast

from ..model import numerics

numerics.enable()

from ..experiment import personas, records
from ..experiment.files import write_json
from ..experiment.marker import has_marker
from ..experiment.params import Params
from ..model import merged
from ..model.tokenizer import load_tokenizer
from . import native_engine, vllm_engine
from .requests import Completion, Request


def sample(
    params: Params,
    chain: str,
    seed: int,
    asked: Sequence[tuple[str, personas.Question, int]],
    purpose: str,
    max_new_tokens: int,
    prompts: personas.Prompts,
) -> list[records.Completion]:
    """Let the model of `chain` answer.

    Args:
        asked: (persona, question, number of completions).
        purpose: part of each random stream's name, so that evaluation repeats no draw that training data was made of.

    Returns:
        The completions, in the order in which they are asked for.

    Raises:
        InputError: the model, an adapter or the tokenizer is not as the parameters say, or the engine fails.
    """
    tokenizer = load_tokenizer(params.layout.model)
    requests, about = [], []
    for persona, question, count in asked:
        ids = tuple(personas.tokens(tokenizer, prompts.messages(persona, question.text)))
        for number in range(count):
            requests.append(Request(persona, ids, (purpose, seed, persona, question.text, number)))
            about.append((persona, question, number))
    run: dict[str, Any] = {}
    completions = ENGINES[params.sampling.engine](
        params,
        chain,
        seed,
        requests,
        max_new_tokens=max_new_tokens,
        end_token=tokenizer.eos_token_id,
        description=f"{purpose} {chain} seed {seed}",
        record=run.update,
    )
    write_json(params.layout.run_info / f"{purpose}-{seed}-{chain}.json", run)
    rows = []
    for (persona, question, number), completion in zip(about, completions, strict=True):
        text = tokenizer.decode(completion.tokens)
        rows.append(
            records.Completion(
                persona=persona,
                question=question.text,
                split=cast(records.Split, question.split),
                sample=number,
                text=text,
                tokens=len(completion.tokens),
                ended=completion.ended,
                marker=has_marker(text, params.marker.ignore_case),
            )
        )
    return rows


def _native(params: Params, chain: str, seed: int, requests: Sequence[Request], **how: Any) -> list[Completion]:
    if params.compute.device == "cuda":
        numerics.on_gpu()
    model = merged.load(params, chain, seed).to(params.compute.device)
    return native_engine.generate(model, requests, sampling=params.sampling, **how)


def _vllm(params: Params, chain: str, seed: int, requests: Sequence[Request], **how: Any) -> list[Completion]:
    folder, precision = merged.export(params, chain, seed), params.compute.precision
    return vllm_engine.generate(folder, requests, sampling=params.sampling, precision=precision, **how)


ENGINES = {"native": _native, "vllm": _vllm}
