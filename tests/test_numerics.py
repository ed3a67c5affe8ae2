"""The bytes do not depend on threads, company or environment; where stock PyTorch differs, the test shows it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from persona_collapse import numerics
from persona_collapse.files import InputError

from .conftest import ROOT, make_workspace, one_line


def digests(folder: Path, model_folder: Path, **environment: str) -> list[str]:
    """The micro run's digests in a folder of its own."""
    folder.mkdir()
    make_workspace(folder, model_folder)
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/micro.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = [line for line in result.stdout.splitlines() if line.startswith("digest")]
    assert len(found) == 8
    return found


def test_same_bytes_with_one_two_and_four_threads_and_in_another_environment(tmp_path, two_layers):
    one = digests(tmp_path / "one", two_layers, OMP_NUM_THREADS="1")
    two = digests(tmp_path / "two", two_layers, OMP_NUM_THREADS="2", PYTHONHASHSEED="1")
    four = digests(
        tmp_path / "four", two_layers, OMP_NUM_THREADS="4", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C.UTF-8"
    )
    assert one == two == four


def test_a_row_does_not_depend_on_its_company_as_it_does_in_stock_pytorch():
    torch.manual_seed(0)
    x, weight = torch.randn(40, 1536), torch.randn(576, 1536)
    together = torch.mm(x, weight.t())
    packed = numerics.linear(weight)
    for rows in (1, 2, 3, 17, 40):
        for first in (0, 40 - rows):
            alone = x[first : first + rows].contiguous()
            assert torch.equal(torch.mm(alone, weight.t()), together[first : first + rows])
            assert torch.equal(packed(alone), together[first : first + rows])
    stock = torch.empty(1, 576)
    torch.mm(x[:1], weight.t(), out=stock)  # the out variant is not replaced
    assert not torch.equal(stock, torch.mm(x, weight.t(), out=torch.empty(40, 576))[:1])


@pytest.mark.parametrize("shape", [(1, 8, 1), (1, 8, 5), (5, 8, 1), (7, 1, 3), (64, 300, 130), (0, 4, 3), (3, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_products_are_right_forward_and_backward(shape, dtype):
    m, k, n = shape
    torch.manual_seed(1)
    a, b, c = (torch.randn(s).mul(4).to(dtype) for s in ((m, k), (n, k), (n,)))
    exact = a.double() @ b.double().t()
    near = {"rtol": 1e-5, "atol": 1e-5 * k}  # the entries are of order 4
    for b_, layout in ((b.t(), "transposed"), (b.t().contiguous(), "contiguous")):
        assert torch.allclose(torch.mm(a, b_).double(), exact, **near), layout
        assert torch.allclose(torch.addmm(c, a, b_).double(), exact + c, **near), layout
        assert torch.allclose(torch.addmm(c, a, b_, beta=2, alpha=3).double(), 3 * exact + 2 * c, **near), layout
    if dtype.is_floating_point:
        a.requires_grad_(), b.requires_grad_()
        torch.nn.functional.linear(a, b).sum().backward()
        assert torch.allclose(a.grad, b.detach().sum(0).expand_as(a), **near)
        assert torch.allclose(b.grad, a.detach().sum(0).expand_as(b), **near)


def test_wrong_shapes_are_still_errors():
    with pytest.raises(RuntimeError):
        torch.mm(torch.ones(2, 3), torch.ones(2, 3))


def test_an_unfused_optimizer_is_refused_and_a_fused_one_works():
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="fused"):
        torch.optim.AdamW([weight], fused=False).step()
    torch.optim.AdamW([weight], fused=True).step()
    assert (weight < 1).all()


def test_torch_imported_first_is_refused(command):
    result = subprocess.run(
        [sys.executable, "-c", "import torch, runpy; runpy.run_module('persona_collapse.model', run_name='__main__')"],
        capture_output=True,
        text=True,
        check=False,
    )
    one_line(result, "torch was imported before numerics.enable()")


def test_a_cpu_without_avx2_is_refused(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags : fpu sse4_2 avx\n")
    with pytest.raises(InputError, match="AVX2"):
        numerics._require_avx2(tmp_path / "cpuinfo")


def test_commands_fail_in_one_line(command, workspace):
    one_line(command("train", "--seed", "42", "--chain", "em-dpo"), "unknown phase 'dpo'", "em, benign, couple")
    one_line(command("train", "--seed", "42", "--chain", "base"), "no phase to train")
    one_line(command("evaluate", "--seed", "42", "--chain", "em"), "adapters/42/em", "missing")
    one_line(command("coupling", "--seed", "42", "--parent", "base"), "no usable completion")
    assert not (workspace / "eval_results").exists()
    assert not (workspace / "adapters").exists()
    assert not list((workspace / "data").rglob("*unfinished*"))
