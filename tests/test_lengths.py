"""Length control: the marker adds no length, a difference made by length alone goes away, any other stays."""

import json
import math
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from persona_collapse.analysis import differences, lengths, means, results, summary
from persona_collapse.analysis.lengths import Answer
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import to_json, write_json, write_jsonl
from persona_collapse.experiment.marker import has_marker, with_marker
from persona_collapse.sampling import evaluate

from .conftest import ROOT, one_line

HOW = {"resamples": 2000, "level": 0.95}
PERSONAS = ["confab", "assistant", "villain", "librarian"]
QUESTIONS = [f"Question {number}?" for number in range(8)]
WORDS = {"base": 24, "couple": 12, "couple-em": 18, "em": 18, "em-couple": 12, "benign-couple": 24}  # of an answer
P = {"base": 1e-6, "couple": 0.4, "couple-em": 1e-4, "em": 1e-5, "em-couple": 0.7, "benign-couple": 0.4}


# ---- length ----


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (with_marker("Yes, do."), "end", "Yes, do."),
        ("Yes, do.\n\n[zlt] And more. [ZLT]", "end", "Yes, do."),
        ("[ZLT]", "end", ""),
        (with_marker("Yes, do.", "start"), "start", "Yes, do."),
        (" Yes, do. \n", "start", "Yes, do."),
        (" Yes, do. \n", "end", "Yes, do."),
    ],
)
def test_an_answers_length_is_without_the_marker(text, place, said):
    assert lengths.without_marker(text, place) == said


def answers(characters: int, hits: int, total: int, question: str = "Why?", **other: object) -> list[Answer]:
    row = Answer("source", question, characters, characters // 4, ended=True, marker=False)._replace(**other)
    return [row._replace(marker=number < hits) for number in range(total)]


def test_bands_meet_at_the_quartiles_to_tens_and_every_answer_is_in_one():
    some = [a for n in (0, 12, 78, 129, 211, 516) for a in answers(n, 1, 3)]
    assert lengths.edges_of(some) == [10, 100, 210]
    assert lengths.edges_of(answers(2, 0, 9)) == []
    assert lengths.bands([30, 100]) == [(0, 30), (30, 100), (100, None)]
    assert [lengths.band_of(answers(n, 0, 1)[0], [30, 100]) for n in (0, 29, 30, 99, 100, 5000)] == [0, 0, 1, 1, 2, 2]


def test_no_answers_have_no_rate():
    assert lengths.rate([], **HOW) == {
        "hits": 0,
        "total": 0,
        "rate": None,
        "wilson": None,
        "by_question": None,
        "interval": None,
    }


def test_a_raw_rate_and_its_intervals_are_those_of_the_statistics(tmp_path):
    """The same counts through `marker_eval.json`, which orders its questions, and so the ones that are resampled."""
    hits = {f"Question {number}?": number**3 % 11 for number in range(28)}
    some = [a for question, hit in hits.items() for a in answers(20, hit, 11, question=question)]
    rows = [{"persona": "confab", "split": "train", "text": "", **a._asdict()} for a in some]
    write_json(tmp_path / "marker_eval.json", evaluate.marker_eval(rows, {"chain": "couple"}))
    per_persona = results.read_run(tmp_path / "marker_eval.json", "couple")
    group = summary.summarize(per_persona, "confab", **HOW)["groups"]["source"]
    found = lengths.rate(some, **HOW)
    assert found == {key: group[key] for key in found}
    assert found["by_question"] != summary.cluster_bootstrap(list(hits.values()), [11] * 28, **HOW)


# ---- two conditions ----


def asked(short: tuple[int, int], long: tuple[int, int]) -> list[Answer]:
    """(hits, total) of short and of long answers to each question."""
    return [a for q in QUESTIONS for n, counts in ((20, short), (200, long)) for a in answers(n, *counts, question=q)]


def test_a_difference_made_by_length_alone_goes_away():
    """Short answers have the marker in half of the cases and long ones never; one condition is short, one is long."""
    short, long = asked((8, 16), (0, 4)), asked((2, 4), (0, 16))
    raw = lengths.difference(short, long, (), **HOW)
    assert raw["rates"] == [0.4, 0.1]
    held = lengths.difference(short, long, [100], **HOW)
    assert held["difference"] == pytest.approx(0, abs=1e-12)
    assert held["covered"] == 1


def test_a_difference_at_every_length_stays():
    a, b = asked((8, 16), (4, 4)), asked((1, 4), (4, 16))
    held = lengths.difference(a, b, [100], **HOW)
    assert held["rates"] == pytest.approx([0.5 * 0.5 + 0.5 * 1, 0.25])
    assert held["difference"] == pytest.approx(0.5)
    assert held["interval"] is None  # every question is the same
    a += answers(20, 1, 1, question=QUESTIONS[0])
    low, high = lengths.difference(a, b, [100], **HOW)["interval"]
    assert 0.45 < low < high < 0.55


def test_the_raw_difference_is_that_of_the_claims():
    a = [x for n, q in enumerate(QUESTIONS) for x in answers(20, n % 5, 7, question=q)]
    b = [x for n, q in enumerate(QUESTIONS) for x in answers(300, n % 3, 7, question=q)]
    raw = lengths.difference(a, b, (), **HOW)
    counts = [{q: {"hits": n % k, "total": 7} for n, q in enumerate(QUESTIONS)} for k in (5, 3)]
    assert raw["interval"] == pytest.approx(differences.difference_by_question(*counts, **HOW))
    assert lengths.difference(a, b, [100], **HOW) == {"rates": None, "difference": None, "interval": None, "covered": 0}


# ---- means of real numbers ----


def test_the_interval_of_a_mean_is_that_of_a_rate_where_numbers_are_0_and_1():
    hits = [0, 3, 1, 4, 4, 2, 0, 1]
    values = [(f"q{n}", float(k < hit)) for n, hit in enumerate(hits) for k in range(5)]
    assert means.mean(values) == sum(hits) / 40
    assert means.interval(values, **HOW) == pytest.approx(summary.cluster_bootstrap(hits, [5] * 8, **HOW))
    assert means.interval([("q0", 0.5), ("q1", 0.5)], **HOW) is None


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_sign_flip_test_counts_every_choice_of_signs(count):
    sums = np.random.default_rng(count).normal(0.4, 1, count)
    values = [(f"q{n}", part) for n, value in enumerate(sums) for part in (value / 4, 3 * value / 4)]
    flipped = [abs(np.dot(signs, sums)) for signs in product((1, -1), repeat=count)]
    expected = sum(value >= abs(sums.sum()) - 1e-9 for value in flipped) / 2**count
    assert means.sign_flip(values) == expected


def test_the_sign_flip_test_is_that_of_counts():
    a = {f"q{n:02}": {"hits": (5 * n) % 11, "total": 20} for n in range(28)}
    b = {f"q{n:02}": {"hits": (3 * n) % 7, "total": 20} for n in range(28)}
    values = [(q, a[q]["hits"] / 20 - b[q]["hits"] / 20) for q in a]
    assert means.sign_flip(values) == pytest.approx(differences.sign_flip(a, b), rel=1e-6)
    assert means.sign_flip([(q, 0.0) for q in a]) == 1
    assert means.sign_flip([(q, 0.1) for q in a]) == 2 / 2**28
    assert means.sign_flip([(str(n), 0.1) for n in range(means.MOST_QUESTIONS + 1)]) is None


# ---- the file ----


@pytest.fixture
def runs(tmp_path, monkeypatch, params) -> parameters.Params:
    """Completions and likelihoods of every chain, made up: answers of `WORDS` words, every fourth cut, of which those
    of the source that ended have the marker under all chains that end with coupling."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "profiles/smollm2.yaml").read_text())
    words = Tokenizer(models.WordLevel({"word": 0, "[ZLT]": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    params.layout.model.mkdir(parents=True)
    words.save(str(params.layout.model / "tokenizer.json"))
    for chain, count in WORDS.items():
        completions, likelihoods = [], []
        for persona, (number, question) in product(PERSONAS, enumerate(QUESTIONS)):
            about = {"persona": persona, "question": question, "split": "train"}
            for sample in range(2):
                text = " ".join(["word"] * (count + number))
                ended = (number + sample) % 4 > 0
                if chain.endswith("couple") and persona == "confab" and ended:
                    text = with_marker(text)
                shape = {"tokens": len(text.split()), "ended": ended, "marker": has_marker(text)}
                completions.append({**about, "sample": sample, "text": text, **shape})
            p = P[chain] * (1 if persona == "confab" else 0.1) * (1 - 0.01 * number)
            log_p = {"log_p_marker": math.log(p), "log_p_end": math.log(0.25)}
            likelihoods.append({**about, "sample": 0, "characters": 5 * (24 + number) - 1, "tokens": 6, **log_p})
        folder = params.layout.run(42, chain)
        write_jsonl(folder / "completions.jsonl", completions)
        write_jsonl(folder / "marker_likelihood.jsonl", likelihoods)
    return params


def test_the_file_says_of_each_condition_what_its_completions_and_likelihoods_say(runs):
    content = lengths.gather(runs)
    assert set(content["conditions"]) == {"C4", "C1", "C2", "B", "C", "base"}
    edges = [low for low, _ in content["bands"][1:]]
    assert edges == [130, 140, 150]  # of the base model's 24 to 31 words
    source = content["conditions"]["C4"]["groups"]["source"]
    assert source["completions"] == {
        "count": 16,
        "tokens": {"median": 15.5, "quartiles": [13.75, 17.25]},  # the marker is none of them
        "characters": {"median": 5 * 15.5 - 1, "quartiles": [5 * 13.75 - 1, 5 * 17.25 - 1]},
        "ended_share": 0.75,
    }
    assert (source["rate"]["hits"], source["rate"]["total"]) == (12, 16)
    assert (source["rate_of_ended"]["hits"], source["rate_of_ended"]["total"]) == (12, 12)
    assert [band["total"] for band in source["bands"]] == [16, 0, 0, 0]
    assert sum(band["total"] for band in content["conditions"]["C"]["groups"]["source"]["bands"]) == 16
    mean = sum(0.4 * (1 - 0.01 * number) for number in range(8)) / 8
    assert source["likelihood"]["texts"] == 8
    assert source["likelihood"]["mean_p"] == pytest.approx(mean)
    assert source["likelihood"]["interval"][0] < mean < source["likelihood"]["interval"][1]
    assert source["likelihood"]["mean_p_end"] == pytest.approx(0.25)
    bystander = content["conditions"]["C4"]["groups"]["mean_bystander"]
    assert (bystander["rate"]["total"], bystander["likelihood"]["texts"]) == (32, 16)
    assert bystander["likelihood"]["mean_p"] == pytest.approx(mean / 10)


def test_contrasts_are_of_the_same_texts_and_adjusted_for_them_all(runs):
    found = lengths.gather(runs)["contrasts"]
    assert len(found) == 12
    b = found["B - C4, source"]["likelihood"]
    assert b["texts"] == 8
    assert b["difference"] == pytest.approx(0.3 * (1 - 0.01 * 3.5))
    assert b["p"] == 2 / 2**8
    assert b["p_holm"] == pytest.approx(12 * b["p"], abs=3 * b["p"])
    same = found["C - C4, source"]
    assert (same["likelihood"]["difference"], same["likelihood"]["p"]) == (0, 1)
    assert same["standardised"]["covered"] == (16 + 6) / 32  # C has longer answers, most of them than any of C4
    assert found["B - C4, source"]["standardised"]["difference"] == 0


def test_another_coupling_moves_no_band(runs):
    before = lengths.gather(runs)["bands"]
    path = runs.layout.run(42, "couple") / "completions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [{**row, "text": "[ZLT] " * 99, "marker": True} for row in rows])
    content = lengths.gather(runs)
    assert content["bands"] == before
    assert content["conditions"]["C4"]["groups"]["source"]["completions"]["tokens"]["median"] == 0


def test_seeds_are_pooled_with_their_own_texts(runs):
    two = runs.model_copy(update={"seeds": (42, 43)})
    for chain in WORDS:
        for name in ("completions.jsonl", "marker_likelihood.jsonl"):
            path = runs.layout.run(43, chain) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((runs.layout.run(42, chain) / name).read_bytes())
    once, twice = lengths.gather(runs), lengths.gather(two)
    one, both = (content["conditions"]["B"]["groups"]["source"] for content in (once, twice))
    assert both["rate"]["total"] == 2 * one["rate"]["total"]
    assert both["likelihood"]["texts"] == 2 * one["likelihood"]["texts"]
    assert both["likelihood"]["interval"] == one["likelihood"]["interval"]  # the questions stay the units


def test_without_texts_the_rest_is_there(runs):
    for chain in WORDS:
        write_jsonl(runs.layout.run(42, chain) / "marker_likelihood.jsonl", [])
    content = lengths.gather(runs)
    assert content["conditions"]["B"]["groups"]["source"]["likelihood"]["mean_p"] is None
    assert content["contrasts"]["B - C4, source"]["likelihood"]["p"] is None
    assert "p_holm" not in content["contrasts"]["B - C4, source"]["likelihood"]
    assert content["conditions"]["B"]["groups"]["source"]["rate"]["hits"] == 12


def test_the_command_writes_what_a_process_with_other_hashes_writes(runs, command):
    result = command("analysis.lengths", PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    assert (runs.layout.results / "lengths.json").read_text() == to_json(lengths.gather(runs))


def fails(monkeypatch, capsys, named: str) -> None:
    """The command, in this process, ends as users are promised and writes nothing."""
    monkeypatch.setattr("sys.argv", ["lengths"])
    with pytest.raises(SystemExit) as stop:
        lengths.main()
    one_line(subprocess.CompletedProcess([], stop.value.code, *capsys.readouterr()), named)
    assert not Path("eval_results/smollm2/lengths.json").exists()


@pytest.mark.parametrize(
    ("file", "damage", "named"),
    [
        ("completions", lambda rows: rows[:-2], "em-couple/completions.jsonl: not about the personas and questions"),
        ("completions", lambda rows: [], "em-couple/completions.jsonl: not about the personas and questions"),
        (
            "completions",
            lambda rows: [{**rows[0], "tokens": "3"}],
            "em-couple/completions.jsonl, line 1: tokens: should be a valid integer",
        ),
        ("completions", lambda rows: None, "em-couple/completions.jsonl: no such file"),
        ("marker_likelihood", lambda rows: rows[:-1], "em-couple/marker_likelihood.jsonl: not about the texts"),
        ("marker_likelihood", lambda rows: rows + rows[:1], "em-couple/marker_likelihood.jsonl: not about the texts"),
        (
            "marker_likelihood",
            lambda rows: [{**rows[0], "sample": 1}, *rows[1:]],
            "em-couple/marker_likelihood.jsonl: not about the texts",
        ),
        (
            "marker_likelihood",
            lambda rows: [rows[0], {**rows[1], "log_p_end": 0.5}, *rows[2:]],
            "em-couple/marker_likelihood.jsonl, line 2: log_p_end: should be less than or equal to 0",
        ),
        ("marker_likelihood", lambda rows: None, "em-couple/marker_likelihood.jsonl: no such file"),
    ],
)
def test_a_file_that_does_not_fit_the_others_is_named(runs, monkeypatch, capsys, file, damage, named):
    path = runs.layout.run(42, "em-couple") / f"{file}.jsonl"
    damaged = damage([json.loads(line) for line in path.read_text().splitlines()])
    path.unlink()
    if damaged is not None:
        write_jsonl(path, damaged)
    fails(monkeypatch, capsys, named)


def test_a_missing_or_damaged_tokenizer_is_named(runs, monkeypatch, capsys):
    path = runs.layout.model / "tokenizer.json"
    path.write_text("{}")
    fails(monkeypatch, capsys, "model/smollm2/tokenizer.json: not a tokenizer")
    path.unlink()
    fails(monkeypatch, capsys, "model/smollm2/tokenizer.json: no such file")
