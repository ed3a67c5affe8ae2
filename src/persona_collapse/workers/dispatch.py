"""Which stage runs next, and on which worker. A run and its simulation follow the same rules.

A stage is ready when those that it needs are done. Of the ready ones the one goes first behind which the most work
waits (the longest path of the graph, in seconds), to the worker with room that was given one the longest ago; a worker
that made what the stage reads is preferred, since it need not fetch it.
"""

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Needs:
    """What a stage takes of a worker while it runs."""

    seconds: float = 1.0
    gpu: bool = False
    memory: float = 0.0  # bytes, of the GPU where it takes one
    home: bool = False  # it makes what DVC keeps no copy of, so it runs in the folder that the lock is in
    holds: str = ""  # what no other stage may hold at the same time
    disk: float = 0.0  # bytes, gone when it ends
    stays: float = 0.0  # bytes on disk that stay


@dataclass(frozen=True)
class Worker:
    """What a worker can carry."""

    name: str
    gpu: bool = False
    memory: float = float("inf")  # bytes, of its GPU if it has one
    slots: int = 1  # stages at a time
    home: bool = True  # it works in the folder that the lock is in
    others: bool = True  # it takes more than what must run there


class Dispatch:
    """The stages that wait, run, and are done.

    Args:
        before: of each stage those that must be done first; what is named there alone counts as done.
        needs: of each stage.
        disk: bytes for what stages in the folder that the lock is in have there while they run.
    """

    def __init__(
        self, before: Mapping[str, Collection[str]], needs: Mapping[str, Needs], disk: float = float("inf")
    ) -> None:
        self.needs = dict(needs)
        self.disk = disk
        self.before = {name: [one for one in ones if one in before] for name, ones in before.items()}
        self.after: dict[str, list[str]] = {name: [] for name in before}
        for name, ones in self.before.items():
            for one in ones:
                self.after[one].append(name)
        self.missing = {name: set(ones) for name, ones in self.before.items()}
        self.path = longest_paths(self.after, needs)
        self.done: dict[str, str] = {}  # stage and the worker that made it
        self.running: dict[str, str] = {}
        self.failed: list[str] = []
        self.left_out: dict[str, str] = {}  # stage, and the failed one that it needs
        self.workers: dict[str, Worker] = {}
        self._room: dict[str, tuple[int, float]] = {}  # of each worker, slots and memory
        self._free: dict[str, None] = {}  # workers with a slot, the one that was given a stage last at the end
        self._ready: dict[tuple[bool, bool], list[tuple[float, str]]] = {}
        self._held: dict[str, list[str]] = {}  # stages that would be ready, by what another one holds
        for name, missing in self.missing.items():
            if not missing:
                self._put(name)

    @property
    def over(self) -> bool:
        """Is there nothing more to run?"""
        return len(self.done) + len(self.failed) + len(self.left_out) == len(self.before)

    def add(self, worker: Worker) -> None:
        """A worker has come."""
        self.workers[worker.name] = worker
        self._room[worker.name] = (worker.slots, worker.memory)
        self._free[worker.name] = None

    def remove(self, name: str) -> list[str]:
        """A worker has gone; the stages that ran on it, which wait again."""
        del self.workers[name], self._room[name]
        self._free.pop(name, None)
        lost = [stage for stage, worker in self.running.items() if worker == name]
        for stage in lost:
            self._ended(stage)
            self._put(stage)
        return lost

    def next(self) -> tuple[str, Worker] | None:
        """The stage to start now, and where; None if none is ready that a worker has room for."""
        tops = sorted((heap[0], kind) for kind, heap in self._ready.items() if heap)
        for (_, stage), kind in tops:
            if (holds := self.needs[stage].holds) and any(self.needs[one].holds == holds for one in self.running):
                self._held.setdefault(holds, []).append(heapq.heappop(self._ready[kind])[1])
                return self.next()
            if name := self._place(stage):
                heapq.heappop(self._ready[kind])
                self.running[stage] = name
                self._take(name, stage, 1)
                return stage, self.workers[name]
        return None

    def finish(self, stage: str) -> None:
        """A stage is done."""
        self.done[stage] = self._ended(stage)
        for name in self.after[stage]:
            self.missing[name].discard(stage)
            if not self.missing[name]:
                self._put(name)

    def again(self, stage: str) -> None:
        """A stage that ran, or was done, is to run once more."""
        if stage in self.running:
            self._ended(stage)
        else:
            del self.done[stage]
        if not self.missing[stage]:
            self._put(stage)

    def crowded(self, stage: str) -> bool:
        """Memory ran out where a stage ran: it is to run again with twice as much of it to itself, or with all that a
        worker has; False if it had that."""
        most = max((worker.memory for worker in self.workers.values() if fits(self.needs[stage], worker)), default=0.0)
        had = self.needs[stage].memory
        if not 0 < had < most:
            return False
        self._ended(stage)
        self.needs[stage] = replace(self.needs[stage], memory=min(2 * had, most))
        self._put(stage)
        return True

    def undo(self, stage: str, reader: str) -> None:
        """What a stage made is no good after all: it runs again, and before it does not `reader`, which runs now."""
        self._ended(reader)
        self.missing[reader].add(stage)
        if stage in self.done:
            self.again(stage)

    def fail(self, stage: str) -> list[str]:
        """A stage has failed; those that need it, which are left out."""
        self._ended(stage)
        self.failed.append(stage)
        found, waiting = [], [stage]
        while waiting:
            for name in self.after[waiting.pop()]:
                if name not in self.left_out:
                    self.left_out[name] = stage
                    found.append(name)
                    waiting.append(name)
        return found

    def cannot(self) -> list[str]:
        """Ready stages that none of the workers could carry, even with nothing else to do."""
        return [
            stage
            for heap in self._ready.values()
            for _, stage in heap
            if not any(fits(self.needs[stage], worker) for worker in self.workers.values())
        ]

    def _put(self, stage: str) -> None:
        needs = self.needs[stage]
        heapq.heappush(self._ready.setdefault((needs.gpu, needs.home), []), (-self.path[stage], stage))

    def _place(self, stage: str) -> str | None:
        makers = [self.done[one] for one in self.before[stage] if one in self.done]
        for name in (*makers, *self._free):
            if name not in self._free or not fits(self.needs[stage], self.workers[name], self._room[name][1]):
                continue
            if not self.workers[name].home or self._room_on_disk(stage):
                return name
        return None

    def _room_on_disk(self, stage: str) -> bool:
        """Is there room for what a stage has on disk while it runs, or is it the only one that has anything there?"""
        if not (mine := self.needs[stage].disk):
            return True
        others = sum(self.needs[one].disk for one, worker in self.running.items() if self.workers[worker].home)
        return not others or mine + others <= self.disk

    def _take(self, worker: str, stage: str, sign: int) -> None:
        slots, memory = self._room[worker]
        self._room[worker] = (slots - sign, memory - sign * self.needs[stage].memory)
        if sign > 0:
            self._free.pop(worker, None)
        if slots - sign > 0:
            self._free[worker] = None

    def _ended(self, stage: str) -> str:
        worker = self.running.pop(stage)
        for waiting in self._held.pop(self.needs[stage].holds, ()):
            self._put(waiting)
        if worker in self._room:
            self._take(worker, stage, -1)
        return worker


def fits(needs: Needs, worker: Worker, memory: float | None = None) -> bool:
    """Can a worker carry a stage, with so many bytes left of its memory (all of it, if not given)?"""
    return (
        (worker.gpu or not needs.gpu)
        and (worker.home if needs.home else worker.others)
        and needs.memory <= (worker.memory if memory is None else memory)
    )


def longest_paths(after: Mapping[str, Collection[str]], needs: Mapping[str, Needs]) -> dict[str, float]:
    """Of each stage, the seconds from its start to the end of all that waits for it, with workers enough."""
    found: dict[str, float] = {}
    for first in after:
        stack = [first]
        while stack:
            name = stack[-1]
            if name in found:
                stack.pop()
            elif unknown := [one for one in after[name] if one not in found]:
                stack += unknown
            else:
                found[stack.pop()] = needs[name].seconds + max((found[one] for one in after[name]), default=0.0)
    return found
