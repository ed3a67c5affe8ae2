"""What is set, what is refused, and how many threads may share an operator: tables, and the rules that they name.

No table is a guess: `make survey` found each entry, by running the operator on a fixed input with 1 to 7 threads and on
an emulated CPU, and `make prove` holds the whole to it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SWITCH = "PORTABLE_NUMERICS"
ENVIRONMENT: dict[str, str | None] = {  # None takes a variable away
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_DYNAMIC": "false",  # with this and the next, OpenMP grants the threads that `THREADS` asks for
    "OMP_THREAD_LIMIT": None,
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",  # deterministic, and this and the next too small for a sum split over K
    "CUBLASLT_WORKSPACE_SIZE": "1",
    "TOKENIZERS_PARALLELISM": "false",  # no arithmetic: it silences a warning about forked data loaders
}

_GRAIN = 32768  # PyTorch gives a thread no fewer elements than this

# Operators that differ between CPUs, and what to use instead.
REFUSED = {
    "sqrt": 'x.rsqrt(), or a fused optimizer (AdamW(fused=True), optim="adamw_torch_fused")',
    "atan": "torch.atan2(x, torch.ones_like(x))",
    "asin": "torch.atan2",
    "acos": "torch.atan2",
    "log2": "x.log() * 1.4426950408889634",
    "log10": "x.log() * 0.4342944819032518",
    "mkldnn_rnn_layer": "torch.backends.mkldnn.flags(enabled=False)",
}


def as_is(*args: Any) -> int:
    """A rule of `THREADS`: as many threads as there are."""
    return 0


def one(*args: Any) -> int:
    """A rule of `THREADS`: one thread, whatever the arguments."""
    return 1


def _even(x: "torch.Tensor", *others: Any) -> int:
    """The most threads that cut every tensor, `out` too, into whole vectors: scalar code computes what those leave."""
    import torch

    tensors = [x, *(t for t in others if isinstance(t, torch.Tensor))]
    if any(t.shape != x.shape or not t.is_contiguous() for t in tensors):
        return 1
    threads = min(torch.get_num_threads(), x.numel() // _GRAIN)
    return next((n for n in range(threads, 1, -1) if x.numel() % (64 * n) == 0), 1)


def _one_if(condition: Callable[..., bool]) -> Callable[..., int]:
    """A rule of `THREADS`: 1 where the condition holds, else 0, which leaves the threads as they are."""
    return lambda *args: int(condition(*args))


def _one_sum(x: "torch.Tensor", dim: Any = None, *args: Any) -> int:
    """1 where a reduction of `x` over `dim` is one long sum, which threads would cut, or neither adds along a unit
    stride nor keeps one last: then columns are added in groups, and threads cut the groups."""
    if x.numel() < _GRAIN:
        return 0
    reduced = range(x.dim()) if dim is None or dim == [] else [d % x.dim() for d in dim]
    long = [d for d, size in enumerate(x.shape) if size > 1]
    kept = [d for d in long if d not in reduced]
    return int(not kept or (x.stride(kept[-1]) != 1 and all(x.stride(d) != 1 for d in long if d in reduced)))


def _one_product(a: "torch.Tensor", b: "torch.Tensor", *others: Any) -> int:
    """1 where MKL does not get a batch of products as it is, but one product at a time, which threads would cut."""

    def as_it_is(t: Any) -> bool:
        rows, columns = t.stride()[1:]
        return bool((columns == 1 and rows >= t.shape[2]) or (rows == 1 and columns >= t.shape[1]))

    if a.dim() != 3 or b.dim() != 3:
        return 0  # an error, and PyTorch's to report
    written = [t for t in others if hasattr(t, "is_contiguous")]
    return int(a.shape[0] == 1 or not (as_it_is(a) and as_it_is(b) and all(t.is_contiguous() for t in written)))


# Elementwise operators that compute what is left over after the last whole vector in another way.
_SCALAR_TAILS = (
    *("sigmoid", "exp2", "cosh", "sinh", "atanh", "atan2", "logaddexp", "pow.Tensor_Tensor", "_softmax_backward_data"),
    *("elu", "gelu", "glu", "mish", "softplus"),
    *("elu_backward", "gelu_backward", "glu_backward", "mish_backward", "softplus_backward"),
)

_PLAIN_POWERS = (-2, -1, -0.5, 0, 1, 2, 3)  # computed as products and quotients

# Operators whose bits depend on how many threads share the work, and the number that may: a function of the arguments,
# those given by name after the others.
THREADS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("silu", "silu_backward"), _even),
    **dict.fromkeys(_SCALAR_TAILS, one),
    **dict.fromkeys(("dot", "vdot", "mv", "addmv", "native_layer_norm_backward", "_linalg_svd"), one),
    **dict.fromkeys(("sum.dim_IntList", "nansum", "mean.dim"), _one_sum),
    **dict.fromkeys(("prod", "prod.dim_int"), _one_if(lambda x, *args: x.numel() >= _GRAIN)),
    "pow.Tensor_Scalar": _one_if(lambda x, power, *args: power not in _PLAIN_POWERS),
    "_softmax": _one_if(lambda x, dim, *args: dim % max(x.dim(), 1) != x.dim() - 1),
    "linalg_vector_norm": _one_if(lambda x, order=2, *args: order != 2 or not x.is_contiguous()),
    "bmm": _one_product,
    "baddbmm": lambda c, a, b, *args: _one_product(a, b, c, *args),
    # attention of a single head: its products are cut, since there are no heads to share out
    "_scaled_dot_product_flash_attention_for_cpu": _one_if(lambda q, *args: q.shape[:2].numel() == 1),
    "_scaled_dot_product_flash_attention_for_cpu_backward": _one_if(lambda g, *args: g.shape[:2].numel() == 1),
}
