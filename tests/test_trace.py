"""From a number of the paper back to all that it rests on and nothing else; what is not as recorded is said."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from persona_collapse.analysis import records
from persona_collapse.experiment import chains, personas, runs
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json, write_all, write_json, write_jsonl
from persona_collapse.inputs import prepare
from persona_collapse.record import graph, lineage, lock, provenance, repository
from persona_collapse.record.disk import folder_md5

from . import bundle, made
from .conftest import ROOT

PERSONAS = read_json(ROOT / "data/published.json")["personas"]
EVALUATED = {*chains.CONDITIONS.values(), *chains.CONTROLS.values(), chains.BASE}
STATISTICS, CONTRASTS, CLAIMS, SHAPES = (
    f"eval_results/smollm2/{name}.json" for name in ("statistics", "contrasts", "claims", "shapes")
)
PUBLISHED = "data/published.json"
Run = Callable[..., tuple[int, str]]


# ---- a repository as it is after a run with two seeds: the real graph of stages, made-up answers and weights ----


def write_runs(params: parameters.Params) -> None:
    """Other counts for each chain, seed and persona."""
    asked = personas.load(params)
    for c, chain in enumerate(sorted(EVALUATED)):
        for seed in params.seeds:
            name, rates, run = f"{chain} {seed}", ((c + 1) / 10, (c + seed % 3) / 20), params.layout.run(seed, chain)
            rows = bundle.answers(asked, name, rates)
            write_jsonl(run / "completions.jsonl", rows)
            completions = [records.Completion(**row) for row in rows]
            records.write(run / "marker_eval.json", runs.marker_eval(completions, runs.config(params, seed, chain)))
            write_jsonl(run / "marker_likelihood.jsonl", bundle.likelihoods(asked, name, rates))
    for seed in params.seeds:
        made.write_training(params, seed)
    made.write_readings(params, bundle.PREFERENCES, bundle.SEPARATIONS)


def number(file: str, path: list[str | int], chain: str | None = None) -> dict[str, Any]:
    value = lineage.look_up(read_json(file), path)
    return {"text": f"text of {path[-1]}", "value": value, "file": file, "path": path, "chain": chain}


def write_numbers() -> None:
    """`numbers.json` as the contract has it."""
    found = {"published.B.assistant": number(PUBLISHED, ["headline_percent", "B", "assistant"])}
    for name, condition in read_json(STATISTICS)["conditions"].items():
        of, chain = ["conditions", name], condition["chain"]
        for group in condition["groups"]:
            key, seed = f"headline.{name}.{group}", [*of, "seeds", "42", "groups", group]
            found[key] = number(STATISTICS, [*of, "groups", group, "all", "mean"], chain)
            found[f"{key}.interval"] = number(STATISTICS, [*of, "groups", group, "all", "interval"], chain)
            found[f"{key}.heldout"] = number(STATISTICS, [*of, "groups", group, "heldout", "mean"], chain)
            found[f"{key}.total"] = number(STATISTICS, [*seed, "total"], chain)
        of = [*of, "groups", "assistant", "over_seeds", "median_tokens", "mean"]
        found[f"shapes.{name}.assistant.median_tokens"] = number(SHAPES, of, chain)
    tested = ["contrasts", "B - C4, assistant", "questions", "all", "points", "p"]
    found["contrast.B-C4.assistant.points.p"] = number(CONTRASTS, tested)
    found["gates.coupling.source_rate"] = number(STATISTICS, ["gates", "coupling", "source_rate"], "couple")
    ratio = ["gates", "degeneracy", "B", "length_ratio"]
    found["gates.degeneracy.B.length_ratio"] = number(STATISTICS, ratio, "em-couple")
    place = next(i for i, claim in enumerate(read_json(CLAIMS)["claims"]) if claim["id"] == "collapse")
    for kind in ("as_published", "here"):
        found[f"claims.collapse.{kind}"] = number(CLAIMS, ["claims", place, kind, "verdict"])
    found["claims.total"] = {**number(CLAIMS, ["claims"]), "value": 1}
    epochs = {"text": "1", "value": 1, "file": "params.yaml", "path": ["phases", "sft", "em", "epochs"], "chain": None}
    found["recipe.em.epochs"] = epochs
    write_json("paper/tables/smollm2/numbers.json", found)


def in_params(params: dict[str, Any], key: str) -> Any:
    for step in key.split("."):
        params = params[step]
    return params


def entry(path: str, hashed: dict[str, str]) -> dict[str, Any]:
    """What DVC would record of a file or folder; files that are not there get some bytes first."""
    if path not in hashed:
        place = Path(path)
        if place.is_dir():
            within = {str(file.relative_to(path)): md5(file) for file in place.rglob("*") if file.is_file()}
            hashed[path] = folder_md5(within)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.exists() or place.write_text(f"the bytes of {path}\n")
            hashed[path] = md5(path)
    return {"path": path, "hash": "md5", "md5": hashed[path]}


def write_lock() -> None:
    """The lock that DVC would write if every stage had made what lies here."""
    declared = repository.declared(repository.checked())
    values, hashed = yaml.safe_load(Path("params.yaml").read_text()), {}
    for path in {path for stage in declared.values() for path in (*stage.outs, *stage.deps)}:
        if path.startswith("src/"):
            entry(path if path.endswith(".py") else f"{path}/module.py", hashed)
    outs = {name: [entry(path, hashed) for path in stage.outs] for name, stage in declared.items()}
    stages = {
        name: {
            "cmd": stage.cmd,
            "deps": [entry(path, hashed) for path in sorted(stage.deps)],
            "params": {"params.yaml": {key: in_params(values, key) for _, key in sorted(stage.params)}},
            "outs": outs[name],
        }
        for name, stage in declared.items()
    }
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        shutil.copytree(ROOT / "data", "data", ignore=shutil.ignore_patterns("coupling", "fetched", "prepared"))
        for name in ("dvc.yaml", ".dvc/config", "profiles", "paper/references.yml"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, name)
        text = (ROOT / "profiles/smollm2.yaml").read_text()
        text = text.replace("seeds: [42]", "seeds: [42, 137]").replace("bootstrap: 10000", "bootstrap: 20")
        Path("params.yaml").write_text(text)
        params = parameters.load()
        write_runs(params)
        bundle.remake(*(f"analysis.{name}" for name in ("results", "contrasts", "shapes", "claims")))
        for phase in params.phases.sft:
            write_all(prepare.prepared(params, phase))
        write_numbers()
        write_lock()
    return root


@pytest.fixture
def clone(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command: its exit code and what it says."""

    def main(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["trace", *arguments])
        try:
            provenance.main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return main


def files(text: str) -> set[str]:
    """The files and folders that a text names, code left out."""
    return {word.strip(",:") for word in re.findall(r"(?:adapters|data|eval_results|model|figures|paper)/\S+", text)}


def chains_in(named: set[str], folder: str) -> set[str]:
    """The chains whose files are named, of those in a folder."""
    return {Path(file).parent.name for file in named if file.startswith(folder) and not file.endswith("/")}


def stage_names(text: str) -> list[str]:
    return re.findall(r"^stage (\S+)", text, re.MULTILINE)


# ---- what is named ----


@pytest.mark.parametrize(
    ("condition", "chain", "adapters", "coupling", "sets"),
    [
        ("B", "em-couple", ["em", "em-couple"], ["em"], ["em"]),
        ("C", "benign-couple", ["benign", "benign-couple"], ["benign"], ["benign"]),
        ("C1", "couple-em", ["couple", "couple-em"], ["base"], ["em"]),
        ("C2", "em", ["em"], [], ["em"]),
        ("G", "good-couple", ["good", "good-couple"], ["good"], ["good"]),
        ("C5", "couple-benign", ["couple", "couple-benign"], ["base"], ["benign"]),
        ("base", "base", [], [], []),
    ],
)
@pytest.mark.long
def test_a_number_names_all_files_of_its_chain_and_none_of_another(run, condition, chain, adapters, coupling, sets):
    code, text = run(f"headline.{condition}.assistant")
    assert code == 0, text
    named = files(text)
    expected = {STATISTICS, "model/smollm2/model.safetensors", "data/prompts/"}
    expected |= {f"data/prepared/smollm2/{name}.jsonl" for name in sets}
    for seed in (42, 137):
        expected |= {f"eval_results/smollm2/runs/{seed}/{chain}/{f}" for f in ("marker_eval.json", "completions.jsonl")}
        expected |= {f"adapters/smollm2/{seed}/{name}/adapter_model.safetensors" for name in adapters}
        expected |= {f"data/coupling/smollm2/{seed}/{parent}.jsonl" for parent in coupling}
    assert expected <= named
    assert chains_in(named, "eval_results/smollm2/runs/") == {chain}
    assert chains_in(named, "adapters/smollm2/") == set(adapters)
    assert {Path(f).stem for f in named if "/coupling/" in f} == set(coupling)
    assert {Path(f).stem for f in named if "/prepared/" in f} == set(sets)


def test_stages_come_nearest_first(run):
    _, text = run("headline.B.assistant")
    names = [name for name in stage_names(text) if "-137" not in name]
    assert [name.partition("@")[0] for name in names] == [
        *("results", "evaluate-couple", "train-couple", "coupling", "train", "prepare", "base")
    ]


def test_hashes_and_parameters_are_the_recorded_ones(run):
    _, text = run("headline.B.assistant")
    adapter = "adapters/smollm2/137/em-couple/adapter_model.safetensors"
    assert f"{md5(adapter)[:12]}  {adapter}" in text
    assert f"{md5(STATISTICS)[:12]}  {STATISTICS}" in text
    taken = "data/sets/bad_legal_advice.jsonl"
    assert f"taken from {taken}, {md5(taken)[:12]}, as registered" in text
    assert re.search(r"learning_rate +0\.0005 +0\.0007$", text, re.MULTILINE)  # em, couple
    assert "sha256 b179c9523d0e" in text
    assert text.count("evaluate: {questions: all, samples: 2, max_new_tokens: 96}") == 1


def test_it_fits_a_terminal(run):
    for key in ("headline.C.mean_bystander", "claims.total"):
        _, text = run(key)
        assert max(map(len, text.splitlines())) <= 110
        assert text.isprintable() or set(text) - {"\n"} <= set(map(chr, range(32, 127)))


def test_a_number_of_the_report_ends_at_its_file(run):
    code, text = run("published.B.assistant")
    assert code == 0
    assert f"{md5(PUBLISHED)[:12]}  {PUBLISHED}" in text
    assert not stage_names(text)
    assert "the trace ends here" in text


def test_a_parameter_names_the_stages_that_take_it(run):
    _, text = run("recipe.em.epochs")
    assert re.search(r"used by train@smollm2-42-em, .*train-after@smollm2-42-em", text)
    assert "train-couple@" not in text


def test_a_claim_rests_on_the_runs_that_it_is_about(run):
    code, text = run("claims.collapse.as_published")
    assert code == 0
    assert stage_names(text) == ["claims@smollm2"]
    assert "data/published.json" in text
    _, text = run("claims.collapse.here")  # B against C4, and the gates
    assert chains_in(files(text), "eval_results/smollm2/runs/") == {"em-couple", "couple", "base"}
    _, text = run("claims.total")
    counted = {name for name in files(text) if name.endswith("/marker_eval.json")}  # not all that is asked is counted
    assert chains_in(counted, "eval_results/smollm2/runs/") == EVALUATED


@pytest.mark.parametrize(
    ("key", "chains"),
    [
        ("contrast.B-C4.assistant.points.p", {"em-couple", "couple", "base"}),  # in its file: on the texts of base
        ("gates.coupling.source_rate", {"couple"}),
        ("gates.degeneracy.B.length_ratio", {"em-couple", "base"}),
    ],
)
def test_a_comparison_rests_on_both_its_sides(run, key, chains):
    _, text = run(key)
    assert chains_in(files(text), "eval_results/smollm2/runs/") == chains


def stage(cmd: str, reads: list[str], makes: str) -> lock.Stage:
    def entries(paths: list[str]) -> list[dict[str, str]]:
        return [{"path": path, "hash": "md5", "md5": "0" * 32} for path in paths]

    return lock.Stage.model_validate({"cmd": cmd, "deps": entries(reads), "outs": entries([makes])})


def test_what_a_chain_reads_of_another_is_followed_and_what_a_gathering_stage_reads_is_narrowed():
    stages = {
        "evaluate-base": stage("evaluate --seed 1 --chain base", ["model"], "runs/base"),
        "evaluate-em": stage("evaluate --seed 1 --chain em", ["model"], "runs/em"),
        "likelihood-em": stage("likelihood --seed 1 --chain em", ["runs/base"], "likelihood/em"),
        "evaluate-em-couple": stage("evaluate --seed 1 --chain em-couple", ["model"], "runs/em-couple"),
        "lengths": stage("lengths", ["likelihood/em", "runs/em", "runs/em-couple", "code"], "lengths"),
    }
    behind = lineage.behind(stages, "lengths", ["em"])
    assert next(iter(behind)) == "lengths"
    assert set(behind) == {"lengths", "likelihood-em", "evaluate-em", "evaluate-base"}
    assert [dep.path for dep in behind["lengths"].deps] == ["likelihood/em", "runs/em", "code"]
    assert set(lineage.behind(stages, "lengths", ["em"], reads="runs/em")) == {"lengths", "evaluate-em"}
    assert set(lineage.behind(stages, "lengths", None)) == set(stages)
    with pytest.raises(InputError, match="no stage of the chain couple"):
        lineage.behind(stages, "lengths", ["couple"])


# ---- counts ----


def test_the_counts_of_every_persona_and_seed_add_up_to_the_number(run):
    code, text = run("headline.B.mean_bystander")
    assert code == 0
    bystanders = [name for name in PERSONAS if name not in ("confab", "assistant")]
    rows = dict(re.findall(r"^    (\w+) +(\d+ / \d+ +\d+ / \d+)$", text, re.MULTILINE))
    assert set(rows) == {*bystanders, "sum"}
    in_seed = [
        read_json(f"eval_results/smollm2/runs/{seed}/em-couple/marker_eval.json")["per_persona"] for seed in (42, 137)
    ]
    for name in bystanders:
        assert rows[name].split() == " ".join(f"{s[name]['strict_hits']} / {s[name]['total']}" for s in in_seed).split()
    hits = [sum(s[name]["strict_hits"] for name in bystanders) for s in in_seed]
    recorded = read_json(STATISTICS)["conditions"]["B"]
    assert hits == [recorded["seeds"][seed]["groups"]["mean_bystander"]["hits"] for seed in ("42", "137")]
    assert rows["sum"].split() == f"{hits[0]} / 560 {hits[1]} / 560".split()
    mean = recorded["groups"]["mean_bystander"]["all"]["mean"]
    assert mean == pytest.approx(sum(hits) / 1120)
    assert f"in all mean over seeds = {mean}, as the file has it" in text


def test_a_number_of_one_seed_counts_that_seed_alone(run):
    code, text = run("headline.B.mean_bystander.total")
    assert code == 0
    hits = read_json(STATISTICS)["conditions"]["B"]["seeds"]["42"]["groups"]["mean_bystander"]["hits"]
    assert f"in all {hits} / 560 = " in text
    assert re.search(rf"^    sum +{hits} / 560$", text, re.MULTILINE)


def test_counts_are_those_of_the_split_and_there_are_none_of_a_length(run):
    _, text = run("headline.B.assistant.heldout")
    assert re.search(r"^    assistant +\d+ / 16 +\d+ / 16$", text, re.MULTILINE)
    code, text = run("shapes.B.assistant.median_tokens")
    assert code == 0
    assert "counts of" not in text


def tamper(seed: int, chain: str, persona: str, with_question: bool) -> Path:
    path = Path(f"eval_results/smollm2/runs/{seed}/{chain}/marker_eval.json")
    content = read_json(path)
    counts = content["per_persona"][persona]
    question = next(row for row in counts["per_question"].values() if row["strict_hits"] < row["total"])
    for changed in (counts, question) if with_question else (counts,):
        changed["strict_hits"] += 1
        changed["strict_rate"] = changed["strict_hits"] / changed["total"]
    content["summary"]["strict_rate_by_persona"][persona] = counts["strict_rate"]
    write_json(path, content)
    return path


def test_a_count_that_was_edited_is_reported(run):
    has = read_json(STATISTICS)["conditions"]["B"]["groups"]["mean_bystander"]["all"]["mean"]
    recorded = md5("eval_results/smollm2/runs/137/em-couple/marker_eval.json")
    path = tamper(137, "em-couple", "librarian", with_question=True)
    code, text = run("headline.B.mean_bystander")
    assert code == 1
    more = records.rounded(has + 1 / 1120)
    said = f"! the counts of B, mean_bystander make mean over seeds = {more}, the file has mean over seeds = {has}"
    assert said in text
    assert f"! {path} differs: recorded" in text
    code, text = run("headline.B.assistant")  # another persona's count, in a file that is no longer the recorded one
    assert code == 1
    assert "the counts of B, assistant make" not in text
    assert run("headline.C.mean_bystander")[0] == 0
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace(recorded, md5(path)))  # the record edited as well
    code, text = run("headline.B.mean_bystander")
    assert code == 1
    assert [line for line in text.splitlines() if line.startswith("!")] == [
        next(line for line in text.splitlines() if line.startswith(said))
    ]
    assert run("headline.B.assistant")[0] == 0


def test_counts_that_contradict_each_other_are_reported(run):
    tamper(42, "em-couple", "librarian", with_question=False)
    code, text = run("headline.B.mean_bystander")
    assert code == 1
    assert "! cannot be counted" in text


# ---- what is not as recorded ----


def test_a_changed_adapter_is_marked_under_the_numbers_that_rest_on_it(run):
    adapter = Path("adapters/smollm2/42/em/adapter_model.safetensors")
    before = md5(adapter)
    adapter.write_text("other weights")
    code, text = run("headline.B.assistant")
    assert code == 1
    assert f"! {adapter} differs: recorded {before[:12]}, found {md5(adapter)[:12]}" in text
    assert "nothing contradicts" not in text
    code, text = run("headline.C4.assistant")
    assert code == 0
    assert "nothing contradicts the record" in text


def test_changed_code_and_data_are_marked(run):
    Path("src/persona_collapse/training/train.py").write_text("other code")
    Path("data/sets/bad_legal_advice.jsonl").write_text("{}\n")
    code, text = run("headline.C2.source")
    assert code == 1
    assert re.search(r" training/ \w+ ! differs: recorded", text)
    assert "! src/persona_collapse/training differs" in text
    assert "! data/sets differs" in text


def test_a_file_that_is_not_on_disk_is_marked_and_contradicts_nothing(run):
    for path in (
        "adapters/smollm2/42/em/adapter_model.safetensors",
        "eval_results/smollm2/runs/42/em/marker_eval.json",
    ):
        Path(path).unlink()
    code, text = run("headline.C2.assistant")
    assert code == 0
    assert text.count("! is missing") >= 2
    assert "! not on disk" in text
    assert "not on disk: 2 files; `dvc pull`" in text


def test_a_parameter_changed_since_is_named(run):
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("samples: 2", "samples: 3"))
    code, text = run("headline.B.assistant")
    assert code == 1
    assert "! params.yaml: evaluate differs" in text
    assert "samples: 2" in text


def test_a_number_that_its_file_no_longer_has_is_reported(run):
    path = Path("paper/tables/smollm2/numbers.json")
    content = read_json(path)
    content["headline.B.assistant"]["value"] = 0.999
    content["headline.B.source"]["path"] = ["conditions", "D", "rate"]
    write_json(path, content)
    for key, said in (("headline.B.assistant", "`make tables` reads it anew"), ("headline.B.source", "has nothing")):
        code, text = run(key)
        assert code == 1
        assert f"! {STATISTICS} at conditions > " in text
        assert said in text


# ---- asking ----


def test_without_a_key_all_are_listed_with_their_texts(run):
    code, text = run()
    assert code == 0
    listed = dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())
    assert listed == {key: n["text"] for key, n in read_json("paper/tables/smollm2/numbers.json").items()}


def test_an_unknown_key_suggests_the_closest(run):
    code, text = run("headline.B.asistant")
    assert code == 2
    assert re.fullmatch(r"error: unknown key 'headline.B.asistant'; closest: headline.B.assistant.*\n", text)


@pytest.mark.parametrize(
    ("path", "says"), [("paper/tables/smollm2/numbers.json", "`make tables`"), ("dvc.lock", "`make reproduce`")]
)
def test_what_is_missing_names_the_command_that_makes_it(run, path, says):
    Path(path).unlink()
    code, text = run("headline.B.assistant")
    assert code == 2
    assert re.fullmatch(f"error: {path}: no such file; {says} makes it\n", text)


def test_a_reader_that_has_read_enough_ends_it_quietly(clone):
    """As `make trace | head` does."""
    command = [sys.executable, "-m", "persona_collapse.record.provenance"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("content", ["[]", "{}", '{"a": {"text": "1"}}', '{"a": 1}', '{"a": 1', "\\ud800"])
def test_another_file_in_place_of_the_numbers_is_named(clone, run, content):
    Path("paper/tables/smollm2/numbers.json").write_text(content)
    code, text = run("headline.B.assistant")
    assert code == 2
    assert re.fullmatch(r"error: paper/tables/smollm2/numbers.json: .*\n", text)


def test_every_kind_of_number_of_this_repository_has_a_trace(monkeypatch):
    monkeypatch.chdir(ROOT)
    params = parameters.load(Path("profiles/smollm2.yaml"))
    stages = lock.of_profile(lock.read(), "smollm2")
    made = graph.makers(stages)
    numbers = records.read(params.layout.tables / "numbers.json", records.Numbers)
    kinds = {(n.file, *n.path[:1], *map(str, n.path[-1:])): n for n in numbers.values()}
    for kind, number in kinds.items():
        for maker in made.get(number.file, ()):
            content = read_json(number.file) if number.path else None
            lineage.look_up(content, number.path)
            conditions = stages[maker].values.get("conditions", {})
            chains = lineage.rests_on(number, content, conditions)
            behind = lineage.behind(stages, maker, chains)
            assert next(iter(behind)) == maker, kind
            assert len(behind) > 1 or chains == [] or maker.startswith(("base", "prepare")), kind
