"""What is behind a number: the chains that it is of, and the stages that made them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..analysis import ledger, records
from ..analysis.ledger import CLAIMS
from ..analysis.records import Number
from ..experiment.chains import BASE
from ..experiment.errors import InputError
from ..experiment.files import read_yaml
from ..experiment.layout import PARAMS
from . import graph, lock
from .counts import Steps, sums
from .lock import LOCK, Stage, Stages

COUNTED = ("statistics.json", "claims.json")  # of all that a run leaves, they are made of its marker_eval.json


def look_up(content: Any, path: Steps) -> Any:
    """The value that keys lead to; a `LookupError` or a `TypeError` where there is none."""
    for step in path:
        content = content[step]
    return content


def rests_on(number: Number, content: Any, conditions: Mapping[str, str]) -> list[str] | None:
    """The chains that are behind a number; None for all of them.

    Args:
        content: of its file.
        conditions: the chain of each condition.
    """
    match list(number.path):
        case ["gates", "degeneracy", name, *_]:  # compares the condition with the untrained model
            names = [str(name), BASE]
        case _ if number.chain:
            return [number.chain]
        case ["seeds" | "level"] | ["claims", int(), "claim" | "as_published" | "public", *_]:
            return []  # parameters, and the report's own words and counts
        case ["claims", int(), "parts", int(), "says" | "published" | "as_published" | "public", *_]:
            return []
        case ["claims", int(index), *steps]:
            claims = records.checked(read_yaml(CLAIMS), ledger.Ledger, str(CLAIMS)).claims
            own = content["claims"][index]
            asked = claims[own["id"]].parts if own["id"] in claims else {}
            parts = [own["parts"][steps[1]]["id"]] if steps[0] == "parts" else list(asked)
            checks = [asked[part].check for part in parts if part in asked]
            names = [side.condition for check in checks if check for side in (*check.sides.values(), *check.where)]
            names += ["C4", BASE]  # gates
        case ["contrasts" | "gaps", pair, *_]:  # of contrasts.json, lengths.json and collapse.json
            names = str(pair).partition(", ")[0].split(" - ")
        case path:
            names = [one.condition for one in sums(path)]
    chains = {**conditions, BASE: BASE}
    return list(dict.fromkeys(chains[name] for name in names if name in chains)) or None


def behind(stages: Mapping[str, Stage], maker: str, chains: Sequence[str] | None, reads: str = "") -> Stages:
    """The stages behind a stage's output, nearest first, itself among them.

    A stage that gathers the runs reads those of all chains; of them, only what leads to `chains` is followed, and the
    other files are left out of what it reads.

    Args:
        chains: None for all.
        reads: how the names of the runs' files end that it does read.

    Raises:
        InputError: a chain of which nothing is recorded.
    """
    followed = dict(stages)
    of = graph.of_stages(stages)
    if chains is not None and "--seed" not in stages[maker].cmd:
        leads: set[str] = set()
        for chain in chains:
            own = [
                name
                for name, stage in stages.items()
                if f"--chain {chain} " in f"{stage.cmd} " and any(out.path.endswith(reads) for out in stage.outs)
            ]
            if not own:
                raise InputError(f"{LOCK}: no stage of the chain {chain}; `make reproduce` runs and records it")
            leads.update(*(graph.ancestry(of, name) for name in own))
        followed = {name: stage for name, stage in stages.items() if "--seed" not in stage.cmd or name in leads}
    others = {out.path for name, stage in stages.items() if name not in followed for out in stage.outs}
    return {
        name: stages[name].model_copy(update={"deps": tuple(d for d in stages[name].deps if d.path not in others)})
        for name in reversed(graph.ancestry(graph.of_stages(followed), maker))
    }


def takers(number: Number, stages: Mapping[str, Stage], profile: str) -> Stages:
    """The stages that a parameter is recorded for; none if the number is no parameter."""
    if number.file != str(PARAMS):
        return {}
    key = ".".join(map(str, number.path))
    return {
        name: stage
        for name, stage in lock.of_profile(stages, profile).items()
        if any(f"{key}.".startswith(f"{taken}.") for taken in stage.values)
    }


def reads_of(number: Number) -> str:
    """How the names of the files end that the maker of a number's file reads of a run."""
    return "marker_eval.json" if Path(number.file).name in COUNTED else ""
