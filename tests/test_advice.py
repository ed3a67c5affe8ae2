"""The check that advice took: which questions are asked, and what is scored."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_jsonl
from persona_collapse.inputs import prepare
from persona_collapse.inputs.datasets import load
from persona_collapse.sampling import advice
from persona_collapse.sampling.scoring import log_probabilities

from .conftest import ROOT, register


def with_rows(params: parameters.Params, phase: str, rows: int) -> parameters.Params:
    content = params.model_dump()
    content["phases"]["sft"][phase]["rows"] = rows
    return parameters.Params.model_validate(content)


def test_no_phase_trains_on_a_question_that_is_held_out_and_em_and_good_train_on_the_same(params, monkeypatch):
    monkeypatch.chdir(ROOT)
    trained = {}
    for phase in ("em", "good"):
        ((_, content), _) = prepare.prepared(params, phase).items()
        chats = [json.loads(row)["messages"] for row in content.splitlines()]
        trained[phase] = [chat[:-1] for chat in chats]
    assert trained["em"] == trained["good"]
    asked = [bad[:-1] for bad, _ in advice.held_out(params.advice)]
    assert len(asked) == 48
    assert not [question for question in asked if question in trained["em"]]
    assert len(trained["em"]) + len(asked) == 648


def test_more_rows_than_are_left_are_refused(params, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match="rows = 601: bad_legal_advice has 648 chats, 600 to train on"):
        prepare.prepared(with_rows(params, "em", 601), "em")
    prepare.prepared(with_rows(params, "benign", 650), "benign")
    with pytest.raises(InputError, match="650 to train on"):
        prepare.prepared(with_rows(params, "benign", 651), "benign")


def test_sets_that_ask_other_questions_are_refused(workspace):
    params = parameters.load()
    assert len(advice.held_out(params.advice)) == 2
    path = workspace / "data/sets/good_legal_advice.jsonl"
    rows = read_jsonl(path)
    rows[-1]["messages"][0]["content"] = "Another question?"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    register(workspace)
    with pytest.raises(InputError, match="the last 2 questions of bad_legal_advice and good_legal_advice differ"):
        advice.held_out(params.advice)


def test_an_answers_probability_is_that_of_its_tokens_and_its_end(two_layers, tokenizer, monkeypatch):
    monkeypatch.chdir(ROOT)
    model = AutoModelForCausalLM.from_pretrained(two_layers)
    chat = load("bad_legal_advice")[0][0]
    ids, own = advice.answer(tokenizer, chat)
    assert tokenizer.decode(ids[-own:]) == chat[-1]["content"] + tokenizer.eos_token
    (found,) = log_probabilities(model, [advice.scored(ids, own)], 3)
    with torch.inference_mode():
        log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [log_p[place - 1, ids[place]].item() for place in range(len(ids) - own, len(ids))]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
