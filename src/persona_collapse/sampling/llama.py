"""The forward pass of a Llama-like model with a cache of keys and values.

Shapes: N sequences and T tokens of each; H query heads, G heads of keys and values, each of D dimensions; P positions
in the cache, and Q queries, T of them wanted, where whole blocks are computed.

On a CPU every row's arithmetic is independent of the other rows (see numerics), and attention runs in whole blocks,
however long the other sequences are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..model import numerics

numerics.enable()

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from ..experiment.errors import InputError

Projection = Callable[[Tensor], Tensor]
ARCHITECTURES = ("llama", "qwen2")
# MKL adds in another order in the last rows and columns of a product, those short of a whole block of its own (4 or 8)
BLOCK = 16


def in_blocks(length: int) -> int:
    """The length of as many whole blocks as hold `length` positions."""
    return -(-length // BLOCK) * BLOCK


@dataclass
class Cache:
    """Keys and values, [layers, N, G, P, D] each."""

    k: Tensor
    v: Tensor


class Layer(NamedTuple):
    """A layer's weights, [hidden] for a norm; a projection takes [rows, in] and gives [rows, out]."""

    norm1: Tensor
    qkv: Projection
    bias: Tensor | None  # of query, key and value, [(H + 2G)D]
    out: Projection
    norm2: Tensor
    gate_up: Projection
    down: Projection


class Llama:
    """The model, its projections joined where they share an input.

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
        self.embedding = model.model.embed_tokens.weight  # [vocabulary, hidden]
        self.head = numerics.linear(model.lm_head.weight)
        self.norm = model.model.norm.weight
        self.layers = [
            Layer(
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
        angles = torch.outer(positions, model.model.rotary_emb.inv_freq.float().cpu()).repeat(1, 2)  # [positions, D]
        self.cos, self.sin = (table.to(self.embedding) for table in (angles.cos(), angles.sin()))
        self.sin[:, : self.dim // 2] *= -1  # of the half that takes the other's negative

    def empty(self, rows: int, positions: int) -> Cache:
        """A cache for so many sequences, each of at least so many positions."""
        shape = (len(self.layers), rows, self.kv_heads, in_blocks(positions), self.dim)
        return Cache(self.embedding.new_zeros(shape), self.embedding.new_zeros(shape))

    def forward(self, ids: Tensor, start: Tensor, cache: Cache, decoding: bool = False) -> Tensor:
        """Run `ids` [N, T], the first at position `start` [N], over and into the first N rows of `cache`.

        Args:
            decoding: T is 1, and the query heads that share a key head become the rows of one small attention. Sooner,
                but other bits than one token of a prompt gets.

        Returns:
            Hidden states before the last norm, [N, T, hidden].
        """
        rows, length = ids.shape
        heads, kv_heads, dim = self.heads, self.kv_heads, self.dim
        positions = start[:, None] + torch.arange(length, device=start.device)  # [N, T]
        end = in_blocks(int(positions.max()) + 1)
        # queries past the last are computed and dropped
        queries = start[:, None] + torch.arange(1 if decoding else in_blocks(length), device=start.device)  # [N, Q]
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]  # [N, 1, T, D]
        visible = (torch.arange(end, device=start.device) <= queries[:, :, None])[:, None]  # [N, 1, Q, end]
        dropped = queries.shape[1] - length
        row = torch.arange(rows, device=start.device)[:, None]  # [N, 1], beside `positions` in an index

        def turn(x: Tensor) -> Tensor:
            """Rotary embedding of [N, heads, T, D]."""
            left, right = x.chunk(2, dim=-1)  # [N, heads, T, D/2] each
            return x * cos + torch.cat((right, left), dim=-1) * sin

        x = self.embedding[ids.reshape(-1)]  # [N, T] -> [NT] -> [NT, hidden]
        for number, (norm1, qkv, bias, out, norm2, gate_up, down) in enumerate(self.layers):
            h = qkv(F.rms_norm(x, norm1.shape, norm1, self.eps))  # [NT, (H + 2G)D]
            h = h if bias is None else h + bias
            h = h.view(rows, length, heads + 2 * kv_heads, dim)  # [N, T, H + 2G, D]
            h = h.transpose(1, 2)  # [N, H + 2G, T, D]
            turned, v = turn(h[:, :-kv_heads]), h[:, -kv_heads:]  # [N, H + G, T, D], [N, G, T, D]
            q, k = turned.split((heads, kv_heads), dim=1)  # [N, H, T, D], [N, G, T, D]
            keys, values = cache.k[number, :rows], cache.v[number, :rows]  # [N, G, P, D] each
            keys[row, :, positions] = k.transpose(1, 2)  # [N, T, G, D], the order that this index asks for
            values[row, :, positions] = v.transpose(1, 2)  # [N, T, G, D]
            keys, values = keys[:, :, :end], values[:, :, :end]  # [N, G, end, D] each
            if decoding:
                q = q.reshape(rows, kv_heads, heads // kv_heads, dim)  # [N, H, 1, D] -> [N, G, H/G, D]
                scores = torch.matmul(q, keys.transpose(2, 3)) * dim**-0.5  # times [N, G, D, end]: [N, G, H/G, end]
                scores.masked_fill_(~visible, -torch.inf)
                h = torch.matmul(torch.softmax(scores, dim=-1), values)  # [N, G, H/G, D]
                h = h.view(rows, heads, 1, dim)  # [N, H, 1, D]
            else:
                q = F.pad(q, (0, 0, 0, dropped))  # [N, H, Q, D]
                h = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible, enable_gqa=True)  # [N, H, Q, D]
                h = h[:, :, :length]  # [N, H, T, D]
            x = x + out(h.transpose(1, 2).reshape(rows * length, -1))  # [N, T, H, D] -> [NT, HD] -> [NT, hidden]
            gate, up = gate_up(F.rms_norm(x, norm2.shape, norm2, self.eps)).chunk(2, dim=-1)  # [NT, intermediate] each
            x = x + down(F.silu(gate.contiguous()) * up)  # [NT, hidden]
        return x.view(rows, length, -1)  # [N, T, hidden]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [N, vocabulary] of hidden states [N, hidden]."""
        return self.head(F.rms_norm(hidden, self.norm.shape, self.norm, self.eps))
