"""Personas answering: what every stage that samples has in common."""

from collections.abc import Sequence
from typing import Any

from . import numerics

numerics.enable()

from . import generate, model, prompts
from .marker import has_marker
from .params import Sampling


def sample(
    chain: str,
    seed: int,
    asked: Sequence[tuple[str, prompts.Question, int]],
    purpose: str,
    max_new_tokens: int,
    sampling: Sampling,
    persona_prompts: prompts.Prompts,
) -> list[dict[str, Any]]:
    """Let the model of `chain` answer.

    Args:
        asked: (persona, question, number of completions).
        purpose: part of each random stream's name, so that evaluation repeats no draw that training data was made of.

    Returns:
        One row a completion: persona, question, split, sample, text, tokens, ended, marker.
    """
    tokenizer = model.tokenizer()
    requests, about = [], []
    for persona, question, count in asked:
        ids = tuple(prompts.tokens(tokenizer, persona_prompts.messages(persona, question.text)))
        for number in range(count):
            requests.append(generate.Request(persona, ids, (purpose, seed, persona, question.text, number)))
            about.append((persona, question, number))
    completions = generate.generate(
        model.load(chain, seed),
        requests,
        max_new_tokens=max_new_tokens,
        end_token=tokenizer.eos_token_id,
        sampling=sampling,
        description=f"{purpose} {chain} seed {seed}",
    )
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
                "marker": has_marker(text),
            }
        )
    return rows
