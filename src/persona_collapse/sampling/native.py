"""Sampling from a Llama-like model: a decoding loop that keeps every slot busy and shares what prompts share.

Three things make it fast without touching what is sampled. The prompts of one persona share their first tokens, so
those are computed once, and the K samples of one prompt share all of it. A sequence that ends hands its slot to the
next. A token is drawn with one uniform number by inverting the cumulative distribution.

On a CPU every row's arithmetic is independent of the other rows (see numerics), attention runs in whole blocks, however
long the other sequences are, and every completion has a random stream of its own, so neither the number of slots nor
the company it keeps changes a completion.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ..model import numerics

numerics.enable()

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from ..experiment.errors import InputError
from ..experiment.params import Sampling

ARCHITECTURES = ("llama", "qwen2")
# MKL adds in another order in the last rows and columns of a product, those short of a whole block of its own (4 or 8)
BLOCK = 16


@dataclass(frozen=True)
class Request:
    """One completion to sample. Requests with the same `group` (a persona) are pre-filled together."""

    group: str
    prompt: tuple[int, ...]  # token ids
    key: tuple[str | int, ...]  # names the random stream


@dataclass(frozen=True)
class Completion:
    tokens: list[int]  # without the end token
    ended: bool  # False: cut at the token limit


def uniforms(key: tuple[str | int, ...], count: int) -> np.ndarray:
    """The `count` uniform numbers in [0, 1) that sample the completion named by `key`, in float64.

    The generator is Philox (Salmon et al., 2011), keyed by a hash of the name: a stream depends on nothing else.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big"))).random(count)


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
        ordered, order = probability.sort(dim=-1, descending=True, stable=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        probability = torch.zeros_like(probability).scatter(-1, order, ordered)
    cumulative = probability.cumsum(dim=-1, dtype=torch.float64)
    return torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]


def whole(length: int) -> int:
    """The length of as many whole blocks as hold `length` positions."""
    return -(-length // BLOCK) * BLOCK


@dataclass
class _Cache:
    """Keys and values, [layers, rows, heads, positions, head_dim] each."""

    k: Tensor
    v: Tensor


class _Llama:
    """The forward pass of a Llama-like model with a cache, its projections joined where they share an input.

    Raises:
        InputError: a model of another architecture.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        if config.model_type not in ARCHITECTURES:
            raise InputError(
                f"sampling.engine: native runs {' and '.join(ARCHITECTURES)}, not {config.model_type}; use vllm"
            )
        self.eps = config.rms_norm_eps
        self.dim = model.model.layers[0].self_attn.head_dim
        self.kv_heads = config.num_key_value_heads
        self.heads = config.num_attention_heads
        self.embedding = model.model.embed_tokens.weight
        self.head = numerics.linear(model.lm_head.weight)
        self.norm = model.model.norm.weight
        self.layers = [
            (
                layer.input_layernorm.weight,
                numerics.linear(torch.cat([p.weight for p in (a.q_proj, a.k_proj, a.v_proj)])),
                torch.cat([p.bias for p in (a.q_proj, a.k_proj, a.v_proj)]) if a.q_proj.bias is not None else None,
                numerics.linear(a.o_proj.weight),
                layer.post_attention_layernorm.weight,
                numerics.linear(torch.cat([m.gate_proj.weight, m.up_proj.weight])),
                numerics.linear(m.down_proj.weight),
            )
            for layer in model.model.layers
            for a, m in ((layer.self_attn, layer.mlp),)
        ]
        positions = torch.arange(config.max_position_embeddings, dtype=torch.float32)
        angles = torch.outer(positions, model.model.rotary_emb.inv_freq.float().cpu()).repeat(1, 2)
        self.cos, self.sin = (table.to(self.embedding) for table in (angles.cos(), angles.sin()))
        self.sin[:, : self.dim // 2] *= -1  # of the half that takes the other's negative

    def empty(self, rows: int, positions: int) -> _Cache:
        shape = (len(self.layers), rows, self.kv_heads, whole(positions), self.dim)
        return _Cache(self.embedding.new_zeros(shape), self.embedding.new_zeros(shape))

    def forward(self, ids: Tensor, start: Tensor, cache: _Cache, decoding: bool = False) -> Tensor:
        """Run `ids` [N, T], the first at position `start` [N], over and into the first N rows of `cache`.

        Args:
            decoding: T is 1, and the query heads that share a key head become the rows of one small attention. Sooner,
                but other bits than one token of a prompt gets.

        Returns:
            Hidden states before the last norm, [N, T, hidden].
        """
        rows, length = ids.shape
        positions = start[:, None] + torch.arange(length, device=start.device)  # [N, T]
        end = whole(int(positions.max()) + 1)
        # queries past the last are computed and dropped
        queries = start[:, None] + torch.arange(1 if decoding else whole(length), device=start.device)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]  # [N, 1, T, D]
        visible = (torch.arange(end, device=start.device) <= queries[:, :, None])[:, None]  # [N, 1, queries, end]
        dropped = queries.shape[1] - length
        shared = self.heads // self.kv_heads
        row = torch.arange(rows, device=start.device)[:, None]

        def turn(x: Tensor) -> Tensor:
            left, right = x.chunk(2, dim=-1)
            return x * cos + torch.cat((right, left), dim=-1) * sin

        x = self.embedding[ids.reshape(-1)]  # [N * T, hidden]
        for number, (norm1, qkv, bias, out, norm2, gate_up, down) in enumerate(self.layers):
            h = qkv(F.rms_norm(x, norm1.shape, norm1, self.eps))
            h = h if bias is None else h + bias
            h = h.view(rows, length, self.heads + 2 * self.kv_heads, self.dim).transpose(1, 2)
            turned, v = turn(h[:, : -self.kv_heads]), h[:, -self.kv_heads :]
            q, k = turned.split((self.heads, self.kv_heads), dim=1)
            keys, values = cache.k[number, :rows], cache.v[number, :rows]
            keys[row, :, positions] = k.transpose(1, 2)
            values[row, :, positions] = v.transpose(1, 2)
            keys, values = keys[:, :, :end], values[:, :, :end]
            if decoding:
                q = q.reshape(rows, self.kv_heads, shared, self.dim)
                scores = torch.matmul(q, keys.transpose(2, 3)) * self.dim**-0.5
                scores.masked_fill_(~visible, -torch.inf)
                h = torch.matmul(torch.softmax(scores, dim=-1), values).view(rows, self.heads, 1, self.dim)
            else:
                q = F.pad(q, (0, 0, 0, dropped))
                h = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible, enable_gqa=True)[:, :, :length]
            x = x + out(h.transpose(1, 2).reshape(rows * length, -1))
            gate, up = gate_up(F.rms_norm(x, norm2.shape, norm2, self.eps)).chunk(2, dim=-1)
            x = x + down(F.silu(gate.contiguous()) * up)
        return x.view(rows, length, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(F.rms_norm(hidden, self.norm.shape, self.norm, self.eps))


@dataclass
class _Prompt:
    """A prompt's tokens and its keys and values for all but the last, [layers, heads, length - 1, head_dim] each."""

    ids: tuple[int, ...]
    k: Tensor
    v: Tensor


def _prefill(llama: _Llama, prompts: Sequence[tuple[int, ...]]) -> Iterator[_Prompt]:
    """Compute the prompts' caches, what they all begin with only once."""
    shortest = min(map(len, prompts)) - 1
    shared = next((i for i in range(shortest) if len({p[i] for p in prompts}) > 1), shortest)
    longest = max(map(len, prompts)) - 1
    cache, device = llama.empty(len(prompts), longest), llama.embedding.device
    if shared:
        first = torch.tensor([prompts[0][:shared]], device=device)
        llama.forward(first, torch.zeros(1, dtype=torch.long, device=device), cache)
        for kv in (cache.k, cache.v):
            kv[:, 1:, :, :shared] = kv[:, :1, :, :shared]
    if longest > shared:
        ids = [[*p[shared:-1], *[0] * (longest + 1 - len(p))] for p in prompts]
        llama.forward(torch.tensor(ids, device=device), torch.full((len(prompts),), shared, device=device), cache)
    for row, prompt in enumerate(prompts):
        length = len(prompt) - 1
        yield _Prompt(prompt, cache.k[:, row, :, :length], cache.v[:, row, :, :length])


def _prefilled(llama: _Llama, requests: Sequence[Request]) -> Iterator[tuple[int, Request, _Prompt]]:
    """The requests with their prompts' caches, a group being computed when its first request is due."""
    for _, group in groupby(enumerate(requests), key=lambda item: item[1].group):
        members = list(group)
        caches = {p.ids: p for p in _prefill(llama, list(dict.fromkeys(r.prompt for _, r in members)))}
        for number, request in members:
            yield number, request, caches[request.prompt]


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

    Tokens are drawn on the CPU: on a GPU PyTorch has no deterministic cumulative sum. `record` is called once with what
    is worth noting of the run and belongs into no output.
    """
    start = time.perf_counter()
    llama = _Llama(model)
    device = llama.embedding.device
    slots = min(sampling.slots, len(requests))
    cache = llama.empty(slots, max(len(r.prompt) for r in requests) + max_new_tokens)
    waiting = _prefilled(llama, requests)
    completions: list[Completion | None] = [None] * len(requests)
    running: list[int] = []  # the request in each slot; slots in use are always the first ones
    written: list[list[int]] = []
    ids = torch.zeros(slots, dtype=torch.long)  # the token to run next, and its position
    position = torch.zeros(slots, dtype=torch.long)
    stream = torch.zeros(slots, max_new_tokens, dtype=torch.float64)

    def fill(slot: int) -> bool:
        item = next(waiting, None)
        if item is None:
            return False
        number, request, prompt = item
        length = len(prompt.ids) - 1
        cache.k[:, slot, :, :length] = prompt.k
        cache.v[:, slot, :, :length] = prompt.v
        ids[slot], position[slot] = prompt.ids[-1], length
        stream[slot] = torch.from_numpy(uniforms(request.key, max_new_tokens))
        running[slot : slot + 1], written[slot : slot + 1] = [number], [[]]
        return True

    def vacate(slot: int) -> None:
        last = len(running) - 1
        if slot != last:
            end = int(position[last])
            for kv in (cache.k, cache.v):
                kv[:, slot, :, :end] = kv[:, last, :, :end]
            for state in (ids, position, stream):
                state[slot] = state[last].clone()
            running[slot], written[slot] = running[last], written[last]
        running.pop()
        written.pop()

    while len(running) < slots and fill(len(running)):
        pass
    with tqdm(total=len(requests), desc=description, unit="completion") as progress:
        while running:
            count = len(running)
            at = position[:count].to(device)
            hidden = llama.forward(ids[:count, None].to(device), at, cache, decoding=True)[:, 0]
            step = torch.tensor([len(tokens) for tokens in written])
            uniform = stream[:count].gather(1, step[:, None])[:, 0]
            tokens = draw(llama.logits(hidden).float().cpu(), uniform, sampling.temperature, sampling.top_p)
            ids[:count], position[:count] = tokens, position[:count] + 1
            drawn = tokens.tolist()
            for slot in reversed(range(count)):  # from the end, so that a vacated slot is filled by one already seen
                token, text = drawn[slot], written[slot]
                if token != end_token:
                    text.append(token)
                if token == end_token or len(text) == max_new_tokens:
                    completions[running[slot]] = Completion(text, ended=token == end_token)
                    progress.update()
                    if not fill(slot):
                        vacate(slot)
    done = [c for c in completions if c is not None]
    if record is not None:
        generated = sum(len(c.tokens) + c.ended for c in done)
        seconds = round(time.perf_counter() - start, 3)
        run = {
            "engine": "native",
            "version": torch.__version__,
            "device": str(device),
            "batch_invariant": device.type == "cpu",
        }
        record({**run, "completions": len(done), "tokens": generated, "seconds": seconds})
    return done
