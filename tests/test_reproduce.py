"""`reproduce` re-runs, compares and leaves the record as it was, however it ends; so does every other run of DVC's."""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5
from persona_collapse.record import committed, lock, pipeline, repository, reproduce, verify

from . import scratch

COMMITTED = ("eval_results/smollm2/statistics.json", "paper/tables/smollm2/headline.md", "figures/smollm2/all.png")
# the bundle's stages are none whose cost can be planned
COMMAND = ["-c", "from persona_collapse.record import reproduce as r; r.preflight = lambda: 0; r.main()"]
PIPELINE = ["-m", "persona_collapse.record.pipeline"]
LATE = [*PIPELINE, "repro", "--force", "--single-item", "results", "tables", "figures"]  # as `make tables` does


@pytest.fixture
def bundle(scratch_copy: Path) -> Path:
    return scratch_copy


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,  # a group of its own, for Ctrl-C
    )


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    process = start(*arguments, **environment)
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def stages_run(text: str) -> set[str]:
    return {line.split("'")[1].partition("@")[0] for line in text.splitlines() if line.startswith("Running stage")}


def head_lock() -> str:
    return scratch.git(Path(), "show", "HEAD:dvc.lock")


def test_what_follows_from_the_adapters_is_made_anew_and_the_record_stays(bundle):
    Path("dvc.lock").write_text("")  # what a killed DVC leaves
    shutil.rmtree("adapters")
    code, text = run(*COMMAND)
    assert code == 0, text
    assert "note: dvc.lock: not a dvc.lock with recorded stages" in text
    assert stages_run(text) == {"base", "evaluate", "results", "tables", "figures"}
    assert "\nall identical\n" in text
    assert Path("paper/tables/smollm2/headline.md").read_text() in text
    assert Path("dvc.lock").read_text() == head_lock()
    assert scratch.git(Path(), "status", "--porcelain") == ""
    assert not committed.KEPT.exists()


def test_from_scratch_everything_is_made_and_what_differs_is_said(bundle):
    code, text = run(*COMMAND, "--from", "scratch", MACHINE="another")
    assert code == 1, text
    assert stages_run(text) == {"base", "train", "coupling", "evaluate", "results", "tables", "figures"}
    assert "NOT identical to the record" in text
    assert "first difference: base@smollm2, made by base@smollm2" in text
    assert Path("dvc.lock").read_text() == head_lock()


def test_a_stage_that_writes_nothing_is_not_taken_for_one_that_wrote_the_same(bundle, tmp_path):
    """Outputs stay where they are until a stage has made them anew: a command that does nothing would pass."""
    (tmp_path / "sh").write_text("#!/bin/true\n")
    (tmp_path / "sh").chmod(0o755)
    code, text = run(*COMMAND, "--stages", "evaluate@smollm2-42-em", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert code == 2, text
    assert re.search(r"the command ended well and has not written .*/42/em/marker_eval.json\n", text)
    assert "identical" not in text


def test_a_stage_that_fails_is_one_line_and_the_record_stays(bundle):
    make = Path("src/code/make.sh")
    make.write_text("echo 'error: data/weights: too heavy' >&2; exit 2\n")
    code, text = run(*COMMAND)
    assert code == 2
    assert text.splitlines()[-1] == "error: data/weights: too heavy"
    assert Path("dvc.lock").read_text() == head_lock()


@pytest.mark.long
def test_a_profile_without_a_record_gets_one_also_if_it_is_interrupted(bundle):
    Path("dvc.lock").unlink()
    scratch.commit(Path())
    process = start(*COMMAND, SLOW="0.2")
    until(lambda: Path("dvc.lock").exists() and "train" in Path("dvc.lock").read_text())
    end(process, signal.SIGTERM)
    code, text = run(*COMMAND)
    assert code == 0, text
    assert text.startswith("smollm2 has no record in dvc.lock yet: everything runs")
    assert "base" not in stages_run(text)  # it goes on where it was stopped
    assert set(lock.read()) == set(repository.declared(repository.checked()))


def adapters_by_hash_alone(bundle: Path, seeds: str = "[42]") -> None:
    """Make the bundle one of a GPU profile's kind, whose adapters are recorded and kept nowhere."""
    for name, old, new in (
        ("dvc.yaml", "adapter.bin", "adapter_model.safetensors"),
        ("params.yaml", "device: cpu", "device: cuda"),
        ("params.yaml", "seeds: [42]", f"seeds: {seeds}"),
    ):
        assert old in Path(name).read_text()
        Path(name).write_text(Path(name).read_text().replace(old, new))
    shutil.rmtree("adapters")
    scratch.run(bundle, "repro")
    scratch.run(bundle, "push")
    trained = [stage for name, stage in lock.read().items() if name.startswith("train@")]
    for digest in {out.md5 for stage in trained for out in stage.outs}:  # seeds may share one
        for objects in ("remote/files/md5", ".dvc/cache/files/md5"):
            (Path(objects) / digest[:2] / digest[2:]).unlink()
    shutil.rmtree("adapters")
    scratch.commit(Path())


@pytest.mark.long
def test_adapters_that_are_recorded_by_their_hash_alone_are_trained_where_they_are_not(bundle):
    """Those of a GPU profile. DVC refuses to fetch a record of which the remote lacks something."""
    adapters_by_hash_alone(bundle)
    before = head_lock()
    code, text = run(*COMMAND)
    assert code == 0, text
    assert text.startswith("adapters of smollm2 are recorded by their hash alone, and are not here: they are trained")
    assert "train" in stages_run(text)
    assert "all identical" in text
    assert Path("dvc.lock").read_text() == before
    assert "train" not in stages_run(run(*COMMAND)[1])  # now they are


@pytest.mark.long
def test_a_run_of_one_seed_is_not_held_to_the_adapters_of_another(bundle):
    adapters_by_hash_alone(bundle, "[42, 137]")
    code, text = run(*COMMAND, "--from", "scratch", "--seeds", "42")
    assert code == 0, text
    assert re.search(r"^train@smollm2-137-em +not here: adapters/", text, re.MULTILINE)
    assert re.search(r"^train@smollm2-42-em +identical$", text, re.MULTILINE)
    assert "all identical that is here" in text

    Path("adapters/smollm2/42/em/adapter_model.safetensors").unlink()  # one of those that are here
    assert "adapter_model.safetensors is missing" in run("-m", "persona_collapse.record.verify")[1]


def test_a_seed_without_a_record_gets_one_and_the_others_stay(bundle):
    text = Path("params.yaml").read_text()
    assert "seeds: [42]" in text
    Path("params.yaml").write_text(text.replace("seeds: [42]", "seeds: [42, 137]"))
    before = lock.read()
    code, text = run(*COMMAND, "--seeds", "137")
    assert code == 0, text
    assert text.startswith("seeds 137 have no whole record yet")
    assert stages_run(text) == {"train", "coupling", "evaluate"}
    after = lock.read()
    assert {name: after[name] for name in before} == before
    assert {name for name in after if name not in before} == {
        "train@smollm2-137-em",
        "train@smollm2-137-benign",
        "coupling@smollm2-137-em",
        "evaluate@smollm2-137-em",
        "evaluate@smollm2-137-benign",
    }


def test_a_seed_with_a_record_is_compared_with_it(bundle):
    code, text = run(*COMMAND, "--seeds", "42", MACHINE="b")
    assert code == 1, text
    assert "evaluate@smollm2-42-em" in text
    assert stages_run(text) == {"base", "evaluate"}
    assert Path("dvc.lock").read_text() == head_lock()


# ---- stopped at any moment ----


def until(so: Callable[[], bool]) -> None:
    for _ in range(6000):
        if so():
            return
        time.sleep(0.05)
    raise TimeoutError


def unfinished() -> list[Path]:
    """What stages are writing."""
    return list(Path().rglob(".*-unfinished-*"))


def end(process: subprocess.Popen[str], number: int) -> str:
    """Ctrl-C for all that it has started, as a terminal sends it, or a signal to the process alone, as `kill` does."""
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    text, _ = process.communicate(timeout=600)  # and wait for what it has started, which holds its output open
    return text


def whole(record: str) -> None:
    """Nothing committed is lost or half written."""
    lock.read()
    changed = scratch.git(Path(), "status", "--porcelain").split()
    assert set(changed) <= {"M", "dvc.lock"}, changed
    for path in COMMITTED:
        assert Path(path).read_text() == scratch.git(Path(), "show", f"HEAD:{path}")
    assert head_lock() == record


@pytest.mark.long
@pytest.mark.parametrize("command", [COMMAND, LATE], ids=["reproduce", "tables"])
def test_stopped_at_any_moment_it_loses_nothing_and_works_when_called_again(bundle, command):
    drawn, record = random.Random(" ".join(command)), head_lock()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for left in unfinished():  # of a stage that was killed
            left.unlink()
        process = start(
            *command, SLOW="1"
        )  # a stage that takes longer than the longest wait that is drawn, with those after it
        until(lambda process=process: unfinished() or process.poll() is not None)
        time.sleep(drawn.uniform(0, 1.5))
        text = end(process, number)
        assert "Traceback" not in text
        assert process.returncode != 0, text
        # before its first line and after its last there is nothing to put right, and the signal ends it as it ends any
        if number != signal.SIGKILL and process.returncode != -number:
            assert process.returncode == 128 + number
            assert text.count("stopped; what was made stays: ") == 1
            assert "ERROR" not in text
        whole(record)
    code, text = run(*command)
    assert code == 0, text
    whole(record)
    assert Path("dvc.lock").read_text() == record


KILLED_WHILE_WRITING = """
import os, signal
from dvc.utils.serialize import _yaml
def half(data, stream):
    stream.write("schema: '2.0'")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
_yaml._dump = half
from persona_collapse.record import pipeline
pipeline.main()
"""


def test_killed_while_dvc_writes_its_lock_the_lock_is_what_it_was(bundle):
    record = head_lock()
    code, text = run("-c", KILLED_WHILE_WRITING, "repro", "--force", "--single-item", "figures")
    assert code == -signal.SIGKILL, text
    assert stages_run(text) == {"figures"}
    assert Path("dvc.lock").read_text() == record


@pytest.mark.long
@pytest.mark.parametrize("git", [True, False])
def test_the_lock_of_a_run_that_was_killed_on_another_machine_is_never_taken_for_the_record(bundle, git, capsys):
    record = head_lock()
    if not git:
        shutil.rmtree(".git")
    process = start(*COMMAND, SLOW="0.3", MACHINE="another")
    until(lambda: Path("dvc.lock").read_text() != record)
    end(process, signal.SIGKILL)
    assert Path("dvc.lock").read_text() != record
    params = parameters.load()
    assert verify.verify(params, committed.record("smollm2")) == 1
    assert re.search(r"base@smollm2 .*model.safetensors differs", capsys.readouterr().out)
    code, text = run(*COMMAND, "--stages", "base")
    assert code == 0, text
    assert "note: a `make reproduce` was killed; dvc.lock is the record again" in text
    assert Path("dvc.lock").read_text() == record


def test_what_the_lock_has_of_another_profile_stays_and_another_record_of_this_one_is_kept_aside(bundle, capsys):
    record, declared = committed.record("smollm2"), repository.declared(repository.checked())
    other = record.text + "  tables@qwen7b:\n    cmd: not committed yet\n"
    Path("dvc.lock").write_text(other)
    assert reproduce.starting_lock(record, declared, "smollm2") == other
    mine = other.replace("cmd: sh", "cmd: sh -e", 1)
    Path("dvc.lock").write_text(mine)
    assert reproduce.starting_lock(record, declared, "smollm2") == record.text
    (copy,) = Path("run_info").glob("*.lock")
    assert f"note: dvc.lock was not the record; it is kept as {copy}" in capsys.readouterr().err
    assert copy.read_text() == mine


def test_one_run_waits_for_another(bundle):
    with pipeline.alone():
        del os.environ[pipeline.HELD]  # what is started now is not this run's own
        process = start(*PIPELINE, "repro")
        assert process.stdout.readline() == "waiting for another run of the pipeline here to end\n"
        os.environ[pipeline.HELD] = ""
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text


# ---- what is run ----


def test_which_stages_run_follows_from_what_they_make(bundle):
    repo = repository.checked()
    declared, order = repository.declared(repo), repository.order(repo)
    made = {"train@smollm2-42-em", "train@smollm2-42-benign", "coupling@smollm2-42-em"}
    assert set(reproduce.chosen(declared, order, False, [])) == set(declared) - made
    assert reproduce.chosen(declared, order, True, []) == order
    some = reproduce.chosen(declared, order, False, ["tables@smollm2", "evaluate", "results"])
    assert some[-2:] == ["results@smollm2", "tables@smollm2"]
    assert set(some[:-2]) == {"evaluate@smollm2-42-em", "evaluate@smollm2-42-benign"}
    with pytest.raises(InputError, match=r"--stages evaluat: no such stage in dvc.yaml; allowed: base, train, "):
        reproduce.chosen(declared, order, False, ["evaluat"])


def test_the_real_pipeline_trains_and_samples_coupling_data_from_scratch_only(monkeypatch):
    monkeypatch.chdir(scratch.ROOT)
    repo = repository.checked()
    declared, order = repository.declared(repo), repository.order(repo)
    left_out = set(declared) - set(reproduce.chosen(declared, order, False, []))
    assert {name.partition("@")[0] for name in left_out} == {
        *("train", "train-couple-base", "train-couple", "train-after", "coupling-base", "coupling")
    }


def test_update_makes_what_is_out_of_date_the_record(bundle):
    Path("data/counts.json").write_text(Path("data/counts.json").read_text().replace("3", "4"))
    code, text = run("-m", "persona_collapse.record.update")
    assert code == 0, text
    assert stages_run(text) == {"evaluate", "results", "tables", "figures"}
    out = "eval_results/smollm2/runs/42/em/marker_eval.json"
    assert md5(out) in Path("dvc.lock").read_text()
    assert Path(f"remote/files/md5/{md5(out)[:2]}/{md5(out)[2:]}").exists()
    assert '"packages"' in Path("run_info/smollm2/recorded.json").read_text()


@pytest.mark.long
def test_an_experiment_of_dvcs_runs_what_a_parameter_changes_and_is_shown_beside_the_record(bundle):
    code, text = run(*PIPELINE, "exp", "run", "--name", "four", "--set-param", "evaluate.samples=4")
    assert code == 0, text
    assert stages_run(text) == {"evaluate", "tables"}
    code, text = run(*PIPELINE, "exp", "show", "--only-changed", "--csv")
    assert code == 0, text
    rows = list(csv.DictReader(text.splitlines()))
    branch = scratch.git(Path(), "branch", "--show-current").strip()
    recorded = str(yaml.safe_load(scratch.git(Path(), "show", "HEAD:params.yaml"))["evaluate"]["samples"])
    shown = {row["Experiment"] or row["rev"]: row["evaluate.samples"] for row in rows}
    assert shown == {"workspace": "4", branch: recorded, "four": "4"}
