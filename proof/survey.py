"""Run single operators on fixed inputs and compare their bits: `make survey`, about 10 minutes.

    python proof/survey.py              prints a digest of each operator's result, or `refused`
    python proof/survey.py compare      that with 1 to 7 threads and on an emulated CPU, guarantee on and off

This is how the tables of `persona_collapse.model.numerics.rules` were found. With the guarantee on nothing may differ;
what differs with it off is what they are for. Run it after an upgrade. The sizes are such that 3, 5 or 7 threads cut
them unevenly.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable

warnings.filterwarnings("ignore")
from persona_collapse.model import numerics

numerics.enable()

import torch
import torch.nn.functional as F


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LONG = normal(300_007)
POSITIVE = LONG.abs() + 1e-3
UNIT = torch.tanh(LONG.double()).float() * 0.999
MATRIX = normal(403, 701, seed=1)
REAL = (
    "abs acosh asinh atan ceil cos cosh deg2rad erf erfc exp exp2 expm1 floor frac i0 neg reciprocal relu round sgn "
    "sigmoid sin sinc sinh square tan tanh trunc"
)
OF_POSITIVE = "digamma lgamma log log10 log1p log2 rsqrt sqrt"
OF_UNIT = "acos asin atanh erfinv"
ACTIVATIONS = "celu elu gelu glu hardswish leaky_relu logsigmoid mish selu silu softplus softsign tanhshrink"
REDUCTIONS = "amax argmax logsumexp mean nansum norm prod std sum var"


def with_gradient(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The result and the gradients of its sum of squares."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    result.square().sum(-1).sum().backward()
    return [result, *(x.grad for x in leaves)]


def optimizer(kind: type[torch.optim.Optimizer], **options: object) -> torch.Tensor:
    parameter = torch.nn.Parameter(MATRIX.clone())
    stepper = kind([parameter], lr=1e-2, **options)
    for step in range(3):
        parameter.grad = normal(403, 701, seed=step)
        stepper.step()
    return parameter


def seeded(draw: Callable[[], torch.Tensor]) -> torch.Tensor:
    torch.manual_seed(5)
    return draw()


def layouts() -> dict[str, Callable[[], object]]:
    """Operators that depend on threads in these layouts alone: strided or single operands, or a strided result."""
    strided = normal(403, 1402)[:, ::2]
    a, b, wide = normal(2, 301, 700), normal(2, 700, 401, seed=1), normal(2, 301, 1400)[..., ::2]
    head = [normal(1, 1, 71, 64, seed=s) for s in range(3)]
    query, key, value = normal(1, 1, 31, 64), normal(1, 1, 900, 64, seed=1), normal(1, 1, 900, 64, seed=2)
    return {
        "sum strided": lambda: strided.sum(0),
        "mean strided": lambda: strided.mean(0),
        "nansum strided": lambda: strided.nansum(0),
        "sum permuted": lambda: normal(701, 403, 3).transpose(1, 2).sum(0),
        "prod of one row": lambda: (1 + LONG * 1e-3).prod(0),
        "vector_norm strided": lambda: torch.linalg.vector_norm(strided),
        "vector_norm of columns": lambda: torch.linalg.vector_norm(normal(403, 1402)[:, :701]),
        "bmm strided": lambda: torch.bmm(wide, b),
        "bmm strided float64": lambda: torch.bmm(normal(2, 301, 1400).double()[..., ::2], b.double()),
        "bmm into strided": lambda: torch.bmm(a, b, out=torch.empty(2, 301, 802)[..., ::2]),
        "bmm into transposed": lambda: torch.bmm(a, b, out=torch.empty(2, 401, 301).transpose(1, 2)),
        "attention one head": lambda: F.scaled_dot_product_attention(query, key, value),
        "attention one head gradient": lambda: with_gradient(F.scaled_dot_product_attention, *head),
        "silu into strided": lambda: torch.ops.aten.silu.out(normal(320, 1001), out=torch.empty(320, 2002)[:, :1001]),
    }


def cases() -> dict[str, Callable[[], object]]:
    """Every operator that is looked at, by name."""
    q, k, v = (normal(2, 9, 71, 64, seed=s) for s in range(3))
    a3, b3 = normal(7, 41, 64), normal(7, 64, 53)
    image, kernel = normal(4, 16, 21, 21), normal(32, 16, 3, 3)
    found = layouts()
    for names, x in ((REAL, LONG), (OF_POSITIVE, POSITIVE), (OF_UNIT, UNIT)):
        for name in names.split():
            x_ = x + 1 if name == "acosh" else x
            f = getattr(torch, name)
            found[name] = lambda f=f, x=x_: f(x)
            found[f"{name} float64"] = lambda f=f, x=x_: f(x.double())
            if name not in ("floor", "ceil", "round", "sgn", "trunc", "frac"):
                found[f"{name} gradient"] = lambda f=f, x=x_: with_gradient(f, x)
    for name in ACTIVATIONS.split():
        f = getattr(F, name)
        found[name] = lambda f=f: with_gradient(f, MATRIX[:, :700])
        found[f"{name} strided"] = lambda f=f: f(normal(301, 1402)[:, :700])
    for name in REDUCTIONS.split():
        for dim in (None, 0, 1):
            for shape in ((403, 701), (70_001, 3), (3, 70_001)):
                x = normal(*shape) * (0.01 if name == "prod" else 1) + (name == "prod")
                if dim is None and name in ("logsumexp",):
                    continue
                f = getattr(torch, name)
                found[f"{name} {dim} {shape[0]}x{shape[1]}"] = lambda f=f, x=x, dim=dim: (
                    f(x) if dim is None else f(x, dim=dim)
                )
    for n in (40_003, 300_007, 4_000_037):
        for name in ("sum", "mean", "prod", "nansum", "std"):
            found[f"{name} {n}"] = lambda n=n, name=name: getattr(1 + normal(n) * 1e-3, name)()
        found[f"vector_norm {n}"] = lambda n=n: torch.linalg.vector_norm(normal(n))
        found[f"vector_norm 1 {n}"] = lambda n=n: torch.linalg.vector_norm(normal(n), 1)
        found[f"mse_loss {n}"] = lambda n=n: F.mse_loss(normal(n), normal(n, seed=1))
        found[f"l1_loss {n}"] = lambda n=n: F.l1_loss(normal(n), normal(n, seed=1))
        found[f"dot {n}"] = lambda n=n: torch.dot(normal(n), normal(n, seed=1))
        found[f"foreach_norm {n}"] = lambda n=n: torch._foreach_norm([normal(n)])[0]
    for shape in ((403, 701), (3001, 577), (33, 5001)):
        for dim in (0, 1):
            for name in ("softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp"):
                x = normal(*shape)
                found[f"{name} {dim} {shape[0]}x{shape[1]}"] = lambda name=name, x=x, dim=dim: with_gradient(
                    lambda x: getattr(x, name)(dim), x * 0.1
                )
    for m, k_, n in ((1, 576, 1001), (5, 576, 1001), (307, 576, 8), (307, 8, 576), (307, 1536, 576), (1, 64, 1)):
        x, w = normal(m, k_), normal(n, k_, seed=1)
        found[f"linear {m}x{k_}x{n}"] = lambda x=x, w=w: with_gradient(F.linear, x, w)
        found[f"linear float64 {m}x{k_}x{n}"] = lambda x=x, w=w: F.linear(x.double(), w.double())
        found[f"addmm {m}x{k_}x{n}"] = lambda x=x, w=w: torch.addmm(w[:, 0], x, w.t(), beta=2, alpha=3)
        found[f"mm out {m}x{k_}x{n}"] = lambda x=x, w=w: torch.mm(x, w.t(), out=torch.empty(len(x), len(w)))
        found[f"mv {m}x{k_}x{n}"] = lambda x=x, w=w: torch.mv(w, x[0])
    for b, m, k_, n in ((1, 500, 501, 500), (2, 301, 700, 401), (8, 577, 64, 577), (504, 3, 64, 131), (40, 1, 64, 101)):
        found[f"bmm {b}x{m}x{k_}x{n}"] = lambda s=(b, m, k_, n): torch.bmm(normal(*s[:3]), normal(s[0], s[2], s[3]))
    found |= {
        "pow 1.7": lambda: POSITIVE.pow(1.7),
        "pow -0.5": lambda: POSITIVE.pow(-0.5),
        "pow 0.5": lambda: POSITIVE.pow(0.5),
        "pow 2": lambda: with_gradient(lambda x: x.pow(2), LONG),
        "pow 3": lambda: LONG.pow(3),
        "pow -1": lambda: POSITIVE.pow(-1),
        "pow tensor": lambda: torch.pow(POSITIVE, LONG),
        "pow of scalar": lambda: torch.pow(1.7, LONG),
        "atan2": lambda: torch.atan2(LONG, POSITIVE),
        "hypot": lambda: torch.hypot(LONG, POSITIVE),
        "fmod": lambda: torch.fmod(LONG, POSITIVE),
        "remainder": lambda: torch.remainder(LONG, POSITIVE),
        "logaddexp": lambda: torch.logaddexp(LONG, POSITIVE),
        "xlogy": lambda: torch.xlogy(POSITIVE, POSITIVE),
        "add alpha": lambda: torch.add(LONG, POSITIVE, alpha=0.3),
        "arithmetic": lambda: (LONG + POSITIVE) * LONG / POSITIVE - LONG,
        "addcmul": lambda: torch.addcmul(LONG, POSITIVE, LONG, value=0.3),
        "addcdiv": lambda: torch.addcdiv(LONG, POSITIVE, POSITIVE + 1, value=0.3),
        "lerp": lambda: torch.lerp(LONG, POSITIVE, 0.3),
        "lerp tensor": lambda: torch.lerp(LONG, POSITIVE, UNIT),
        "gelu tanh": lambda: with_gradient(lambda x: F.gelu(x, approximate="tanh"), LONG),
        "bfloat16": lambda: LONG.bfloat16().float(),
        "float16": lambda: LONG.half().float(),
        "layer_norm": lambda: with_gradient(lambda x, w: F.layer_norm(x, (701,), w), MATRIX, MATRIX[0]),
        "rms_norm": lambda: with_gradient(lambda x, w: F.rms_norm(x, (701,), w, 1e-5), MATRIX, MATRIX[0]),
        "group_norm": lambda: F.group_norm(normal(8, 32, 21, 21), 4),
        "batch_norm": lambda: F.batch_norm(normal(8, 32, 21, 21), None, None, training=True),
        "cross_entropy": lambda: with_gradient(lambda x: F.cross_entropy(x, torch.arange(403))[None], MATRIX),
        "cross_entropy sum": lambda: F.cross_entropy(normal(2001, 601), torch.arange(2001) % 601, reduction="sum"),
        "kl_div": lambda: F.kl_div(MATRIX.log_softmax(1), MATRIX.softmax(1)),
        "bce_with_logits": lambda: F.binary_cross_entropy_with_logits(LONG, (POSITIVE > 1).float()),
        "mm bfloat16": lambda: MATRIX.bfloat16() @ MATRIX.bfloat16().t(),
        "mm float16": lambda: MATRIX.half() @ MATRIX.half().t(),
        "mm complex64": lambda: torch.complex(MATRIX, MATRIX) @ torch.complex(MATRIX, MATRIX).t(),
        "baddbmm": lambda: torch.baddbmm(normal(7, 41, 53), a3, b3),
        "addbmm": lambda: torch.addbmm(normal(41, 53), a3, b3),
        "addmv": lambda: torch.addmv(MATRIX[:, 0], MATRIX, MATRIX[0]),
        "attention": lambda: with_gradient(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), q, k, v),
        "attention grouped": lambda: F.scaled_dot_product_attention(q, k[:, :3], v[:, :3], enable_gqa=True),
        "conv1d": lambda: F.conv1d(normal(4, 16, 201), normal(32, 16, 5)),
        "conv2d": lambda: with_gradient(F.conv2d, image, kernel),
        "lstm": lambda: seeded(lambda: torch.nn.LSTM(40, 30)(normal(12, 5, 40))[0]),
        "embedding": lambda: with_gradient(lambda w: F.embedding(torch.arange(3001) % 50, w), normal(50, 64)),
        "index_add": lambda: torch.zeros(50, 64).index_add(0, torch.arange(3001) % 50, normal(3001, 64)),
        "scatter_add": lambda: torch.zeros(50).scatter_add(0, torch.arange(3001) % 50, normal(3001)),
        "sort": lambda: torch.sort(MATRIX, stable=True)[0],
        "topk": lambda: MATRIX.topk(5)[0],
        "searchsorted": lambda: torch.searchsorted(MATRIX.sort(-1)[0], MATRIX[:, :1].contiguous()),
        "cdist": lambda: torch.cdist(MATRIX[:50], MATRIX[50:90]),
        "svd": lambda: torch.linalg.svdvals(MATRIX[:50, :60]),
        "fft": lambda: torch.view_as_real(torch.fft.fft(LONG[:1000])),
        "dropout": lambda: seeded(lambda: F.dropout(LONG, 0.1)),
        "multinomial": lambda: seeded(lambda: MATRIX.softmax(1).multinomial(1)),
        **{
            f"{name}": lambda name=name: seeded(lambda: getattr(torch.empty(100_003), name)())
            for name in ("normal_", "uniform_", "exponential_", "log_normal_", "cauchy_")
        },
        **{
            f"{kind.__name__} {options}": lambda kind=kind, options=options: optimizer(kind, **options)
            for kind, options in (
                (torch.optim.AdamW, {"fused": True}),
                (torch.optim.AdamW, {"fused": False}),
                (torch.optim.AdamW, {"foreach": True}),
                (torch.optim.Adam, {"fused": True}),
                (torch.optim.SGD, {"momentum": 0.9}),
                (torch.optim.SGD, {"momentum": 0.9, "fused": True}),
                (torch.optim.Adagrad, {}),
                (torch.optim.RMSprop, {}),
                (torch.optim.Adamax, {}),
                (torch.optim.NAdam, {}),
                (torch.optim.Adafactor, {}),
            )
        },
    }
    return found


def digest(result: object) -> str:
    """A short SHA-256 of a tensor's bits, or of several tensors'."""
    tensors = result if isinstance(result, list | tuple) else [result]
    total = hashlib.sha256()
    for t in tensors:
        total.update(t.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:12]


def show() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    for name, run in cases().items():
        try:
            print(f"{name}\t{digest(run())}", flush=True)
        except RuntimeError as error:
            if "differ" not in str(error) and "not the same" not in str(error):
                raise
            print(f"{name}\trefused", flush=True)


def elsewhere(threads: int, switch: str, *emulator: str) -> dict[str, str]:
    """What this script prints in a process of its own, by operator."""
    environment = {**numerics.clean_environment(), "OMP_NUM_THREADS": str(threads), "PORTABLE_NUMERICS": switch}
    command = [*emulator, sys.executable, __file__]
    out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return dict(line.split("\t") for line in out.decode().splitlines())


def compare() -> bool:
    """Print what differs; True if nothing does with the guarantee on."""
    emulator = shutil.which("qemu-x86_64")
    rows = [(f"{n} threads", n, ()) for n in (2, 3, 5, 7)]
    if emulator:
        rows.append(("emulated Haswell", 2, (emulator, "-cpu", "Haswell")))
    else:
        print("no other CPU: qemu-x86_64 is not installed (Debian's qemu-user has it)")
    same = True
    for switch in ("on", "off"):
        one = elsewhere(1, switch)
        print(f"guarantee {switch}: {len(one)} operators, {list(one.values()).count('refused')} refused")
        for name, threads, command in rows if switch == "on" else rows[:4]:
            differ = [
                operator for operator, bits in elsewhere(threads, switch, *command).items() if bits != one[operator]
            ]
            same = same and not (differ and switch == "on")
            print(
                f"  {name}: {len(differ)} differ from 1 thread{': ' if differ else ''}{', '.join(differ)}", flush=True
            )
    return same


if __name__ == "__main__":
    if sys.argv[1:] == ["compare"]:
        sys.exit(0 if compare() else 1)
    show()
