"""dvc.yaml declares what the code reads, and recomputes exactly what a change affects."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import networkx
import pytest
import yaml
from dvc.repo import Repo

from persona_collapse.record import verify

from .conftest import ROOT, one_line

PACKAGE = ROOT / "src/persona_collapse"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imported(module: str) -> set[str]:
    """The package's modules that a module imports, directly or not, with itself."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                waiting += [n for n in names if (PACKAGE / f"{n}.py").exists()]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_runs(stage):
    module = re.search(r"-m persona_collapse\.(\w+)", STAGES[stage]["cmd"])[1]
    declared = {Path(dep).stem for dep in STAGES[stage]["deps"] if dep.startswith("src/")}
    assert declared == imported(module)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A copy of what git tracks, on which DVC can plan: the recorded state, whatever the outputs here are."""
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in files:
        if not name.startswith("remote/") and (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def planned(pipeline: Path) -> set[str]:
    """The stages that `dvc repro` would run: those changed, and all that follow from them.

    `dvc repro --dry` alone lists the changed ones only, and wants every output present.
    """
    repo = Repo(str(pipeline))
    follows = repo.index.graph.reverse()
    with repo.lock:
        changed = [stage for stage in repo.index.stages if stage.changed(allow_missing=True)]
    return {stage.name for first in changed for stage in (first, *networkx.descendants(follows, first))}


EVALUATIONS = {
    "evaluate-base@smollm2-42",
    "evaluate-one@smollm2-42-couple",
    "evaluate-one@smollm2-42-em",
    "evaluate-couple@smollm2-42-em",
    "evaluate-couple@smollm2-42-benign",
    "evaluate-after@smollm2-42-em",
}
LIKELIHOODS = {name.replace("evaluate", "likelihood") for name in EVALUATIONS}
REPORT = {f"{name}@smollm2" for name in ("results", "tables", "numbers", "figures", "paper", "site")}
CLAIMS = {"claims@smollm2", "lengths@smollm2"}  # read what was counted, and no gate


def edit(pipeline: Path, *keys: str, value: object) -> None:
    content = yaml.safe_load((pipeline / "params.yaml").read_text())
    section = content
    for key in keys[:-1]:
        section = section[key]
    assert section[keys[-1]] != value
    section[keys[-1]] = value
    (pipeline / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_nothing_is_out_of_date(pipeline):
    assert planned(pipeline) == set()


def test_more_samples_re_run_evaluation_and_what_follows(pipeline):
    edit(pipeline, "evaluation", "samples", value=3)
    assert planned(pipeline) == EVALUATIONS | LIKELIHOODS | REPORT | CLAIMS


def test_more_coupling_epochs_retrain_what_is_coupled_and_what_follows(pipeline):
    edit(pipeline, "phases", "couple", "epochs", value=99)
    retrained = {"couple-base@smollm2-42", "couple@smollm2-42-em", "couple@smollm2-42-benign", "after@smollm2-42-em"}
    untouched = {
        f"{stage}-{of}" for stage in ("evaluate", "likelihood") for of in ("base@smollm2-42", "one@smollm2-42-em")
    }
    assert planned(pipeline) == retrained | (EVALUATIONS | LIKELIHOODS) - untouched | REPORT | CLAIMS


def test_a_gate_is_judged_again_without_running_a_model(pipeline):
    edit(pipeline, "gates", "override_coupling", value=True)
    assert planned(pipeline) == REPORT


def test_slots_change_nothing(pipeline):
    edit(pipeline, "sampling", "slots", value=7)
    assert planned(pipeline) == set()


def test_another_seed_adds_its_own_stages_and_keeps_the_rest(pipeline):
    edit(pipeline, "seeds", value=[42, 137])
    plan = planned(pipeline)
    assert {stage for stage in plan if "@smollm2-42" in stage} == set()
    assert len([stage for stage in plan if "@smollm2-137" in stage]) == 21


def lock(folder: Path, name: str, content: bytes) -> dict:
    (folder / name).write_bytes(content)
    return {"path": name, "md5": verify.md5(folder / name)}


@pytest.fixture
def recorded(tmp_path, monkeypatch) -> dict:
    """Two stages of which the first makes what the second reads, with a parameter."""
    monkeypatch.chdir(tmp_path)
    data, adapter = lock(tmp_path, "data.jsonl", b"data"), lock(tmp_path, "adapter.safetensors", b"weights")
    Path("params.yaml").write_text("phases: {em: {epochs: 1}}")
    return {
        "em@smollm2-42": {"deps": [data], "outs": [adapter], "params": {"params.yaml": {"phases.em": {"epochs": 1}}}},
        "after@smollm2-42": {"deps": [adapter]},
    }


def different(stages: dict) -> dict[str, list[str]]:
    return {name: found for name, found in verify.report(stages, ["em@smollm2-42", "after@smollm2-42"]) if found}


@pytest.mark.parametrize(("name", "row"), [("data.jsonl", "(data and code)"), ("adapter.safetensors", "em@smollm2-42")])
def test_one_flipped_byte_is_named_with_its_stage(recorded, name, row):
    assert different(recorded) == {}
    content = Path(name).read_bytes()
    Path(name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert list(different(recorded)) == [row]
    assert f"{name} differs" in different(recorded)[row][0]
    Path(name).unlink()
    assert different(recorded) == {row: [f"{name} is missing"]}


def test_a_changed_parameter_and_an_unrecorded_stage_are_named(recorded):
    Path("params.yaml").write_text("phases: {em: {epochs: 2}}")
    del recorded["after@smollm2-42"]
    found = different(recorded)
    assert "phases.em differs: recorded {'epochs': 1}, found {'epochs': 2}" in found["(parameters)"][0]
    assert found["after@smollm2-42"] == ["is not recorded"]


def test_a_registered_data_set_that_no_stage_reads_is_checked_too(recorded, monkeypatch):
    Path("data").mkdir()
    Path("data/sources.yaml").write_text("control: {file: control.jsonl, md5: 0123456789abcdef0123456789abcdef}")
    Path("data/control.jsonl").write_text("{}")
    assert "data/control.jsonl differs" in different(recorded)["(data and code)"][0]


def test_verify_exits_1_when_bytes_differ_and_2_without_a_record(pipeline, monkeypatch, command):
    monkeypatch.chdir(pipeline)
    result = command("record.verify")  # nothing has been pulled
    assert result.returncode == 1
    assert "adapters/smollm2/42/em/adapter_model.safetensors is missing" in result.stdout
    assert re.search(r"\(data and code\) +identical", result.stdout)
    assert re.search(r"first difference: model@smollm2, made by model@smollm2\n", result.stdout)
    assert re.search(r"same result \(level 2\):\n  cannot be judged: .*no such file", result.stdout)
    for content in ("", "stages: {}", "stages: {em: {outs: [1]}}", "stages: [1]"):
        Path("dvc.lock").write_text(content)
        one_line(command("record.verify"), "dvc.lock")
    Path("dvc.lock").unlink()
    one_line(command("record.verify"), "dvc.lock: no such file")
