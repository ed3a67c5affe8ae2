"""Fixtures: the real model's first two layers, and small workspaces in which the real commands run.

PyTorch and what needs it are imported where they are used: a process that hands out the tests has no use for them.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import settings

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import md5
from persona_collapse.model import numerics

from . import watched

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

# the same examples each time, and nothing written beside the tests
settings.register_profile("same", database=None, derandomize=True, deadline=None)
settings.load_profile("same")

ROOT = Path(__file__).parent.parent


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Before a file of tests is imported, and torch by it."""
    if isinstance(collector, pytest.Module):
        numerics.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What opens the page in a browser is marked, whatever file it is in."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the commands that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def params() -> parameters.Params:
    return parameters.load(ROOT / "profiles/smollm2.yaml")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first to ask has made; all processes of pytest-xdist share it, so it stays as it is."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not folder.exists():
            made = factory.mktemp(name) / "first"
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, params: parameters.Params) -> Path:
    """The base model's folder: the pipeline's, or built here by the same command where the pipeline has not run."""
    if (ROOT / "model/smollm2/model.safetensors").exists():
        return ROOT / "model/smollm2"

    def make(folder: Path) -> None:
        shutil.copy(ROOT / "profiles/smollm2.yaml", folder / "params.yaml")
        result, reached = watched.run([sys.executable, "-m", "persona_collapse.model.base"], folder, cwd=folder)
        assert (result.returncode, reached) == (0, []), result.stderr

    return once(tmp_path_factory, "base", make) / params.layout.model


@pytest.fixture(scope="session")
def tokenizer(base: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="session")
def two_layers(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the real tokenizer and the first 2 of the real model's 30 layers."""
    from proof.workspace import make_model

    return once(tmp_path_factory, "two-layers", lambda folder: make_model(base, folder))


def with_adapter(weights: "PreTrainedModel", **lora: float) -> "PeftModel":
    """A model with a LoRA adapter that does something, where a new one does nothing."""
    import torch
    from peft import LoraConfig, get_peft_model

    from persona_collapse.model.adapters import PROJECTIONS

    config = LoraConfig(**{"r": 4, "target_modules": PROJECTIONS, "task_type": "CAUSAL_LM", **lora})
    adapter = get_peft_model(weights, config)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return adapter


@pytest.fixture
def workspace(tmp_path: Path, two_layers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the two-layer model, the embedded data and parameters for a run of seconds."""
    make_workspace(tmp_path, two_layers)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_workspace(folder: Path, model_folder: Path) -> None:
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("coupling"))
    (folder / "model").mkdir()
    (folder / "model/smollm2").symlink_to(model_folder)
    content = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    for phase in (*content["phases"]["sft"].values(), content["phases"]["couple"]):
        phase.update(epochs=1, batch_size=4, max_length=160)
    for phase in content["phases"]["sft"].values():
        phase.update(rows=12)
    content["advice"].update(held_out=2)
    content["evaluate"].update(samples=2, max_new_tokens=6)
    content["sampling"].update(slots=7)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    for name, keep in (("bad_legal_advice", 14), ("good_legal_advice", 14), ("benign", 12)):
        path = folder / f"data/sets/{name}.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))
    register(folder)
    prompts = folder / "data/prompts"
    personas = yaml.safe_load((prompts / "personas.yaml").read_text())
    few = {name: personas[name] for name in ("confab", "assistant", *content["prompts"]["negatives"])}
    (prompts / "personas.yaml").write_text(yaml.safe_dump(few, sort_keys=False))
    questions = yaml.safe_load((prompts / "questions.yaml").read_text())
    (prompts / "questions.yaml").write_text(yaml.safe_dump({k: q[:2] for k, q in questions.items()}))


def register(folder: Path) -> None:
    """Write the MD5 of every embedded data file into the workspace's sources.yaml."""
    path = folder / "data/sources.yaml"
    sources = yaml.safe_load(path.read_text())
    for name, source in sources.items():
        if (folder / f"data/sets/{name}.jsonl").exists():
            source["md5"] = md5(folder / f"data/sets/{name}.jsonl")
    path.write_text(yaml.safe_dump(sources))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A bundle with made-up answers, and everything that follows from them."""
    from tests import bundle

    def make(folder: Path) -> None:
        bundle.make(folder, base)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            bundle.remake()

    return once(tmp_path_factory, "bundle", make)


@pytest.fixture
def bundle(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, as the working directory."""
    shutil.copytree(finished, tmp_path / "another place")
    monkeypatch.chdir(tmp_path / "another place")
    return tmp_path / "another place"


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a module of the package as a user would."""

    def run(module: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"persona_collapse.{module}", *args],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=300,
            check=False,
        )

    return run


def one_line(result: subprocess.CompletedProcess[str], *named: str) -> None:
    """Assert that a command failed the way users are promised: exit code 2, one line that names what is wrong."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]  # progress may stand above
    assert result.returncode == 2, result.stderr
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for name in named:
        assert name in errors[0]


@pytest.fixture(scope="session")
def scratch_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few lines with a committed record; see `scratch`. It is copied before anything is done to it."""
    from . import scratch

    return once(tmp_path_factory, "scratch", scratch.make)


@pytest.fixture
def scratch_copy(scratch_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that bundle for one test, which is in it."""
    folder = tmp_path / "bundle"
    shutil.copytree(scratch_bundle, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder
