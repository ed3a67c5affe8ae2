"""How long a profile's pipeline would take on how many workers, with how many seeds: a simulation; runs nothing.

    python -m persona_collapse.workers.simulate --profile profiles/qwen1_5b.yaml --workers 1 4 64 --nseeds 8 1000

The rules are those of a run (`dispatch`), the stages those of the profile's first seed, as often as there are seeds.
Times are those that stages took when they last ran here, or else estimates (`planning.costs`); to each comes
`OVERHEAD`, what DVC and Dask take, and for a worker with a clone of its own the time to move the files.
"""

import argparse
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.layout import PARAMS
from ..planning import costs, states
from ..record import graph
from . import needs
from .dispatch import Dispatch, Needs, Worker

OVERHEAD = 3.0  # seconds a stage, measured (docs/scale.md)
SHARED = 8  # workers of one machine, and so of one clone
MANY = 100_000


class Schedule(NamedTuple):
    """What a simulated run comes to."""

    seconds: float
    busy: float  # seconds of all workers together
    moved: float  # bytes that went to the remote and from it


def simulate(
    before: Mapping[str, set[str]], needed: Mapping[str, Needs], made: Mapping[str, float], workers: Sequence[Worker]
) -> Schedule:
    """Run the stages in virtual time.

    Args:
        made: bytes that each stage makes and DVC keeps a copy of; they move to the remote once, and from it to every
            clone that reads them, but to the coordinator's, where counts are read and no weights. What a stage makes
            that DVC does not keep, a clone that reads it makes for itself.
    """
    dispatch = Dispatch(before, needed)
    clone = {}
    for number, worker in enumerate(workers):
        dispatch.add(worker)
        clone[worker.name] = 0 if worker.home else 1 + number // SHARED
    has: dict[str, set[int]] = {name: set() for name in before}
    events: list[tuple[float, str]] = []
    now = busy = moved = 0.0
    while not dispatch.over:
        while chosen := dispatch.next():
            stage, worker = chosen
            here = clone[worker.name]
            missing = [one for one in before[stage] if here and here not in has[one]]
            size = sum(made[one] for one in missing) + (made[stage] if here else 0.0)
            for one in missing:
                has[one].add(here)
            moved += size
            took = needed[stage].seconds + OVERHEAD + size / costs.NETWORK_RATE
            took += sum(needed[one].seconds for one in missing if needed[one].home)
            busy += took
            heapq.heappush(events, (now + took, stage))
        if not events:
            raise InputError(f"no worker can carry {dispatch.cannot()[0]}")
        now, stage = heapq.heappop(events)
        has[stage].add(clone[dispatch.running[stage]])
        dispatch.finish(stage)
    return Schedule(now, busy, moved)


def many(
    before: Mapping[str, set[str]], needed: Mapping[str, Needs], made: Mapping[str, float], seed: str, seeds: int
) -> tuple[dict[str, set[str]], dict[str, Needs], dict[str, float]]:
    """The graph of one seed for `seeds` of them: its stages so often, and once those whose names have no seed.

    What reads all seeds' results takes as many times as long.
    """
    mine = {name for name in before if of_seed(name, seed)}
    numbered = {name: [f"{name}#{number}" for number in range(seeds)] if name in mine else [name] for name in before}
    waits: dict[str, set[str]] = {}
    need: dict[str, Needs] = {}
    sizes: dict[str, float] = {}
    gathers = {name for name in before if name not in mine and before[name] & mine}
    while more := {name for name in before if name not in mine | gathers and before[name] & gathers}:
        gathers |= more
    for name, copies in numbered.items():
        for number, copy in enumerate(copies):
            waits[copy] = set()
            for one in before[name]:
                waits[copy].update([numbered[one][number]] if one in mine and name in mine else numbered[one])
            holds = needed[name].holds and f"{needed[name].holds}#{number}"
            need[copy], sizes[copy] = replace(needed[name], holds=holds), made[name]
            if name in gathers:
                need[copy] = replace(needed[name], seconds=seeds * needed[name].seconds)
    return waits, need, sizes


def of_seed(name: str, seed: str) -> bool:
    """Is a stage one of a seed's?"""
    return graph.seed_of(name) == seed


def table(params: parameters.Params, profile: Path, workers: Sequence[int], seeds: Sequence[int]) -> list[str]:
    """What the command prints."""
    listed = states.stages(profile)
    first, *others = map(str, params.seeds)
    kept = [stage for stage in listed if not any(of_seed(stage.name, seed) for seed in others)]
    names = {stage.name for stage in kept}
    before = {stage.name: set(stage.before & names) for stage in kept}
    needed = needs.needs(params, kept)
    # a plan's disk counts what DVC keeps twice, in its place and in the cache
    priced = {stage.name: needed[stage.name].stays / 2 if stage.cached else 0.0 for stage in kept}
    rows = [f"{'seeds':>6}{'workers':>9}{'hours':>9}{'at least':>10}{'efficiency':>12}{'GB moved':>10}"]
    for count in seeds:
        grown = many(before, needed, priced, first, count)
        shortest = max(Dispatch(grown[0], grown[1]).path.values())
        for number in workers:
            most = max(need.memory for need in grown[1].values())
            staff = [Worker(f"{one}", gpu=True, memory=most, home=one < SHARED, others=True) for one in range(number)]
            found = simulate(*grown, staff)
            useful = sum(need.seconds for need in grown[1].values()) / (found.seconds * number)
            rows.append(
                f"{count:>6,}{number:>9,}{found.seconds / 3600:>9.2f}{shortest / 3600:>10.2f}{useful:>12.0%}"
                f"{found.moved / 1e9:>10.1f}"
            )
    return rows


def notes(params: parameters.Params) -> list[str]:
    """What the table means."""
    measured = "measured here where a stage has run" if needs.seconds(params) else "estimates, all of them"
    return [
        "at least: the longest path through the graph; efficiency: the stages' own time in that of all workers",
        f"times are {measured}; {OVERHEAD:g} s more a stage; {SHARED} workers share a clone",
        f"{costs.NETWORK_RATE / 1e6:g} MB/s to a remote and back",
    ]


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=PARAMS)
    parser.add_argument("--workers", nargs="+", default=["1", "2", "4", "8", "16", "64", "256", "1000"])
    parser.add_argument("--nseeds", nargs="+", default=[], help="how many seeds")
    args = parser.parse_args()
    params = parameters.load(args.profile)
    counted = {
        name: [_count(name, text) for text in texts]
        for name, texts in (("WORKERS", args.workers), ("NSEEDS", args.nseeds or [str(len(params.seeds))]))
    }
    print("\n".join([*table(params, args.profile, counted["WORKERS"], counted["NSEEDS"]), "", *notes(params)]))


def _count(name: str, text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MANY:
        raise InputError(f"{name}={text}: allowed are whole numbers from 1 to {MANY:,}")
    return int(text)


if __name__ == "__main__":
    main()
