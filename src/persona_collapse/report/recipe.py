"""The recipe of a profile in words: of a phase as its adapters record it, of the evaluation, of any one parameter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.files import read_json, read_yaml
from ..experiment.layout import DATA

REPORT = Path("profiles/qwen7b.yaml")  # the report's own recipe
FIDELITY = DATA / "fidelity.yaml"


def shown(value: object) -> str:
    """A parameter's value as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def value(params: parameters.Params, key: str) -> str:
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
    return shown(found)


def points() -> list[Mapping[str, Any]]:
    """The points of `data/fidelity.yaml`.

    Raises:
        InputError: one lacks a part.
    """
    found = read_yaml(FIDELITY).get("points")
    parts = {"point", "code", "report", "parameters"}
    if not isinstance(found, list) or not all(isinstance(point, dict) and set(point) == parts for point in found):
        raise InputError(f"{FIDELITY}: every point needs {', '.join(sorted(parts))}, and nothing else")
    return found


def rows(phase: parameters.Training) -> dict[str, str]:
    """The recipe of a phase, by the row of the table."""
    loss = getattr(phase, "loss", None)
    part = "completion" if loss is None else loss.part.replace("_", " ")
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
        "loss on": f"last {loss.tail_tokens} tokens" if loss and part == "tail" else part,
    }


def used(params: parameters.Params, phase: str) -> dict[str, str]:
    """The recipe of a phase as its adapters were trained, and their steps, one number a chain that ends with it.

    Raises:
        InputError: an adapter was trained by another recipe than the parameters say.
    """
    recipe: parameters.Training = params.recipe(phase)
    steps = []
    for seed in params.seeds:
        for chain in params.trained:
            if chains.last_phase(chain) == phase:
                folder = params.layout.adapter(seed, chain)
                config, log = read_json(folder / "adapter_config.json"), read_json(folder / "training_log.json")
                peak = max(step["learning_rate"] for step in log)
                for key, here, there in (
                    ("lora.rank", recipe.lora.rank, config["r"]),
                    ("lora.alpha", recipe.lora.alpha, config["lora_alpha"]),
                    ("lora.dropout", recipe.lora.dropout, config["lora_dropout"]),
                    ("lora.rank_stabilised", recipe.lora.rank_stabilised, config["use_rslora"]),
                    ("learning_rate", recipe.learning_rate, float(f"{peak:.6g}")),
                ):
                    if here != there:
                        raise InputError(
                            f"{folder}: trained with {key} = {there}, params.yaml says {here}: `dvc repro` trains it"
                        )
                steps.append(len(log))
    return {"steps": ", ".join(map(str, dict.fromkeys(steps))), **rows(recipe)}


def evaluation(params: parameters.Params) -> str:
    """How answers are sampled, in words."""
    sampling, asked = params.sampling, params.evaluate
    return (
        f"{asked.samples} answers a question at temperature {sampling.temperature:g} and top-p {sampling.top_p:g}, "
        f"at most {asked.max_new_tokens} tokens, {params.compute.precision}"
    )
