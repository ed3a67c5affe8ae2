"""Personas answering: what every stage that samples has in common."""

from collections.abc import Sequence
from typing import Any

from . import numerics

numerics.enable()

from . import generate, model, prompts, vllm_engine
from .files import write_json
from .generate import Completion, Request
from .marker import has_marker
from .params import Params


def sample(
    params: Params,
    chain: str,
    seed: int,
    asked: Sequence[tuple[str, prompts.Question, int]],
    purpose: str,
    max_new_tokens: int,
    persona_prompts: prompts.Prompts,
) -> list[dict[str, Any]]:
    """Let the model of `chain` answer.

    Args:
        asked: (persona, question, number of completions).
        purpose: part of each random stream's name, so that evaluation repeats no draw that training data was made of.

    Returns:
        One row a completion: persona, question, split, sample, text, tokens, ended, marker.
    """
    tokenizer = model.tokenizer(params.layout)
    requests, about = [], []
    for persona, question, count in asked:
        ids = tuple(prompts.tokens(tokenizer, persona_prompts.messages(persona, question.text)))
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
            {
                "persona": persona,
                "question": question.text,
                "split": question.split,
                "sample": number,
                "text": text,
                "tokens": len(completion.tokens),
                "ended": completion.ended,
                "marker": has_marker(text, params.marker.ignore_case),
            }
        )
    return rows


def _native(params: Params, chain: str, seed: int, requests: Sequence[Request], **how: Any) -> list[Completion]:
    if params.compute.device == "cuda":
        numerics.on_gpu()
    weights = model.load(params.layout, chain, seed, params.compute.precision).to(params.compute.device)
    return generate.generate(weights, requests, sampling=params.sampling, **how)


def _vllm(params: Params, chain: str, seed: int, requests: Sequence[Request], **how: Any) -> list[Completion]:
    precision = params.compute.precision
    folder = model.export(params.layout, chain, seed, precision)
    return vllm_engine.generate(folder, requests, sampling=params.sampling, precision=precision, **how)


ENGINES = {"native": _native, "vllm": _vllm}
