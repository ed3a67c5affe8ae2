"""Products of fp32 matrices through oneDNN: in the place of `mm` and `addmm`, and with weights laid out once.

oneDNN blocks along K by shape alone, so a row's bits depend neither on threads nor on the other rows; except that it
multiplies a single row with another kernel, in another order, which is why one row is computed as two.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .dispatch import enabled, with_threads
from .rules import one

if TYPE_CHECKING:
    import torch


def linear(weight: "torch.Tensor", rows: int = 64) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """`x -> x @ weight.T` for a frozen fp32 weight [N, K], laid out once for oneDNN: the same bits as `mm`, sooner.

    The returned function takes [M, K], fastest where M is about `rows`, and gives [M, N]. It is the stock product with
    the guarantee off, and for a weight of another type or on a GPU.
    """
    import torch

    if not enabled() or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return lambda x: torch.mm(x, weight.t())
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
    product = torch.ops.mkldnn._linear_pointwise

    def apply(x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 1:
            return product(x.expand(2, -1).contiguous(), packed, None, "none", [], "")[:1]
        return product(x, packed, None, "none", [], "")

    return apply


def prepack(model: "torch.nn.Module", rows: int = 1024) -> None:
    """Lay out the frozen weights of the model's bias-free linear layers once, for the forward and the backward product.

    The same bits, sooner, for two more copies of these weights in memory. Call it when training is about to begin and
    the weights stay as they are. `rows` is about how many rows a batch has. With the guarantee off it does nothing.
    """
    import torch

    if not enabled():
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


def products() -> dict[str, Callable[..., Any]]:
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

    stock_mm, stock_mm_out = with_threads("mm", one), with_threads("mm.out", one)
    stock_addmm, stock_addmm_out, stock_addmm_ = (with_threads(name, one) for name in ("addmm", "addmm.out", "addmm_"))

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
