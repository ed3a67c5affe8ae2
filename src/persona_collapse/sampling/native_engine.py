"""Sampling in this process: a decoding loop that keeps every slot busy and shares what prompts share.

Three things make it fast without touching what is sampled. The prompts of one persona share their first tokens, so
those are computed once, and the K samples of one prompt share all of it. A sequence that ends hands its slot to the
next. A token is drawn with one uniform number by inverting the cumulative distribution.

On a CPU every row's arithmetic is independent of the other rows (see `llama`) and every completion has a random stream
of its own, so neither the number of slots nor the company it keeps changes a completion.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..model import numerics

numerics.enable()

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from ..experiment.params import Sampling
from .llama import Llama
from .requests import Completion, Request, uniforms


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token a row by inversion: the first whose cumulative probability exceeds the row's uniform number.

    Args:
        logits: [N, V] fp32.
        uniform: [N] float64 in [0, 1).
        temperature: 0 takes the likeliest token.
        top_p: keep the likeliest tokens that together reach this probability, the last of them included.

    Returns:
        [N] token ids.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probability = torch.softmax(logits / temperature, dim=-1)
    if top_p < 1:
        ordered, order = probability.sort(dim=-1, descending=True, stable=True)  # [N, V] each
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        probability = torch.zeros_like(probability).scatter(-1, order, ordered)
    cumulative = probability.cumsum(dim=-1, dtype=torch.float64)  # [N, V]
    threshold = (uniform * cumulative[:, -1])[:, None]  # [N, 1]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]


@dataclass
class _Prompt:
    """A prompt's tokens and its keys and values for all but the last, [layers, G, length - 1, D] each."""

    ids: tuple[int, ...]
    k: Tensor
    v: Tensor


def _prefill(llama: Llama, prompts: Sequence[tuple[int, ...]]) -> Iterator[_Prompt]:
    """Compute the prompts' caches, what they all begin with only once."""
    shortest = min(map(len, prompts)) - 1
    shared = next((i for i in range(shortest) if len({p[i] for p in prompts}) > 1), shortest)
    longest = max(map(len, prompts)) - 1
    cache, device = llama.empty(len(prompts), longest), llama.embedding.device
    if shared:
        first = torch.tensor([prompts[0][:shared]], device=device)  # [1, shared]
        llama.forward(first, torch.zeros(1, dtype=torch.long, device=device), cache)
        for kv in (cache.k, cache.v):  # [layers, N, G, P, D]
            kv[:, 1:, :, :shared] = kv[:, :1, :, :shared]
    if longest > shared:
        ids = [[*p[shared:-1], *[0] * (longest + 1 - len(p))] for p in prompts]  # [N, longest - shared]
        llama.forward(torch.tensor(ids, device=device), torch.full((len(prompts),), shared, device=device), cache)
    for row, prompt in enumerate(prompts):
        length = len(prompt) - 1
        yield _Prompt(prompt, cache.k[:, row, :, :length], cache.v[:, row, :, :length])


def _prefilled(llama: Llama, requests: Sequence[Request]) -> Iterator[tuple[int, Request, _Prompt]]:
    """The requests with their prompts' caches, a group being computed when its first request is due."""
    for _, group in groupby(enumerate(requests), key=lambda item: item[1].group):
        members = list(group)
        caches = {p.ids: p for p in _prefill(llama, list(dict.fromkeys(r.prompt for _, r in members)))}
        for number, request in members:
            yield number, request, caches[request.prompt]


class _Slots:
    """The sequences that are decoded side by side: always the first rows of the cache and of every tensor here."""

    def __init__(self, llama: Llama, count: int, longest_prompt: int, max_new_tokens: int) -> None:
        self.llama = llama
        self.cache = llama.empty(count, longest_prompt + max_new_tokens)  # [layers, count, G, P, D]
        self.ids = torch.zeros(count, dtype=torch.long)  # the token to run next, and its position
        self.position = torch.zeros(count, dtype=torch.long)
        self.stream = torch.zeros(count, max_new_tokens, dtype=torch.float64)
        self.running: list[int] = []  # the request in each slot that is in use
        self.written: list[list[int]] = []  # its tokens so far

    def fill(self, slot: int, number: int, request: Request, prompt: _Prompt) -> None:
        """Start the request of this number in a slot that is in use, or in the first that is not."""
        length = len(prompt.ids) - 1
        self.cache.k[:, slot, :, :length] = prompt.k
        self.cache.v[:, slot, :, :length] = prompt.v
        self.ids[slot], self.position[slot] = prompt.ids[-1], length
        self.stream[slot] = torch.from_numpy(uniforms(request.key, self.stream.shape[1]))
        self.running[slot : slot + 1], self.written[slot : slot + 1] = [number], [[]]

    def vacate(self, slot: int) -> None:
        """Move the last sequence into a slot that has nothing more to do."""
        last = len(self.running) - 1
        if slot != last:
            end = int(self.position[last])
            for kv in (self.cache.k, self.cache.v):
                kv[:, slot, :, :end] = kv[:, last, :, :end]
            for state in (self.ids, self.position, self.stream):
                state[slot] = state[last].clone()
            self.running[slot], self.written[slot] = self.running[last], self.written[last]
        self.running.pop()
        self.written.pop()

    def step(self, temperature: float, top_p: float) -> list[int]:
        """Run every sequence by one token and draw the next: one for each slot in use.

        Tokens are drawn on the CPU: on a GPU PyTorch has no deterministic cumulative sum.
        """
        n, device = len(self.running), self.llama.embedding.device
        ids, at = self.ids[:n, None].to(device), self.position[:n].to(device)  # [n, 1], [n]
        hidden = self.llama.forward(ids, at, self.cache, decoding=True)[:, 0]  # [n, 1, hidden] -> [n, hidden]
        steps = torch.tensor([len(tokens) for tokens in self.written])  # [n]
        uniform = self.stream[:n].gather(1, steps[:, None])[:, 0]  # [n, max_new_tokens] -> [n, 1] -> [n]
        tokens = draw(self.llama.logits(hidden).float().cpu(), uniform, temperature, top_p)  # [n]
        self.ids[:n], self.position[:n] = tokens, self.position[:n] + 1
        return tokens.tolist()


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    end_token: int,
    sampling: Sampling,
    description: str = "sampling",
    record: Callable[[dict[str, Any]], object] | None = None,
) -> list[Completion]:
    """Sample one completion a request, in the order of the requests, where the model's weights lie.

    Args:
        end_token: the one token that ends a completion.
        record: called once with what is worth noting of the run and belongs into no output: `engine`, `version`,
            `device`, `batch_invariant`, `completions`, `tokens` (generated, end tokens included), `seconds`.

    Raises:
        InputError: a model of an architecture that `llama` does not know.
    """
    start = time.perf_counter()
    llama = Llama(model)
    slots = _Slots(llama, min(sampling.slots, len(requests)), max(len(r.prompt) for r in requests), max_new_tokens)
    waiting = _prefilled(llama, requests)
    completions: list[Completion | None] = [None] * len(requests)
    for slot, item in zip(range(len(slots.ids)), waiting, strict=False):
        slots.fill(slot, *item)
    with tqdm(total=len(requests), desc=description, unit="completion") as progress:
        while slots.running:
            drawn = slots.step(sampling.temperature, sampling.top_p)
            for slot in reversed(
                range(len(drawn))
            ):  # from the end, so that a vacated slot is filled by one seen before
                token, text = drawn[slot], slots.written[slot]
                if token != end_token:
                    text.append(token)
                if token == end_token or len(text) == max_new_tokens:
                    completions[slots.running[slot]] = Completion(text, ended=token == end_token)
                    progress.update()
                    if due := next(waiting, None):
                        slots.fill(slot, *due)
                    else:
                        slots.vacate(slot)
    done = [c for c in completions if c is not None]
    if record is not None:
        device = llama.embedding.device
        run = {
            "engine": "native",
            "version": torch.__version__,
            "device": str(device),
            "batch_invariant": device.type == "cpu",
        }
        tokens = sum(len(c.tokens) + c.ended for c in done)
        seconds = round(time.perf_counter() - start, 3)
        record({**run, "completions": len(done), "tokens": tokens, "seconds": seconds})
    return done
