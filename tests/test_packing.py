"""A packed batch is computed as a padded one is: the same loss and gradients, whatever its chats have in common."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from persona_collapse.training import packing
from persona_collapse.training.trainer import CompletionTrainer
from proof.survey import digest

from .conftest import with_adapter
from .test_numerics import with_threads

NEAR = 1e-4  # of the largest gradient of a weight matrix; fp32 rounding alone was seen to give 5e-6


def tokens(count: int, seed: int) -> list[int]:
    return torch.randint(49_152, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


BEGINNING = tokens(7, 0)
BATCHES = {
    "a shared beginning": [BEGINNING + tokens(5, 1), BEGINNING + tokens(9, 2), BEGINNING + tokens(2, 3)],
    "nothing shared": [tokens(5, 1), tokens(9, 2), tokens(2, 3)],
    "a chat that another begins with": [BEGINNING + tokens(4, 1), BEGINNING, BEGINNING + tokens(1, 2)],
    "the same chat each time": [BEGINNING] * 3,
    "one chat": [BEGINNING],
    "one token shared": [BEGINNING[:1] + tokens(5, 1), BEGINNING[:1] + tokens(3, 2)],
    "a chat of one token": [BEGINNING, BEGINNING[:1]],
}


def padded(chats: list[list[int]]) -> dict[str, torch.Tensor]:
    """A batch as TRL's collator makes it; all but the first three tokens carry the loss."""
    longest = max(map(len, chats))
    return {
        "input_ids": torch.tensor([chat + [0] * (longest - len(chat)) for chat in chats]),
        "attention_mask": torch.tensor([[1] * len(chat) + [0] * (longest - len(chat)) for chat in chats]),
        "labels": torch.tensor([[-100] * 3 + chat[3:] + [-100] * (longest - max(len(chat), 3)) for chat in chats]),
    }


@pytest.fixture(scope="module")
def lora(two_layers):
    """The two-layer model with an adapter that does something."""
    torch.manual_seed(0)
    return with_adapter(AutoModelForCausalLM.from_pretrained(two_layers))


def gradients(model, loss) -> list[torch.Tensor]:
    """The loss, and the gradient of each trained parameter."""
    model.zero_grad()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)]


def by_transformers(model, batch) -> list[torch.Tensor]:
    model.get_base_model().config._attn_implementation = "sdpa"
    return gradients(model, model(**batch).loss)


def by_ours(model, batch) -> list[torch.Tensor]:
    trainer = SimpleNamespace(accelerator=Accelerator(cpu=True))  # all of a trainer that its loss asks for
    return gradients(model, CompletionTrainer.compute_loss(trainer, model, batch))


def furthest(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest difference, in parts of the largest entry of the tensor that it is in."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("chats", BATCHES.values(), ids=BATCHES)
def test_loss_and_gradients_are_the_padded_batchs(lora, chats):
    batch = padded(chats)
    expected = by_transformers(lora, batch)
    assert all(gradient.abs().max() > 0 for gradient in expected)
    assert furthest(by_ours(lora, batch), expected) < NEAR


def test_a_beginning_taken_one_token_too_long_is_seen(lora, monkeypatch):
    batch = padded(BATCHES["a shared beginning"])
    expected = by_transformers(lora, batch)
    monkeypatch.setattr(packing, "beginning", lambda chats: len(BEGINNING) + 1)
    assert furthest(by_ours(lora, batch), expected) > 100 * NEAR


def test_chats_that_look_at_each_other_are_seen(lora, monkeypatch):
    def one_sequence(*args, sizes, **options):
        return sdpa_attention_forward(*args, is_causal=True, **options)

    batch = padded(BATCHES["a shared beginning"])
    expected = by_transformers(lora, batch)
    monkeypatch.setitem(packing.AttentionInterface._global_mapping, packing.ATTENTION, one_sequence)
    assert furthest(by_ours(lora, batch), expected) > 100 * NEAR


def test_positions_counted_on_through_the_sequence_are_seen(lora, monkeypatch):
    pack = packing.pack

    def counting_on(**batch):
        packed, places = pack(**batch)
        return packed | {"position_ids": torch.arange(packed["input_ids"].numel())[None]}, places

    batch = padded(BATCHES["a shared beginning"])
    expected = by_transformers(lora, batch)
    monkeypatch.setattr(packing, "pack", counting_on)
    assert furthest(by_ours(lora, batch), expected) > 100 * NEAR


def test_no_padding_and_no_shared_token_is_computed_twice():
    batch = padded([[5, 6, 7, 8], [5, 6, 9], [5, 6]])
    packed, places = packing.pack(batch["input_ids"], batch["attention_mask"])
    assert packed["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 3, 2]]
    assert packed["sizes"] == [2, 2, 1, 0]
    assert places.tolist() == [[0, 1, 2, 3], [0, 1, 4, 0], [0, 1, 0, 0]]


def test_a_batch_without_loss_has_loss_nought(lora):
    batch = padded(BATCHES["a shared beginning"])
    batch["labels"].fill_(-100)
    loss, *found = by_ours(lora, batch)
    assert loss == 0
    assert not any(gradient.any() for gradient in found)


@pytest.mark.long
def test_the_number_of_threads_changes_no_bit(lora):
    beginning = tokens(31, 0)
    batch = padded([beginning + tokens(20 + 7 * n, n) for n in range(1, 7)])
    assert len({with_threads(n, lambda: digest(by_ours(lora, batch))) for n in (1, 2, 5, 7)}) == 1


def test_a_call_that_does_not_say_where_the_chats_lie_is_refused(lora):
    lora.get_base_model().config._attn_implementation = packing.ATTENTION
    with pytest.raises(TypeError, match="sizes"):
        lora(torch.tensor([BEGINNING]))
