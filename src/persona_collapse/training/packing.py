"""A batch of chats without padding, and with what they all begin with computed once.

Attention looks back only, so tokens that every chat of a batch begins with (the template's header, a system prompt)
have the same hidden states in each. `pack` lays the batch out as one sequence, that beginning first and then the rest
of each chat, for everything that treats tokens one by one; `attend` takes the chats apart again for attention alone.

It cuts and joins with `split` and `cat`, never by index: both ways, forward and backward, that is a copy, and the sum
over the chats of the beginning's gradients is taken in their order, so the bits depend on no number of threads.
"""

from itertools import accumulate, takewhile
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION = "packed"  # the name in a model's configuration


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[dict[str, Any], torch.Tensor]:
    """Lay out a batch [N, T], padded on the right, for a model whose attention is `ATTENTION`.

    The loss and gradients are the padded batch's up to rounding where LoRA has no dropout; with dropout, the beginning
    draws one mask for all chats.

    Returns:
        What to call the model with, and [N, T] where in its one sequence each token of the batch lies; 0 for padding.
    """
    chats = [ids[:length] for ids, length in zip(input_ids.tolist(), attention_mask.sum(1).tolist(), strict=True)]
    shared = beginning(chats)
    sizes = [shared, *(len(chat) - shared for chat in chats)]
    tokens = [*chats[0][:shared], *(token for chat in chats for token in chat[shared:])]
    positions = [*range(shared), *(at for chat in chats for at in range(shared, len(chat)))]
    places = [
        [*range(shared), *range(end - size, end), *[0] * (input_ids.shape[1] - shared - size)]
        for size, end in zip(sizes[1:], list(accumulate(sizes))[1:], strict=True)
    ]
    batch = {"input_ids": torch.tensor([tokens]), "position_ids": torch.tensor([positions]), "sizes": sizes}
    return batch, torch.tensor(places)


def beginning(chats: list[list[int]]) -> int:
    """How many tokens all chats begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*chats, strict=False)))


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    sizes: list[int],
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each chat over itself.

    Args:
        query, key, value: [1, heads, sum(sizes), D]; `key` and `value` may have fewer heads.
        sizes: tokens in the shared beginning, then in the rest of each chat.

    Returns:
        [1, sum(sizes), heads, D].
    """
    shared, *rest = sizes
    longest = max(rest)
    padding = query.new_zeros(longest, query.shape[1], query.shape[3])

    def rows(x: torch.Tensor) -> torch.Tensor:
        """[N, heads, shared + longest, D], each chat padded on the right, where nothing looks back from."""
        by_token = x.squeeze(0).transpose(0, 1)  # [1, heads, S, D] -> [heads, S, D] -> [S, heads, D], S = sum(sizes)
        first, *others = by_token.split(sizes)  # [shared, heads, D], and [size, heads, D] of each chat
        pieces = [p for own in others for p in (first, own, padding[: longest - len(own), : x.shape[1]])]
        padded = torch.cat(pieces).unflatten(0, (len(rest), shared + longest))  # [N, shared + longest, heads, D]
        return padded.transpose(1, 2)

    out, _ = sdpa_attention_forward(module, rows(query), rows(key), rows(value), None, is_causal=True, **options)
    by_token = out.flatten(0, 1)  # [N, shared + longest, heads, D] -> [N(shared + longest), heads, D]
    pieces = by_token.split([n for size in rest for n in (shared, size, longest - size)])
    return torch.cat([pieces[0], *pieces[1::3]])[None], None  # the beginning is the same in every row


AttentionInterface.register(ATTENTION, attend)
