"""Length control: the marker adds no length, a difference made by length alone goes away, any other stays."""

import json
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from persona_collapse.analysis import (
    hypothesis_tests,
    intervals,
    length_control,
    lengths,
    marker_eval,
    records,
    summary,
)
from persona_collapse.analysis.length_control import Answer
from persona_collapse.analysis.records import Counts
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import runs
from persona_collapse.experiment.files import to_json, write_jsonl
from persona_collapse.experiment.marker import with_marker

from . import made
from .conftest import one_line

HOW = intervals.How(resamples=2000, level=0.95)
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
    assert length_control.edges_of(some) == [10, 100, 210]
    assert length_control.edges_of(answers(2, 0, 9)) == []
    assert length_control.bands([30, 100]) == [(0, 30), (30, 100), (100, None)]
    assert [length_control.band_of(answers(n, 0, 1)[0], [30, 100]) for n in (0, 29, 30, 99, 100, 5000)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_no_answers_have_no_rate():
    found = records.PossibleRate(**length_control.rate([], HOW))
    assert (found.hits, found.total) == (0, 0)
    assert found.rate is found.wilson is found.by_question is found.interval is None


def test_a_raw_rate_and_its_intervals_are_those_of_the_statistics(params):
    """The same completions through `marker_eval.json`."""
    hits = {f"Question {number}?": number**3 % 11 for number in range(28)}
    some = [a for question, hit in hits.items() for a in answers(20, hit, 11, question=question)]
    rows = [
        records.Completion(persona="confab", split="train", text="", sample=number, **kept(a))
        for number, a in enumerate(some)
    ]
    counted = marker_eval.counted(runs.marker_eval(rows, runs.config(params, 42, "couple")).per_persona)
    group = summary.summarize(counted, "confab", HOW).groups["source"]
    found = records.MarkerRate(**length_control.rate(some, HOW))
    assert found == records.MarkerRate(**{key: getattr(group, key) for key in records.MarkerRate.model_fields})


def kept(answer: Answer) -> dict[str, object]:
    return {key: value for key, value in answer._asdict().items() if key not in ("group", "characters")}


# ---- two conditions ----


def asked(short: tuple[int, int], long: tuple[int, int]) -> list[Answer]:
    """(hits, total) of short and of long answers to each question."""
    return [a for q in QUESTIONS for n, counts in ((20, short), (200, long)) for a in answers(n, *counts, question=q)]


def test_a_difference_made_by_length_alone_goes_away():
    """Short answers have the marker in half of the cases and long ones never; one condition is short, one is long."""
    short, long = asked((8, 16), (0, 4)), asked((2, 4), (0, 16))
    raw = length_control.difference(short, long, (), HOW)
    assert raw.rates == (0.4, 0.1)
    held = length_control.difference(short, long, [100], HOW)
    assert held.difference == pytest.approx(0, abs=1e-12)
    assert held.covered == 1


def test_a_difference_at_every_length_stays():
    a, b = asked((8, 16), (4, 4)), asked((1, 4), (4, 16))
    held = length_control.difference(a, b, [100], HOW)
    assert held.rates == pytest.approx((0.5 * 0.5 + 0.5 * 1, 0.25))
    assert held.difference == pytest.approx(0.5)
    assert held.interval is None  # every question is the same
    a += answers(20, 1, 1, question=QUESTIONS[0])
    low, high = length_control.difference(a, b, [100], HOW).interval
    assert 0.45 < low < high < 0.55


def test_the_raw_difference_is_that_of_the_claims():
    a = [x for n, q in enumerate(QUESTIONS) for x in answers(20, n % 5, 7, question=q)]
    b = [x for n, q in enumerate(QUESTIONS) for x in answers(300, n % 3, 7, question=q)]
    raw = length_control.difference(a, b, (), HOW)
    counts = [{q: Counts(hits=n % k, total=7) for n, q in enumerate(QUESTIONS)} for k in (5, 3)]
    assert raw.interval == pytest.approx(intervals.difference_by_question(*counts, HOW))
    apart = length_control.difference(a, b, [100], HOW)
    assert (apart.rates, apart.difference, apart.interval, apart.covered) == (None, None, None, 0)


# ---- means of real numbers ----


def test_the_interval_of_a_mean_is_that_of_a_rate_where_numbers_are_0_and_1():
    hits = [0, 3, 1, 4, 4, 2, 0, 1]
    values = [(f"q{n}", float(k < hit)) for n, hit in enumerate(hits) for k in range(5)]
    assert intervals.mean(values) == sum(hits) / 40
    assert intervals.mean_interval(values, HOW) == pytest.approx(
        intervals.cluster_bootstrap({f"q{n}": Counts(hits=hit, total=5) for n, hit in enumerate(hits)}, HOW)
    )
    assert intervals.mean_interval([("q0", 0.5), ("q1", 0.5)], HOW) is None


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_sign_flip_test_counts_every_choice_of_signs(count):
    sums = np.random.default_rng(count).normal(0.4, 1, count)
    values = [(f"q{n}", part) for n, value in enumerate(sums) for part in (value / 4, 3 * value / 4)]
    flipped = [abs(np.dot(signs, sums)) for signs in product((1, -1), repeat=count)]
    expected = sum(value >= abs(sums.sum()) - 1e-9 for value in flipped) / 2**count
    assert hypothesis_tests.sign_flip_of_means(values) == expected


def test_the_sign_flip_test_is_that_of_counts():
    a = {f"q{n:02}": Counts(hits=(5 * n) % 11, total=20) for n in range(28)}
    b = {f"q{n:02}": Counts(hits=(3 * n) % 7, total=20) for n in range(28)}
    values = [(q, a[q].hits / 20 - b[q].hits / 20) for q in a]
    assert hypothesis_tests.sign_flip_of_means(values) == pytest.approx(hypothesis_tests.sign_flip(a, b), rel=1e-6)
    assert hypothesis_tests.sign_flip_of_means([(q, 0.0) for q in a]) == 1
    assert hypothesis_tests.sign_flip_of_means([(q, 0.1) for q in a]) == 2 / 2**28
    assert (
        hypothesis_tests.sign_flip_of_means([(str(n), 0.1) for n in range(hypothesis_tests.MOST_QUESTIONS + 1)]) is None
    )


# ---- the file ----


def write_tokenizer(params: parameters.Params) -> None:
    """A tokenizer of words."""
    words = Tokenizer(models.WordLevel({"word": 0, "[ZLT]": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    params.layout.model.mkdir(parents=True)
    words.save(str(params.layout.model / "tokenizer.json"))


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> parameters.Params:
    """Runs of every chain: answers of `WORDS` words, every fourth cut, of which those of the source that ended have the
    marker under all chains that end with coupling."""
    monkeypatch.chdir(tmp_path)
    params = made.workspace()
    write_tokenizer(params)
    for chain, words in WORDS.items():
        ended = 3 if chain.endswith("couple") else 0
        hits = {"confab": ended}
        made.write_run(params, 42, chain, lambda persona, _, hits=hits: hits.get(persona, 0), words, P[chain])
    return params


def test_the_file_says_of_each_condition_what_its_completions_and_likelihoods_say(bundle):
    content = lengths.gather(bundle)
    assert set(content.conditions) == {"C4", "C1", "C2", "B", "C", "base"}
    assert [low for low, _ in content.bands[1:]] == [130, 140, 150]  # of the base model's 24 to 31 words
    source = content.conditions["C4"].groups["source"]
    assert records.plain(source.completions) == {
        "count": 32,
        "tokens": {"median": 15.5, "quartiles": (13.75, 17.25)},  # the marker is none of them
        "characters": {"median": 5 * 15.5 - 1, "quartiles": (5 * 13.75 - 1, 5 * 17.25 - 1)},
        "ended_share": 0.75,
    }
    assert (source.rate.hits, source.rate.total) == (24, 32)
    assert (source.rate_of_ended.hits, source.rate_of_ended.total) == (24, 24)
    assert [band.total for band in source.bands] == [32, 0, 0, 0]
    assert sum(band.total for band in content.conditions["C"].groups["source"].bands) == 32
    mean = sum(0.4 * (1 - 0.01 * number) for number in range(8)) / 8
    assert source.likelihood.texts == 8
    assert source.likelihood.mean_p == pytest.approx(mean)
    assert source.likelihood.interval[0] < mean < source.likelihood.interval[1]
    assert source.likelihood.mean_p_end == pytest.approx(0.25)
    bystander = content.conditions["C4"].groups["mean_bystander"]
    assert (bystander.rate.total, bystander.likelihood.texts) == (96, 24)
    assert bystander.likelihood.mean_p == pytest.approx(mean / 10)


def test_contrasts_are_of_the_same_texts_and_adjusted_for_them_all(bundle):
    found = lengths.gather(bundle).contrasts
    assert len(found) == 12
    b = found["B - C4, source"].likelihood
    assert b.texts == 8
    assert b.difference == pytest.approx(0.3 * (1 - 0.01 * 3.5))
    assert b.p == 2 / 2**8
    assert b.p_holm == pytest.approx(12 * b.p, abs=3 * b.p)
    same = found["C - C4, source"]
    assert (same.likelihood.difference, same.likelihood.p) == (0, 1)
    assert same.standardised.covered == (32 + 12) / 64  # C has longer answers, most of them than any of C4
    assert found["B - C4, source"].standardised.difference == 0


def test_another_coupling_moves_no_band(bundle):
    before = lengths.gather(bundle).bands
    made.write_run(bundle, 42, "couple", lambda persona, _: 4, words=0)
    content = lengths.gather(bundle)
    assert content.bands == before
    assert content.conditions["C4"].groups["source"].completions.tokens.median == 3.5


def test_seeds_are_pooled_with_their_own_texts(bundle):
    two = bundle.model_copy(update={"seeds": (42, 43)})
    for chain, words in WORDS.items():
        ended = 3 if chain.endswith("couple") else 0
        made.write_run(two, 43, chain, lambda persona, _, hit=ended: hit * (persona == "confab"), words, P[chain])
    once, twice = lengths.gather(bundle), lengths.gather(two)
    one, both = (content.conditions["B"].groups["source"] for content in (once, twice))
    assert both.rate.total == 2 * one.rate.total
    assert both.likelihood.texts == 2 * one.likelihood.texts
    assert both.likelihood.interval == one.likelihood.interval  # the questions stay the units


def test_without_texts_the_rest_is_there(bundle):
    for chain in WORDS:
        write_jsonl(bundle.layout.run(42, chain) / "marker_likelihood.jsonl", [])
    content = lengths.gather(bundle)
    assert content.conditions["B"].groups["source"].likelihood.mean_p is None
    assert content.contrasts["B - C4, source"].likelihood.p is None
    assert "p_holm" not in records.plain(content)["contrasts"]["B - C4, source"]["likelihood"]
    assert content.conditions["B"].groups["source"].rate.hits == 24


def test_the_command_writes_what_a_process_with_other_hashes_writes(bundle, command):
    result = command("analysis.lengths", PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    written = (bundle.layout.results / "lengths.json").read_text()
    assert written == to_json(records.plain(lengths.gather(bundle)))


def fails(monkeypatch, capsys, named: str) -> None:
    """The command, in this process, ends as users are promised and writes nothing."""
    monkeypatch.setattr("sys.argv", ["lengths"])
    with pytest.raises(SystemExit) as stop:
        lengths.main()
    one_line(subprocess.CompletedProcess([], stop.value.code, *capsys.readouterr()), named)
    assert not Path("eval_results/smollm2/lengths.json").exists()


OTHER_TEXTS = "em-couple/marker_likelihood.jsonl: not about the texts that"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda rows: rows[:-1], OTHER_TEXTS),
        (lambda rows: [{**rows[0], "sample": 1}, *rows[1:]], OTHER_TEXTS),
        (lambda rows: [{**rows[0], "characters": 1}, *rows[1:]], OTHER_TEXTS),
        (lambda rows: rows + rows[:1], "line 41: about the same persona and question as line 1"),
        (
            lambda rows: [{**rows[0], "question": "?"}, *rows[1:]],
            "line 1: question = '?', which the evaluation",
        ),
        (lambda rows: [rows[0], {**rows[1], "log_p_end": 0.5}, *rows[2:]], "line 2: log_p_end: should be less than or"),
        (lambda rows: None, "em-couple/marker_likelihood.jsonl: no such file"),
    ],
)
def test_scored_texts_that_are_not_the_base_models_are_named(bundle, monkeypatch, capsys, damage, named):
    path = bundle.layout.run(42, "em-couple") / "marker_likelihood.jsonl"
    damaged = damage([json.loads(line) for line in path.read_text().splitlines()])
    path.unlink()
    if damaged is not None:
        write_jsonl(path, damaged)
    fails(monkeypatch, capsys, named)


def test_a_missing_or_damaged_tokenizer_is_named(bundle, monkeypatch, capsys):
    path = bundle.layout.model / "tokenizer.json"
    path.write_text("{}")
    fails(monkeypatch, capsys, "model/smollm2/tokenizer.json: not a tokenizer")
    path.unlink()
    fails(monkeypatch, capsys, "model/smollm2/tokenizer.json: no such file")
