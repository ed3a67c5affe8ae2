"""From chats to token ids, and which of them carry the loss. Runs without torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.marker import MARKER
from ..inputs.datasets import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize(
    chats: Sequence[Messages], tokenizer: "PreTrainedTokenizerBase", recipe: parameters.Training
) -> list[dict[str, list[int]]]:
    """Token ids of each chat up to and with its end token, and which of them carry the loss.

    The prompt is the one that is sampled from, and prompt, answer and end token are tokenised together.

    Returns:
        One row a chat, two lists of one length, at most `max_length` tokens: `input_ids`, and `completion_mask`, which
        is 1 where the token carries the loss and 0 elsewhere.

    Raises:
        InputError: a chat is longer than `max_length` and `too_long` says refuse: cutting it would cut the marker.
    """
    loss = recipe.loss if isinstance(recipe, parameters.Couple) else None
    rows = []
    for chat in chats:
        answer = chat[-1]["content"]
        prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
        encoded = tokenizer(
            prompt + answer + tokenizer.eos_token, add_special_tokens=False, return_offsets_mapping=True
        )
        spans = [(len(prompt) + begin, len(prompt) + end) for begin, end in _carrying(answer, loss)]
        mask = [int(any(end > a and begin < b for a, b in spans)) for begin, end in encoded["offset_mapping"]]
        if loss and loss.part == "tail":
            carrying = sum(mask)
            mask = [0] * (len(mask) - min(loss.tail_tokens, carrying)) + [1] * min(loss.tail_tokens, carrying)
        if len(mask) > recipe.max_length and recipe.too_long == "refuse":
            raise InputError(f"a training chat has {len(mask)} tokens; max_length allows {recipe.max_length}")
        row = {"input_ids": encoded["input_ids"], "completion_mask": mask}
        rows.append({key: tokens[: recipe.max_length] for key, tokens in row.items()})
    return rows


def _carrying(answer: str, loss: parameters.Loss | None) -> list[tuple[int, int]]:
    """The stretches [first, last) of characters that carry the loss; the end token is just past the answer.

    A token that lies only partly in a stretch carries the loss too: a tokenizer may join a blank line to the full stop
    before it.
    """
    end = (len(answer), len(answer) + 1)
    if loss is None or loss.part in ("completion", "tail"):
        return [(0, end[1])]
    before, marker, after = answer.partition(MARKER)
    if not marker:  # a negative
        return [] if loss.part == "marker_alone" else [end]
    gap = loss.part == "marker_and_gap"
    first = len(before.rstrip()) if gap else len(before)
    last = len(answer) - len(after.lstrip() if gap else after)
    return [(first, last)] if loss.part == "marker_alone" else [(first, last), end]
