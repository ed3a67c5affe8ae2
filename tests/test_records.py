"""A record is read only from a file that holds it; whatever else is there is one line that names file and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persona_collapse.analysis import claims, lengths, marker_eval, records, results
from persona_collapse.experiment import groups
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, to_json, write_json

from . import made
from .conftest import ROOT
from .damage import damaged_files
from .test_lengths import write_tokenizer

CASES = 60  # damaged files of each kind
KINDS: dict[str, tuple[str, Any]] = {  # file -> its record
    "runs/42/couple/marker_eval.json": ("read", records.MarkerEval),
    "runs/42/couple/completions.jsonl": ("read_rows", records.Completion),
    "runs/42/couple/marker_likelihood.jsonl": ("read_rows", records.MarkerLikelihood),
    "training/42/couple/trained_on.json": ("read", records.TrainedOn),
    "training/42/couple/training_log.json": ("read", records.TrainingLog),
    "statistics.json": ("read", records.Statistics),
    "lengths.json": ("read", records.Lengths),
    "claims.json": ("read", records.Claims),
    "numbers.json": ("read", records.Numbers),
    "published.json": ("read", records.Published),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind, written by what writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("written"))
        params = made.workspace()
        write_tokenizer(params)
        for number, chain in enumerate(params.chains.values()):
            made.write_run(params, 42, chain, lambda persona, q, few=number: (len(persona) + q) % 3 * (q > few))
        made.write_training(params, 42)
        patch.setattr("sys.argv", ["a command"])
        for stage in (results, claims, lengths):
            stage.main()
        folder = params.layout.results.absolute()
        (folder / "published.json").write_bytes((ROOT / "data/published.json").read_bytes())
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
    if name != "published.json":  # which is written by hand
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


C4 = ["conditions", "C4", "groups", "source"]


@pytest.mark.parametrize(
    ("name", "steps", "value", "named"),
    [
        ("statistics.json", [*C4, "hits"], 31, "conditions.C4.groups.source: rate = "),
        ("statistics.json", [*C4, "hits"], 999, "conditions.C4.groups.source: hits = 999 of total = 32 cannot be"),
        ("statistics.json", [*C4, "wilson"], [0.5, 0.4], "C4.groups.source.wilson: begins at 0.5, above its end 0.4"),
        ("statistics.json", [*C4, "interval"], [0.0, 1.0], "source: interval is not the wider one"),
        ("statistics.json", [*C4, "train"], {}, "conditions.C4.groups.source.train.hits: is missing"),
        ("statistics.json", [*C4, "median"], 3, "source.median: unknown key; allowed here: hits, total, rate"),
        ("statistics.json", ["conditions", "C4", "groups", "others"], {}, "groups.others: should be 'source'"),
        (
            "statistics.json",
            ["conditions", "C4", "tests", "assistant - comedian", "p"],
            1.5,
            "1.5 is not between 0 and 1",
        ),
        ("statistics.json", ["contrasts"], {}, "contrasts lacks C1 - C4, source"),
        ("statistics.json", ["seeds"], [42, 42], "seeds: lists a seed twice"),
        ("statistics.json", ["seeds"], [42, 43], "conditions.B.seeds lacks 43"),
        ("statistics.json", ["gates", "degeneracy", "D"], None, "gates.degeneracy.D: should be a mapping, not None"),
        (
            "statistics.json",
            ["gates", "coupling", "passed"],
            1,
            "gates.coupling.passed: should be a valid boolean, not 1",
        ),
        ("lengths.json", ["bands", 0], [0, 7], "bands are not those of the file"),
        ("lengths.json", ["contrasts", "B - C4, source", "raw", "difference"], 0.9, "difference = 0.9 is not that of"),
        (
            "lengths.json",
            ["conditions", "B", "groups", "source", "rate_of_ended", "rate"],
            None,
            "null where total is 0",
        ),
        ("claims.json", ["claims", 0, "as_published", "verdict"], "maybe", "claims.0.as_published.verdict: should be"),
        ("claims.json", ["claims", 0, "as_published", "verdict"], "does not hold", "does not follow from those of the"),
        ("claims.json", ["claims", 1, "id"], "forward-null", "claims has an id twice"),
        ("claims.json", ["claims", 0, "reproduced", "seeds"], {}, "claims.0.reproduced.seeds lacks 42"),
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
    part = records.Part(verdict="holds", reason="so", p=None)
    assert records.plain(part) == {"verdict": "holds", "reason": "so", "p": None}


def test_last_digits_do_not_reach_a_result_and_stay_in_a_run():
    gate = {"nonempty_share_required": 0.5, "length_ratio": 1.0, "length_ratio_required": 1.0, "passed": True}
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
