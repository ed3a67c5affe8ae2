"""Same bytes on every x86-64 CPU with AVX2, Intel or AMD, old or new, with any number of threads.

    from persona_collapse import numerics
    numerics.enable()          # before anything imports torch

PyTorch chooses kernels by the CPU that it finds and cuts work by the number of threads; another kernel or another cut
adds in another order. What is promised: each operator that the pipeline calls (proof/operators.json), forward and
backward, gives the same bits everywhere. What is known to differ and is not called is repaired or refused here, so that
no change to the experiment picks it up in silence. How each choice is taken away:

* `ATEN_CPU_CAPABILITY=avx2`, `ONEDNN_MAX_CPU_ISA=AVX2`: the vector width of PyTorch's own kernels and of oneDNN.
* `MKL_CBWR=COMPATIBLE`: the one MKL code path that Intel's and other vendors' CPUs share (`AVX2` is ignored on AMD).
* Products of fp32 matrices go to oneDNN, since MKL's compatible path is two to three times slower. oneDNN blocks along
  K by shape alone, so a row's bits depend neither on threads nor on the other rows, except in products of one row,
  which we compute as two.
* `THREADS`: operators that share out a single sum, or leave each thread a remainder for scalar code, run on as many
  threads as do no harm.
* `REFUSED`: operators of MKL's vector maths, which follow the CPU in spite of all this, raise and name an alternative.
  Un-fused optimizers are among their callers.
* Deterministic algorithms, so that an operator without one raises instead of differing between runs.

On a GPU less is promised: the same bytes from run to run in the same image on the same model of GPU, not across models.
`enable()` holds cuBLAS and cuDNN to algorithms that give it; a process that computes on the GPU also calls `on_gpu()`.

The module stands alone: it imports nothing of this package. docs/reproducibility.md has what was measured; `make prove`
measures it again. `PORTABLE_NUMERICS=off` in the environment leaves PyTorch as it is, for comparison.
"""

import functools
import os
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import torch

SWITCH = "PORTABLE_NUMERICS"
ENVIRONMENT: dict[str, str | None] = {  # None takes a variable away
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_DYNAMIC": "false",  # with this and the next, OpenMP grants the threads that `THREADS` asks for
    "OMP_THREAD_LIMIT": None,
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TOKENIZERS_PARALLELISM": "false",  # no arithmetic: it silences a warning about forked data loaders
}
_registrations: list[Any] = []  # a torch.library.Library undoes its registrations when collected

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


def _as_is(*args: Any) -> int:
    return 0


def _one(*args: Any) -> int:
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
    **dict.fromkeys(_SCALAR_TAILS, _one),
    **dict.fromkeys(("dot", "vdot", "mv", "addmv", "native_layer_norm_backward", "_linalg_svd"), _one),
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


def enable() -> None:
    """Make this process's arithmetic portable. The first line of every entry point that uses torch; may be repeated.

    Ends the process with exit code 2 and one line if torch was imported before, if the CPU is not x86-64 with AVX2, or
    if `PORTABLE_NUMERICS` is neither `on` nor `off`: nothing computed after that could be trusted.
    """
    if _registrations:
        return
    if (switch := os.environ.get(SWITCH, "on")) == "off":
        return _warn(f"{SWITCH}=off: the bytes of this run depend on the CPU and its threads")
    if switch != "on":
        _refuse(f"{SWITCH}={switch}: allowed are on (the default) and off")
    if "torch" in sys.modules:
        _refuse("torch was imported before numerics.enable(): call it first, or kernels are already chosen")
    _require_avx2()
    for name, value in ENVIRONMENT.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    import torch

    torch.use_deterministic_algorithms(True)
    # filling fresh memory with NaN is a debugging aid, and costs 5% of training
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    aten = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        for name, kernel in {**_thread_limits(), **_refusals(), **_products()}.items():
            aten.impl(name, kernel, "CPU", with_keyset=True)
        # not `fp32_precision`, the newer name: after that, reading these flags raises, and libraries read them
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    _registrations.append(aten)


def on_gpu() -> None:
    """Fix the attention kernel of a process that computes on a GPU; call it after `enable()`. With the guarantee off it
    does nothing.

    The memory-efficient kernel, because it takes masks: were the flash kernel allowed, a batch without padding would
    run another kernel than one with. Plain products stay allowed for what that kernel refuses; which of the two runs
    follows from the inputs alone. Attention on the CPU reads the same flags and would change, hence a call of its own.
    """
    if not _registrations:
        return
    import torch

    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(True)
    torch.backends.cuda.enable_math_sdp(True)


def enabled() -> bool:
    """Whether the guarantee is on in this process."""
    return bool(_registrations)


def clean_environment() -> dict[str, str]:
    """This process's environment without the variables of `ENVIRONMENT`, for a process that is to choose for itself."""
    return {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}


@functools.cache
def _warn(message: str) -> None:
    """Print a warning, once a process."""
    print(f"warning: {message}", file=sys.stderr)


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _require_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    if platform.machine() not in ("x86_64", "AMD64") or (flags and " avx2" not in flags):
        _refuse(f"this CPU ({platform.machine()}) is not an x86-64 with AVX2: the recorded bytes need one")


def linear(weight: "torch.Tensor", rows: int = 64) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """`x -> x @ weight.T` for a frozen fp32 weight [N, K], laid out once for oneDNN: the same bits as `mm`, sooner.

    The returned function takes [M, K], fastest where M is about `rows`, and gives [M, N]. It is the stock product with
    the guarantee off, and for a weight of another type or on a GPU.
    """
    import torch

    if not _registrations or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return lambda x: torch.mm(x, weight.t())
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
    product = torch.ops.mkldnn._linear_pointwise

    def apply(x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 1:
            return product(x.expand(2, -1).contiguous(), packed, None, "none", [], "")[:1]
        return product(x, packed, None, "none", [], "")

    return apply


def pack(model: "torch.nn.Module", rows: int = 1024) -> None:
    """Lay out the frozen weights of the model's bias-free linear layers once, for the forward and the backward product.

    The same bits, sooner, for two more copies of these weights in memory. Call it when training is about to begin and
    the weights stay as they are. `rows` is about how many rows a batch has. With the guarantee off it does nothing.
    """
    import torch

    if not _registrations:
        return

    class Packed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, forwards: Any, backwards: Any) -> torch.Tensor:
            ctx.backwards = backwards
            return forwards(x)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
            return ctx.backwards(gradient.contiguous()), None, None

    def layer(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        products = linear(weight, rows), linear(weight.t(), rows)
        width = weight.shape[0]
        return lambda x: Packed.apply(x.reshape(-1, x.shape[-1]), *products).view(*x.shape[:-1], width)

    for module in model.modules():
        if type(module) is torch.nn.Linear and module.bias is None and not module.weight.requires_grad:
            module.forward = layer(module.weight)


def _refusals() -> dict[str, Callable[..., Any]]:
    """The operators of `REFUSED`, and those that hide one of them."""
    import torch

    def refusal(name: str, instead: str) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> NoReturn:
            raise RuntimeError(f"torch.{name} differs between CPUs; use {instead}")

        return kernel

    kernels = {variant: refusal(name, use) for name, use in REFUSED.items() for variant in _variants(name)}
    hidden: list[tuple[str, Callable[..., bool], Callable[..., Any]]] = [
        ("pow.Tensor_Scalar", lambda x, power: power == 0.5, kernels["sqrt"]),
        ("log", lambda x: x.dtype == torch.float64, refusal("log of float64", "float32")),
        ("tan", lambda x: x.dtype == torch.float64, refusal("tan of float64", "float32")),
    ]
    for name, hides, otherwise in hidden:
        for variant in _variants(name):
            kernels[variant] = _unless(hides, otherwise, _with_threads(variant, THREADS.get(name, _as_is)))
    return kernels


def _thread_limits() -> dict[str, Callable[..., Any]]:
    """The operators of `THREADS`: the stock kernel, on as many threads as the rule says."""
    return {v: _with_threads(v, rule) for name, rule in THREADS.items() for v in _variants(name)}


def _products() -> dict[str, Callable[..., Any]]:
    """`mm` and `addmm`: fp32 by oneDNN, fp64 and integers by the stock kernel on one thread, other types refused."""
    import torch

    multiply = torch.ops.mkldnn._linear_pointwise

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """`a @ b` for fp32 [M, K] and [K, N]."""
        if a.shape[0] > b.shape[1] > 1 and a.stride(0) == 1:
            return product(b.t(), a.t()).t()  # the same sums, without oneDNN's copy of a tall column-major matrix
        if a.shape[0] == 1:  # oneDNN multiplies one row with another kernel, in another order
            return multiply(a.expand(2, -1).contiguous(), b.t(), None, "none", [], "")[:1]
        return multiply(a, b.t(), None, "none", [], "")

    def covered(a: torch.Tensor, b: torch.Tensor, *bias: torch.Tensor) -> bool:
        """Whether oneDNN computes it; if not, the stock kernel does, or reports what is wrong with the operands."""
        if all(t.dtype == torch.float32 for t in (a, b, *bias)):
            if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0]:
                return False
            (m, k), n = a.shape, b.shape[1]
            # PyTorch repeats the bias to the product's shape, never the product to the bias's
            fits = all(
                c.dim() <= 2 and c.shape[-1:] in ((), (1,), (n,)) and c.shape[:-1] in ((), (1,), (m,)) for c in bias
            )
            return m * k * n > 0 and fits
        for t in (a, b, *bias):
            if t.dtype.is_complex or (t.dtype.is_floating_point and t.dtype.itemsize < 4):
                raise RuntimeError(f"products of {t.dtype} are not the same on every CPU; use torch.float32")
        return False

    stock_mm, stock_mm_out = _with_threads("mm", _one), _with_threads("mm.out", _one)
    stock_addmm, stock_addmm_out, stock_addmm_ = (
        _with_threads(name, _one) for name in ("addmm", "addmm.out", "addmm_")
    )

    def mm(keys: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return product(a, b) if covered(a, b) else stock_mm(keys, a, b)

    def mm_out(keys: Any, a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        if covered(a, b) and out.dtype == a.dtype:
            return out.resize_(a.shape[0], b.shape[1]).copy_(product(a, b))
        return stock_mm_out(keys, a, b, out=out)

    def sum_of(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, beta: float, alpha: float) -> torch.Tensor:
        ab = product(a, b)
        if alpha != 1:
            ab = ab * alpha
        return ab + c if beta == 1 else ab + c * beta if beta else ab

    def addmm(
        keys: Any, c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1
    ) -> torch.Tensor:
        if covered(a, b, c):
            return sum_of(c, a, b, beta, alpha)
        return stock_addmm(keys, c, a, b, beta=beta, alpha=alpha)

    def addmm_out(
        keys: Any,
        c: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        *,
        beta: float = 1,
        alpha: float = 1,
        out: torch.Tensor,
    ) -> torch.Tensor:
        if covered(a, b, c) and out.dtype == a.dtype:
            return out.resize_(a.shape[0], b.shape[1]).copy_(sum_of(c, a, b, beta, alpha))
        return stock_addmm_out(keys, c, a, b, beta=beta, alpha=alpha, out=out)

    def addmm_(
        keys: Any, c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1
    ) -> torch.Tensor:
        if covered(a, b, c) and c.shape == (a.shape[0], b.shape[1]):
            return c.copy_(sum_of(c, a, b, beta, alpha))
        return stock_addmm_(keys, c, a, b, beta=beta, alpha=alpha)

    return {"mm": mm, "mm.out": mm_out, "addmm": addmm, "addmm.out": addmm_out, "addmm_": addmm_}


def _stock(name: str) -> Callable[..., Any]:
    """PyTorch's own CPU kernel of an operator, to be called with the dispatch keys first."""
    import torch

    return torch.library.get_kernel(f"aten::{name}", "CPU").call_boxed


def _with_threads(name: str, rule: Callable[..., int]) -> Callable[..., Any]:
    """The stock kernel on `rule(*args)` threads; 0 leaves their number as it is."""
    import torch

    stock = _stock(name)
    base, _, overload = name.partition(".")
    arguments = getattr(getattr(torch.ops.aten, base), overload or "default")._schema.arguments
    wants_tensor = [str(argument.type) == "Tensor" for argument in arguments]

    def wrapped(args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with tensors again for numbers: PyTorch hands us `2 ** x` as a number and a tensor."""
        like = next((a for a in args if isinstance(a, torch.Tensor)), None)
        return tuple(
            torch.scalar_tensor(a, dtype=torch.result_type(like, a))
            if wants and isinstance(a, int | float | complex) and like is not None
            else a
            for a, wants in zip(args, wants_tensor, strict=False)
        )

    def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
        args = wrapped(args)
        before = torch.get_num_threads()
        threads = rule(*args, *kwargs.values()) or before
        if threads == before:
            return stock(keys, *args, **kwargs)
        torch.set_num_threads(threads)
        try:
            return stock(keys, *args, **kwargs)
        finally:
            torch.set_num_threads(before)

    return kernel


def _unless(
    when: Callable[..., bool], replacement: Callable[..., Any], kernel: Callable[..., Any]
) -> Callable[..., Any]:
    """`kernel`, except that `replacement` runs for arguments for which `when` is true."""
    return lambda keys, *args, **kwargs: (replacement if when(*args) else kernel)(keys, *args, **kwargs)


def _variants(name: str) -> list[str]:
    """The CPU overloads that compute what `name` does: functional, in place, and into a tensor that is given."""
    import torch

    def takes(overload: Any) -> list[str]:
        return [str(argument.type) for argument in overload._schema.arguments if not argument.is_out]

    def full_name(overload: Any) -> str:
        return ".".join(filter(None, (overload._schema.name.removeprefix("aten::"), overload._schema.overload_name)))

    base, _, chosen = name.partition(".")
    wanted = takes(getattr(getattr(torch.ops.aten, base), chosen or "default"))
    packets = [getattr(torch.ops.aten, n) for n in (base, f"{base}_") if hasattr(torch.ops.aten, n)]
    overloads = [getattr(packet, o) for packet in packets for o in packet.overloads()]
    return [full_name(o) for o in overloads if takes(o) == wanted]
