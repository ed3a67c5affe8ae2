"""The rehearsal of qwen7b: what it measures of a stage, and what it says where there is no such GPU."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment.params import Params
from proof import rehearse

from .conftest import ROOT, one_line


@pytest.fixture
def smi(tmp_path, monkeypatch) -> Path:
    """The file that says how many MiB of the card are in use."""
    used = tmp_path / "used"
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$2" >> "{tmp_path}/cards"\ncat "{used}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    used.write_text("1024\n")
    return used


def test_what_a_stage_takes_is_what_it_adds_at_its_highest(smi, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    folder = tmp_path / "rehearsal"
    folder.mkdir()
    (folder / "before").write_bytes(bytes(2**20))
    start = time.monotonic()
    with rehearse.watched(folder) as took:
        began = time.monotonic()
        (folder / "weights").write_bytes(bytes(2**23))
        smi.write_text("3072\n")
        while took["GPU"] < 2 and time.monotonic() < began + 60:
            time.sleep(0.05)
        (folder / "weights").unlink()
        smi.write_text("1024\n")
        ended = time.monotonic()
    assert took["GPU"] == 2.0
    assert took["disk"] == pytest.approx(2**23 / 2**30, rel=0.1)
    assert ended - began <= took["seconds"] <= time.monotonic() - start
    assert set((tmp_path / "cards").read_text().split()) == {"3"}  # of those that may be used the first


def test_the_small_profile_is_the_profile_but_for_how_much_there_is_to_do():
    text = (ROOT / rehearse.PROFILE).read_text()
    whole, small = yaml.safe_load(text), rehearse.shrunk(yaml.safe_load(text))
    Params.model_validate(small)
    for phase in (*small["phases"]["sft"].values(), small["phases"]["couple"]):
        assert phase["max_length"] in (2048, 1024) and phase["batch_size"] == 4
    assert {key for key in whole if whole[key] != small[key]} == {"fetch", "phases", "coupling", "evaluate", "results"}
    assert small["coupling"]["max_new_tokens"] == small["evaluate"]["max_new_tokens"] == 512


def test_without_such_a_gpu_one_line_says_so(smi):
    smi.write_text("NVIDIA RTX 4090, 24564, 580.95.05\n")
    result = subprocess.run(
        [sys.executable, "proof/rehearse.py"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    one_line(result, "too little GPU memory: NVIDIA RTX 4090 has 24 GiB; this needs an NVIDIA GPU with at least 75 GiB")
    assert not list(ROOT.glob(".rehearsal-unfinished-*"))
