"""Length control: the marker adds no length, a difference made by length alone goes away, any other stays."""

import json
import subprocess
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from persona_collapse.analysis import designs, length_control, lengths, records
from persona_collapse.analysis.length_control import Answer
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import to_json, write_jsonl
from persona_collapse.experiment.marker import with_marker

from . import made
from .conftest import one_line

WORDS = {"base": 24, "couple": 12, "couple-em": 18, "em": 18, "em-couple": 12, "benign-couple": 24}  # of an answer
WORDS |= {"good-couple": 12, "couple-good": 18, "couple-benign": 18}
P = {"base": 1e-6, "couple": 0.4, "couple-em": 1e-4, "em": 1e-5, "em-couple": 0.7, "benign-couple": 0.4}
P |= {"good-couple": 0.4, "couple-good": 1e-4, "couple-benign": 1e-4}


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


def answers(characters: int, hits: int, total: int, seed: int = 42) -> list[Answer]:
    row = Answer(seed, "source", characters, characters // 4, ended=True, marker=False)
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
    assert length_control.rate([]) == {"hits": 0, "total": 0, "rate": None}


# ---- two conditions ----


def asked(short: tuple[int, int], long: tuple[int, int], seeds: int = 1) -> list[Answer]:
    """(hits, total) of short and of long answers in each seed."""
    return [a for s in range(seeds) for n, counts in ((20, short), (200, long)) for a in answers(n, *counts, seed=s)]


def test_a_difference_made_by_length_alone_goes_away():
    """Short answers have the marker in half of the cases and long ones never; one condition is short, one is long."""
    short, long = asked((8, 16), (0, 4)), asked((2, 4), (0, 16))
    raw = length_control.difference(short, long, (), 0.95)
    assert raw.over_seeds.mean == pytest.approx(0.4 - 0.1)
    held = length_control.difference(short, long, [100], 0.95)
    assert held.over_seeds.mean == pytest.approx(0, abs=1e-12)
    assert held.covered == 1
    assert held.over_seeds.interval is None  # of one seed


def test_a_difference_at_every_length_stays_and_seeds_are_its_units():
    a, b = asked((8, 16), (4, 4), seeds=3), asked((1, 4), (4, 16), seeds=3)
    held = length_control.difference(a, b, [100], 0.95).over_seeds
    assert held.by_unit == pytest.approx({"0": 0.5, "1": 0.5, "2": 0.5})
    a += answers(20, 0, 8, seed=1)
    low, high = length_control.difference(a, b, [100], 0.95).over_seeds.interval
    assert low < length_control.difference(a, b, [100], 0.95).over_seeds.mean < high < 0.75


def test_seeds_in_which_no_band_has_answers_of_both_are_left_out():
    a, b = answers(20, 1, 4, seed=0) + answers(20, 1, 4, seed=1), answers(200, 1, 4, seed=0) + answers(20, 2, 4, seed=1)
    found = length_control.difference(a, b, [100], 0.95)
    assert (found.over_seeds.by_unit, found.covered) == ({"1": -0.25}, 0.5)
    assert length_control.difference(a[:4], b[:4], [100], 0.95).over_seeds is None


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
    assert set(content.conditions) == set(bundle.chains)
    assert set(content.conditions["B"].groups) == set(records.GROUPS)
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
    assert source.likelihood.mean_p_end == pytest.approx(0.25)
    bystander = content.conditions["C4"].groups["untrained_bystander"]
    assert (bystander.rate.total, bystander.likelihood.texts) == (32, 8)
    assert bystander.likelihood.mean_p == pytest.approx(mean / 10)


def test_contrasts_are_of_the_same_texts(bundle):
    found = lengths.gather(bundle).contrasts
    assert len(found) == 4 * len(designs.pairs(bundle.chains))
    b = found["B - C4, source"].likelihood
    assert b.by_unit == {"42": pytest.approx(0.3 * (1 - 0.01 * 3.5))}
    same = found["C - C4, source"]
    assert same.likelihood.mean == 0
    assert same.standardised.covered == (32 + 12) / 64  # C has longer answers, most of them than any of C4
    assert found["B - C4, source"].standardised.over_seeds.mean == 0


def test_another_coupling_moves_no_band(bundle):
    before = lengths.gather(bundle).bands
    made.write_run(bundle, 42, "couple", lambda persona, _: 4, words=0)
    content = lengths.gather(bundle)
    assert content.bands == before
    assert content.conditions["C4"].groups["source"].completions.tokens.median == 3.5


def test_seeds_are_described_together_and_compared_one_by_one(bundle):
    two = bundle.model_copy(update={"seeds": (42, 43)})
    for chain, words in WORDS.items():
        ended = 3 if chain.endswith("couple") else 0
        made.write_run(two, 43, chain, lambda persona, _, hit=ended: hit * (persona == "confab"), words, P[chain])
    once, twice = lengths.gather(bundle), lengths.gather(two)
    one, both = (content.conditions["B"].groups["source"] for content in (once, twice))
    assert both.rate.total == 2 * one.rate.total
    assert both.likelihood.texts == 2 * one.likelihood.texts
    assert list(twice.contrasts["B - C4, source"].likelihood.by_unit) == ["42", "43"]


def test_without_texts_the_rest_is_there(bundle):
    for chain in WORDS:
        write_jsonl(bundle.layout.run(42, chain) / "marker_likelihood.jsonl", [])
    content = lengths.gather(bundle)
    assert content.conditions["B"].groups["source"].likelihood.mean_p is None
    assert content.contrasts["B - C4, source"].likelihood is None
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
