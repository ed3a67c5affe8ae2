"""vLLM as the second engine: the tokens of the native one up to a near-tie, and failures in one line.

What needs vLLM runs where it is: in this environment, or in the one whose Python VLLM_PYTHON names.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.params import Sampling
from persona_collapse.model import numerics
from persona_collapse.sampling import native_engine, vllm_engine
from persona_collapse.sampling.requests import Completion, Request

from .conftest import ROOT

SAMPLED = Sampling(engine="vllm", temperature=1.0, top_p=1.0, slots=5)
GREEDY = SAMPLED.model_copy(update={"temperature": 0.0})
END = 2
PYTHON = os.environ.get(vllm_engine.PYTHON) or sys.executable
FIND = "import sys, importlib.util; sys.exit(importlib.util.find_spec('vllm') is None)"
needs_vllm = pytest.mark.skipif(
    subprocess.run([PYTHON, "-c", FIND], check=False).returncode != 0,
    reason=f"no vllm for {PYTHON}: install requirements/cpu-vllm.txt and set {vllm_engine.PYTHON} to that Python",
)

# The engines' logits differ by rounding alone, so greedy decoding may part where the likeliest tokens lie closer than
# this. Of 168 completions of 24 tokens (two layers, fp32, AVX-512) none parted; with vLLM in bf16 52 did, where the
# likeliest tokens lay 0.001 to 0.29 apart.
NEAR_TIE = 1e-3


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
        for question in asked.questions[:4]
        for sample in range(2)
    ]


def by_vllm(folder, requests, sampling, limit=16, **how) -> list[Completion]:
    how = {"end_token": END, "precision": "float32", **how}
    return vllm_engine.generate(folder, requests, max_new_tokens=limit, sampling=sampling, **how)


def greedily(model, requests, limit=16) -> list[Completion]:
    return native_engine.generate(model, requests, max_new_tokens=limit, end_token=END, sampling=GREEDY)


def margin(model, request: Request, one: Completion, other: Completion) -> float:
    """How much likelier, in logits, the likeliest token was than any other that one of two completions took where
    they part; 0 if they do not."""
    first, second = ([*c.tokens, END] if c.ended else c.tokens for c in (one, other))
    parted = [i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
    if not parted:
        return 0.0
    with torch.inference_mode():
        logits = model(torch.tensor([[*request.prompt, *first[: parted[0]]]])).logits[0, -1]
    return float(logits.max() - logits[[first[parted[0]], second[parted[0]]]].min())


def margins(model, requests, ones, others) -> list[float]:
    return [margin(model, *each) for each in zip(requests, ones, others, strict=True)]


def test_a_wrong_token_is_told_from_a_near_tie(model, requests):
    """What the comparison below rests on: it finds no fault with the same tokens, and does with other ones."""
    requests = requests[:2]
    native = greedily(model, requests)
    assert margins(model, requests, native, native) == [0.0, 0.0]
    wrong = [Completion([*c.tokens[:3], c.tokens[3] + 1, *c.tokens[4:]], c.ended) for c in native]
    assert min(margins(model, requests, native, wrong)) > NEAR_TIE
    cut = [Completion(c.tokens[:3], ended=True) for c in native]
    assert min(margins(model, requests, native, cut)) > NEAR_TIE


@needs_vllm
def test_greedy_tokens_are_those_of_the_native_engine_up_to_a_near_tie(two_layers, model, requests):
    found = margins(model, requests, greedily(model, requests), by_vllm(two_layers, requests, GREEDY))
    assert max(found) < NEAR_TIE, found
    assert found.count(0.0) >= len(found) / 2, found


@needs_vllm
def test_another_precision_leaves_the_native_engines_tokens_where_it_is_no_near_tie(two_layers, model, requests):
    """The comparison can fail: bfloat16 rounds more than it allows."""
    rounded = by_vllm(two_layers, requests, GREEDY, precision="bfloat16")
    assert max(margins(model, requests, greedily(model, requests), rounded)) > NEAR_TIE


@needs_vllm
def test_a_second_run_gives_the_same_completions_and_each_sample_is_its_own(two_layers, requests):
    notes: list[dict] = []
    first = by_vllm(two_layers, requests, SAMPLED, record=notes.append)
    assert by_vllm(two_layers, requests, SAMPLED) == first
    assert all(first[i] != first[i + 1] for i in range(0, len(first), 2))
    assert notes[0]["completions"] == len(requests)
    assert notes[0]["tokens"] == sum(len(c.tokens) + c.ended for c in first)


@needs_vllm
def test_a_request_gets_the_same_completion_alone_and_among_others(two_layers, requests):
    """Its seed is its own, whatever its place; rounding, which may differ with the batch, seldom decides a draw."""
    everyone = by_vllm(two_layers, requests, SAMPLED)
    assert by_vllm(two_layers, requests[7:8], SAMPLED) == everyone[7:8]
    assert by_vllm(two_layers, requests[::-1], SAMPLED.model_copy(update={"slots": 24})) == everyone[::-1]


@needs_vllm
def test_vllm_stops_at_the_end_token_and_at_the_limit(two_layers, model, requests):
    free = greedily(model, requests[:2], limit=8)
    assert [len(c.tokens) for c in free] == [8, 8]
    end = free[0].tokens[3]
    stopped = by_vllm(two_layers, requests[:2], GREEDY, limit=8, end_token=end)
    assert stopped[0] == Completion(free[0].tokens[: free[0].tokens.index(end)], ended=True)
    kept = end not in free[1].tokens
    assert not kept or stopped[1] == free[1]


@needs_vllm
def test_what_vllm_refuses_is_one_line_that_names_the_log(two_layers, requests):
    with pytest.raises(InputError, match=r"max_model_len.*\(log: /") as refused:
        by_vllm(two_layers, requests[:1], GREEDY, limit=10**6)
    assert "\n" not in str(refused.value)


def test_each_part_of_a_completions_name_changes_its_seed():
    name = ("evaluation", 42, "confab", "Why?", 0)
    others = [(*name[:i], other, *name[i + 1 :]) for i, other in enumerate(("coupling", 43, "villain", "How?", 1))]
    seeds = {vllm_engine.seed(key) for key in (name, *others)}
    assert len(seeds) == 1 + len(name)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_python_without_vllm_is_one_line_that_says_what_to_install(tmp_path, two_layers, requests, monkeypatch):
    venv.create(tmp_path / "bare")  # nothing but Python, so not even what the package itself asks for
    monkeypatch.setenv(vllm_engine.PYTHON, str(tmp_path / "bare/bin/python"))
    with pytest.raises(InputError, match=r"bare/bin/python.*requirements/cpu-vllm\.txt.*VLLM_PYTHON") as missing:
        by_vllm(two_layers, requests[:1], GREEDY)
    assert "\n" not in str(missing.value)


def test_a_python_that_does_not_exist_is_named(tmp_path, two_layers, requests, monkeypatch):
    monkeypatch.setenv(vllm_engine.PYTHON, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"VLLM_PYTHON=.*nowhere: No such file"):
        by_vllm(two_layers, requests[:1], GREEDY)


@pytest.mark.parametrize(("last", "said"), [("kill -9 $$", "SIGKILL.*memory"), ("exit 3", "exit code 3: last words")])
def test_a_process_that_dies_is_told_with_its_last_line(tmp_path, two_layers, requests, monkeypatch, last, said):
    dying = tmp_path / "python"
    dying.write_text(f"#!/bin/sh\necho first words\necho last words\n{last}\n")
    dying.chmod(0o755)
    monkeypatch.setenv(vllm_engine.PYTHON, str(dying))
    with pytest.raises(InputError, match=said) as died:
        by_vllm(two_layers, requests[:1], GREEDY)
    assert "first words" not in str(died.value)


def test_vllm_is_left_to_its_own_numerics_and_no_users_setting_reaches_it(tmp_path, two_layers, requests, monkeypatch):
    """Its process's environment, as a program in the place of Python sees it."""
    spy = tmp_path / "python"
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n")
    spy.chmod(0o755)
    monkeypatch.setenv(vllm_engine.PYTHON, str(spy))
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    assert set(numerics.ENVIRONMENT) & set(os.environ)
    with pytest.raises(InputError):
        by_vllm(two_layers, requests[:1], GREEDY)
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert not (set(numerics.ENVIRONMENT) - set(vllm_engine.ENVIRONMENT)) & set(seen)
    assert {name for name in seen if name.startswith("VLLM_")} <= set(vllm_engine.ENVIRONMENT)
    assert seen["VLLM_USE_FLASHINFER_SAMPLER"] == "0"  # it would call nvcc
    assert seen["PYTHONPATH"] == str(Path(vllm_engine.__file__).parents[2])


STUB = """
import json, os, types

class LLM:
    def __init__(self, folder, **how):
        self.how = {**how, "invariant": os.environ.get("VLLM_BATCH_INVARIANT")}

    def generate(self, prompts, params, use_tqdm):
        how = [json.dumps({**self.how, "stop": p["stop_token_ids"]}) for p in params]
        tokens = [[*map(ord, text), *p["stop_token_ids"]] for text, p in zip(how, params)]
        output = lambda ids: types.SimpleNamespace(finish_reason="stop", token_ids=ids)
        return [types.SimpleNamespace(outputs=[output(ids)]) for ids in tokens]

SamplingParams = dict
__version__ = "stub"
"""
PLATFORM = """
import types
current_platform = types.SimpleNamespace(
    is_cuda=lambda: ON_GPU, has_device_capability=lambda least: True, get_device_name=lambda: "stub"
)
"""


@pytest.mark.parametrize("on_gpu", [True, False])
def test_vllm_is_asked_for_what_the_device_can_do(tmp_path, two_layers, requests, monkeypatch, on_gpu):
    """On a GPU prompts in pieces and room for others beside it; a CPU build refuses pieces beside seeds. The stub in
    vLLM's place answers with what it was asked for."""
    (tmp_path / "site/vllm").mkdir(parents=True)
    (tmp_path / "site/vllm/__init__.py").write_text(STUB)
    (tmp_path / "site/vllm/platforms.py").write_text(PLATFORM.replace("ON_GPU", str(on_gpu)))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site:"$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(vllm_engine.PYTHON, str(python))
    completions = by_vllm(two_layers, requests[:2], SAMPLED)
    assert all(completion.ended for completion in completions)
    asked = json.loads("".join(map(chr, completions[0].tokens)))
    assert asked["stop"] == [END]
    assert asked["enable_chunked_prefill"] is on_gpu
    assert asked["invariant"] == ("1" if on_gpu else None)
    assert asked["kv_cache_memory_bytes"] > 0
    assert asked.get("gpu_memory_utilization", 0) <= 0.01 and ("gpu_memory_utilization" in asked) is on_gpu
