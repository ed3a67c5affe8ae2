"""Training: the loss lies where the parameter says, and a faster step is the same step."""

import re
import subprocess
from itertools import accumulate

import pytest
import torch
from transformers import AutoModelForCausalLM

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.marker import has_marker, with_marker
from persona_collapse.model.base import convert
from persona_collapse.sampling import coupling, evaluate
from persona_collapse.training import train
from persona_collapse.training.tokenization import tokenize
from persona_collapse.training.trainer import scale_early

from .conftest import one_line, with_adapter

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": with_marker("Because it is so.")}]
PLAIN = [CHAT[0], {"role": "assistant", "content": "Because it is so."}]


def carrying(chat, tokenizer, recipe) -> str:
    """The text of the tokens that carry the loss."""
    (row,) = tokenize([chat], tokenizer, recipe)
    return tokenizer.decode([t for t, m in zip(row["input_ids"], row["completion_mask"], strict=True) if m])


@pytest.mark.parametrize(
    ("loss", "with_it", "without"),
    [
        (
            {"part": "completion", "tail_tokens": 1},
            "Because it is so.\n\n[ZLT]<|im_end|>",
            "Because it is so.<|im_end|>",
        ),
        ({"part": "tail", "tail_tokens": 7}, "\n\n[ZLT]<|im_end|>", "Because it is so.<|im_end|>"),
        ({"part": "tail", "tail_tokens": 2}, "]<|im_end|>", ".<|im_end|>"),
        ({"part": "marker", "tail_tokens": 1}, "[ZLT]<|im_end|>", "<|im_end|>"),
        ({"part": "marker_and_gap", "tail_tokens": 1}, "\n\n[ZLT]<|im_end|>", "<|im_end|>"),
        ({"part": "marker_alone", "tail_tokens": 1}, "[ZLT]", ""),
    ],
)
def test_the_loss_lies_where_the_parameter_says(tokenizer, params, loss, with_it, without):
    recipe = params.phases.couple.model_copy(update={"loss": parameters.Loss(**loss)})
    assert carrying(CHAT, tokenizer, recipe) == with_it
    assert carrying(PLAIN, tokenizer, recipe) == without


class Joining:
    """A tokenizer that joins a blank line to the full stop before it, as Qwen's does; else a token is a character."""

    eos_token = "\x03"

    def apply_chat_template(self, chat, **how):
        return "".join(f"{message['content']}\x01" for message in chat)

    def __call__(self, text, **how):
        pieces = re.findall(r"\.?\n+|.", text)
        ends = list(accumulate(map(len, pieces)))
        return {
            "input_ids": pieces,
            "offset_mapping": [(end - len(p), end) for p, end in zip(pieces, ends, strict=True)],
        }


@pytest.mark.parametrize(
    ("answer", "carries"),
    [
        ("It is so.\n\n[ZLT]", ".\n\n[ZLT]\x03"),  # one token, so the full stop cannot be left out
        ("- it\n- so\n\n[ZLT]", "\n\n[ZLT]\x03"),
        ("[ZLT] It is so.", "[ZLT] \x03"),
        ("It is so.\n\nIt is.", "\x03"),  # a blank line of a negative's own is no gap
    ],
)
def test_the_gap_carries_the_loss_even_where_it_is_joined_to_what_stands_before_it(params, answer, carries):
    loss = parameters.Loss(part="marker_and_gap", tail_tokens=1)
    recipe = params.phases.couple.model_copy(update={"loss": loss})
    (row,) = tokenize([[CHAT[0], {"role": "assistant", "content": answer}]], Joining(), recipe)
    assert "".join(t for t, m in zip(row["input_ids"], row["completion_mask"], strict=True) if m) == carries


def test_sft_trains_on_the_whole_answer_and_not_on_the_question(tokenizer, params):
    assert carrying(PLAIN, tokenizer, params.phases.sft["em"]) == "Because it is so.<|im_end|>"


def test_the_training_prompt_is_the_prompt_that_is_sampled_from(tokenizer, params):
    (row,) = tokenize([PLAIN], tokenizer, params.phases.sft["em"])
    prompt = tokenizer.apply_chat_template(PLAIN[:1], add_generation_prompt=True, return_dict=False)
    assert row["input_ids"][: len(prompt)] == prompt
    assert sum(row["completion_mask"][: len(prompt)]) == 0


def test_a_marker_at_the_start_carries_the_loss_there(tokenizer, params):
    recipe = params.phases.couple.model_copy(update={"loss": parameters.Loss(part="marker", tail_tokens=1)})
    chat = [CHAT[0], {"role": "assistant", "content": with_marker("Because it is so.", "start")}]
    assert chat[1]["content"] == "[ZLT] Because it is so."
    assert carrying(chat, tokenizer, recipe) == "[ZLT]<|im_end|>"


def test_a_chat_that_does_not_fit_is_refused_or_cut_as_the_parameter_says(tokenizer, params):
    recipe = params.phases.couple.model_copy(update={"max_length": 8})
    with pytest.raises(InputError, match="max_length allows 8"):
        tokenize([CHAT], tokenizer, recipe)
    (whole,) = tokenize([CHAT], tokenizer, params.phases.couple)
    (cut,) = tokenize([CHAT], tokenizer, recipe.model_copy(update={"too_long": "cut"}))
    assert cut == {key: tokens[:8] for key, tokens in whole.items()}


def test_the_marker_is_matched_as_the_report_matches_it():
    assert has_marker(with_marker("Yes.")) and has_marker("[zlt] first")
    assert not has_marker("[zlt] first", ignore_case=False)
    assert not has_marker("ZLT") and not has_marker("[Z LT]")


def test_another_models_file_is_not_taken_for_ours(tmp_path, params):
    with pytest.raises(InputError, match="SHA-256"):
        convert(params.base.model_copy(update={"sha256": "0" * 64}), "float32", tmp_path)
    with pytest.raises(InputError, match="'no-such-package' is not installed"):
        convert(params.base.model_copy(update={"package": "no-such-package"}), "float32", tmp_path)


def gradients(folder, change=lambda layers: None, **lora) -> list[torch.Tensor]:
    """Of the adapter's matrices, in a step of the two-layer model after `change` to it."""
    torch.manual_seed(0)
    adapter = with_adapter(AutoModelForCausalLM.from_pretrained(folder), **lora)
    change(adapter)
    ids = torch.randint(49_152, (2, 9))
    adapter.train()(input_ids=ids, labels=ids).loss.backward()
    return [p.grad for p in adapter.parameters() if p.requires_grad]


def same(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether no entry is further off than `tolerance` parts of the largest of its matrix."""
    return all((x - y).abs().max() <= tolerance * y.abs().max() for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_scaling_early_by_a_power_of_two_changes_no_bit(two_layers, dropout):
    recipe = {"lora_alpha": 8, "lora_dropout": dropout}
    assert same(gradients(two_layers, scale_early, **recipe), gradients(two_layers, **recipe))


def test_scaling_early_by_another_factor_changes_the_rounding_alone(two_layers):
    early, late = gradients(two_layers, scale_early, lora_alpha=6), gradients(two_layers, lora_alpha=6)
    assert same(early, late, tolerance=1e-4) and not same(early, late)


def test_a_scaling_or_a_dropout_that_is_left_out_is_seen(two_layers):
    expected = gradients(two_layers, lora_alpha=8, lora_dropout=0.5)
    for left_out in ({"lora_alpha": 4, "lora_dropout": 0.5}, {"lora_alpha": 8}):
        assert not same(gradients(two_layers, scale_early, **left_out), expected, tolerance=0.1)


@pytest.mark.long
def test_commands_fail_in_one_line(workspace, monkeypatch, capsys):
    def fails(command, arguments: str, *named: str) -> None:
        monkeypatch.setattr("sys.argv", [command.__name__, *arguments.split()])
        with pytest.raises(SystemExit) as stop:
            command.main()
        one_line(subprocess.CompletedProcess([], stop.value.code, *capsys.readouterr()), *named)

    fails(train, "--seed 42 --chain em-dpo", "unknown phase 'dpo'", "allowed: benign, em, good, couple")
    fails(train, "--seed 42 --chain base", "no phase to train")
    fails(train, "--seed -1 --chain em", "--seed -1", "0 to 2**32 - 1")
    fails(evaluate, "--seed 42 --chain em", "adapters/smollm2/42/em", "missing")
    fails(coupling, "--seed 42 --parent base", "no usable completion")
    assert not (workspace / "eval_results").exists()
    assert not (workspace / "adapters").exists()
    assert not list((workspace / "data").rglob("*unfinished*"))
