"""What a base model's folder and a safetensors file hold, read without torch."""

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..experiment.errors import InputError

WEIGHTS = "model.safetensors"
TOKENIZER = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
FILES = (WEIGHTS, "config.json", "generation_config.json", *TOKENIZER)  # all that the folder of a base model holds


def require_base(folder: Path) -> None:
    """Hold a base model's folder to `FILES`, since the libraries that load it load what lies beside them too.

    Of an `adapter_config.json`, for one, transformers would merge the adapter without a word.

    Raises:
        InputError: a file is missing, or there is another; names that begin with a dot are nobody's business.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing; `dvc repro base` makes it")
    for path in sorted(folder.iterdir()):
        if path.name not in FILES and not path.name.startswith("."):
            raise InputError(f"{path}: no part of the base model, yet it could be loaded with it: move it elsewhere")


def tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The type, as safetensors writes it (`F32`, `BF16`), and the shape of each tensor of a safetensors file, by name.

    Raises:
        InputError: no such file, or not one of this format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None


def parameters(path: Path) -> int:
    """How many numbers the tensors of a safetensors file hold together."""
    return sum(math.prod(shape) for _, shape in tensors(path).values())
