"""Same bytes on every x86-64 CPU with AVX2, Intel or AMD, old or new, with any number of threads.

    from persona_collapse.model import numerics
    numerics.enable()          # before anything imports torch

PyTorch chooses kernels by the CPU that it finds and cuts work by the number of threads; another kernel or another cut
adds in another order. What is promised: each operator that the pipeline calls (proof/operators.json), forward and
backward, gives the same bits everywhere. What is known to differ and is not called is repaired or refused here, so that
no change to the experiment picks it up in silence. How each choice is taken away:

* `ATEN_CPU_CAPABILITY=avx2`, `ONEDNN_MAX_CPU_ISA=AVX2`: the vector width of PyTorch's own kernels and of oneDNN.
* `MKL_CBWR=COMPATIBLE`: the one MKL code path that Intel's and other vendors' CPUs share (`AVX2` is ignored on AMD).
* `products`: those of fp32 matrices go to oneDNN, whose bits depend on neither threads nor company; MKL's compatible
  path is two to three times slower.
* `rules.THREADS`: operators that share out a single sum, or leave each thread a remainder for scalar code, run on as
  many threads as do no harm.
* `rules.REFUSED`: operators of MKL's vector maths, which follow the CPU in spite of all this, raise and name an
  alternative. Un-fused optimizers are among their callers.
* Deterministic algorithms, so that an operator without one raises instead of differing between runs.

On a GPU less is promised: the same bytes from run to run in the same image on the same model of GPU. A process that
computes there also calls `on_gpu()`. The two hold cuBLAS and cuDNN to algorithms that repeat, and cuBLAS to products
whose sums are not split over K, since two models of GPU split them differently: of the 138 operators of a training step
of Qwen2.5-Coder-1.5B in bfloat16, 8 gave other bits on an H100 than on an H200, and under these settings none did
(docs/measurements.md). No whole training has been compared between the two.

The folder stands alone: no part of it imports anything of this package that lies outside. `rules` has the tables,
`dispatch` puts kernels in the place of PyTorch's, `products` has the matrix products and the packed weights.
docs/reproducibility.md has what was measured; `make prove` measures it again. `PORTABLE_NUMERICS=off` in the
environment leaves PyTorch as it is, for comparison.
"""

import functools
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from .dispatch import enabled, refusals, register, thread_limits
from .products import linear, prepack, products
from .rules import ENVIRONMENT, REFUSED, SWITCH, THREADS

__all__ = [
    "ENVIRONMENT",
    "REFUSED",
    "SWITCH",
    "THREADS",
    "clean_environment",
    "enable",
    "enabled",
    "linear",
    "on_gpu",
    "prepack",
]


def enable() -> None:
    """Make this process's arithmetic portable. The first line of every entry point that uses torch; may be repeated.

    Ends the process with exit code 2 and one line if torch was imported before, if the CPU is not x86-64 with AVX2, or
    if `PORTABLE_NUMERICS` is neither `on` nor `off`: nothing computed after that could be trusted.
    """
    if enabled():
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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        # not `fp32_precision`, the newer name: after that, reading these flags raises, and libraries read them
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    # neither sums in half precision nor, the second, sums split over K
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = (False, False)
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = (False, False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    register({**thread_limits(), **refusals(), **products()})


def on_gpu() -> None:
    """Fix the kernels of attention and of products in a process that computes on a GPU; call it after `enable()`. With
    the guarantee off it does nothing.

    Products come from cuBLASLt, whose workspace `ENVIRONMENT` makes too small for splitting a sum.

    Attention comes from the memory-efficient kernel, because it takes masks: were the flash kernel allowed, a batch
    without padding would run another kernel than one with. Plain products stay allowed for what that kernel refuses;
    which of the two runs follows from the inputs alone. Attention on the CPU reads the same flags and would change,
    hence a call of its own.
    """
    if not enabled():
        return
    import torch

    if torch.version.cuda:  # a build for CPUs has no such library to prefer
        torch.backends.cuda.preferred_blas_library("cublaslt")
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(True)
    torch.backends.cuda.enable_math_sdp(True)


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
