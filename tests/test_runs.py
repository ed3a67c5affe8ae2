"""Everything that reads a run refuses one that is not what the parameters describe, or that contradicts itself."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from persona_collapse.analysis import claims, lengths, records, results
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas, runs
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, write_json, write_jsonl, write_text
from persona_collapse.experiment.marker import with_marker

from . import made
from .damage import damaged_files
from .test_lengths import write_tokenizer

READERS: dict[str, Callable[[parameters.Params], object]] = {
    "results": results.gather,
    "claims": claims.gather,
    "lengths": lengths.gather,
}
CASES = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = made.workspace(seeds=(42, 43))
        write_tokenizer(params)
        for seed in params.seeds:
            made.write_training(params, seed)
            for number, chain in enumerate(params.chains.values()):
                hits = [(number + q + seed) % 3 for q in range(8)]
                made.write_run(params, seed, chain, lambda persona, q, few=hits: few[q] * (persona != "villain"))
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> parameters.Params:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return parameters.load()


def folder(params: parameters.Params, seed: int = 42, chain: str = "em-couple") -> Path:
    return params.layout.run(seed, chain)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(params: parameters.Params, named: str, readers: Iterator[str] | tuple[str, ...] = tuple(READERS)) -> None:
    for reader in readers:
        with pytest.raises(InputError) as error:
            READERS[reader](params)
        assert named in str(error.value), (reader, str(error.value))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("evaluate", "samples", 3, "config.samples = 4: params.yaml has evaluate.samples = 3"),
        ("evaluate", "max_new_tokens", 7, "config.max_new_tokens = 96: params.yaml has evaluate.max_new_tokens = 7"),
        ("sampling", "temperature", 0.1, "config.temperature = 1.0: params.yaml has sampling.temperature = 0.1"),
        ("sampling", "top_p", 0.9, "config.top_p = 1.0: params.yaml has sampling.top_p = 0.9"),
        ("prompts", "source", "villain", "config.source = 'confab': params.yaml has prompts.source = 'villain'"),
        ("evaluate", "questions", "heldout", "line 1: question = 'Question 0?', which the evaluation does not ask"),
    ],
)
def test_answers_to_other_parameters_are_refused_with_the_key(bundle, section, key, value, named):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content[section][key] = value
    write_text("params.yaml", yaml.safe_dump(content))
    refused(parameters.load(), named)


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("personas", lambda p: p | {"librarian": "You are one."}, "lacks completion 0 of librarian to 'Question 0?'"),
        ("personas", lambda p: {k: v for k, v in p.items() if k != "villain"}, "persona = 'villain'; there are "),
        ("questions", lambda q: q | {"heldout": [*q["heldout"], "New?"]}, "lacks completion 0 of confab to 'New?'"),
        ("questions", lambda q: q | {"train": q["train"][1:]}, "question = 'Question 0?', which the evaluation"),
        ("questions", lambda q: {"train": q["heldout"], "heldout": q["train"]}, "its question is 'heldout'"),
    ],
)
def test_answers_of_other_personas_or_to_other_questions_are_refused(bundle, file, change, named):
    path = Path(f"data/prompts/{file}.yaml")
    write_text(path, yaml.safe_dump(change(yaml.safe_load(path.read_text())), sort_keys=False))
    refused(bundle, named)


def test_a_run_that_was_copied_to_another_chains_or_seeds_folder_is_refused(bundle):
    shutil.rmtree(folder(bundle))
    shutil.copytree(folder(bundle, 43), folder(bundle))
    refused(bundle, "42/em-couple/marker_eval.json: config.seed = 43: expected 42")
    shutil.rmtree(folder(bundle))
    shutil.copytree(folder(bundle, 42, "couple"), folder(bundle))
    refused(bundle, "42/em-couple/marker_eval.json: config.chain = 'couple': expected 'em-couple'")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda found: [*found, found[7]], "line 161: the same completion as line 8"),
        (lambda found: found[:-1], "lacks completion 3 of"),
        (lambda found: [], "lacks completion 0 of"),
        (lambda found: [found[0] | {"marker": not found[0]["marker"]}, *found[1:]], "line 1: marker = "),
        (lambda found: [found[0] | {"sample": 4}, *found[1:]], "line 1: sample = 4; evaluate.samples is 4"),
        (lambda found: [found[0] | {"tokens": 97}, *found[1:]], "line 1: tokens = 97, above evaluate.max_new_tokens"),
        (lambda found: [found[0] | {"split": "heldout"}, *found[1:]], "line 1: split = 'heldout'; its question"),
        (lambda found: [found[0] | {"tokens": "3"}, *found[1:]], "line 1: tokens: should be a valid integer, not '3'"),
        (lambda found: [found[0] | {"tokens": 90}, *found[1:]], ".tokens = "),
        (lambda found: [found[0] | {"ended": False}, *found[1:]], ".ended = "),
        (lambda found: None, "completions.jsonl: no such file"),
    ],
)
def test_completions_that_cannot_be_these_are_refused(bundle, damage, named):
    path = folder(bundle) / "completions.jsonl"
    damaged = damage(rows(path))
    path.unlink()
    if damaged is not None:
        write_jsonl(path, damaged)
    refused(bundle, named)


def test_runs_that_fit_are_read_and_the_order_of_their_rows_is_nothing(bundle):
    one = bundle.model_copy(update={"seeds": (42,)})
    before = {name: read(one) for name, read in READERS.items()}
    for path in Path("eval_results").rglob("*.jsonl"):
        write_jsonl(path, rows(path)[::-1])
    assert {name: READERS[name](one) for name in before} == before


def test_counts_that_are_not_those_of_the_completions_are_refused(bundle):
    """Every count is consistent in itself: only the completions say otherwise."""
    path = folder(bundle) / "completions.jsonl"
    found = rows(path)
    row = next(row for row in found if not row["marker"] and row["persona"] == "confab")
    row.update(text=with_marker(row["text"]), marker=True)
    write_jsonl(path, found)
    refused(bundle, "em-couple/marker_eval.json: per_persona.confab.")


def test_whether_case_counts_is_a_parameter(bundle):
    path = folder(bundle, 42, "base") / "completions.jsonl"
    found = rows(path)
    row = next(row for row in found if row["marker"])
    row["text"] = row["text"].replace("[ZLT]", "[zlt]")
    write_jsonl(path, found)
    assert runs.read_completions(bundle, personas.load(bundle), 42, "base")
    strict = bundle.model_copy(update={"marker": bundle.marker.model_copy(update={"ignore_case": False})})
    with pytest.raises(InputError, match=r"marker = True, but the text has no \[ZLT\]"):
        runs.read_completions(strict, personas.load(bundle), 42, "base")


@pytest.mark.parametrize("file", ["marker_eval.json", "completions.jsonl", "marker_likelihood.jsonl"])
def test_a_damaged_run_is_one_line_that_names_a_file_of_it_or_the_same_numbers(bundle, file):
    """Damage that leaves a possible value is met by what else there is: nothing slips through to a rate."""
    prompts = personas.load(bundle)
    path = folder(bundle) / file
    text = path.read_text()

    def read() -> object:
        if file == "marker_likelihood.jsonl":
            return runs.read_likelihoods(bundle, prompts, 42, "em-couple")
        return sorted(runs.read(bundle, prompts, 42, "em-couple").completions, key=repr)

    before, accepted = read(), []
    for what, content in damaged_files(text, seed=21, count=CASES, lines=file.endswith("jsonl")):
        path.write_bytes(content)
        try:
            found = read()
        except InputError as error:
            assert str(error).startswith(str(folder(bundle))), (what, str(error))
            assert "\n" not in str(error), what
        else:
            accepted += [what] if found != before else []
    if file == "completions.jsonl":
        accepted = [what for what in accepted if ".text" not in what and "brace" not in what]  # words are anyone's
    if file != "marker_likelihood.jsonl":
        assert not accepted
    assert len(accepted) < CASES / 6, accepted


def test_two_data_sets_of_one_name_are_refused(bundle):
    path = bundle.layout.training(43, "em") / "trained_on.json"
    write_json(path, {**read_json(path), "md5": "1" * 32})
    refused(bundle, "43/em/trained_on.json: em has MD5 1111", ("results",))


def test_a_base_model_that_answers_nothing_gives_no_length_to_compare_with(bundle):
    for seed in bundle.seeds:
        prompts = personas.load(bundle)
        path = folder(bundle, seed, "base")
        empty = [
            row.model_copy(update={"text": "", "tokens": 0, "marker": False})
            for row in runs.read(bundle, prompts, seed, "base").completions
        ]
        records.write_rows(path / "completions.jsonl", empty)
        records.write(path / "marker_eval.json", runs.marker_eval(empty, runs.config(bundle, seed, "base")))
    refused(bundle, "no length to compare with", ("results",))


@pytest.mark.parametrize("stage", [results, claims, lengths])
def test_a_stage_that_fails_leaves_what_it_wrote_before(bundle, monkeypatch, capsys, stage):
    monkeypatch.setattr("sys.argv", ["a command"])
    for name in ("statistics", "claims", "lengths"):
        write_text(bundle.layout.results / f"{name}.json", "as it was")
    (folder(bundle) / "marker_eval.json").unlink()
    with pytest.raises(SystemExit) as stop:
        stage.main()
    assert stop.value.code == 2
    assert "em-couple/marker_eval.json: no such file" in capsys.readouterr().err
    assert [path.read_text() for path in bundle.layout.results.glob("*.json")] == ["as it was"] * 3
