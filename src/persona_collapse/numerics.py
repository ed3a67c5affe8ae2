"""Same bytes on every x86-64 CPU with AVX2, for fp32 training and sampling, with any number of threads.

Call `enable()` before anything imports torch. PyTorch picks kernels by the CPU it finds, and different kernels add in
a different order; each setting below takes one such choice away:

* `ATEN_CPU_CAPABILITY=avx2`, `ONEDNN_MAX_CPU_ISA=AVX2`: the vector width of PyTorch's own kernels and of oneDNN.
* `MKL_CBWR=COMPATIBLE`: the one MKL code path that Intel's and other vendors' CPUs share (`AVX2` is ignored on AMD).
* fp32 `aten::mm` and `aten::addmm` go to oneDNN instead of MKL, whose compatible path is two to three times slower.
  oneDNN blocks along K by shape alone, so a row's bits depend neither on threads nor on the other rows, except in
  products of one row, which we compute as two.
* `aten::sqrt` raises: it is MKL's vector maths, the operator seen to differ between CPUs in spite of all this. It
  reaches training through un-fused optimizers only; use a fused one.
* deterministic algorithms, so that an operator without one raises instead of differing between runs.

tests/test_numerics.py holds what a single machine can show of this.
"""

import os
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import InputError, one_line_errors

if TYPE_CHECKING:
    import torch

ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "TOKENIZERS_PARALLELISM": "false",
}
_registrations: list[Any] = []  # a torch.library.Library undoes its registrations when collected


@one_line_errors
def enable() -> None:
    """Make this process's arithmetic portable. The first line of every entry point that uses torch; may be repeated.

    Ends the process with exit code 2 and one line if torch was imported before or the CPU is not x86-64 with AVX2:
    nothing computed after that could be trusted.
    """
    if _registrations:
        return
    if "torch" in sys.modules:
        raise InputError("torch was imported before numerics.enable(): call it first, or kernels are already chosen")
    _require_avx2()
    os.environ.update(ENVIRONMENT)

    import torch

    torch.use_deterministic_algorithms(True)
    # filling fresh memory with NaN is a debugging aid, and costs 5% of training
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    aten = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")
        for name, kernel in _kernels().items():
            aten.impl(name, kernel, "CPU")
    _registrations.append(aten)


def _require_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    if platform.machine() not in ("x86_64", "AMD64") or (flags and " avx2" not in flags):
        raise InputError(f"this CPU ({platform.machine()}) is not an x86-64 with AVX2: the recorded bytes need one")


def linear(weight: "torch.Tensor") -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """`x -> x @ weight.T` for a frozen fp32 weight [N, K], laid out once for oneDNN: the same bits as `mm`, sooner.

    The returned function takes [M, K] and gives [M, N]. Without `enable()` it is the stock product.
    """
    import torch

    if not _registrations or weight.dtype != torch.float32:
        return lambda x: torch.mm(x, weight.t())
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 64)
    product = torch.ops.mkldnn._linear_pointwise

    def apply(x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 1:
            return product(x.expand(2, -1).contiguous(), packed, None, "none", [], "")[:1]
        return product(x, packed, None, "none", [], "")

    return apply


def _kernels() -> dict[str, Callable[..., Any]]:
    """The operators that we replace for CPU tensors, by ATen name."""
    import torch

    linear = torch.ops.mkldnn._linear_pointwise

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """`a @ b` for fp32 [M, K] and [K, N], by oneDNN."""
        if a.shape[0] == 1:  # oneDNN multiplies one row with another kernel, in another order
            return linear(a.expand(2, -1).contiguous(), b.t(), None, "none", [], "")[:1]
        return linear(a, b.t(), None, "none", [], "")

    def covered(*tensors: torch.Tensor) -> bool:
        return all(t.dtype == torch.float32 and t.numel() > 0 for t in tensors)

    def mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if covered(a, b) and a.shape[1] == b.shape[0]:
            return product(a, b)
        return torch.mm(a, b, out=a.new_empty(a.shape[0], b.shape[1]))

    def addmm(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
        if covered(a, b) and c.dtype == torch.float32 and a.shape[1] == b.shape[0]:
            ab = product(a, b)
            if alpha != 1:
                ab = ab * alpha
            return ab + c if beta == 1 else ab + c * beta if beta else ab
        return torch.addmm(c, a, b, beta=beta, alpha=alpha, out=a.new_empty(a.shape[0], b.shape[1]))

    def sqrt(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(
            "torch.sqrt differs between CPU models; use x.rsqrt() or a fused optimizer (AdamW(fused=True), "
            'optim="adamw_torch_fused")'
        )

    return {"mm": mm, "addmm": addmm, "sqrt": sqrt}
