"""Which ATen operators run, and what bits each of them gives.

`operators.json` lists the operators that were seen to give the same bits on every CPU of `make prove`. What the
pipeline calls must be among them: tests/test_census.py holds it to that.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

CHECKED = Path(__file__).with_name("operators.json")


class Census(TorchDispatchMode):
    """Within this context, every operator's results are added to a digest of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._digests: dict[str, Any] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CPU"):
            with self:  # under inference_mode, operators made of others arrive whole
                if (result := function.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        result = function(*args, **kwargs)
        given = list(_tensors((result, args, kwargs) if function._schema.is_mutable else result))
        if any(tensor.is_meta for tensor in given):  # shapes alone
            return result
        digest = self._digests.setdefault(str(function), hashlib.sha256())
        if not function._schema.name.startswith(("aten::empty", "aten::new_empty", "aten::resize")):  # not computed
            for tensor in given:
                digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return result

    def digests(self) -> dict[str, str]:
        """SHA-256 of all that each operator has given, in the order of its calls."""
        return {name: digest.hexdigest() for name, digest in sorted(self._digests.items())}


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in tree_iter(values):
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel():
            yield value


def unchecked(operators: Iterable[str]) -> list[str]:
    """Those of `operators` that are not in the list of checked ones."""
    return sorted(set(operators) - set(json.loads(CHECKED.read_text())["operators"]))
