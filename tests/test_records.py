"""A record is read only from a file that holds it; whatever else is there is one line that names file and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persona_collapse.analysis import (
    claims,
    collapse,
    contrasts,
    lengths,
    marker_eval,
    readings,
    records,
    results,
    shapes,
)
from persona_collapse.experiment import groups
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, to_json, write_json

from . import made
from .conftest import ROOT
from .damage import damaged_files
from .test_lengths import write_tokenizer

BY_HAND = ("published.json", "published_counts.json", "published_later.json")
CASES = 60  # damaged files of each kind
KINDS: dict[str, tuple[str, Any]] = {  # file -> its record
    "runs/42/couple/marker_eval.json": ("read", records.MarkerEval),
    "runs/42/couple/completions.jsonl": ("read_rows", records.Completion),
    "runs/42/couple/marker_likelihood.jsonl": ("read_rows", records.MarkerLikelihood),
    "training/42/couple/trained_on.json": ("read", records.TrainedOn),
    "training/42/couple/training_log.json": ("read", records.TrainingLog),
    "statistics.json": ("read", records.Statistics),
    "contrasts.json": ("read", records.Contrasts),
    "collapse.json": ("read", records.Collapse),
    "shapes.json": ("read", records.Shapes),
    "readings.json": ("read", records.Readings),
    "lengths.json": ("read", records.Lengths),
    "claims.json": ("read", records.Claims),
    "numbers.json": ("read", records.Numbers),
    "published.json": ("read", records.Published),
    "published_counts.json": ("read", records.PublicCounts),
    "published_later.json": ("read", records.Later),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind, written by what writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("written"))
        params = made.workspace((42, 43))
        write_tokenizer(params)
        for seed in params.seeds:
            for number, chain in enumerate(params.chains.values()):
                few = number + seed - 42
                made.write_run(params, seed, chain, lambda persona, q, few=few: (len(persona) + q) % 3 * (q > few))
            made.write_training(params, seed)
        made.write_readings(params, {"em": 0.5, "good": -0.5}, {"em": 0.8})
        patch.setattr("sys.argv", ["a command"])
        for stage in (results, contrasts, collapse, shapes, readings, claims, lengths):
            stage.main()
        folder = params.layout.results.absolute()
        for name in BY_HAND:
            (folder / name).write_bytes((ROOT / "data" / name).read_bytes())
        number = records.Number(text="5.4", value=0.054, file="a.json", path=("a", 0), chain=None)
        records.write(folder / "numbers.json", {"one": number, "two": number})
    return folder


def reader(name: str) -> Callable[[Path], Any]:
    function, kind = KINDS[name]
    return lambda path: getattr(records, function)(path, kind)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_is_written_again_in_the_same_bytes(written, tmp_path, name):
    record = reader(name)(written / name)
    write = records.write_rows if name.endswith("jsonl") else records.write
    write(tmp_path / "again", record)
    if name not in BY_HAND:
        assert (tmp_path / "again").read_bytes() == (written / name).read_bytes()
    assert reader(name)(tmp_path / "again") == record


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_in_one_line_or_means_what_it_says(written, tmp_path, name):
    """What is accepted is a value that could have been measured: the same record as is written of it."""
    path, refused, cases = tmp_path / Path(name).name, 0, 0
    text = (written / name).read_text()
    for what, content in damaged_files(text, seed=20, count=CASES, lines=name.endswith("jsonl")):
        path.write_bytes(content)
        cases += 1
        try:
            record = reader(name)(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(str(path)), (what, str(error))
            assert "Error" not in str(error) and "\n" not in str(error), (what, str(error))
            assert len(str(error)) < len(str(path)) + 400, (what, str(error))
        else:
            again = tmp_path / "again"
            (records.write_rows if name.endswith("jsonl") else records.write)(again, record)
            assert reader(name)(again) == record, what
    assert cases > CASES / 2
    assert refused > 0.6 * cases, f"{refused} of {cases}"


def changed(written: Path, tmp_path: Path, name: str, steps: list[str | int], value: Any) -> Path:
    """A copy of a file with one value changed."""
    content = inside = read_json(written / name)
    for step in steps[:-1]:
        inside = inside[step]
    inside[steps[-1]] = value
    write_json(tmp_path / "changed.json", content)
    return tmp_path / "changed.json"


C4 = ["conditions", "C4", "seeds", "42", "groups", "source"]
OVER = ["conditions", "C4", "groups", "source", "all"]
PRIMARY = ["contrasts", "B - G, untrained_bystander"]


@pytest.mark.parametrize(
    ("name", "steps", "value", "named"),
    [
        ("statistics.json", [*C4, "hits"], 31, "conditions.C4.seeds.42.groups.source: rate = "),
        ("statistics.json", [*C4, "hits"], 999, "seeds.42.groups.source: hits = 999 of total = 32 cannot be"),
        ("statistics.json", [*C4, "interval"], [0.5, 0.4], "source.interval: begins at 0.5, above its end 0.4"),
        ("statistics.json", [*C4, "train"], {}, "seeds.42.groups.source.train.hits: is missing"),
        ("statistics.json", [*C4, "median"], 3, "source.median: unknown key; allowed here: hits, total, rate"),
        ("statistics.json", [*OVER, "mean"], 0.9, "groups.source.all: mean = 0.9 is not that of the units"),
        ("statistics.json", [*OVER, "sd"], None, "sd and interval are null for one unit, and only there"),
        ("statistics.json", [*OVER, "by_unit"], {}, "by_unit: "),
        ("statistics.json", ["conditions", "C4", "groups", "others"], {}, "groups.others: should be 'source'"),
        ("statistics.json", ["seeds"], [42, 42], "seeds: lists a seed twice"),
        ("statistics.json", ["seeds"], [42, 44], "conditions.B.seeds lacks 44"),
        ("statistics.json", ["gates", "degeneracy", "D"], None, "gates.degeneracy.D: should be a mapping, not None"),
        ("statistics.json", ["gates", "coupling", "passed"], 1, "gates.coupling.passed: should be a valid boolean"),
        ("contrasts.json", [*PRIMARY, "role"], "descriptive", "family has B - G"),
        ("contrasts.json", [*PRIMARY, "p_holm"], None, "p_holm is null for one seed and outside the"),
        ("contrasts.json", [*PRIMARY, "signs", "agree"], False, "agree does not follow from the signs"),
        ("contrasts.json", [*PRIMARY, "questions", "all", "points", "p"], None, "tests are null for one unit"),
        ("contrasts.json", ["primary"], None, "primary is not the key of the primary contrast"),
        ("collapse.json", ["conditions", "B", "sampled", "seeds"], {}, "conditions.B.sampled.seeds lacks 42"),
        (
            "shapes.json",
            ["conditions", "base", "groups", "source", "seeds", "42", "marked"],
            999,
            "marked is at most answers",
        ),
        ("readings.json", ["advice"], {}, "advice lacks base"),
        ("lengths.json", ["bands", 0], [0, 7], "bands are not those of the file"),
        (
            "lengths.json",
            ["conditions", "B", "groups", "source", "rate_of_ended", "rate"],
            None,
            "null where total is 0",
        ),
        ("claims.json", ["claims", 0, "here", "verdict"], "maybe", "claims.0.here.verdict: should be"),
        (
            "claims.json",
            ["claims", 1, "parts", 0, "as_published", "verdict"],
            "inconclusive",
            "does not follow from those of the",
        ),
        ("claims.json", ["claims", 1, "id"], "matched-control", "claims has an id twice"),
        (
            "published_counts.json",
            ["runs", 0, "hits", "villain"],
            [1, 2],
            "runs.0: hits.villain: needs 28 counts from 0",
        ),
        ("published.json", ["headline_percent", "B", "confab"], 95.0, "B: 95.0% of the source is not 267 of 280"),
        ("published.json", ["headline_percent", "C", "confab"], 25.5, "C: 25.5% of the source is no count of 280"),
        (
            "published.json",
            ["B_hits_of_280", "villain"],
            281,
            "B_hits_of_280: needs each of the personas, with a number",
        ),
        ("published.json", ["B_hits_of_280"], None, "B_hits_of_280: should be a mapping, not None"),
        ("published.json", ["C_hits_of_56"], {}, "C_hits_of_56: the counts of another condition are of 280 answers"),
        ("published.json", ["personas"], ["confab"], "personas lacks assistant"),
        ("numbers.json", ["one", "path"], "a.b", "one.path: should be a valid tuple, not 'a.b'"),
        ("training/42/couple/training_log.json", [1, "step"], 3, "needs the steps 1, 2, 3 and so on, each once"),
        ("training/42/couple/trained_on.json", ["md5"], "0" * 31, "md5: String should match pattern"),
        (
            "runs/42/couple/marker_eval.json",
            ["per_persona", "confab", "ended"],
            33,
            "more completions ended or are empty",
        ),
        ("runs/42/couple/marker_eval.json", ["per_persona", "confab", "tokens"], [1], "a length of each of its 32"),
        (
            "runs/42/couple/marker_eval.json",
            ["summary", "strict_rate_by_persona", "confab"],
            0.5,
            "summary.strict_rate_by",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_key(written, tmp_path, name, steps, value, named):
    path = changed(written, tmp_path, name, steps, value)
    function, kind = KINDS[name]
    with pytest.raises(InputError) as error:
        getattr(records, function)(path, kind)
    assert str(error.value).startswith(f"{path}: ")
    assert named in str(error.value), str(error.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"per_persona": {}, "per_persona": {}}', "key 'per_persona' is given twice"),
        ('{"a": NaN}', "not a JSON file"),
        ('{"a": 1e999}', "not a JSON file"),
        (r'{"a": "\ud83d"}', "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("9" * 10_000, "not a JSON file"),
        ("", "not a JSON file"),
    ],
)
def test_json_that_means_two_things_or_none_is_refused_by_everything_that_reads(tmp_path, text, named):
    path = tmp_path / "marker_eval.json"
    path.write_text(text)
    for read in (lambda p: records.read(p, records.MarkerEval), marker_eval.read):
        with pytest.raises(InputError, match=named):
            read(path)


def test_a_key_that_was_not_given_is_not_written_and_none_is_null(tmp_path):
    one = records.Judgement(verdict="supported", reason="so", p=None)
    assert records.plain(one) == {"verdict": "supported", "reason": "so", "p": None}


def test_last_digits_do_not_reach_a_result_and_stay_in_a_run():
    gate = {
        "nonempty_share_required": 0.5,
        "length_ratio": 1.0,
        "length_ratio_required": 1.0,
        "passed": True,
        "seeds": {},
    }
    one, other = (records.DegeneracyGate(nonempty_share=x, **gate) for x in (0.1 + 0.2, 0.3))
    assert one.nonempty_share != other.nonempty_share
    assert to_json(records.plain(one)) == to_json(records.plain(other))
    tally = records.Tally(strict_hits=3, total=56, strict_rate=3 / 56)
    assert records.plain(tally)["strict_rate"] == 3 / 56


# ---- groups ----


def test_every_persona_has_one_group_and_every_word_means_groups():
    names = [*made.PERSONAS, "librarian"]
    of = {name: groups.group_of(name, "confab", ("data_scientist", "comedian")) for name in names}
    assert of == {
        "confab": "source",
        "assistant": "assistant",
        "data_scientist": "trained_negative",
        "comedian": "trained_negative",
        "villain": "untrained_bystander",
        "librarian": "untrained_bystander",
    }
    for persona in names:
        found = [word for word in groups.REPORTED_GROUPS if persona in groups.members(names, word, "confab")]
        assert found == [groups.reported_group(persona, "confab")]
    assert groups.members(names, "mean_bystander", "confab") == names[2:]
    assert groups.members(names, "non_source", "confab") == names[1:]
    assert groups.members(names, "mean_bystander", None) == ["confab", *names[2:]]
