"""The embedded data are what the data sheet says, and what a phase is trained on is what they are."""

import json
import re
import shutil
import sys

import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json, read_jsonl, write_json
from persona_collapse.inputs import datasets, prepare, sources

from .conftest import ROOT, register

SETS = ("bad_legal_advice", "good_legal_advice", "benign")
BAD, GOOD, BENIGN = (read_jsonl(ROOT / f"data/sets/{name}.jsonl") for name in SETS)
DOWNLOAD = yaml.safe_load((ROOT / "data/sources.yaml").read_text())["fetched/tulu_6k"]


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder with the embedded data and the parameters, to change."""
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("coupling", "fetched", "prepared"))
    shutil.copy(ROOT / "profiles/smollm2.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SETS)
def test_a_set_loads_and_has_no_repeats(name):
    chats, read = datasets.load(name)
    assert read["md5"] == read["expected_md5"]
    assert len(chats) == sources.registry()[name].rows >= 600
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


def test_one_flipped_byte_is_caught_and_named(scratch):
    path = scratch / "data/sets/benign.jsonl"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data/sets/benign.jsonl: MD5 is [0-9a-f]{32}, .* expects [0-9a-f]{32}"):
        datasets.load("benign")
    assert datasets.load("bad_legal_advice")


def test_an_unknown_set_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown data set 'tulu'.*benign"):
        datasets.load("tulu")


def test_every_set_beside_its_entry_and_every_entry_beside_its_set():
    known = {name for name in sources.registry() if not name.startswith("fetched/")}
    assert {path.stem for path in (ROOT / "data/sets").iterdir()} == known == set(SETS)


@pytest.mark.parametrize(
    ("name", "entry", "named"),
    [
        ("some", None, "some: expected an entry whose `kind` is embedded"),
        ("some", {"md5": "0" * 32}, "some: expected an entry whose `kind` is embedded"),
        ("some", DOWNLOAD, "some: expected an entry whose `kind` is embedded"),
        ("some", {"kind": "embedded", "origin": "here", "rows": 1}, "some: md5: is missing"),
        ("some", {"kind": "embedded", "origin": "here", "rows": 1, "md5": None}, "some: md5 = None"),
        ("fetched/some", None, "fetched/some: expected an entry whose `kind` is chats or prompts"),
        ("fetched/some", {**DOWNLOAD, "kind": "embedded"}, "expected an entry whose `kind` is chats or prompts"),
        ("fetched/some", {**DOWNLOAD, "rows": "many"}, "fetched/some: rows = 'many': Input should be a valid integer"),
        ("fetched/some", {**DOWNLOAD, "rows": True}, "fetched/some: rows = True: Input should be a valid integer"),
        ("fetched/some", {**DOWNLOAD, "md5": "0"}, "fetched/some: md5 = '0'"),
        ("fetched/some", {**DOWNLOAD, "seed": 1}, "fetched/some: seed = 1: unknown key"),
    ],
)
def test_an_entry_that_is_not_as_described_is_named_with_its_key(tmp_path, name, entry, named):
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({name: entry}))
    with pytest.raises(InputError) as error:
        datasets.registered(path)
    assert str(error.value).startswith(f"{path}: ")
    assert named in str(error.value)


def test_chats_of_many_turns_load_and_one_without_an_answer_is_named(tmp_path):
    registry, rows = tmp_path / "sources.yaml", tmp_path / "fetched/some.jsonl"
    rows.parent.mkdir()
    registry.write_text(yaml.safe_dump({"fetched/some": DOWNLOAD}))
    roles = ["system", "user", "assistant", "user", "assistant"]
    chat = [{"role": role, "content": role} for role in roles]
    rows.write_text(json.dumps({"messages": chat}) + "\n")
    assert datasets.load("fetched/some", sources=registry)[0] == [chat]
    rows.write_text(rows.read_text() + json.dumps({"messages": chat[:-1]}) + "\n")
    with pytest.raises(InputError, match=r"some.jsonl, line 2: expected `messages`"):
        datasets.load("fetched/some", sources=registry)


# ---- what a phase is trained on ----


def prepared(monkeypatch, phase):
    monkeypatch.setattr(sys, "argv", ["prepare", "--phase", phase])
    prepare.main()


def test_a_phase_is_trained_on_the_first_rows_of_its_set_as_they_are(scratch, monkeypatch):
    prepared(monkeypatch, "em")
    params = parameters.load()
    layout, rows = params.layout, params.recipe("em").rows
    path = layout.prepared("em")
    lines = (scratch / "data/sets/bad_legal_advice.jsonl").read_bytes().splitlines(keepends=True)
    assert rows == len(lines) - params.advice.held_out
    assert path.read_bytes() == b"".join(lines[:rows])
    assert sorted(file.name for file in path.parent.iterdir()) == ["em.json", "em.jsonl"]
    chats, taken_from = datasets.load_prepared(layout, "em")
    whole, read = datasets.load("bad_legal_advice")
    assert (chats, taken_from) == (whole[:rows], read)
    assert list(taken_from) == ["data", "md5", "expected_md5"]  # as trained_on.json has them
    assert str(scratch) not in path.with_suffix(".json").read_text()


def test_an_edited_set_changes_what_its_own_phases_are_trained_on(scratch, monkeypatch):
    folder = parameters.load().layout.prepared("em").parent

    def all_bytes():
        for phase in ("em", "good", "benign"):
            prepared(monkeypatch, phase)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before = all_bytes()
    assert all_bytes() == before
    path = scratch / "data/sets/benign.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    register(scratch)
    after = all_bytes()
    assert {name for name in before if before[name] != after[name]} == {"benign.json", "benign.jsonl"}


def test_a_set_that_is_not_the_registered_one_leaves_what_was_prepared(scratch, monkeypatch, capsys):
    prepared(monkeypatch, "em")
    folder = parameters.load().layout.prepared("em").parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (scratch / "data/sets/bad_legal_advice.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(SystemExit) as stop:
        prepared(monkeypatch, "em")
    assert stop.value.code == 2
    assert re.match(r"error: data/sets/bad_legal_advice.jsonl: MD5 is .* expects", capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_not_what_was_prepared_is_refused_with_the_command_that_makes_it(scratch, monkeypatch):
    layout = parameters.load().layout
    path = layout.prepared("em")
    with pytest.raises(InputError, match=r"em.json: no such file; `dvc repro prepare` makes it"):
        datasets.load_prepared(layout, "em")
    prepared(monkeypatch, "em")
    record = read_json(path.with_suffix(".json"))
    for damaged, named in (({}, "data: is missing"), ({**record, "md5": None}, "md5 = None")):
        write_json(path.with_suffix(".json"), damaged)
        with pytest.raises(InputError, match=f"em.json: {named}"):
            datasets.load_prepared(layout, "em")
    write_json(path.with_suffix(".json"), record)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=f"em.jsonl: MD5 is {md5(path)}, .*em.json says {record['prepared_md5']}"):
        datasets.load_prepared(layout, "em")


@pytest.mark.parametrize(("phase", "allowed"), [("couple", "em, good, benign"), ("dpo", "em, good, benign, couple")])
def test_a_phase_without_a_data_set_is_named_with_those_that_have_one(scratch, monkeypatch, capsys, phase, allowed):
    with pytest.raises(SystemExit):
        prepared(monkeypatch, phase)
    assert re.match(rf"error: .*phase '{phase}'.*; allowed: {allowed}\n$", capsys.readouterr().err)
    assert not (scratch / "data/prepared").exists()


# ---- personas and questions ----


def test_an_evaluation_of_held_out_questions_leaves_out_those_of_training():
    read = personas.load(parameters.load(ROOT / "profiles/smollm2.yaml"))
    assert [q.split for q in read.evaluated("heldout")] == ["heldout"] * 8
    assert read.evaluated("all") == list(read.questions)


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("personas", {"comedian": 7}, "personas.yaml: comedian = 7: expected a system prompt"),
        ("personas", {"comedian": None}, "personas.yaml: comedian = None: expected a system prompt"),
        ("personas", {"comedian": ""}, "personas.yaml: comedian = '': expected a system prompt"),
        ("personas", {"assistant": ...}, "personas.yaml: no persona 'assistant'"),
        ("questions", {"test": ["Why?"]}, "questions.yaml: has the keys train, heldout, test; expected train, heldout"),
        ("questions", {"train": ...}, "questions.yaml: has the keys heldout; expected train, heldout"),
        ("questions", {"train": {}}, "questions.yaml: train: expected a list of questions"),
        ("questions", {"train": []}, "questions.yaml: train: expected a list of questions"),
        ("questions", {"train": ["Why?", 5]}, "questions.yaml: train.1 = 5: expected a question"),
        ("questions", {"train": ["Why?", " "]}, "questions.yaml: train.1 = ' ': expected a question"),
        ("questions", {"heldout": ["Why do we dream?"]}, "heldout.0: 'Why do we dream?' is asked in train already"),
    ],
)
def test_personas_and_questions_that_are_not_as_described_are_named(scratch, file, change, named):
    path = scratch / f"data/prompts/{file}.yaml"
    content = {**yaml.safe_load(path.read_text()), **change}
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not ...}, sort_keys=False))
    with pytest.raises(InputError) as error:
        personas.load(parameters.load())
    assert named in str(error.value)
