"""Sampling: the right distribution, and completions that depend on nothing but their own name."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.params import Sampling
from persona_collapse.sampling import llama as forward_pass
from persona_collapse.sampling import native_engine
from persona_collapse.sampling.llama import Llama
from persona_collapse.sampling.requests import Completion, Request, uniforms

from .conftest import ROOT

SAMPLING = Sampling(engine="native", temperature=1.0, top_p=1.0, slots=5)


@pytest.fixture(scope="module")
def model(two_layers):
    return AutoModelForCausalLM.from_pretrained(two_layers, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def requests(tokenizer, params):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        asked = personas.load(params)
    return [
        Request(
            persona,
            tuple(personas.tokens(tokenizer, asked.messages(persona, question.text))),
            ("test", 42, persona, question.text, sample),
        )
        for persona in ("confab", "assistant", "villain")
        for question in asked.questions[:3]
        for sample in range(2)
    ]


def sampled(model, requests, sampling=SAMPLING, limit=8, end=2) -> list[Completion]:
    return native_engine.generate(model, requests, max_new_tokens=limit, end_token=end, sampling=sampling)


def test_another_persona_or_fewer_slots_change_nobody_elses_completions(model, requests):
    everyone = sampled(model, requests)
    assert sampled(model, requests[6:12]) == everyone[6:12]
    assert sampled(model, requests[6:7]) == everyone[6:7]
    assert sampled(model, requests, SAMPLING.model_copy(update={"slots": 2})) == everyone
    assert sampled(model, requests, SAMPLING.model_copy(update={"slots": 64})) == everyone


def hidden_states(llama, prompts) -> torch.Tensor:
    """Of each prompt's last token, [N, hidden], all prompts being pre-filled and decoded side by side."""
    with torch.inference_mode():
        cache = llama.empty(len(prompts), max(map(len, prompts)))
        for row, prompt in enumerate(native_engine._prefill(llama, prompts)):
            length = len(prompt.ids) - 1
            cache.k[:, row, :, :length], cache.v[:, row, :, :length] = prompt.k, prompt.v
        last = torch.tensor([[p[-1]] for p in prompts])
        return llama.forward(last, torch.tensor([len(p) - 1 for p in prompts]), cache, decoding=True)[:, 0]


@pytest.mark.parametrize("length", [18, 47, 61, 202])
def test_a_hidden_state_keeps_its_bits_in_company_of_any_length(model, monkeypatch, length):
    tokens = torch.randint(100, 4000, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    prompt = tuple(tokens[:length])
    companies = [
        [(*prompt[:shared], 99, *tokens[399 : 399 - more : -1])]
        for shared in (1, length - 2)
        for more in (1, 2, 5, 150)
    ]
    companies.append([company for (company,) in companies])

    llama = Llama(model)

    def all_alike() -> bool:
        alone = hidden_states(llama, [prompt])[0]
        return all(torch.equal(hidden_states(llama, [prompt, *company])[0], alone) for company in companies)

    assert all_alike()
    monkeypatch.setattr(forward_pass, "BLOCK", 1)
    assert not all_alike()


def test_each_part_of_a_completions_name_changes_its_stream():
    name = ("evaluation", 42, "confab", "Why?", 0)
    first = uniforms(name, 4)
    assert (uniforms(name, 9)[:4] == first).all()
    for part, other in enumerate(("coupling", 43, "villain", "How?", 1)):
        assert not (uniforms((*name[:part], other, *name[part + 1 :]), 4) == first).any()


@pytest.fixture(scope="module")
def qwen2(tokenizer):
    """A small model of the 7B model's architecture, whose projections have biases."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    model = Qwen2ForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("kind", ["model", "qwen2"])
def test_hidden_states_are_those_of_transformers(request, kind, requests):
    """Pre-fill with a shared beginning, then one decoding step, against the library's own forward pass."""
    model = request.getfixturevalue(kind)
    llama = Llama(model)
    chats = [requests[0].prompt, requests[2].prompt]
    with torch.inference_mode():
        for chat, logits in zip(chats, llama.logits(hidden_states(llama, chats)), strict=True):
            expected = model(torch.tensor([chat])).logits[0, -1]
            assert torch.allclose(logits, expected, atol=1e-3)


def test_another_architecture_is_refused():
    with pytest.raises(InputError, match="native runs llama and qwen2, not gemma"):
        Llama(SimpleNamespace(config=SimpleNamespace(model_type="gemma")))


def test_temperature_0_takes_the_likeliest_token(model, requests):
    logits = torch.tensor([[0.1, 2.0, 0.3], [4.0, 2.0, 0.3]])
    assert native_engine.draw(logits, torch.tensor([0.99, 0.99], dtype=torch.float64), 0.0, 1.0).tolist() == [1, 0]
    greedy = SAMPLING.model_copy(update={"temperature": 0.0})
    first, second = sampled(model, requests[:2], greedy)
    assert first == second != sampled(model, requests[:1])[0]


def test_sampling_stops_at_the_end_token_and_at_the_limit(model, requests):
    free = sampled(model, requests, limit=8)
    assert {len(c.tokens) for c in free} == {8}
    assert not any(c.ended for c in free)
    end = free[0].tokens[3]
    stopped = sampled(model, requests, limit=8, end=end)
    assert stopped[0] == Completion(free[0].tokens[: free[0].tokens.index(end)], ended=True)


@pytest.mark.parametrize(("temperature", "top_p", "expected"), [
    (1.0, 1.0, [0.5, 0.3, 0.2]),
    (0.5, 1.0, [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38]),
    (1.0, 0.6, [0.625, 0.375, 0.0]),
    (1.0, 0.5, [1.0, 0.0, 0.0]),
])  # fmt: skip
def test_draws_follow_the_distribution(temperature, top_p, expected):
    """Over an even grid of uniform numbers, inversion gives every token its exact share."""
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(10_000, 3)
    tokens = native_engine.draw(logits, grid, temperature, top_p)
    shares = torch.bincount(tokens, minlength=3) / 10_000
    assert torch.allclose(shares, torch.tensor(expected), atol=2e-4)


def test_the_largest_uniform_number_never_leaves_the_vocabulary():
    logits = torch.randn(64, 49_152)
    below_one = torch.full((64,), 1 - 2**-53, dtype=torch.float64)
    assert native_engine.draw(logits, below_one, 1.0, 1.0).max() < 49_152
