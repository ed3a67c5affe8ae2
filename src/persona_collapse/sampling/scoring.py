"""Log-probabilities of tokens that are given: one forward pass, nothing is sampled.

On a CPU what is found for a sequence depends on its own tokens and on how many all sequences of its batch begin with,
never on which others there are.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..model import numerics

numerics.enable()

import torch
from transformers import DynamicCache, PreTrainedModel

WIDTH = 8  # sequences are padded to a multiple of so many tokens, and run with those of the same width
AT_ONCE = 512  # places whose logits, a number for every token there is, are held at one time
DECIMALS = 6  # of natural logarithms: about what single precision holds


def alike(sequences: Sequence[list[int]]) -> int:
    """How many tokens all sequences begin with."""
    shortest = min(map(len, sequences))
    return next((i for i in range(shortest) if len({s[i] for s in sequences}) > 1), shortest)


class Run(NamedTuple):
    """Token ids to run, and the tokens whose log-probability is wanted, each after the position that predicts it."""

    ids: list[int]
    wanted: list[tuple[int, int]]


def passes(model: PreTrainedModel, batch: Sequence[list[int]], shared: int) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run sequences of token ids through the model's layers, those of like width together.

    Args:
        batch: all begin with the same `shared` tokens, which are computed once.

    Yields:
        Which sequences of the batch were run, and the last hidden state of their tokens from `shared` on,
        [sequences, width - shared, hidden]; the places after a sequence's own end mean nothing.
    """
    device = model.device
    beginning = torch.tensor([batch[0][:shared]], device=device)  # [1, shared]
    cache = model.model(input_ids=beginning, use_cache=True).past_key_values  # in each layer [1, heads, shared, D]
    widths = defaultdict(list)
    for number, ids in enumerate(batch):
        widths[-(-len(ids) // WIDTH) * WIDTH].append(number)
    for width, numbers in widths.items():
        # no mask for the padding: it comes last, and no token sees a later one
        rows = [batch[n][shared:] + [0] * (width - len(batch[n])) for n in numbers]  # [N, width - shared]
        shape = len(numbers), -1, -1, -1  # [1, heads, shared, D] -> [N, heads, shared, D]
        past = DynamicCache((layer.keys.expand(shape), layer.values.expand(shape)) for layer in cache.layers)
        run = model.model(input_ids=torch.tensor(rows, device=device), past_key_values=past)
        yield numbers, run.last_hidden_state


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, batch: Sequence[Run], shared: int) -> list[list[float]]:
    """Natural logarithms of the probability of each wanted token, for each run in the order of its `wanted`.

    Args:
        batch: all begin with the same `shared` tokens, which predict none that is wanted.
    """
    found: list[list[float]] = [[] for _ in batch]
    for numbers, hidden in passes(model, [run.ids for run in batch], shared):
        places = [(row, at - shared, token) for row, n in enumerate(numbers) for at, token in batch[n].wanted]
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            row, at, token = (torch.tensor(each, device=hidden.device) for each in zip(*some, strict=True))
            logits = model.lm_head(hidden[row, at]).float()  # [some, hidden] -> [some, V]
            log_p = torch.log_softmax(logits, dim=-1).gather(1, token[:, None])[:, 0]  # [some, 1] -> [some]
            for (place, *_), value in zip(some, log_p.tolist(), strict=True):
                found[numbers[place]].append(value)
    return found
