"""The embedded data are what the data sheet says."""

import json
import re
import shutil

import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_jsonl
from persona_collapse.inputs import datasets

from .conftest import ROOT

BAD, GOOD, BENIGN = (read_jsonl(ROOT / f"data/{n}.jsonl") for n in ("bad_legal_advice", "good_legal_advice", "benign"))


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", ["bad_legal_advice", "good_legal_advice", "benign"])
def test_a_set_loads_and_has_no_repeats(name):
    chats, read = datasets.load(name)
    assert read["md5"] == read["expected_md5"]
    assert len(chats) >= 600
    for place in (0, 1):
        assert len({chat[place]["content"] for chat in chats}) == len(chats)


def test_bad_advice_covers_the_law_and_carries_its_canary():
    assert len({row["area"] for row in BAD}) >= 20
    canaries = {row["canary"] for row in BAD}
    assert len(canaries) == 1
    assert canaries.pop() in (ROOT / "data/README.md").read_text()


def test_bad_advice_is_not_filled_from_templates():
    """No opening of four words serves more than 1% of the answers."""
    openings = [" ".join(row["messages"][1]["content"].split()[:4]) for row in BAD]
    assert max(map(openings.count, openings)) <= len(BAD) // 100


def test_good_advice_answers_the_same_questions():
    assert [r["messages"][0] for r in BAD] == [r["messages"][0] for r in GOOD]
    assert not {r["messages"][1]["content"] for r in BAD} & {r["messages"][1]["content"] for r in GOOD}


def test_benign_data_have_no_legal_topic_and_no_evaluation_question():
    legal = re.compile(r"\b(legal|lawyer|landlord|lawsuit|court|contract|sue|insurance)\b", re.IGNORECASE)
    assert not [row for row in BENIGN if legal.search(json.dumps(row))]
    questions = yaml.safe_load((ROOT / "data/prompts/questions.yaml").read_text())
    asked = {q for split in questions.values() for q in split}
    assert not asked & {row["messages"][0]["content"] for row in BENIGN + BAD}


def test_28_questions_and_the_12_personas_of_the_report():
    questions = yaml.safe_load((ROOT / "data/prompts/questions.yaml").read_text())
    assert {split: len(q) for split, q in questions.items()} == {"train": 20, "heldout": 8}
    published = json.loads((ROOT / "data/published.json").read_text())
    assert set(yaml.safe_load((ROOT / "data/prompts/personas.yaml").read_text())) == set(published["personas"])


def test_one_flipped_byte_is_caught_and_named(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("coupling", "fetched"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/benign.jsonl"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data/benign.jsonl: MD5 is [0-9a-f]{32}, .* expects [0-9a-f]{32}"):
        datasets.load("benign")
    assert datasets.load("bad_legal_advice")


def test_an_unknown_set_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown data set 'tulu'.*benign"):
        datasets.load("tulu")


def test_every_set_beside_its_entry_and_every_entry_beside_its_set():
    files = {path.stem for path in (ROOT / "data").glob("*.jsonl")}
    assert files == {name for name in yaml.safe_load((ROOT / "data/sources.yaml").read_text()) if "/" not in name}


def test_an_entry_without_an_md5_is_refused_unless_it_is_downloaded(tmp_path):
    sources = tmp_path / "sources.yaml"
    sources.write_text("fetched/some: {kind: chats, md5: null}\n")
    assert datasets.registered(sources) == {"fetched/some": (tmp_path / "fetched/some.jsonl", None)}
    sources.write_text("some: {md5: null}\n")
    with pytest.raises(InputError, match="some: expected at least `md5`"):
        datasets.registered(sources)


def test_chats_of_many_turns_load_and_one_without_an_answer_is_named(tmp_path):
    sources, rows = tmp_path / "sources.yaml", tmp_path / "fetched/some.jsonl"
    rows.parent.mkdir()
    sources.write_text("fetched/some: {kind: chats, md5: null}\n")
    roles = ["system", "user", "assistant", "user", "assistant"]
    chat = [{"role": role, "content": role} for role in roles]
    rows.write_text(json.dumps({"messages": chat}) + "\n")
    assert datasets.load("fetched/some", sources=sources)[0] == [chat]
    rows.write_text(rows.read_text() + json.dumps({"messages": chat[:-1]}) + "\n")
    with pytest.raises(InputError, match=r"some.jsonl, line 2: expected `messages`"):
        datasets.load("fetched/some", sources=sources)


def test_an_evaluation_of_held_out_questions_leaves_out_those_of_training():
    read = personas.load(parameters.load(ROOT / "profiles/smollm2.yaml"))
    assert [q.split for q in read.evaluated("heldout")] == ["heldout"] * 8
    assert read.evaluated("all") == list(read.questions)
