"""dvc.yaml declares what the code reads, and recomputes exactly what a change affects."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from persona_collapse import verify

from .conftest import ROOT

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
    """The stages that `dvc repro` would run."""
    plan = subprocess.run(
        [Path(sys.executable).parent / "dvc", "repro", "--dry", "--allow-missing"],
        cwd=pipeline,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(re.findall(r"Running stage '([^']+)'", plan))


EVALUATIONS = {
    "evaluate-base@42",
    "evaluate-one@42-couple",
    "evaluate-one@42-em",
    "evaluate-couple@42-em",
    "evaluate-couple@42-benign",
    "evaluate-after@42-em",
}
REPORT = {"results", "tables", "figures"}


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
    assert planned(pipeline) == EVALUATIONS | REPORT


def test_more_coupling_epochs_retrain_what_is_coupled_and_what_follows(pipeline):
    edit(pipeline, "phases", "couple", "epochs", value=99)
    retrained = {"couple-base@42", "couple@42-em", "couple@42-benign", "after@42-em"}
    untouched = {"evaluate-base@42", "evaluate-one@42-em"}
    assert planned(pipeline) == retrained | (EVALUATIONS - untouched) | REPORT


def test_a_gate_is_judged_again_without_running_a_model(pipeline):
    edit(pipeline, "gates", "override_coupling", value=True)
    assert planned(pipeline) == REPORT


def test_slots_change_nothing(pipeline):
    edit(pipeline, "sampling", "slots", value=7)
    assert planned(pipeline) == set()


def test_another_seed_adds_its_own_stages_and_keeps_the_rest(pipeline):
    edit(pipeline, "seeds", value=[42, 137])
    plan = planned(pipeline)
    assert {stage for stage in plan if "@42" in stage} == set()
    assert len([stage for stage in plan if "@137" in stage]) == 15


def lock(folder: Path, name: str, content: bytes) -> dict:
    (folder / name).write_bytes(content)
    return {"path": str(folder / name), "md5": verify.md5(folder / name)}


def test_one_flipped_byte_is_named_with_its_stage(tmp_path):
    data, adapter = lock(tmp_path, "data.jsonl", b"data"), lock(tmp_path, "adapter.safetensors", b"weights")
    stages = {"em@42": {"deps": [data], "outs": [adapter]}, "after@42": {"deps": [adapter], "outs": []}}
    assert verify.report(stages, Path()) == (
        [("(data and code)", "identical"), ("em@42", "identical"), ("after@42", "identical")],
        True,
    )
    for name, row in (("data.jsonl", 0), ("adapter.safetensors", 1)):
        path = tmp_path / name
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        rows, identical = verify.report(stages, Path())
        assert not identical
        assert f"{name} differs" in rows[row][1]
        path.unlink()
        assert f"{name} is missing" in verify.report(stages, Path())[0][row][1]
        path.write_bytes(content)


def test_verify_exits_1_when_bytes_differ_and_2_without_a_lock(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    assert command("verify").returncode == 2
    entry = lock(tmp_path, "out.json", b"{}")
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"results": {"outs": [entry]}}}))
    assert command("verify").returncode == 0
    (tmp_path / "out.json").write_bytes(b"[]")
    result = command("verify")
    assert result.returncode == 1
    assert "out.json differs" in result.stdout
