"""What each stage needs of a worker: a GPU, memory, time. The one place that says so.

Memory and time are those of `planning.costs`; a time that was measured here in an earlier run counts instead. A stage
whose cost nobody estimates, because its module is none of ours, needs nothing but a second.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.files import read_json, write_json
from ..planning import plan
from ..planning.states import Stage
from .dispatch import Needs

ON_GPU = {"train", "coupling", "evaluate", "likelihood", "geometry", "advice"}  # if the profile computes on one
AT_HOME = {"page"}  # reads every answer of every seed, which are all brought there
SECONDS = "seconds.json"  # in run_info/<profile>/: what each stage took when it last ran here


def needs(params: parameters.Params, stages: Sequence[Stage]) -> dict[str, Needs]:
    """Of each stage, by name."""
    known = [stage for stage in stages if stage.module in plan.COSTS]
    costs = {stage.name: cost for stage, cost in plan.plan(params, known)} if known else {}
    measured = seconds(params)
    found = {}
    for stage in stages:
        cost = costs.get(stage.name)
        gpu = params.compute.device == "cuda" and stage.module in ON_GPU
        found[stage.name] = Needs(
            seconds=measured.get(stage.name, cost.seconds if cost else 1.0),
            gpu=gpu,
            memory=cost.memory if cost and (gpu or params.compute.device == "cpu") else 0.0,
            home=not stage.cached or stage.module in AT_HOME,
            holds=str(plan.merged(params, stage) or ""),
            disk=cost.passing if cost else 0.0,
            stays=cost.disk if cost else 0.0,
        )
    return found


def room(needed: Mapping[str, Needs]) -> float:
    """Bytes that are left on this folder's disk when the stages have written what stays."""
    return shutil.disk_usage(".").free - sum(need.stays for need in needed.values())


def seconds(params: parameters.Params) -> dict[str, float]:
    """What stages took when they last ran here; nothing of those that did not."""
    path = _measured(params)
    return {str(name): float(value) for name, value in read_json(path).items()} if path.exists() else {}


def note(params: parameters.Params, took: Mapping[str, float]) -> None:
    """Keep what stages have taken."""
    path = _measured(params)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**seconds(params), **{name: round(value, 1) for name, value in took.items()}})


def _measured(params: parameters.Params) -> Path:
    return params.layout.run_info / SECONDS
