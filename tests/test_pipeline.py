"""dvc.yaml declares what the code reads, and recomputes exactly what a change affects."""

import ast
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import networkx
import pytest
import yaml

from persona_collapse.record import repository

from .conftest import ROOT

PACKAGE = ROOT / "src/persona_collapse"
ROOMS = (
    "experiment",
    "inputs",
    "model",
    "training",
    "sampling",
    "analysis",
    "report",
    "record",
    "planning",
    "workers",
    "publication",
)
WITHOUT_TORCH = ("experiment", "analysis", "report")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


# ---- imports ----


def named(folder: Path, module: str | None, names: list[str]) -> Iterator[Path]:
    """The files that `from folder.module import names` reads; a package counts as its `__init__` and what is named."""
    target = folder.joinpath(*(module or "").split("."))
    if target.with_suffix(".py").is_file():
        yield target.with_suffix(".py")
        return
    if (target / "__init__.py").is_file() and module:
        yield target / "__init__.py"
    for name in names:
        if (target / f"{name}.py").is_file():
            yield target / f"{name}.py"
        elif (target / name / "__init__.py").is_file():
            yield target / name / "__init__.py"


@functools.cache
def imports(path: Path) -> set[Path]:
    """The package's files that a module imports itself, at its top or inside a function; rooms apart."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1]
            found.update(named(folder, node.module, [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("persona_collapse"):
            pytest.fail(f"{path}: imports {node.module} by its full name")
    return {file for file in found if file.parent.parent != PACKAGE or file.name != "__init__.py"}


@functools.cache
def closure(path: Path) -> set[Path]:
    """A module and all that it imports of the package, directly or not."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        if (file := waiting.pop()) not in found:
            found.add(file)
            waiting += imports(file)
            if file.name == "__init__.py":
                waiting += file.parent.glob("*.py")
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_the_package_has_its_rooms_and_each_says_what_may_live_in_it():
    assert {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"} == {"__init__.py", *ROOMS}
    for name in ROOMS:
        assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text()))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_downwards_only_and_shadows_nothing(path):
    for file in imports(path):
        assert ROOMS.index(room(file)) <= ROOMS.index(room(path)), f"{path.name} imports {file}"
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in WITHOUT_TORCH], ids=lambda path: path.name)
def test_results_and_reports_reach_no_torch(path):
    for file in closure(path):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            heavy = {name.partition(".")[0] for name in names} & {"torch", "transformers", "peft", "trl", "vllm"}
            assert not heavy, f"{path.name} reaches {heavy} in {file}"


def test_a_file_holds_one_idea():
    long = {str(p.relative_to(PACKAGE)): n for p in MODULES if (n := len(p.read_text().splitlines())) > 325}
    assert not long


# ---- what stages declare ----


def module_of(stage: str) -> Path:
    found = re.match(r"bin/stage ([\w.]+)", STAGES[stage]["cmd"])
    return PACKAGE.joinpath(*found[1].split(".")).with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_runs_and_on_no_other_file_of_it(stage):
    declared = {ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")}
    read = closure(module_of(stage))
    missing = {file for file in read if not any(file == dep or dep in file.parents for dep in declared)}
    assert not missing
    unused = {dep for dep in declared if not any(file == dep or dep in file.parents for file in read)}
    assert not unused


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_as_its_module_and_its_outputs_persist(stage):
    form = stage.removesuffix("-prompts")
    for ending in ("-base", "-alone", "-couple", "-after"):
        form = form.removesuffix(ending)
    assert form == module_of(stage).stem
    for kind in ("outs", "metrics", "plots"):
        for out in STAGES[stage].get(kind, []):
            ((path, flags),) = out.items()
            assert flags["persist"], f"{path}: DVC would remove it before the stage has made another"


# ---- what a change re-runs ----


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, on which DVC can plan: the recorded state, whatever the outputs here are."""
    folder = tmp_path_factory.mktemp("tracked")
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if not name.startswith("remote/") and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture
def pipeline(tracked: Path) -> Iterator[Path]:
    yield tracked
    shutil.copy(ROOT / "profiles/smollm2.yaml", tracked / "params.yaml")


def planned(pipeline: Path) -> set[str]:
    """The stages that `dvc repro` would run: those changed, and all that follow from them.

    `dvc repro --dry` alone lists the changed ones only, and wants every output present.
    """
    with chdir(pipeline):
        repo = repository.checked()
    follows = repo.index.graph.reverse()
    with repo.lock:
        changed = [stage for stage in repo.index.stages if stage.changed(allow_missing=True)]
    return {stage.name for first in changed for stage in (first, *networkx.descendants(follows, first))}


RUNS = {
    "base@smollm2-42",
    "alone@smollm2-42-couple",
    "alone@smollm2-42-em",
    *(f"{form}@smollm2-42-{phase}" for form in ("couple", "after") for phase in ("em", "good", "benign")),
}
EVALUATIONS = {f"evaluate-{run}" for run in RUNS}
LIKELIHOODS = {f"likelihood-{run}" for run in RUNS}
COUPLED = {
    "couple-base@smollm2-42",
    *(f"{form}@smollm2-42-{phase}" for form in ("couple", "after") for phase in ("em", "good", "benign")),
}
REPORT = {f"{name}@smollm2" for name in ("results", "metrics", "tables", "quoted", "figures", "paper", "page")}
COUNTED = {f"{name}@smollm2" for name in ("contrasts", "collapse", "shapes", "readings", "lengths")}  # and no gate
REPORT |= {"claims@smollm2"}  # which rest on the gates


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
    edit(pipeline, "evaluate", "samples", value=3)
    assert planned(pipeline) == EVALUATIONS | LIKELIHOODS | REPORT | COUNTED


def test_more_coupling_epochs_retrain_what_is_coupled_and_what_follows(pipeline):
    edit(pipeline, "phases", "couple", "epochs", value=99)
    untouched = {
        f"{stage}-{run}" for stage in ("evaluate", "likelihood") for run in ("base@smollm2-42", "alone@smollm2-42-em")
    }
    retrained = {f"{stage}-{name}" for stage in ("train", "geometry") for name in COUPLED}
    assert planned(pipeline) == retrained | (EVALUATIONS | LIKELIHOODS) - untouched | REPORT | COUNTED


def test_another_recipe_of_a_phase_retrains_the_chains_that_have_it(pipeline):
    edit(pipeline, "phases", "sft", "benign", "epochs", value=2)
    plan = planned(pipeline)
    assert {stage for stage in plan if stage.startswith(("train", "coupling"))} == {
        *("train@smollm2-42-benign", "coupling@smollm2-42-benign", "train-couple@smollm2-42-benign"),
        "train-after@smollm2-42-benign",
    }


def test_a_gate_is_judged_again_without_running_a_model(pipeline):
    edit(pipeline, "gates", "override_coupling", value=True)
    assert planned(pipeline) == REPORT


def test_slots_retrain_and_sample_nothing(pipeline):
    edit(pipeline, "sampling", "slots", value=7)
    assert planned(pipeline) <= {f"{name}@smollm2" for name in ("tables", "quoted", "paper", "page")}


def test_another_seed_adds_its_own_stages_and_keeps_the_rest(pipeline):
    edit(pipeline, "seeds", value=[42, 137])
    plan = planned(pipeline)
    assert {stage for stage in plan if "@smollm2-42" in stage} == set()
    assert len([stage for stage in plan if "@smollm2-137" in stage]) == 47
