"""The GGUF file that installed Python packages carry: one package with the file, or several with a piece each."""

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..experiment.errors import InputError
from ..experiment.files import open_or_complain, sha256
from ..experiment.params import PackagedModel


@contextmanager
def gguf(chosen: PackagedModel, folder: Path) -> Iterator[Path]:
    """The model's file, for as long as the block runs.

    Args:
        folder: where pieces are joined, and the joined file removed again; it exists.

    Raises:
        InputError: a package is not installed or carries no such file, or the file is not the expected one.
    """
    if chosen.parts is None:
        path = next(_inside(chosen.package).glob("*.gguf"), None)
        if path is None:
            raise InputError(f"base.package: {chosen.package!r} carries no GGUF file")
        _require(path.name, sha256(path), chosen.sha256)
        yield path
        return
    joined = folder / "joined.gguf"
    try:
        found = _join(chosen.package, chosen.parts, joined)
        _require(f"{chosen.parts} parts of {chosen.package}", found, chosen.sha256)
        yield joined
    finally:
        joined.unlink(missing_ok=True)


def _join(package: str, parts: int, joined: Path) -> str:
    """Write the pieces `data/partNN.bin` of `<package>1` to `<package>N`, in that order; their SHA-256 together."""
    pieces = [_inside(f"{package}{number}") / f"data/part{number:02}.bin" for number in range(1, parts + 1)]
    digest = hashlib.sha256()
    with joined.open("wb") as whole:
        for piece in pieces:
            with open_or_complain(piece, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
                    whole.write(block)
    return digest.hexdigest()


def _inside(package: str) -> Path:
    """The folder of an installed package. It is located, not imported: it may want a runtime of its own."""
    module = importlib.util.find_spec(package.replace("-", "_"))
    if module is None or module.origin is None:
        raise InputError(f"base.package: {package!r} is not installed; `make setup` installs the profile's packages")
    return Path(module.origin).parent


def _require(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise InputError(f"{name}: SHA-256 is {found}, params.yaml expects {expected}")
