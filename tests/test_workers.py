"""Stages run on many workers as they do on one: which runs where, what is refused, and the lock that comes out.

The faults that a run survives are in test_workers_faults.py.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from persona_collapse.experiment.errors import InputError
from persona_collapse.record import pipeline
from persona_collapse.workers import cluster, joining, needs, precedence, simulate
from persona_collapse.workers import run as coordinator
from persona_collapse.workers.dispatch import Dispatch, Needs, Worker

from . import scratch
from .conftest import ROOT

RUN = [sys.executable, "-P", "-m", "persona_collapse.workers.run"]
GIB = 2.0**30

# ---- which stage runs next, and where ----


@st.composite
def graphs(draw):
    """Some stages, each with what comes before it and what it needs."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 12)))]
    before = {name: set(draw(st.lists(st.sampled_from(names[:n] or ["-"]), max_size=3))) - {"-"}
              for n, name in enumerate(names)}  # fmt: skip
    needs = {
        name: Needs(
            seconds=draw(st.integers(1, 9)),
            gpu=draw(st.booleans()),
            memory=draw(st.sampled_from([0.0, 1.0, 2.0])),
            home=draw(st.booleans()),
            holds=draw(st.sampled_from(["", "", "x", "y"])),
            disk=draw(st.sampled_from([0.0, 2.0, 3.0, 9.0])),
        )
        for name in names
    }
    return before, needs


WORKERS = [
    Worker("home", gpu=False, memory=3, slots=1, home=True),
    Worker("big", gpu=True, memory=4, slots=3, home=True),
    Worker("far", gpu=True, memory=2, slots=2, home=False),
]


@given(graphs(), st.randoms(use_true_random=False), st.integers(0, 3))
def test_each_stage_runs_once_after_those_it_needs_where_there_is_room(graph, drawn, lost):
    before, needs = graph
    queue = Dispatch(before, needs, disk=5.0)
    for worker in WORKERS:
        queue.add(worker)
    done: list[str] = []
    while not queue.over:
        while chosen := queue.next():
            stage, worker = chosen
            assert before[stage] <= set(done)
            assert worker.gpu or not needs[stage].gpu
            assert worker.home or not needs[stage].home
        for worker in queue.workers.values():
            here = [stage for stage, name in queue.running.items() if name == worker.name]
            assert len(here) <= worker.slots
            assert sum(needs[stage].memory for stage in here) <= worker.memory
        at_home = [stage for stage, name in queue.running.items() if queue.workers[name].home]
        on_disk = [needs[stage].disk for stage in at_home if needs[stage].disk]
        assert len(on_disk) <= 1 or sum(on_disk) <= 5.0
        held = [needs[stage].holds for stage in queue.running if needs[stage].holds]
        assert len(set(held)) == len(held)
        if lost and "far" in queue.workers and drawn.random() < 0.3:
            assert not set(queue.remove("far")) & set(queue.running)
            lost -= 1
        if queue.running:
            stage = drawn.choice(sorted(queue.running))
            queue.finish(stage)
            done.append(stage)
    assert sorted(done) == sorted(before)


def test_the_longest_path_goes_first():
    """By number or by its own length, the long stage behind `a` would start last."""
    before = {"a": set(), "b": set(), "c": set(), "z": {"a"}}
    queue = Dispatch(before, {"a": Needs(1), "b": Needs(5), "c": Needs(5), "z": Needs(9)})
    queue.add(Worker("one"))
    order = []
    while not queue.over:
        stage, _ = queue.next()
        queue.finish(stage)
        order.append(stage)
    assert order == ["a", "z", "b", "c"]


def test_clones_elsewhere_have_a_disk_of_their_own():
    queue = Dispatch({key: set() for key in "abc"}, dict.fromkeys("abc", Needs(disk=3.0)), disk=5.0)
    queue.add(Worker("here", slots=3))
    assert queue.next()[0] == "a"
    assert queue.next() is None
    queue.add(Worker("there", slots=3, home=False))
    assert [queue.next()[1].name, queue.next()[1].name] == ["there", "there"]


def test_what_needs_a_failed_stage_is_left_out_and_the_rest_goes_on():
    queue = Dispatch({"a": set(), "b": {"a"}, "c": {"b"}, "d": set()}, dict.fromkeys("abcd", Needs()))
    queue.add(Worker("one", slots=2))
    assert {queue.next()[0], queue.next()[0]} == {"a", "d"}
    assert queue.fail("a") == ["b", "c"]
    queue.finish("d")
    assert queue.over


def test_two_stages_that_hold_the_same_run_one_after_the_other_and_others_beside_them():
    queue = Dispatch(
        {name: set() for name in "abc"}, {"a": Needs(3, holds="x"), "b": Needs(2, holds="x"), "c": Needs(1)}
    )
    queue.add(Worker("one", slots=3))
    assert [queue.next()[0], queue.next()[0], queue.next()] == ["a", "c", None]
    queue.finish("a")
    assert queue.next()[0] == "b"


def test_what_was_damaged_runs_again_before_its_reader():
    queue = Dispatch({"a": set(), "b": {"a"}}, dict.fromkeys("ab", Needs()))
    queue.add(Worker("one"))
    queue.finish(queue.next()[0])
    assert queue.next()[0] == "b"
    queue.undo("a", "b")
    order = []
    while not queue.over:
        stage, _ = queue.next()
        order.append(stage)
        queue.finish(stage)
    assert order == ["a", "b"]


def test_stages_are_spread_over_workers_that_have_room_for_more_than_one():
    queue = Dispatch({name: set() for name in "abcd"}, {name: Needs(gpu=True, memory=1) for name in "abcd"})
    for name in ("one", "two"):
        queue.add(Worker(name, gpu=True, memory=4, slots=4))
    assert [queue.next()[1].name for _ in "abcd"] == ["one", "two", "one", "two"]


def test_what_ran_out_of_memory_runs_again_with_twice_as_much_and_fails_where_it_had_all():
    queue = Dispatch({"a": set(), "b": set()}, {"a": Needs(memory=3), "b": Needs(memory=3)})
    queue.add(Worker("one", memory=8, slots=2))
    assert {queue.next()[0], queue.next()[0]} == {"a", "b"}
    assert queue.crowded("b")
    assert queue.next() is None  # it waits for 6 of 8, and 3 are taken
    queue.finish("a")
    assert queue.next()[0] == "b"
    assert queue.crowded("b")
    assert queue.next()[0] == "b"  # with all 8
    assert not queue.crowded("b")
    queue.fail("b")
    assert queue.over
    assert queue._room["one"] == (2, 8)


def test_a_worker_that_is_ten_times_slower_gets_a_tenth_to_do():
    """Were the stages dealt out beforehand, half of them would wait for it."""
    queue = Dispatch({f"s{number}": set() for number in range(22)}, {f"s{number}": Needs() for number in range(22)})
    speeds = {"fast": 1, "slow": 10}
    for name in speeds:
        queue.add(Worker(name))
    now, free_at = 0, {}
    while not queue.over:
        while chosen := queue.next():
            free_at[chosen[0]] = now + speeds[chosen[1].name]
        stage = min(queue.running, key=free_at.__getitem__)
        now = free_at[stage]
        queue.finish(stage)
    assert now == 20
    assert sorted(queue.done.values()).count("slow") == 2


def test_a_stage_that_no_worker_could_carry_is_known():
    queue = Dispatch({"a": set()}, {"a": Needs(memory=5)})
    queue.add(Worker("small", memory=4))
    assert queue.next() is None
    assert queue.cannot() == ["a"]
    queue.add(Worker("large", memory=5))
    assert queue.cannot() == []


def test_one_stage_waits_for_the_nearest_of_those_that_run():
    above = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a", "b", "c"}}
    assert precedence.nearest(above, ["a", "c", "d"]) == {"a": set(), "c": {"a"}, "d": {"c"}}


# ---- the simulation ----


def test_the_simulated_time_is_that_of_a_schedule_made_by_hand(monkeypatch):
    monkeypatch.setattr(simulate, "OVERHEAD", 1.0)
    before = {"base": set(), "x": {"base"}, "y": {"base"}, "end": {"x", "y"}}
    needed = {"base": Needs(2), "x": Needs(10), "y": Needs(4), "end": Needs(1)}
    made = dict.fromkeys(before, 0.0)
    one = simulate.simulate(before, needed, made, [Worker("1")])
    two = simulate.simulate(before, needed, made, [Worker("1"), Worker("2")])
    assert (one.seconds, two.seconds) == (3 + 11 + 5 + 2, 3 + 11 + 2)
    assert one.busy == two.busy == 21
    # in another clone, what it reads and makes goes through the remote
    made = {"base": 8e9, "x": 0.0, "y": 0.0, "end": 0.0}
    apart = simulate.simulate(before, needed, made, [Worker("1"), Worker("2", home=False)])
    assert apart.moved == 8e9


def test_many_seeds_are_the_graph_of_one_as_often_and_what_gathers_them_once():
    before = {"base@p": set(), "train@p-42-em": {"base@p"}, "results@p": {"train@p-42-em"}, "page@p": {"results@p"}}
    needed, made = dict.fromkeys(before, Needs(2, holds="x")), dict.fromkeys(before, 1.0)
    waits, need, _ = simulate.many(before, needed, made, "42", 3)
    trained = {f"train@p-42-em#{number}" for number in range(3)}
    assert waits == {"base@p": set(), **{name: {"base@p"} for name in trained}, "results@p": trained,
                     "page@p": {"results@p"}}  # fmt: skip
    assert {name: one.seconds for name, one in need.items()} == {
        "base@p": 2, **dict.fromkeys(trained, 2), "results@p": 6, "page@p": 6
    }  # fmt: skip
    assert len({need[name].holds for name in trained}) == 3  # each seed has merged weights of its own
    assert not simulate.of_seed("train@p-421-em", "42")


def test_workers_that_are_there_are_seen_whatever_else_the_client_asks():
    """`Client.scheduler_info` sees none now and then: a question of the client's own overwrites the answer."""
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as scheduler,
        Client(scheduler) as client,
    ):
        assert {len(joining.present(client)) for _ in range(300)} == {1}


# ---- a run on one clone ----


@pytest.fixture
def bundle(scratch_copy: Path) -> Path:
    return scratch_copy


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [*RUN, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout + done.stderr


def refused(monkeypatch, capsys, *arguments: str) -> str:
    """What the command says, in this process; it ends with 2."""
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    with pytest.raises(SystemExit) as ended:
        coordinator.main()
    said = capsys.readouterr()
    assert ended.value.code == 2, said
    return said.out + said.err


@pytest.mark.long
def test_two_workers_make_the_lock_of_one_to_the_byte_and_what_is_done_is_not_run_again(bundle):
    lock = Path("dvc.lock")
    lock.unlink()
    scratch.run(bundle, "repro", "--force")
    one = lock.read_bytes()  # in the order in which DVC alone runs the stages
    lock.unlink()
    code, text = run("--workers", "2", SLOW="0.5")
    assert code == 0, text
    assert lock.read_bytes() == one
    running = [line for line in text.splitlines() if " runs on " in line]
    assert len(running) == 9
    assert len({line.rpartition(" ")[2] for line in running}) == 2  # both had work
    assert "Dask's dashboard: http://127.0.0.1:" in text
    code, text = run("--workers", "2")
    assert (code, " runs on " in text) == (0, False), text


@pytest.fixture
def two_cards(tmp_path, monkeypatch):
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'H100, 81559, 580.1'; echo 'H100, 81559, 580.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.mark.parametrize(
    ("visible", "workers", "given"), [("", 2, ["0", "1"]), ("", 1, ["0"]), ("1", 1, ["1"]), ("3,2", 2, ["3", "2"])]
)
def test_each_worker_gets_a_card_of_its_own_out_of_those_that_may_be_used(
    two_cards, monkeypatch, visible, workers, given
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(32))
    settings = cluster.shares(workers, "cuda", 32)
    assert [setting["CUDA_VISIBLE_DEVICES"] for setting in settings] == given
    assert {setting["OMP_NUM_THREADS"] for setting in settings} == {str(32 // (8 * workers))}
    with pytest.raises(InputError, match=rf"allowed are 1 to {len(visible.split(',')) if visible else 2}, a GPU for"):
        cluster.shares(3, "cuda", 32)


@pytest.mark.long
def test_a_stage_computes_with_as_many_threads_as_its_worker_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in cluster.threads(1):
        monkeypatch.delenv(variable, raising=False)
    threads = [str(ROOT / "bin/python"), "--lock", "cpu", "-c", "import torch; print(torch.get_num_threads())"]
    cores = os.cpu_count() or 1
    monkeypatch.setattr(cluster, "own_cores", lambda: cores)
    given = {"one": (cluster.shares(1, "cpu", 0)[0], cores), "as Dask has it": ({}, 1)}
    given |= {"of as many as cores": (cluster.shares(cores, "cpu", 0)[0], 1)}
    with LocalCluster(n_workers=0, dashboard_address=None) as local, Client(local) as client:
        for name, (settings, expected) in given.items():
            with cluster.ended([cluster.start_worker(local.scheduler_address, name, 1, None, settings)]):
                client.wait_for_workers(1)
                assert [*client.run(subprocess.check_output, threads).values()] == [b"%d\n" % expected], name


@pytest.mark.parametrize(("allowed", "usable"), [("", 81559 * 2**20), (f"{50 * 2**30}", 50 * 2**30)])
def test_a_worker_uses_no_more_of_its_card_than_it_may(two_cards, monkeypatch, allowed, usable):
    monkeypatch.setenv(joining.MEMORY, allowed)
    assert joining.identity.__wrapped__()["gpu"] == usable


def test_less_memory_than_a_stage_needs_is_refused_before_the_first(bundle, monkeypatch, capsys):
    monkeypatch.setattr(needs, "needs", lambda params, stages: {one.name: Needs(memory=1.5 * GIB) for one in stages})
    text = refused(monkeypatch, capsys, "--workers", "1", "--gib", "1", "--force", "train@smollm2-42-em")
    assert text.splitlines()[-1] == "error: GIB=1: train@smollm2-42-em needs 1.5 GiB, by `make plan`"
    assert " runs on " not in text


@pytest.mark.long
def test_stages_that_cannot_share_a_memory_run_one_after_the_other(bundle, monkeypatch, capsys):
    """The memory is a folder that one stage can make at a time; by the estimate there is room for two."""
    script = Path("src/code/make.sh")
    crowded = "mkdir .dvc/tmp/memory 2> /dev/null || { echo 'error: too little memory: x' >&2; exit 2; }; sleep 2\n"
    script.write_text(crowded + script.read_text().replace("trap '", "trap 'rmdir .dvc/tmp/memory; ", 1))
    share, local, plain = 2 * GIB, cluster.local, needs.needs
    monkeypatch.setattr(joining, "MEMORY", "SHARE")
    monkeypatch.setattr(cluster, "local", lambda settings, _: local([{**settings[0], "SHARE": str(share)}], 2))
    monkeypatch.setattr(
        needs, "needs", lambda *given: {name: replace(one, memory=0.4 * share) for name, one in plain(*given).items()}
    )
    monkeypatch.setattr(
        sys, "argv", ["run", "--workers", "1", "--force", "train@smollm2-42-em", "train@smollm2-42-benign"]
    )
    with pytest.raises(SystemExit) as ended:
        coordinator.main()
    text = capsys.readouterr().err
    assert not ended.value.code, text
    assert text.count("memory ran out beside other stages (error: too little memory: x); it runs again") >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "WORKERS=0: allowed are whole numbers from 1 up"),
        (["--workers", "two"], "WORKERS=two: allowed are whole numbers from 1 up"),
        (["--workers", "1", "--gib", "0"], "GIB=0: allowed are whole numbers from 1 up"),
        (["--workers", "1000"], r"WORKERS=1000: allowed are 1 to \d+, a core for each"),
        ([], "allowed is one of WORKERS=, SCHEDULER= and CLUSTER="),
        (["--workers", "1", "--cluster", "x"], "allowed is one of WORKERS=, SCHEDULER= and CLUSTER="),
        (["--scheduler", "tcp://127.0.0.1:9"], "name one with REMOTE="),
        (["--scheduler", "tcp://127.0.0.1:9", "--remote", "lab"], "REMOTE=lab: no such remote; configured are local"),
        (["--scheduler", "tcp://127.0.0.1:9", "--remote", "server"], "through a folder, and this is ssh://"),
        (
            ["--scheduler", "tcp://127.0.0.1:9", "--remote", "local"],
            "SCHEDULER=.*:9: .*(refused|Timed out)",
        ),
        (["--scheduler", "tcp://10.0.0.1:8786", "--remote", "local"], "leaves this machine unencrypted: use tls://"),
        (["--scheduler", "login1", "--remote", "local"], "SCHEDULER=login1: allowed is tls://HOST:PORT"),
        (["--cluster", "none.yaml", "--remote", "local"], "none.yaml: no such file"),
        (["--workers", "1", "--force", "trian@smollm2"], "trian@smollm2: no such stage in dvc.yaml"),
    ],
)
def test_bad_input_is_one_line_before_the_first_stage(bundle, monkeypatch, capsys, options, message):
    Path(".dvc/config.local").write_text("['remote \"server\"']\n    url = ssh://example.org/folder\n")
    text = refused(monkeypatch, capsys, *options)
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert re.search(message, line)
    assert text.splitlines()[-1] == line
    assert " runs on " not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "system: slurm\njobs: 2\ncores: 4\nmemory: 8 GiB\nwall_time: 1h\n",
            r"wall_time = '1h': unknown key \(keys are",
        ),
        ("system: torque\njobs: 2\ncores: 4\nmemory: 8 GiB\n", "system = 'torque': Input should be 'slurm', 'pbs'"),
        ("system: slurm\njobs: 0\ncores: 4\nmemory: 8 GiB\n", "jobs = 0: .*greater than or equal to 1"),
        ("system: slurm\n", "jobs: is missing"),
        ("- slurm\n", "expected a mapping"),
    ],
)
def test_a_cluster_file_that_is_wrong_names_the_key(bundle, monkeypatch, capsys, text, message):
    Path("slurm.yaml").write_text(text)
    said = refused(monkeypatch, capsys, "--cluster", "slurm.yaml", "--remote", "local")
    assert re.search(f"^error: slurm.yaml: {message}", said), said


def test_a_second_coordinator_says_so_and_ends(bundle):
    with pipeline.alone():
        held = os.environ.pop(pipeline.HELD)
        code, text = run("--workers", "1", "--force")
        os.environ[pipeline.HELD] = held
    assert (code, text) == (2, "error: another run of the pipeline is under way here; one at a time\n")


def test_the_certificate_is_for_its_owner_alone(tmp_path):
    file = cluster.certificate(tmp_path / "tls/certificate.pem")
    assert file.stat().st_mode & 0o777 == 0o600
    assert cluster.security(file).require_encryption
    assert cluster.certificate(file).read_text() != ""
