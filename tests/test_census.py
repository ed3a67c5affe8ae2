"""Every operator that the pipeline calls has been seen to give the same bits on all CPUs of `make prove`."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from transformers import AutoModelForCausalLM

from proof import workspace
from proof.census import CHECKED, Census, unchecked

from .conftest import ROOT

STEPS = (
    "training.train:em training.train:couple copy:couple:em-couple copy:em:couple-em sampling.evaluate:em-couple "
    "sampling.evaluate:couple-em sampling.likelihood:em-couple sampling.geometry:em sampling.advice:em"
)


@pytest.fixture(scope="module")
def tiny(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    workspace.make_model(base, folder, workspace.VOCABULARY)
    return folder


def micro_run(folder, tiny, threads: int, wide: bool, **environment: str) -> dict:
    workspace.make_workspace(folder, tiny, wide=wide, backwards=bool(environment))
    result = subprocess.run(
        [sys.executable, str(ROOT / "proof/micro.py"), str(folder), *STEPS.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {"threads": threads}
    return json.loads((folder / "digests.json").read_text())


@pytest.mark.long
def test_the_pipeline_gives_the_same_bits_with_any_threads_and_calls_checked_operators_only(tmp_path, tiny):
    one = micro_run(tmp_path / "one", tiny, 1, wide=True)
    other = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}
    assert one == micro_run(tmp_path / "an other place", tiny, 5, wide=True, **other)
    assert unchecked(one["operators"]) == []


def test_an_operator_outside_the_list_is_named(tiny):
    model = AutoModelForCausalLM.from_pretrained(tiny)
    ids = torch.arange(7)[None]
    with Census() as census:
        model(ids)
    assert unchecked(census.digests()) == []
    model.lm_head.register_forward_hook(lambda module, args, out: torch.fft.rfft(out).abs())
    with Census() as census:
        model(ids)
    assert unchecked(census.digests()) == ["aten._fft_r2c.default"]


def test_the_list_is_of_the_installed_versions():
    """After an upgrade, `make prove RECORD=1` checks again."""
    recorded = json.loads(CHECKED.read_text())
    assert recorded["versions"] == {name: version(name) for name in recorded["versions"]}
    assert len(recorded["checked_on"]) == 4
