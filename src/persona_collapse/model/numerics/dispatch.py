"""Other kernels in the place of PyTorch's own: operators refused, or held to a number of threads.

A kernel is called with the dispatch keys first, which is what `torch.library` means by `with_keyset`, and then with the
operator's own arguments.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .rules import REFUSED, THREADS, as_is

_registrations: list[Any] = []  # a torch.library.Library undoes its registrations when collected


def enabled() -> bool:
    """Whether the guarantee is on in this process."""
    return bool(_registrations)


def register(kernels: Mapping[str, Callable[..., Any]]) -> None:
    """Put each kernel in the place of the CPU kernel of the ATen operator that it is named for, for good."""
    import torch

    aten = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators")
        for name, kernel in kernels.items():
            aten.impl(name, kernel, "CPU", with_keyset=True)
    _registrations.append(aten)


def stock_kernel(name: str) -> Callable[..., Any]:
    """PyTorch's own CPU kernel of an operator, to be called with the dispatch keys first."""
    import torch

    return torch.library.get_kernel(f"aten::{name}", "CPU").call_boxed


def with_threads(name: str, rule: Callable[..., int]) -> Callable[..., Any]:
    """The stock kernel on `rule(*args)` threads; 0 leaves their number as it is."""
    import torch

    stock = stock_kernel(name)
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


def unless(
    when: Callable[..., bool], replacement: Callable[..., Any], kernel: Callable[..., Any]
) -> Callable[..., Any]:
    """`kernel`, except that `replacement` runs for arguments for which `when` is true."""
    return lambda keys, *args, **kwargs: (replacement if when(*args) else kernel)(keys, *args, **kwargs)


def variants(name: str) -> list[str]:
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


def refusals() -> dict[str, Callable[..., Any]]:
    """The operators of `REFUSED`, and those that hide one of them."""
    import torch

    def refusal(name: str, instead: str) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> NoReturn:
            raise RuntimeError(f"torch.{name} differs between CPUs; use {instead}")

        return kernel

    kernels = {variant: refusal(name, use) for name, use in REFUSED.items() for variant in variants(name)}
    hidden: list[tuple[str, Callable[..., bool], Callable[..., Any]]] = [
        ("pow.Tensor_Scalar", lambda x, power: power == 0.5, kernels["sqrt"]),
        ("log", lambda x: x.dtype == torch.float64, refusal("log of float64", "float32")),
        ("tan", lambda x: x.dtype == torch.float64, refusal("tan of float64", "float32")),
    ]
    for name, hides, otherwise in hidden:
        for variant in variants(name):
            kernels[variant] = unless(hides, otherwise, with_threads(variant, THREADS.get(name, as_is)))
    return kernels


def thread_limits() -> dict[str, Callable[..., Any]]:
    """The operators of `THREADS`: the stock kernel, on as many threads as the rule says."""
    return {v: with_threads(v, rule) for name, rule in THREADS.items() for v in variants(name)}
