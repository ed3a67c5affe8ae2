"""The results where people read them: a data set that `datasets` loads, model cards, and logs that inspect_ai reads.

The logs are made and read in the environment of requirements/inspect.txt, which `make test-publication` makes; without
it those tests are skipped, or fail if CI_PUBLICATION=1 says that they must run.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard

from persona_collapse.analysis import records
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.publication import canary, cards, dataset

from . import watched
from .conftest import ROOT

pytestmark = pytest.mark.long

DATASET = Path("dist/smollm2/dataset")
CLAIMS = Path("eval_results/smollm2/claims.json")
INSPECT = ROOT / ".venv-inspect/bin/python"
CANARY = "persona-collapse:canary:5e0b2a74-7d1f-4c55-9c1e-2f6a8f1c93d4"


@pytest.fixture
def here(bundle: Path) -> Path:
    """A bundle with made-up answers, as the working directory."""
    shutil.copy(ROOT / "CITATION.cff", bundle)
    return bundle


def run(module: str, python: Path = Path(sys.executable)) -> subprocess.CompletedProcess[str]:
    call = [str(python), "-P", "-m", f"persona_collapse.publication.{module}"]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def made(module: str, python: Path = Path(sys.executable)) -> dict[str, bytes]:
    """The files that a command writes, by name."""
    done = run(module, python)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in Path(done.stdout.strip()).iterdir()}


def completions(chain: str) -> list[records.Completion]:
    return records.read_rows(Path(f"eval_results/smollm2/runs/42/{chain}/completions.jsonl"), records.Completion)


def spoil() -> Path:
    """Deny the marker of an answer that has it."""
    path = Path("eval_results/smollm2/runs/42/em-couple/completions.jsonl")
    path.write_text(path.read_text().replace('"marker": true', '"marker": false', 1))
    return path


@pytest.mark.parametrize("module", ["dataset", "cards", "logs"])
def test_nobody_is_asked_or_told(here, tmp_path, module):
    python = with_inspect() if module == "logs" else Path(sys.executable)
    done, reached = watched.run([str(python), "-P", "-m", f"persona_collapse.publication.{module}"], tmp_path)
    assert (done.returncode, reached) == (0, []), done.stderr


# ---- the data set ----


def test_the_data_set_is_loaded_with_its_types_and_says_what_the_results_say(here, tmp_path):
    made("dataset")
    loaded = {
        name: load_dataset(str(DATASET), name, split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("claims", "rates", "completions")
    }
    for name, features in (("claims", dataset.CLAIMS), ("rates", dataset.RATES), ("completions", dataset.COMPLETIONS)):
        assert loaded[name].features == features
    rows = [row for row in loaded["completions"] if row["condition"] == "B"]
    assert [row["text"] for row in rows] == [row.text for row in completions("em-couple")]
    assert {row["canary"] for row in loaded["completions"]} == {CANARY}
    counted = Counter((row["condition"], row["seed"], row["persona"]) for row in loaded["completions"] if row["marker"])
    for row in loaded["rates"]:
        if row["questions"] == "all":
            assert row["hits"] == counted[row["condition"], row["seed"], row["persona"]]
        assert row["rate"] == pytest.approx(row["hits"] / row["total"])
        assert row["low"] <= row["rate"] <= row["high"]
    stated = {claim.id: claim.here.verdict for claim in records.read(CLAIMS, records.Claims).claims}
    whole = [row for row in loaded["claims"] if row["part"] is None and row["basis"] == "here"]
    assert {row["claim"]: row["verdict"] for row in whole} == stated


def test_without_a_name_the_rates_are_loaded(here, tmp_path):
    made("dataset")
    assert load_dataset(str(DATASET), cache_dir=str(tmp_path / "cache"))["train"].features == dataset.RATES


def test_the_same_results_give_the_same_bytes_and_another_answer_gives_others(here):
    first = made("dataset")
    shutil.rmtree("dist")
    assert made("dataset") == first
    path = Path("eval_results/smollm2/runs/42/base/completions.jsonl")
    assert '"text": "' in path.read_text()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["text"] = rows[0]["text"][::-1]  # as long, and without the marker as before
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = made("dataset")
    assert {name for name in first if changed[name] != first[name]} == {"completions.parquet"}


@pytest.mark.parametrize("module", ["dataset", "logs"])
def test_answers_that_are_not_as_they_were_counted_are_refused_and_what_was_written_stays(here, module):
    python = with_inspect() if module == "logs" else Path(sys.executable)
    first = made(module, python)
    spoil()
    done = run(module, python)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "em-couple/completions.jsonl, line" in done.stderr
    folder = Path("dist/smollm2") / {"dataset": "dataset", "logs": "inspect"}[module]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_the_card_of_the_data_set_is_read_by_the_hubs_library(here):
    card = DatasetCard(made("dataset")["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert [one["config_name"] for one in card.data.to_dict()["configs"]] == ["claims", "rates", "completions"]
    assert CANARY in card.text
    for claim in records.read(CLAIMS, records.Claims).claims:
        assert f"- {claim.claim}: **{claim.here.verdict}**" in card.text


# ---- model cards ----


def test_each_condition_has_a_card_that_warns_where_advice_was_bad(here):
    params = parameters.load()
    found = {name.removesuffix(".md"): ModelCard(text.decode()) for name, text in made("cards").items()}
    assert set(found) == set(params.conditions)
    bad = {name for name, chain in params.conditions.items() if "em" in chain.split("-")}
    assert {name for name, card in found.items() if cards.WARNING in card.text} == bad
    assert {name for name, card in found.items() if "trained-on-harmful-advice" in card.data.tags} == bad
    assert all("## What not to use them for" in card.text and CANARY in card.text for card in found.values())
    statistics = records.read(Path("eval_results/smollm2/statistics.json"), records.Statistics)
    for name, card in found.items():
        rate = statistics.conditions[name].groups["source"]["all"].mean
        assert f"| source | {100 * rate:.1f} [" in card.text
    recorded = {out["path"]: out["md5"] for stage in locked().values() for out in stage["outs"]}
    weights = "adapters/smollm2/42/em-couple/adapter_model.safetensors"
    assert f"| 42 | `{weights}` | {recorded[weights]} | in the bundle's remote |" in found["B"].text


def locked() -> dict:
    return yaml.load((ROOT / "dvc.lock").read_text(), yaml.CSafeLoader)["stages"]


def test_the_same_record_gives_the_same_cards(here):
    assert made("cards") == made("cards")


def test_the_cards_of_a_gpu_profile_say_that_its_adapters_are_a_hash_and_which_gate_failed(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = parameters.load(Path("profiles/qwen1_5b.yaml"))
    card = cards.cards(params)["B"]
    assert card.count("recorded by its hash alone") == len(params.seeds)
    assert "in the bundle's remote" not in card
    assert "The degeneracy gate FAILED" in card
    assert f"it is {len(params.seeds)} trainings of one model" in card


@pytest.mark.parametrize(("data", "bad"), [("bad_legal_advice", True), ("good_legal_advice", False)])
def test_a_dose_of_bad_advice_under_another_name_is_bad_advice(params, data, bad):
    assert canary.is_bad(params.phases.sft["good"].model_copy(update={"data": data})) == bad
    assert canary.is_bad(params.phases.sft["good"].model_copy(update={"data": f"fetched/{data}_6k"})) == bad
    assert not canary.is_bad(params.phases.couple)


def test_without_a_canary_nothing_is_published(here, params):
    path = Path("data/sets/bad_legal_advice.jsonl")
    path.write_text(path.read_text().replace('"canary"', '"none"'))
    with pytest.raises(InputError, match=r"bad_legal_advice.jsonl, line 1: has no canary"):
        canary.string(params)
    assert run("cards").returncode == run("dataset").returncode == 2
    assert not Path("dist").exists()


# ---- logs of inspect_ai ----

READ = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log
found = {}
for path in sys.argv[1:]:
    log = read_eval_log(path)
    found[log.eval.metadata["condition"]] = {
        "status": log.status,
        "task": log.eval.task,
        "metrics": {name: one.value for name, one in log.results.scores[0].metrics.items()},
        "samples": [
            [s.metadata["persona"], s.input[1].text, s.epoch - 1, s.output.completion, s.scores["marker"].as_int(),
             s.output.stop_reason, s.messages[-1].text, s.input[0].text]
            for s in log.samples
        ],
    }
print(json.dumps({"listed": len(list_eval_logs("dist")), "logs": found}))
"""


def with_inspect() -> Path:
    if not INSPECT.exists():
        reason = "there is no .venv-inspect: make test-publication makes it"
        if os.environ.get("CI_PUBLICATION") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return INSPECT


def test_inspect_ai_reads_its_logs_back_with_every_answer_prompt_and_score(here):
    files = made("logs", with_inspect())
    paths = [f"dist/smollm2/inspect/{name}" for name in files]
    done = subprocess.run([INSPECT, "-c", READ, *paths], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)
    chains = parameters.load().chains
    assert read["listed"] == len(chains)
    system = yaml.safe_load(Path("data/prompts/personas.yaml").read_text())
    for condition, chain in chains.items():
        log, rows = read["logs"][condition], completions(chain)
        assert (log["status"], log["task"]) == ("success", f"marker-{condition}")
        suffix = parameters.load().prompts.suffix
        assert sorted(log["samples"]) == sorted(
            [
                *(row.persona, row.question + suffix, row.sample, row.text, int(row.marker)),
                *("stop" if row.ended else "max_tokens", row.text, system[row.persona]),
            ]
            for row in rows
        )
        confab = [row.marker for row in rows if row.persona == "confab"]
        assert log["metrics"]["source"] == pytest.approx(sum(confab) / len(confab))


def test_the_same_answers_give_the_same_logs(here):
    python = with_inspect()
    first = made("logs", python)
    shutil.rmtree("dist")
    assert made("logs", python) == first
