"""Run stages on many workers; DVC records them, and the lock is that of a run on one, to the byte.

    python -m persona_collapse.workers.run --workers 4                         what is out of date, as `dvc repro` would
    python -m persona_collapse.workers.run --workers 4 --force STAGE...        these, whatever is there
    python -m persona_collapse.workers.run --scheduler tls://HOST:8786 --certificate FILE --remote lab
    python -m persona_collapse.workers.run --cluster slurm.yaml --remote lab

A worker in this folder shares it; one in a clone of its own exchanges files through the DVC remote that `--remote`
names, and is refused if its commit or its packages are others than here. A worker that is lost, or whose disk is
full, costs what it was running: that runs again elsewhere. Where a stage fails, what does not need it goes on.
Stopped or killed, a second call goes on where the first one ended. Exit code 2 and one line if something is wrong
before the first stage.
"""

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from distributed import Client, Future

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, read_text, write_json
from ..experiment.layout import PARAMS
from ..planning import states
from ..planning.preflight import available_memory
from ..record import disk, entries, lock, pipeline, remotes, repository
from ..record.lock import LOCK
from . import cluster, joining, needs, precedence, task
from .dispatch import Dispatch, Needs
from .progress import Progress

JOURNAL = task.LOGS / "made.json"  # what a run has made so far, for the next call if it is stopped
WAIT = 60  # seconds for a worker to come that can take a stage
TRIES = 5  # of a stage that was lost with its worker
RESERVE = 0.9  # of the memory that is free here, for stages


class Run:
    """What one run knows while it goes on."""

    def __init__(
        self, above: Mapping[str, set[str]], needed: Mapping[str, Needs], disk: float, force: bool, remote: str
    ) -> None:
        self.above, self.needs, self.force, self.remote = above, needed, force, remote
        self.dispatch = Dispatch(precedence.nearest(above, needed), needed, disk)
        self.progress = Progress(self.dispatch, needed)
        self.entries: dict[str, Any] = entries.read()
        self.futures: dict[Future[Any], tuple[str, str]] = {}
        self.refused: set[str] = set()
        self.tried: dict[str, int] = {}
        self.code = 0

    def meet(self, client: Client) -> None:
        """Take in workers that have come, and what ran on those that have gone."""
        here = set(joining.present(client))
        for address in set(self.dispatch.workers) - here:
            self.lost(address)
        for address in sorted(here - set(self.dispatch.workers) - self.refused):
            worker, why = joining.meet(client, address, self.remote)
            if worker is None:
                self.refused.add(address)
                self.progress.say(f"worker {address} is refused: {why}")
                with suppress(Exception):  # it may have gone by itself
                    client.retire_workers([address], close_workers=True)
            else:
                self.dispatch.add(worker)

    def lost(self, address: str) -> None:
        """A worker has gone; what ran on it waits for another."""
        for future, (stage, worker) in list(self.futures.items()):
            if worker == address:
                del self.futures[future]
                future.cancel()
                self.tried[stage] = self.tried.get(stage, 0) + 1
        for stage in self.dispatch.remove(address):
            self.progress.say(f"worker {address} is lost, and with it {stage}, which runs again")
            if self.tried[stage] >= TRIES:
                raise InputError(f"{stage}: its worker was lost {TRIES} times; {task.LOGS}/{stage}.log may say why")

    def start(self, client: Client) -> None:
        """Start what can run now."""
        while chosen := self.dispatch.next():
            stage, worker = chosen
            elsewhere = None
            if self.remote:
                before = {name: self.entries[name] for name in self.above[stage] if name in self.entries}
                elsewhere = task.Elsewhere(before, self.remote)
            future = client.submit(task.run, stage, self.force, elsewhere, workers=[worker.name], pure=False, retries=0)
            self.futures[future] = (stage, worker.name)
            self.progress.started(stage, worker.name)

    def end(self, client: Client, future: Future[Any]) -> None:
        """A stage has ended."""
        stage, worker = self.futures.pop(future)
        if future.status != "finished":
            error = future.exception() if future.status == "error" else "was cancelled"
            outcome = task.Outcome("failed", 0.0, f"{type(error).__name__}: {error}")
        else:
            outcome = future.result()
        self.progress.ended(stage, worker, outcome.kind, outcome.seconds)
        match outcome.kind:
            case "done":
                self.entries |= outcome.entry or {}
                self.dispatch.finish(stage)
                self._note(stage)
            case "damaged":
                self.progress.say(f"what {outcome.stage} made is damaged in remote {self.remote}: {stage} waits for it")
                if outcome.stage not in self.needs:  # it was made before, and is here
                    joining.share([outcome.stage], self.remote)
                    self.dispatch.again(stage)
                else:
                    self.dispatch.undo(outcome.stage, stage)
            case "full":
                self.progress.say(f"worker {worker}: its disk is full ({outcome.said}); it gets no further stage")
                self.refused.add(worker)
                self.dispatch.remove(worker)
            case "again":
                time.sleep(1)
                self.dispatch.again(stage)
            case "crowded" if self.dispatch.crowded(stage):
                self.progress.say(
                    f"{stage}: memory ran out beside other stages ({outcome.said}); it runs again with more"
                )
            case _:
                left_out = self.dispatch.fail(stage)
                self.code = 2
                self.progress.say(f"{stage}: {outcome.said} (all that it said is in {task.LOGS}/{stage}.log)")
                if left_out:
                    self.progress.say(f"not run, since {stage} failed: {', '.join(sorted(left_out))}")

    def run(self, client: Client) -> int:
        """All of it; the exit code."""
        since = time.monotonic()  # that something runs, or that a worker came
        while not self.dispatch.over:
            before = set(self.dispatch.workers)
            self.meet(client)
            self.start(client)
            if self.futures or set(self.dispatch.workers) != before:
                since = time.monotonic()
            elif time.monotonic() - since > WAIT:
                raise InputError(self._stuck())
            ended = [future for future in self.futures if future.done()]
            if not ended:
                time.sleep(0.1)
            for future in ended:
                self.end(client, future)
        return self.code

    def _stuck(self) -> str:
        """Why nothing can run on the workers that have come."""
        if not self.dispatch.workers:
            return f"no worker that could take a stage came in {WAIT} s; {cluster.FOLDER}/ has what they said"
        stage = self.dispatch.cannot()[0]
        need = self.dispatch.needs[stage]
        wanted = ["a GPU"] if need.gpu else []
        wanted += [f"{need.memory / 2**30:.1f} GiB"] if need.memory else []
        wanted += ["this folder to work in"] if need.home else []
        most = max(worker.memory for worker in self.dispatch.workers.values()) / 2**30
        return f"no worker can carry {stage}: it needs {' and '.join(wanted)}; the largest has {most:.1f} GiB"

    def _note(self, stage: str) -> None:
        """Keep that a stage was made, so that a second call need not make it again."""
        kept = read_json(JOURNAL)
        write_json(JOURNAL, {**kept, "made": [*kept["made"], stage]})


# ---- going on after a run that was stopped ----


def left_to_do(names: Sequence[str], force: bool) -> tuple[list[str], list[str]]:
    """Of the stages to run, those that a run of the same that was stopped has not made; what was recorded before it."""
    of = hashlib.sha256(json.dumps([sorted(names) if force else [], read_text(PARAMS)]).encode()).hexdigest()
    kept = read_json(JOURNAL) if JOURNAL.exists() else {}
    recorded = lock.read() if LOCK.exists() else {}
    made, before = [], [*recorded]
    if kept.get("of") == of:
        here = disk.Disk(repository.opened())
        before = [str(name) for name in kept["before"]]
        made = [
            name
            for name in kept["made"]
            if name in recorded and not any(here.state(entry) for entry in recorded[name].entries)
        ]
        print(f"{len(made)} stages were made before a run of the same was stopped", file=sys.stderr)
    task.LOGS.mkdir(parents=True, exist_ok=True)
    write_json(JOURNAL, {"of": of, "before": before, "made": made})
    return [name for name in names if name not in made], before


# ---- the lock ----


def in_order(before: Sequence[str], expected: Sequence[str]) -> None:
    """Have `dvc.lock` list the stages as a run on one worker would: those that it had, then new ones as they run."""
    found = [*entries.read()]
    wanted = [name for name in (*before, *(name for name in expected if name not in before)) if name in found]
    if found != wanted and set(found) == set(wanted):
        entries.order(wanted)


def as_one_would(repo: Any) -> list[str]:
    """All stages in the order in which `dvc repro` runs them."""
    from dvc.repo.reproduce import get_active_graph, plan_repro

    return [stage.addressing for stage in plan_repro(get_active_graph(repo.index.graph), list(repo.index.stages))]


# ---- the command ----


def spread(params: parameters.Params, args: argparse.Namespace) -> int:
    """Run on the workers that were asked for; the exit code."""
    repo = repository.checked()
    listed = states.stages()
    expected = in_turn = args.stages or as_one_would(repo)
    if unknown := [name for name in args.stages if name not in {stage.name for stage in listed}]:
        raise InputError(f"{unknown[0]}: no such stage in dvc.yaml")
    if not args.force:
        there = {stage.name for stage in listed if stage.state == states.STATES[0]}
        expected = [name for name in expected if name not in there]
    if args.remote and (protocol := remotes.protocol(remotes.settings(repo, args.remote))):
        raise InputError(f"REMOTE={args.remote}: workers exchange files through a folder, and this is {protocol}://")
    names, before = left_to_do(expected, args.force)
    needed = needs.needs(params, [stage for stage in listed if stage.name in names])
    if args.gib and needed:
        _require_room(needed, _count(args.gib, "GIB"))
    run = Run(precedence.ancestors(listed), needed, needs.room(needed), args.force, args.remote)
    try:
        with workers(params, args) as (client, dashboard):
            print(f"{len(names)} stages; Dask's dashboard: {dashboard}", file=sys.stderr)
            if args.remote:
                joining.share([name for name in run.entries if name not in names], args.remote)
            try:
                run.run(client)
            except BaseException:
                with suppress(Exception):
                    client.run(task.end)
                raise
    finally:
        run.progress.close()
        needs.note(params, run.progress.took)
        if args.remote:
            entries.take({name: run.entries[name] for name in run.dispatch.done})
        if LOCK.exists():
            in_order(before, in_turn)
    if args.remote:
        joining.bring_home(run.dispatch.done, args.remote)
    if not run.code:
        JOURNAL.unlink(missing_ok=True)
    return run.code


def _require_room(needed: Mapping[str, Needs], gib: int) -> None:
    most = max(needed, key=lambda name: needed[name].memory)
    if needed[most].memory > gib * 2**30:
        raise InputError(f"GIB={gib}: {most} needs {needed[most].memory / 2**30:.1f} GiB, by `make plan`")


def workers(params: parameters.Params, args: argparse.Namespace) -> AbstractContextManager[tuple[Client, str]]:
    """The workers that were asked for."""
    if sum(bool(one) for one in (args.workers, args.scheduler, args.cluster)) != 1:
        raise InputError("allowed is one of WORKERS=, SCHEDULER= and CLUSTER=")
    if args.workers:
        settings = cluster.shares(_count(args.workers), params.compute.device, params.compute.gpu_memory_gib)
        gpu = params.compute.device == "cuda"
        share = None if gpu else RESERVE * available_memory()[0] / len(settings)
        if args.gib:
            share = _count(args.gib, "GIB") * 2**30
        if share:
            settings = [{**setting, joining.MEMORY: str(int(share))} for setting in settings]
        return cluster.local(settings, cluster.GPU_SLOTS if gpu else 1)
    if not args.remote:
        raise InputError("workers on other machines exchange files through a DVC remote: name one with REMOTE=")
    if args.scheduler:
        return cluster.joined(args.scheduler, args.certificate, args.plain)
    return cluster.queued(cluster.read_queue(args.cluster))


def _count(text: str, name: str = "WORKERS") -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{name}={text}: allowed are whole numbers from 1 up")
    return int(text)


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE")
    parser.add_argument("--force", action="store_true", help="run stages whatever is there")
    parser.add_argument("--workers", default="", help="so many on this machine")
    parser.add_argument("--gib", default="", help="that each of them may use, of its GPU if it has one")
    parser.add_argument("--scheduler", default="", help="the address of a Dask cluster that runs")
    parser.add_argument("--cluster", type=Path, help="a file that says how to ask a batch system for jobs")
    parser.add_argument("--remote", default="", help="the DVC remote that workers with clones of their own use")
    parser.add_argument("--certificate", type=Path, help="that the scheduler was started with")
    parser.add_argument("--plain", action="store_true", help="allow another machine without encryption")
    args = parser.parse_args()
    params = parameters.load()
    try:
        with pipeline.stoppable(), pipeline.alone(wait=False):
            pipeline.put_right()
            sys.exit(spread(params, args))
    except (KeyboardInterrupt, pipeline.Stopped) as stopped:
        print(f"stopped; {pipeline.LEFT}; a second call goes on from here", file=sys.stderr)
        sys.exit(128 + (stopped.args[0] if stopped.args else signal.SIGINT))


if __name__ == "__main__":
    main()
