"""The bits do not depend on threads or company, and what would make them depend is refused; each with its control."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from persona_collapse.model import numerics
from proof import survey

from .conftest import ROOT, one_line

THREADS = (1, 2, 3, 5, 7)
# what enable() sets: PyTorch without the guarantee, but held to the same kernels, is then the same on every CPU
HELD = {name: value for name, value in numerics.ENVIRONMENT.items() if value is not None}


def with_threads(count: int, run):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def script(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, without what `enable()` has set in this one."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**numerics.clean_environment(), **environment},
        cwd=ROOT,
        check=False,
    )


def test_a_row_does_not_depend_on_its_company():
    torch.manual_seed(0)
    x, weight = torch.randn(40, 1536), torch.randn(576, 1536)
    together = torch.mm(x, weight.t())
    packed = numerics.linear(weight)
    for rows in (1, 2, 3, 17, 40):
        for first in (0, 40 - rows):
            alone = x[first : first + rows].contiguous()
            assert torch.equal(torch.mm(alone, weight.t()), together[first : first + rows])
            assert torch.equal(torch.mm(alone, weight.t(), out=torch.empty(0)), together[first : first + rows])
            assert torch.equal(packed(alone), together[first : first + rows])


@pytest.mark.long
def test_with_the_guarantee_off_a_row_depends_on_its_company():
    code = """
from persona_collapse.model import numerics; numerics.enable()
import torch
torch.manual_seed(0)
x, weight = torch.randn(40, 1536), torch.randn(576, 1536)
print(numerics.enabled(), torch.equal(torch.mm(x[:1], weight.t()), torch.mm(x, weight.t())[:1]))
"""
    result = script(code, PORTABLE_NUMERICS="off")
    assert result.stdout.split() == ["False", "False"]
    assert "the bytes of this run depend on the CPU" in result.stderr
    assert script(code).stdout.split() == ["True", "True"]
    one_line(script(code, PORTABLE_NUMERICS="maybe"), "PORTABLE_NUMERICS=maybe", "on (the default) and off")


def test_a_product_is_one_chain_of_fused_multiply_adds_in_blocks_of_1024():
    """What oneDNN computes, said without oneDNN: the definition that another library would have to meet."""
    torch.manual_seed(0)
    for k in (8, 576, 1536):
        a, b = torch.randn(5, k), torch.randn(7, k)
        total = torch.zeros(5, 7)
        for block in range(0, k, 1024):
            chain = torch.zeros(5, 7)
            for i in range(block, min(k, block + 1024)):  # float64 holds the product and all but never rounds the sum
                chain = (chain.double() + a[:, i, None].double() * b[:, i].double()).float()
            total = total + chain if block else chain
        assert (torch.mm(a, b.t()) == total).float().mean() > 0.99
        backwards = sum(a[:, i, None] * b[:, i] for i in reversed(range(k)))
        if k > 8:
            assert (torch.mm(a, b.t()) == backwards).float().mean() < 0.9


@pytest.mark.parametrize("shape", [(1, 8, 1), (1, 8, 5), (5, 8, 1), (7, 1, 3), (64, 300, 130), (0, 4, 3), (3, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_products_are_right_forward_and_backward(shape, dtype):
    m, k, n = shape
    torch.manual_seed(1)
    a, b, c = (torch.randn(s).mul(4).to(dtype) for s in ((m, k), (n, k), (n,)))
    exact = a.double() @ b.double().t()
    near = {"rtol": 1e-5, "atol": 1e-5 * k}  # the entries are of order 4
    for a_ in (a, a.t().contiguous().t()):
        for b_ in (b.t(), b.t().contiguous()):
            assert torch.allclose(torch.mm(a_, b_).double(), exact, **near)
            assert torch.allclose(torch.mm(a_, b_, out=torch.empty(0, dtype=dtype)).double(), exact, **near)
            assert torch.allclose(torch.addmm(c, a_, b_).double(), exact + c, **near)
            assert torch.allclose(torch.addmm(c, a_, b_, beta=2, alpha=3).double(), 3 * exact + 2 * c, **near)
            assert torch.allclose(torch.addmm(c, a_, b_, beta=0).double(), exact, **near)
            start = torch.ones(m, n, dtype=dtype)
            assert torch.allclose(start.addmm_(a_, b_).double(), exact + 1, **near)
            assert torch.allclose(torch.addmm(c, a_, b_, out=torch.empty(0, dtype=dtype)).double(), exact + c, **near)
    if dtype.is_floating_point:
        a.requires_grad_(), b.requires_grad_()
        torch.nn.functional.linear(a, b).sum().backward()
        assert torch.allclose(a.grad, b.detach().sum(0).expand_as(a), **near)
        assert torch.allclose(b.grad, a.detach().sum(0).expand_as(b), **near)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_products_of_other_types_are_refused(dtype):
    x = torch.ones(3, 3, dtype=dtype)
    for product in (lambda: x @ x, lambda: torch.addmm(x, x, x), lambda: torch.mm(x, x, out=torch.empty_like(x))):
        with pytest.raises(RuntimeError, match=r"use torch\.float32"):
            product()


@pytest.mark.parametrize(
    ("said", "bias", "first", "second"),
    [
        ("cannot be multiplied", None, (2, 3), (2, 3)),
        ("must be a matrix", None, (3,), (3,)),
        ("must be a matrix", None, (3,), (3, 2)),
        ("must be a matrix", None, (2, 2, 3), (3, 2)),
        ("cannot be multiplied", (3,), (2, 3), (2, 3)),
        ("number of sizes provided", (4, 2, 5), (2, 3), (3, 5)),
        ("number of sizes provided", (1, 2, 5), (2, 3), (3, 5)),
        ("expanded size", (4, 5), (1, 3), (3, 5)),
        ("expanded size", (2, 5), (2, 3), (3, 1)),
        ("expanded size", (2,), (2, 3), (3, 5)),
    ],
)
def test_operands_that_pytorch_refuses_are_refused_in_its_words(said, bias, first, second):
    a, b = torch.ones(first), torch.ones(second)
    if bias is None:
        calls = [lambda: torch.mm(a, b), lambda: torch.mm(a, b, out=torch.empty(0))]
    else:
        c = torch.ones(bias)
        calls = [
            lambda: torch.addmm(c, a, b),
            lambda: torch.addmm(c, a, b, beta=0),
            lambda: torch.addmm(c, a, b, out=torch.empty(0)),
        ]
    for call in calls:
        with pytest.raises(RuntimeError, match=said):
            call()


@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 1), (1, 5), (2, 1), (2, 5)])
def test_a_bias_is_repeated_to_the_products_shape(bias):
    a, b, c = torch.ones(2, 3), torch.ones(3, 5), torch.full(bias, 4.0)
    assert torch.equal(torch.addmm(c, a, b), torch.full((2, 5), 7.0))
    assert torch.equal(torch.addmm(c, a, b, beta=0), torch.full((2, 5), 3.0))
    with pytest.raises(RuntimeError, match="should match"):
        torch.ones(1, 5).addmm_(a, b)


def test_packed_weights_give_the_same_bits_forward_and_backward():
    def layers():
        torch.manual_seed(3)
        return torch.nn.Sequential(torch.nn.Linear(70, 90, bias=False), torch.nn.Linear(90, 30, bias=False))

    torch.manual_seed(4)
    x = torch.randn(2, 5, 70)
    results = []
    for pack in (False, True):
        model = layers().requires_grad_(False)
        if pack:
            numerics.prepack(model)
        leaf = x.clone().requires_grad_()
        out = model(leaf)
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_packed_weights_take_an_empty_batch():
    layer = torch.nn.Linear(8, 6, bias=False).requires_grad_(False)
    numerics.prepack(torch.nn.Sequential(layer))
    for shape in ((0, 8), (2, 0, 8)):
        x = torch.ones(shape, requires_grad=True)
        result = layer(x)
        result.sum().backward()
        assert result.shape == (*shape[:-1], 6)
        assert x.grad.shape == shape


def test_trained_layers_are_not_packed():
    layer = torch.nn.Linear(8, 8, bias=False)
    numerics.prepack(layer)
    before = layer(torch.ones(2, 8))
    with torch.no_grad():
        layer.weight.zero_()
    assert not torch.equal(layer(torch.ones(2, 8)), before)


LONG = torch.randn(300_007, generator=torch.Generator().manual_seed(0))
WIDE = torch.randn(301, 1536, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "run",
    [
        lambda: torch.nn.functional.silu(WIDE),
        lambda: torch.nn.functional.silu(LONG),
        lambda: torch.nn.functional.silu(torch.cat([WIDE, WIDE], 1)[:, :1536]),
        lambda: torch.ops.aten.silu_backward(WIDE, WIDE),
        lambda: LONG.sum(),
        lambda: LONG.mean(),
        lambda: torch.nn.functional.mse_loss(LONG, LONG * 2),
        lambda: torch.dot(LONG, LONG),
        lambda: WIDE.softmax(0),
        lambda: torch.bmm(WIDE[None], WIDE.t()[None]),
        lambda: 1.7**LONG,
        lambda: WIDE.double() @ WIDE.t().double(),
    ],
)
def test_the_number_of_threads_changes_no_bit(run):
    one, *others = (with_threads(n, run) for n in THREADS)
    assert all(torch.equal(one, other) for other in others)


def test_with_the_guarantee_off_the_number_of_threads_changes_bits():
    result = script(
        """
from persona_collapse.model import numerics; numerics.enable()
import torch
x = torch.randn(301, 1536, generator=torch.Generator().manual_seed(1))
for run in (lambda: torch.nn.functional.silu(x), lambda: x.flatten()[:300_007].sum(), lambda: x.softmax(0)):
    found = []
    for n in (1, 2, 3, 5, 7):
        torch.set_num_threads(n)
        found.append(run())
    print(all(torch.equal(found[0], other) for other in found))
""",
        PORTABLE_NUMERICS="off",
    )
    assert result.stdout.split() == ["False"] * 3


@pytest.mark.parametrize("name", survey.layouts())
def test_in_no_layout_does_the_number_of_threads_change_a_bit(name):
    run = survey.layouts()[name]
    assert len({with_threads(n, lambda: survey.digest(run())) for n in THREADS}) == 1


def test_with_the_guarantee_off_the_number_of_threads_changes_bits_in_every_layout():
    result = script(
        f"""
from proof import survey
import torch
for name, run in survey.layouts().items():
    found = set()
    for n in {THREADS}:
        torch.set_num_threads(n)
        found.add(survey.digest(run()))
    print(len(found) > 1, name)
""",
        **HELD,
        PORTABLE_NUMERICS="off",
    )
    assert result.stdout.splitlines() == [f"True {name}" for name in survey.layouts()]


SILU_OF_SEVEN = """
from persona_collapse.model import numerics; numerics.enable()
import hashlib, torch
x = torch.randn(301, 1536, generator=torch.Generator().manual_seed(1))
torch.set_num_threads(7)
print(hashlib.sha256(torch.nn.functional.silu(x).numpy().tobytes()).hexdigest())
"""


@pytest.mark.long
def test_openmp_grants_the_threads_that_are_asked_for():
    assert WIDE.numel() % (64 * 7) == 0  # seven threads get whole vectors, five would not
    assert WIDE.numel() % (64 * 5) != 0
    free = script(SILU_OF_SEVEN).stdout
    assert len(free) == 65
    assert script(SILU_OF_SEVEN, OMP_THREAD_LIMIT="5", OMP_DYNAMIC="true").stdout == free
    assert script(SILU_OF_SEVEN, **HELD, OMP_THREAD_LIMIT="5", PORTABLE_NUMERICS="off").stdout != free
    assert os.environ["OMP_DYNAMIC"] == "false"
    assert "OMP_THREAD_LIMIT" not in os.environ


def test_what_enable_sets_is_kept_from_a_process_that_is_to_choose_for_itself():
    assert os.environ["MKL_CBWR"] == "COMPATIBLE"
    clean = numerics.clean_environment()
    assert not set(clean) & set(numerics.ENVIRONMENT)
    assert set(os.environ) - set(clean) == set(HELD)


@pytest.mark.long
def test_the_warning_is_printed_once_and_the_guarantee_prints_nothing():
    code = "from persona_collapse.model import numerics; numerics.enable(); numerics.enable(); numerics.on_gpu()"
    assert script(code, PORTABLE_NUMERICS="off").stderr.count("warning:") == 1
    assert script(code, PYTHONWARNINGS="default").stderr == ""


def test_a_gpu_is_held_to_algorithms_that_repeat():
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLASLT_WORKSPACE_SIZE"] == "1"
    assert torch.are_deterministic_algorithms_enabled()
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    assert not cuda.matmul.allow_tf32
    assert not cudnn.allow_tf32
    for kind in ("bf16", "fp16"):
        assert not getattr(cuda.matmul, f"allow_{kind}_reduced_precision_reduction")
        assert not getattr(cuda.matmul, f"allow_{kind}_reduced_precision_reduction_split_k")
    assert not cudnn.benchmark
    assert cudnn.deterministic


SDP = ("flash", "cudnn", "mem_efficient", "math")


@pytest.fixture
def on_gpu():
    """`on_gpu()`, and afterwards the flags as they were: attention on the CPU reads them too."""
    before = {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in SDP}
    yield numerics.on_gpu
    for name, enabled in before.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(enabled)


def attention(device: str, **options: object) -> tuple[str, list[torch.Tensor]]:
    """The operator that computes attention in bfloat16, and the result and gradients."""
    called = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 301, 64, generator=generator).bfloat16().to(device) for _ in range(3))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    with Record():
        result = torch.nn.functional.scaled_dot_product_attention(*leaves, **options)
    result.float().square().sum().backward()
    found = next((name for name in called if "attention" in name), "products")
    return found, [result.detach(), *(x.grad for x in leaves)]


def test_the_gpus_choice_of_attention_is_not_the_cpus(on_gpu):
    assert attention("cpu")[0] == "aten._scaled_dot_product_flash_attention_for_cpu.default"
    on_gpu()
    assert [getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in SDP] == [False, False, True, True]
    assert attention("cpu")[0] != "aten._scaled_dot_product_flash_attention_for_cpu.default"  # why it is a call apart


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_attention_on_a_gpu_is_one_kernel_with_and_without_a_mask_and_repeats(on_gpu):
    assert attention("cuda", is_causal=True)[0] != "aten._scaled_dot_product_efficient_attention.default"
    on_gpu()
    mask = torch.ones(301, 301, dtype=torch.bool, device="cuda").tril()
    for options in ({"is_causal": True}, {"attn_mask": mask}):
        (name, first), (_, second) = attention("cuda", **options), attention("cuda", **options)
        assert name == "aten._scaled_dot_product_efficient_attention.default"
        assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_cpus_refusals_do_not_reach_a_gpu():
    x = torch.full((3, 3), 4.0, device="cuda")
    assert torch.equal(x.sqrt(), torch.full_like(x, 2.0))
    assert torch.equal(x.bfloat16() @ x.bfloat16(), torch.full_like(x, 48.0).bfloat16())


def test_an_unfused_optimizer_is_refused_and_a_fused_one_works():
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    for options in ({"fused": False}, {"foreach": True}):
        with pytest.raises(RuntimeError, match="fused"):
            torch.optim.AdamW([weight], **options).step()
    torch.optim.AdamW([weight], fused=True).step()
    assert (weight < 1).all()


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (lambda x: x.sqrt(), "rsqrt"),
        (lambda x: x.sqrt_(), "rsqrt"),
        (lambda x: torch.sqrt(x, out=torch.empty_like(x)), "rsqrt"),
        (lambda x: torch._foreach_sqrt([x]), "rsqrt"),
        (lambda x: x**0.5, "rsqrt"),
        (lambda x: x.pow_(0.5), "rsqrt"),
        (lambda x: x.log2(), "log"),
        (lambda x: x.atan(), "atan2"),
        (lambda x: x.double().log(), "float32"),
        (lambda x: torch.nn.LSTM(3, 3)(x[None]), "mkldnn"),
    ],
)
def test_an_operator_that_follows_the_cpu_is_refused_with_an_alternative(run, named):
    with pytest.raises(RuntimeError, match=f"differs between CPUs; use .*{named}"):
        run(torch.ones(2, 3))


def test_a_number_that_meets_a_tensor_is_still_right():
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(2.0**x, torch.tensor([2.0, 4.0]))
    assert torch.equal(1.5 ** torch.tensor([1, 2]), torch.tensor([1.5, 2.25]))
    assert torch.equal(2 ** torch.tensor([3]), torch.tensor([8]))
    assert torch.equal(x**3, torch.tensor([1.0, 8.0]))


def test_torch_imported_first_is_refused():
    one_line(
        script("import torch, runpy; runpy.run_module('persona_collapse.model.base', run_name='__main__')"),
        "torch was imported before numerics.enable()",
    )


def test_a_cpu_without_avx2_is_refused(tmp_path, capsys):
    (tmp_path / "cpuinfo").write_text("flags : fpu sse4_2 avx\n")
    with pytest.raises(SystemExit) as exit:
        numerics._require_avx2(tmp_path / "cpuinfo")
    assert exit.value.code == 2
    assert "is not an x86-64 with AVX2" in capsys.readouterr().err


def test_the_folder_stands_alone(tmp_path):
    """Copied elsewhere, under another name, it works: it imports nothing of the package that it lies in."""
    shutil.copytree(Path(numerics.__file__).parent, tmp_path / "copied", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import sys
import copied
copied.enable()
print(copied.enabled(), any(name.startswith("persona_collapse") for name in sys.modules))
"""
    assert script(code, PYTHONPATH=str(tmp_path)).stdout.split() == ["True", "False"]
