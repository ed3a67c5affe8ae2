"""The recipe of a profile: the tables of what was done, here and by the report, and any one parameter in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from ..analysis import records
from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.files import read_yaml
from ..experiment.layout import DATA, PARAMS
from .table import Column, Table, left, right

FIDELITY = DATA / "fidelity.yaml"


class Point(parameters.Record):
    """Something on which the report and its code disagree."""

    point: str
    code: str
    report: str
    parameters: list[str]  # those that decide it, none where no parameter can


class Fidelity(parameters.Record):
    points: Annotated[list[Point], Field(min_length=1)]


# ---- in words ----


def shown(value: object) -> str:
    """A parameter's value as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def look_up(params: parameters.Params, key: str) -> Any:
    """The value of the parameter `key`, such as `phases.sft.em.epochs`.

    Raises:
        InputError: there is no such parameter.
    """
    found: Any = params
    for step in key.split("."):
        if isinstance(found, BaseModel):
            found = {name: getattr(found, name) for name in type(found).model_fields}
        if not isinstance(found, Mapping) or step not in found:
            raise InputError(f"{FIDELITY}: no parameter {key!r}")
        found = found[step]
    return found


def evaluation(params: parameters.Params) -> str:
    """How answers are sampled."""
    sampling, asked = params.sampling, params.evaluate
    return (
        f"{asked.samples} answers a question at temperature {sampling.temperature:g} and top-p {sampling.top_p:g}, "
        f"at most {asked.max_new_tokens} tokens, {params.compute.precision}"
    )


def rows(phase: parameters.Training) -> dict[str, str]:
    """The recipe of a phase, by the row of the table."""
    loss = phase.loss if isinstance(phase, parameters.Couple) else None
    part = loss.part.replace("_", " ") if loss else "completion"
    return {
        "epochs": shown(phase.epochs),
        "learning rate": shown(phase.learning_rate),
        "schedule": phase.schedule,
        "warm-up": shown(phase.warmup),
        "weight decay": shown(phase.weight_decay),
        "batch": f"{phase.batch_size} x {phase.gradient_accumulation}",
        "max. tokens": shown(phase.max_length),
        "LoRA rank": shown(phase.lora.rank),
        "LoRA alpha": shown(phase.lora.alpha),
        "LoRA dropout": shown(phase.lora.dropout),
        "rank-stabilised": shown(phase.lora.rank_stabilised),
        "loss on": f"last {loss.tail_tokens} tokens" if loss and loss.part == "tail" else part,
    }


# ---- as it was used ----


def log_of(params: parameters.Params, seed: int, chain: str) -> tuple[Path, list[records.Step]]:
    """The training log of the last phase of a chain.

    Raises:
        InputError: there is none, or its learning rate is not the parameters': they are those of another training.
    """
    path = params.layout.training(seed, chain) / "training_log.json"
    log = records.read(path, records.TrainingLog)
    phase = chains.last_phase(chain)
    expected = params.recipe(phase).learning_rate
    peak = float(f"{max(step.learning_rate for step in log):.6g}")
    if peak != expected:
        raise InputError(
            f"{path}: trained with learning_rate = {peak}, {PARAMS} says {expected} for {phase}: `dvc repro` trains it"
        )
    return path, log


def used(params: parameters.Params, phase: str) -> dict[str, str]:
    """The recipe of a phase, and the steps of its trainings: one number for each length that there is."""
    ending = [chain for chain in params.trained if chains.last_phase(chain) == phase]
    steps = [str(len(log_of(params, seed, chain)[1])) for seed in params.seeds for chain in ending]
    return {"steps": ", ".join(dict.fromkeys(steps)) or "-", **rows(params.recipe(phase))}


# ---- tables ----


def hyperparameters(params: parameters.Params, report: parameters.Params) -> Table:
    """Each phase's recipe as its adapters were trained, beside the report's."""
    here = {phase: used(params, phase) for phase in parameters.phase_names(params.phases)}
    theirs = {phase: rows(report.recipe(phase)) for phase in here if phase in parameters.phase_names(report.phases)}
    recipes = {
        **{f"{phase}, here": recipe for phase, recipe in here.items()},
        **{f"{phase}, report's code": recipe for phase, recipe in theirs.items()},
    }
    keys = dict.fromkeys(key for recipe in here.values() for key in recipe)
    return Table(
        name="hyperparameters",
        caption="Hyperparameters",
        columns=[*left("parameter"), *right(*recipes)],
        rows=[[key, *(recipe.get(key, "-") for recipe in recipes.values())] for key in keys],
        notes=[
            f"Here: profile {params.profile}, {evaluation(params)}. The report's code: profile {report.profile}, "
            f"{evaluation(report)}. AdamW, gradients clipped at 1, LoRA on the seven projections of every layer. "
            "Steps here are those of the training logs, whose highest rate is that of this table."
        ],
    )


def fidelity(params: parameters.Params, report: parameters.Params) -> Table:
    """Where the report and its code disagree, and what was taken here and in the report's own profile."""
    points = records.checked(read_yaml(FIDELITY), Fidelity, str(FIDELITY)).points
    lines = [
        [point.point, point.code, point.report]
        + [", ".join(shown(look_up(profile, key)) for key in point.parameters) for profile in (report, params)]
        + [", ".join(point.parameters)]
        for point in points
    ]
    columns = [
        *left("point", width=0.13),
        *left("the code", "the report", width=0.17),
        *left(f"in {report.profile}", "here", width=0.13),
        Column(heading="parameters", align="left", width=0.27),
    ]
    return Table(
        name="fidelity",
        caption="Where the report and the code behind it disagree",
        columns=columns,
        rows=lines,
        notes=["The report's own profile follows the code, since the published numbers came out of it."],
    )
