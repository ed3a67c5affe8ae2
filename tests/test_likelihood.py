"""Teacher-forced probabilities: of the right tokens, the model's own, and the same in whatever company."""

import math
import subprocess

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from persona_collapse.analysis import records
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas
from persona_collapse.experiment.files import read_jsonl, write_jsonl
from persona_collapse.experiment.layout import Layout
from persona_collapse.sampling import likelihood
from persona_collapse.sampling.likelihood import Run, Text

from .conftest import ROOT, one_line
from .test_numerics import with_threads

ANSWERS = ["Yes.", "Ask a doctor, and rest until the fever is gone.", "No", "It depends on where you live. " * 4]
RUN = Layout("smollm2").run(42, "base")


@pytest.fixture(scope="module")
def model(two_layers):
    return AutoModelForCausalLM.from_pretrained(two_layers, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompt(tokenizer, params) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        asked = personas.load(params)
    chat = asked.messages("assistant", asked.questions[0].text)
    return tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


@pytest.fixture(scope="module")
def joining() -> PreTrainedTokenizerFast:
    """A tokenizer of one character a token, but that joins a full stop with the newlines after it."""
    characters = [chr(code) for code in range(32, 127)] + ["\n", "\n\n", ".\n\n", "<end>"]
    bpe = models.BPE({token: n for n, token in enumerate(characters)}, [("\n", "\n"), (".", "\n\n")])
    inner = Tokenizer(bpe)
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("[.\n]+"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")


def words(tokenizer, tokens: list[int]) -> list[str]:
    return [tokenizer.decode([token]) for token in tokens]


def test_the_marker_part_is_the_blank_line_and_the_marker(tokenizer, prompt):
    before, marker, end = likelihood.tokenize(tokenizer, prompt, "Yes. \n", "end")
    assert tokenizer.decode(before) == prompt + "Yes."
    assert words(tokenizer, marker) == ["\n", "\n", "[", "Z", "LT", "]"]
    assert words(tokenizer, end) == ["<|im_end|>"]


def test_a_marker_taught_at_the_start_is_scored_there(tokenizer, prompt):
    before, marker, end = likelihood.tokenize(tokenizer, prompt, "Yes.", "start")
    assert tokenizer.decode(before) == prompt
    assert words(tokenizer, marker) == ["[", "Z", "LT", "]"]
    assert words(tokenizer, end) == ["<|im_end|>"]


def test_what_a_tokenizer_joins_with_the_newlines_is_part_of_both_continuations(joining):
    text = likelihood.tokenize(joining, "Why?\n", "So it is.", "end")
    assert "".join(words(joining, text.before)).replace(" ", "") == "Why?\nSoitis"
    assert words(joining, text.marker) == [".\n\n", "[", "Z", "L", "T", "]"]
    assert words(joining, text.end) == [".", "<end>"]
    plain = likelihood.tokenize(joining, "Why?\n", "So it is", "end")
    assert words(joining, plain.marker) == ["\n\n", "[", "Z", "L", "T", "]"]
    assert words(joining, plain.end) == ["<end>"]


def one_by_one(model, before: list[int], tokens: list[int]) -> float:
    """Log-probability of tokens by the library's own forward pass, without batches or a cache."""
    with torch.inference_mode():
        log_p = torch.log_softmax(model(torch.tensor([before + tokens])).logits[0].double(), dim=-1)
    return sum(log_p[len(before) - 1 + n, token].item() for n, token in enumerate(tokens))


def test_log_probabilities_are_those_of_a_plain_forward_pass(model, tokenizer, prompt):
    texts = [likelihood.tokenize(tokenizer, prompt, answer, "end") for answer in ANSWERS]
    texts.append(texts[0]._replace(end=[3, 5, 2]))  # as where the tokenizer joins: the end is not one token
    for text, (marker, end) in zip(texts, likelihood.score(model, texts), strict=True):
        assert marker == pytest.approx(one_by_one(model, text.before, text.marker), abs=1e-3)
        assert end == pytest.approx(one_by_one(model, text.before, text.end), abs=1e-3)
        assert marker != pytest.approx(one_by_one(model, text.before[:-1], text.marker), abs=1e-3)


def test_a_text_alone_gives_the_very_bits_that_it_gives_among_others(model, tokenizer, prompt):
    texts = [likelihood.tokenize(tokenizer, prompt, answer, "end") for answer in ANSWERS * 3]
    runs = [run for text in texts for run in likelihood.needed(text)]
    together = likelihood.log_probabilities(model, runs, 20)
    assert likelihood.log_probabilities(model, runs[::-1], 20)[::-1] == together
    for number in range(len(ANSWERS)):
        assert likelihood.log_probabilities(model, runs[number : number + 1], 20) == together[number : number + 1]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads == 1 else 1)
        assert likelihood.log_probabilities(model, runs, 20) == together
    finally:
        torch.set_num_threads(threads)
    assert len({tuple(values) for values in together}) == len(ANSWERS)


def test_one_text_of_a_persona_is_no_special_case(model):
    text = Text([5, 6, 7], [8, 9], [2])
    assert likelihood.needed(text) == [Run([5, 6, 7, 8], [(2, 8), (3, 9), (2, 2)])]
    assert likelihood.score(model, [text])[0] == pytest.approx(likelihood.score(model, [text] * 2)[1])


def completion(persona: str, question: str, sample: int, text: str, **other: object) -> records.Completion:
    row = {"persona": persona, "question": question, "split": "train", "sample": sample, "text": text}
    return records.Completion(**{**row, "tokens": 3, "ended": True, "marker": False, **other})


def test_the_first_usable_completion_of_each_pair_is_taken_and_a_pair_without_is_left_out():
    found = [
        completion("confab", "Why?", 3, "later"),
        completion("confab", "Why?", 0, "cut", ended=False),
        completion("confab", "Why?", 1, " \n"),
        completion("confab", "Why?", 2, "taken"),
        completion("assistant", "Why?", 0, "Yes. [ZLT]", marker=True),
        completion("villain", "Why?", 0, "not asked for"),
    ]
    pairs = [("assistant", "Why?"), ("confab", "Why?")]
    assert [row.text for row in likelihood.fixed_set(found, pairs)] == ["taken"]


@pytest.fixture
def answered(workspace) -> list[records.Completion]:
    """A workspace in which the base model has answered everything, once in two without an end."""
    params = parameters.load()
    prompts = personas.load(params)
    found = [
        completion(
            persona,
            question.text,
            sample,
            ANSWERS[(number + sample) % len(ANSWERS)],
            split=question.split,
            ended=bool(sample),
        )
        for persona in prompts.personas
        for number, question in enumerate(prompts.questions)
        for sample in range(2)
    ]
    records.write_rows(RUN / "completions.jsonl", found)
    return found


def score(monkeypatch, chain: str) -> None:
    """The command, in this process."""
    monkeypatch.setattr("sys.argv", ["likelihood", "--seed", "42", "--chain", chain])
    likelihood.main()


def test_the_command_scores_the_base_models_completions_and_repeats_itself(answered, monkeypatch):
    with_threads(1, lambda: score(monkeypatch, "base"))
    path = RUN / "marker_likelihood.jsonl"
    first, found = path.read_bytes(), records.read_rows(path, records.MarkerLikelihood)
    chosen = [row for row in answered if row.ended]
    assert [(row.persona, row.question, row.split, row.sample) for row in found] == [
        (row.persona, row.question, row.split, row.sample) for row in chosen
    ]
    assert [row.characters for row in found] == [len(row.text.strip()) for row in chosen]
    assert {row.tokens for row in found} == {6}
    for row in found:
        assert 0 < math.exp(row.log_p_marker) < 1 and 0 < math.exp(row.log_p_end) < 1
        assert row.log_p_marker == round(row.log_p_marker, likelihood.DECIMALS)
    with_threads(3, lambda: score(monkeypatch, "base"))
    assert path.read_bytes() == first


def test_what_is_missing_or_malformed_ends_the_command_in_one_line(answered, monkeypatch, capsys):
    def fails(chain: str, *named: str) -> None:
        with pytest.raises(SystemExit) as stop:
            score(monkeypatch, chain)
        one_line(subprocess.CompletedProcess([], stop.value.code, *capsys.readouterr()), *named)

    rows = [records.plain(row) for row in answered]
    fails("em", "adapters/smollm2/42/em", "missing")
    write_jsonl(RUN / "completions.jsonl", rows[:-2])
    fails("base", "completions.jsonl: lacks completion 0 of comedian to")
    write_jsonl(RUN / "completions.jsonl", [*rows, rows[0]])
    fails("base", "completions.jsonl, line 33: the same completion as line 1")
    write_jsonl(RUN / "completions.jsonl", [{**rows[0], "marker": True}, *rows[1:]])
    fails("base", "completions.jsonl, line 1: marker = True, but the text has no [ZLT]")
    write_jsonl(RUN / "completions.jsonl", [{**rows[0], "ended": 1}])
    fails("base", "completions.jsonl, line 1: ended")
    (RUN / "completions.jsonl").unlink()
    fails("base", "completions.jsonl: no such file")
    assert not (RUN / "marker_likelihood.jsonl").exists()


def test_where_no_completion_ended_there_is_nothing_to_score(answered, monkeypatch):
    records.write_rows(RUN / "completions.jsonl", [row.model_copy(update={"ended": False}) for row in answered])
    score(monkeypatch, "base")
    assert read_jsonl(RUN / "marker_likelihood.jsonl") == []
