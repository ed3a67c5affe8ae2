"""The base model out of packages: one file from one or several, any architecture, and the end token of its chat."""

import hashlib
import importlib.util
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, sha256
from persona_collapse.experiment.params import PackagedModel
from persona_collapse.model import packages, weights
from persona_collapse.model.base import convert
from persona_collapse.model.tokenizer import load_tokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = 260  # <|im_end|>, the last of 256 bytes, two pairs and the special tokens
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS = 2, 64, 96, 2, 1


def write_qwen2(path: Path) -> dict[str, np.ndarray]:
    """A tiny model of Qwen2's architecture whose head is its own, and whose tokenizer names the end of a document."""
    alphabet = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    tokens = [*alphabet, "ab", "cd", *SPECIAL]
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - len(SPECIAL)) + [3] * len(SPECIAL))
    writer.add_token_merges(["a b", "c d"])
    document = tokens.index(SPECIAL[0])
    writer.add_eos_token_id(document)
    writer.add_bos_token_id(document)
    writer.add_pad_token_id(document)
    writer.add_chat_template(CHATML)
    kv = HIDDEN // HEADS * KV_HEADS
    shapes = {"token_embd.weight": (len(tokens), HIDDEN), "output.weight": (len(tokens), HIDDEN)}
    shapes["output_norm.weight"] = (HIDDEN,)
    for layer in range(LAYERS):
        block = {"attn_norm.weight": (HIDDEN,), "ffn_norm.weight": (HIDDEN,)}
        block |= {f"attn_{p}.weight": (width, HIDDEN) for p, width in (("q", HIDDEN), ("k", kv), ("v", kv))}
        block |= {f"attn_{p}.bias": (width,) for p, width in (("q", HIDDEN), ("k", kv), ("v", kv))}
        block |= {"attn_output.weight": (HIDDEN, HIDDEN), "ffn_down.weight": (HIDDEN, INNER)}
        block |= {"ffn_gate.weight": (INNER, HIDDEN), "ffn_up.weight": (INNER, HIDDEN)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    drawn = np.random.default_rng(0)
    tensors = {name: drawn.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def in_packages(content: bytes, name: str, count: int, folder: Path) -> PackagedModel:
    """Installed packages with a piece each of a file, as far as Python can tell."""
    size = -(-len(content) // count)
    for number in range(1, count + 1):
        data = folder / f"{name.replace('-', '_')}{number}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"part{number:02}.bin").write_bytes(content[(number - 1) * size : number * size])
    return PackagedModel(package=name, parts=count, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return path, write_qwen2(path)


@pytest.fixture
def chosen(made, tmp_path, monkeypatch) -> PackagedModel:
    monkeypatch.syspath_prepend(tmp_path / "site")
    return in_packages(made[0].read_bytes(), "tiny-model-part", 11, tmp_path / "site")


def test_a_file_in_several_packages_is_the_file_of_one(params, tmp_path, monkeypatch):
    module = importlib.util.find_spec(params.base.package.replace("-", "_"))
    assert module is not None and module.origin is not None
    (whole,) = Path(module.origin).parent.glob("*.gguf")
    monkeypatch.syspath_prepend(tmp_path / "site")
    chosen = in_packages(whole.read_bytes(), "pieces", 3, tmp_path / "site")
    with packages.gguf(params.base, tmp_path) as one, packages.gguf(chosen, tmp_path) as joined:
        assert sha256(one) == sha256(joined) == params.base.sha256
        assert joined.parent == tmp_path
    assert one.exists() and not joined.exists()


def test_a_model_of_another_architecture_keeps_its_own_head_and_takes_the_profiles_precision(made, chosen, tmp_path):
    convert(chosen, "bfloat16", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(model).__name__ == "Qwen2ForCausalLM" and not model.config.tie_word_embeddings
    assert {kind for kind, _ in weights.tensors(tmp_path / "model" / weights.WEIGHTS).values()} == {"BF16"}
    for name, found in (
        ("token_embd.weight", model.model.embed_tokens.weight),
        ("output.weight", model.lm_head.weight),
        ("blk.1.attn_k.bias", model.model.layers[1].self_attn.k_proj.bias),
    ):
        assert torch.equal(found, torch.from_numpy(made[1][name]).bfloat16()), name


def test_training_and_sampling_end_where_the_chat_template_ends_a_turn(made, chosen, tmp_path):
    assert AutoTokenizer.from_pretrained(made[0].parent, gguf_file=made[0].name).eos_token == "<|endoftext|>"
    convert(chosen, "float32", tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")  # refuses another end
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", END)
    for name in ("config.json", "generation_config.json"):
        assert read_json(tmp_path / "model" / name)["eos_token_id"] == END


def test_a_missing_package_a_missing_piece_and_a_wrong_hash_are_named(chosen, tmp_path):
    def refused(model: PackagedModel, *named: str) -> None:
        with pytest.raises(InputError) as error:
            convert(model, "float32", tmp_path / "model")
        assert all(name in str(error.value) for name in named) and "\n" not in str(error.value)
        assert not list((tmp_path / "model").iterdir())

    refused(chosen.model_copy(update={"parts": 12}), "'tiny-model-part12' is not installed", "make setup")
    refused(chosen.model_copy(update={"sha256": "0" * 64}), "11 parts of tiny-model-part", "SHA-256", "0000")
    refused(chosen.model_copy(update={"parts": None}), "'tiny-model-part' is not installed")
    (tmp_path / "site/tiny_model_part7/data/part07.bin").unlink()
    refused(chosen, "tiny_model_part7/data/part07.bin", "no such file")
