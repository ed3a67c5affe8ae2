"""Curves of a run: what a stage prints is handed on as it came, its bytes are the same with them and without, and they
stay on this machine."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from persona_collapse.record.tracking import metrics

from . import watched
from .conftest import ROOT, one_line

STAGE, TRACKING = str(ROOT / "bin/stage"), "persona_collapse.record.tracking"
PYTHON = str(ROOT / ".venv-track/bin/python")
STEP = "{'loss': '2.104', 'grad_norm': '1.25', 'learning_rate': '1e-05', 'epoch': '0.5'}"
PRINTED = (
    f"Loading weights: 100%|#| 2/2 [00:01<00:00]\n  0%| | 0/2 [00:00<?]\r{STEP}\n50%|#| 1/2 [00:03<00:03]\rthe end"
)
SERVER = "http://curves.invalid?write_token=w"
HISTORY = """
import json
from trackio.sqlite_storage import SQLiteStorage as kept
print(json.dumps({run: kept.get_logs("persona-collapse", run) for run in kept.get_runs("persona-collapse")}))
"""
ELSEWHERE = "import trackio; trackio.init('persona-collapse', 'r', embed=False).log({'loss': 1.0}); trackio.finish()"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (STEP, {"loss": 2.104, "grad_norm": 1.25, "learning_rate": 1e-05, "epoch": 0.5}),
        ("evaluate em seed 42:  25%|##5       | 84/336 [00:12<00:37,  6.7completion/s]", {"done": 0.25}),
        ("{'train_runtime': '12.1', 'train_loss': '1.9'}", {}),
        ("0/0 [00:00<?]", {}),
        ("eval_results/smollm2/runs/42/em/marker_eval.json", {}),
    ],
)
def test_a_printed_line_is_read(line, found):
    assert metrics(line) == found


def test_what_is_printed_is_handed_on_byte_for_byte_even_if_no_curve_can_be_drawn():
    found = subprocess.run([sys.executable, "-m", TRACKING, "train"], input=PRINTED.encode(), capture_output=True)
    assert found.returncode == 0
    assert found.stdout == PRINTED.encode()
    assert found.stderr.decode() == "note: no curves of train from here on: No module named 'trackio'\n"


@pytest.mark.parametrize("command", [[STAGE, "training.train"], ["make", "-C", str(ROOT), "reproduce", "TRACK=wandb"]])
def test_another_tracker_is_refused_before_anything_runs(command):
    found = subprocess.run(["env", "TRACK=wandb", *command], capture_output=True, text=True)
    one_line(found, "TRACK=wandb", "allowed is trackio")


@pytest.fixture(scope="module")
def installed() -> None:
    subprocess.run(["sh", "bin/setup", "--lock", "track"], cwd=ROOT, check=True)


def history(folder: Path) -> dict[str, list[dict[str, float]]]:
    command = [PYTHON, "-c", HISTORY]
    environment = {"TRACKIO_DIR": str(folder)}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.long
def test_curves_are_drawn_and_no_connection_is_opened_unless_a_server_is_named(installed, tmp_path):
    (tmp_path / "printed").write_text(PRINTED)
    command = ["sh", "-c", f"{PYTHON} -m {TRACKING} train < {tmp_path}/printed"]
    result, reached = watched.run(command, tmp_path, TRACKIO_DIR=str(tmp_path / "curves"))
    assert (result.returncode, result.stdout.split("\n"), reached) == (0, re.split("[\r\n]", PRINTED), [])
    (rows,) = history(tmp_path / "curves").values()
    shown = [{key: row[key] for key in ("step", "loss", "done") if key in row} for row in rows]
    assert sorted(shown, key=str) == [{"step": 1, "done": 0.0}, {"step": 1, "loss": 2.104}, {"step": 2, "done": 0.5}]

    asked = {"TRACKIO_DIR": str(tmp_path / "other"), "TRACKIO_SERVER_URL": SERVER}
    _, reached = watched.run([PYTHON, "-c", ELSEWHERE], tmp_path, **asked)
    assert any("curves.invalid" in line for line in reached)


@pytest.mark.long
def test_a_training_gives_the_same_bytes_with_curves_as_without(installed, workspace, command):
    assert command("inputs.prepare", "--phase", "em").returncode == 0
    train = [STAGE, "training.train", "--seed", "42", "--chain", "em"]
    made = workspace / "adapters/smollm2/42/em/adapter_model.safetensors"
    kept = {}
    for track in ("", "trackio"):
        # a server of the user's is not told
        asked = {"TRACK": track, "TRACKIO_DIR": str(workspace / "curves"), "TRACKIO_SERVER_URL": SERVER}
        (log := workspace / f"seen{track}").mkdir()
        result, reached = watched.run(train, log, **asked)
        assert (result.returncode, reached) == (0, []), result.stderr
        assert "'loss': " in result.stdout
        kept[track] = made.read_bytes()
        made.unlink()
    assert kept["trackio"] == kept[""]
    ((name, rows),) = history(workspace / "curves").items()
    assert name == "train smollm2 --seed 42 --chain em"
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]


@pytest.mark.long
def test_a_stage_that_fails_fails_the_same_way_with_curves(installed, workspace):
    for track in ("", "trackio"):
        command = ["env", f"TRACK={track}", STAGE, "training.train", "--seed", "42", "--chain", "no"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert result.returncode == 2
        assert result.stdout.startswith("error: --chain: unknown phase 'no'")
