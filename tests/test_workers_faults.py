"""What a run on many workers survives, and that its lock is that of a run on one: `make prove-workers`.

The bundle is the one of a few lines (`scratch`), the processes are real: Dask, DVC, git clones with a remote between
them, and a Slurm of one node that the test starts. Each test takes half a minute.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml

from persona_collapse.experiment.files import read_json
from persona_collapse.workers import elsewhere, run, task

from . import scratch

pytestmark = pytest.mark.skipif("PROVE_WORKERS" not in os.environ, reason="takes minutes: make prove-workers")

COORDINATOR = [sys.executable, "-P", "-m", "persona_collapse.workers.run"]
WORKER = [sys.executable, "-P", "-m", "persona_collapse.workers.worker"]
SCHEDULER = [sys.executable, "-P", "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
STAGES = 9
TRAINED = Path("adapters/smollm2/42/em/adapter.bin")


@pytest.fixture
def bundle(scratch_copy: Path, tmp_path: Path) -> Path:
    """The coordinator's folder, with a remote `lab` that clones can reach too; nothing of it is recorded yet."""
    (tmp_path / "lab").mkdir()
    Path(".dvc/config.local").write_text(f"['remote \"lab\"']\n    url = {tmp_path / 'lab'}\n")
    Path("dvc.lock").unlink()
    for made in ("model", "adapters", "data/coupling", "eval_results"):
        shutil.rmtree(made)
    return scratch_copy


@pytest.fixture(scope="module")
def one_lock(scratch_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The lock of a run without workers, from nothing."""
    folder = tmp_path_factory.mktemp("one") / "bundle"
    shutil.copytree(scratch_bundle, folder, symlinks=True)
    (folder / "dvc.lock").unlink(missing_ok=True)
    scratch.run(folder, "repro", "--force")
    return (folder / "dvc.lock").read_bytes()


def clone(bundle: Path, name: str) -> Path:
    """A clone of the bundle's commit, as another host has one: without the lock, since the coordinator has none."""
    folder = bundle.parent / name
    scratch.git(bundle.parent, "clone", "--quiet", str(bundle), name)
    shutil.copy(bundle / ".dvc/config.local", folder / ".dvc/config.local")
    (folder / "dvc.lock").unlink(missing_ok=True)
    return folder


def start(command: list[str], folder: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> str:
    text, _ = process.communicate(timeout=300)
    return text


def until(so: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def unfinished(folder: Path = Path()) -> list[Path]:
    """What stages are writing."""
    return list(folder.rglob(".*-unfinished-*"))


@contextmanager
def ending(*processes: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextmanager
def cluster(bundle: Path, **clones: dict[str, str]) -> Iterator[list[str]]:
    """A scheduler, and a worker in each of some new clones with its settings; the coordinator's options."""
    file = bundle.parent / "scheduler.json"
    scheduler = start([*SCHEDULER, "--scheduler-file", str(file)], bundle.parent)
    with ending(scheduler):
        until(file.exists)
        until(lambda: "address" in file.read_text())
        address = yaml.safe_load(file.read_text())["address"]
        workers = [
            start([*WORKER, "--scheduler", address], clone(bundle, name), **environment)
            for name, environment in clones.items()
        ]
        with ending(*workers):
            yield [*COORDINATOR, "--scheduler", address, "--remote", "lab"]


def runs(text: str) -> list[tuple[str, str]]:
    """The stages that were started, each with its worker."""
    return re.findall(r"\] (\S+) runs on (\S+)", text)


def whole(one_lock: bytes) -> None:
    """All is made, nothing is half written, and the lock is that of a run on one."""
    assert Path("dvc.lock").read_bytes() == one_lock
    assert not unfinished()
    assert Path("paper/tables/smollm2/headline.md").exists()


# ---- one clone ----


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_lock_is_that_of_a_run_on_one(bundle, one_lock, workers):
    process = start([*COORDINATOR, "--workers", workers], bundle)
    text = ended(process)
    assert process.returncode == 0, text
    whole(one_lock)


def test_a_worker_that_is_killed_in_a_stage_costs_that_stage_alone(bundle, one_lock):
    process = start([*COORDINATOR, "--workers", "2"], bundle, SLOW="2")
    until(lambda: any("adapters" in str(path) for path in unfinished()))
    worker = next(one for one in psutil.Process(process.pid).children() if "dask_worker" in " ".join(one.cmdline()))
    for part in [*worker.children(), worker]:
        part.kill()
    text = ended(process)
    assert process.returncode == 0, text
    assert re.search(r"worker \S+ is lost, and with it train@\S+, which runs again", text)
    whole(one_lock)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_coordinator_that_is_stopped_leaves_nothing_running_and_goes_on_when_called_again(bundle, one_lock, number):
    process = start([*COORDINATOR, "--workers", "2", "--force"], bundle, SLOW="1")
    until(lambda: run.JOURNAL.exists() and len(read_json(run.JOURNAL)["made"]) >= 2)
    time.sleep(random.Random(number).uniform(0, 1))
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    text = ended(process)
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below), 30)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert text.splitlines()[-1].endswith("a second call goes on from here")
        assert not unfinished()
    for left in unfinished():  # of a stage that was killed
        left.unlink()
    again = start([*COORDINATOR, "--workers", "2", "--force"], bundle)
    text = ended(again)
    assert again.returncode == 0, text
    assert "were made before a run of the same was stopped" in text
    assert len({stage for stage, _ in runs(text)}) < STAGES
    whole(one_lock)


def test_a_stage_that_fails_costs_only_what_needs_it(bundle):
    make = Path("src/code/make.sh")
    make.write_text(
        'case "$1" in *42/em/adapter.bin) echo "error: data/sets/em.jsonl: too bad" >&2; exit 2;; esac\n'
        + make.read_text()
    )
    process = start([*COORDINATOR, "--workers", "2"], bundle)
    text = ended(process)
    assert process.returncode == 2, text
    assert "train@smollm2-42-em: error: data/sets/em.jsonl: too bad" in text
    named = re.search(r"not run, since train@smollm2-42-em failed: (.*)", text)[1].split(", ")
    assert {name.partition("@")[0] for name in named} == {"coupling", "evaluate", "results", "tables", "figures"}
    assert Path("eval_results/smollm2/runs/42/benign/marker_eval.json").exists()
    assert not Path("eval_results/smollm2/runs/42/em").exists()


# ---- clones with a remote between them ----


def test_two_clones_make_the_lock_of_one(bundle, one_lock):
    with cluster(bundle, b={"SLOW": "1"}, c={"SLOW": "1"}) as command:
        process = start(command, bundle)
        text = ended(process)
    assert process.returncode == 0, text
    whole(one_lock)
    where = dict(runs(text))
    assert len({where[name] for name in where if name.startswith(("train", "evaluate", "coupling"))}) == 2
    assert TRAINED.exists()  # made there, and brought home


def test_a_remote_that_is_away_for_a_while_is_waited_for(bundle, one_lock):
    lab, away = bundle.parent / "lab", bundle.parent / "away"
    with cluster(bundle, b={}) as command:
        process = start(command, bundle)
        until(lambda: (bundle.parent / "b" / TRAINED).exists())
        lab.rename(away)
        lab.write_text("no folder")  # or DVC would make a new one
        time.sleep(8)
        lab.unlink()
        away.rename(lab)
        text = ended(process)
    assert process.returncode == 0, text
    logs = "".join(path.read_text() for path in (bundle.parent / "b" / task.LOGS).glob("*.log"))
    assert "asked again in" in logs
    whole(one_lock)


def test_a_remote_that_stays_away_is_one_line(monkeypatch):
    monkeypatch.setattr(elsewhere, "PATIENCE", 0.3)
    monkeypatch.setattr(elsewhere, "FIRST_WAIT", 0.1)
    asked = []

    def act() -> None:
        asked.append(1)
        raise OSError("no\nroute")

    with pytest.raises(Exception, match=r"^remote lab: no route$"):
        elsewhere.patiently(act, "lab")
    assert len(asked) == 2


def test_a_worker_whose_disk_is_full_gets_no_further_stage(bundle, one_lock):
    make = Path("src/code/make.sh")
    make.write_text('[ ! -e ../full-$(basename "$PWD") ] || cat "$@" > /dev/full || exit 1\n' + make.read_text())
    scratch.commit(bundle)
    (bundle.parent / "full-b").touch()
    with cluster(bundle, b={}, c={}) as command:
        process = start(command, bundle)
        text = ended(process)
    assert process.returncode == 0, text
    (full,) = re.findall(r"worker (\S+): its disk is full \(.*No space left on device\)", text)
    first = text.index("its disk is full")
    assert full not in [worker for _, worker in runs(text[first:])]
    assert not unfinished()
    assert Path("paper/tables/smollm2/headline.md").exists()


def test_an_object_that_is_damaged_in_the_remote_is_found_and_made_again(bundle, one_lock):
    made = re.search(rf"{TRAINED}\n.*\n +md5: (\w+)", one_lock.decode())[1]
    there = bundle.parent / "lab/files/md5" / made[:2] / made[2:]
    with cluster(bundle, b={"SLOW": "1"}) as command:
        process = start(command, bundle)
        said = ""
        while "train@smollm2-42-em done" not in said:
            said += (line := process.stdout.readline())
            assert line, "it ended before that stage was done"
        there.chmod(0o644)
        there.write_bytes(b"x" * there.stat().st_size)
        for one in psutil.process_iter():  # its maker, which has the good bytes still, goes before a reader has run
            with suppress(psutil.Error):
                if one.cwd() == str(bundle.parent / "b"):
                    one.kill()
        address = command[command.index("--scheduler") + 1]
        with ending(start([*WORKER, "--scheduler", address], clone(bundle, "c"))):
            text = said + ended(process)
    assert process.returncode == 0, text
    assert "what train@smollm2-42-em made is damaged in remote lab" in text
    assert [stage for stage, _ in runs(text)].count("train@smollm2-42-em") == 2
    whole(one_lock)


def test_a_worker_of_another_commit_is_refused_in_one_line_and_the_others_do_its_work(bundle, one_lock):
    with cluster(bundle, b={}) as command:
        other = clone(bundle, "c")
        (other / "src/setup.py").write_text("another\n")
        scratch.commit(other)
        head = scratch.git(other, "rev-parse", "--short", "HEAD").strip()
        with ending(start([*WORKER, "--scheduler", command[command.index("--scheduler") + 1]], other)):
            time.sleep(5)
            process = start(command, bundle)
            text = ended(process)
    assert process.returncode == 0, text
    assert len(re.findall(rf"worker \S+ is refused: its commit is {head}, here \w+\n", text)) == 1
    whole(one_lock)


# ---- a batch system ----

SLURM = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def free_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return there.getsockname()[1]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Slurm of this one node, by Debian's packages; skips, and says why, where it cannot be started."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(
            f"NO SLURM: {', '.join(missing) or 'root'} is missing (Debian: slurmctld slurmd slurm-client munge)"
        )
    folder = tmp_path / "slurm"
    (folder / "spool").mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    text = SLURM.format(host=host, folder=folder, ports=(free_port(), free_port()), cores=len(os.sched_getaffinity(0)))
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(random.Random(0).randbytes(1024))
    key.chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    paths = [f"--{name}={folder}/munge.{end}" for name, end in
             (("socket", "socket"), ("pid-file", "pid"), ("seed-file", "seed"), ("log-file", "log"))]  # fmt: skip
    munge = start(["munged", "--force", "--foreground", f"--key-file={key}", *paths], folder)
    with ending(munge):
        until((folder / "munge.socket").exists, 20)
        with ending(start(["slurmctld", "-D"], folder), start(["slurmd", "-D"], folder)):
            try:
                until(
                    lambda: (
                        "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout
                    ),
                    60,
                )
            except AssertionError:
                pytest.skip("NO SLURM: its daemons started and no node came up")
            yield


def test_the_jobs_of_a_slurm_cluster_make_the_lock_of_one(bundle, one_lock, slurm):
    clone(bundle, "b")
    Path("slurm.yaml").write_text(
        yaml.safe_dump(
            {
                "system": "slurm",
                "jobs": 1,
                "cores": 1,
                "memory": "1 GiB",
                "walltime": "00:10:00",
                "directives": ["--mem=0"],
                "prologue": [f"cd {bundle.parent / 'b'}"],
                "python": f"{sys.executable} -P",
                "interface": "lo",
            }
        )
    )
    process = start([*COORDINATOR, "--cluster", "slurm.yaml", "--remote", "lab"], bundle)
    text = ended(process)
    assert process.returncode == 0, text
    whole(one_lock)
    where = dict(runs(text))
    assert where["train@smollm2-42-em"].startswith("tls://")
    assert where["train@smollm2-42-em"] != where["tables@smollm2"]  # a job's worker, and the one at home
    assert asked("squeue", "-h") == ""  # its job has ended
