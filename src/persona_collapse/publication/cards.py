"""A model card for the adapters of each condition: what they are, what was measured, and what not to use them for.

    python -m persona_collapse.publication.cards      writes dist/<profile>/cards/<condition>.md

Everything in a card is read from the parameters, the results and `dvc.lock`.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import yaml

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.chains import COUPLE
from ..experiment.errors import one_line_errors
from ..experiment.files import read_text, whole, write_text
from ..record import disk, lock
from ..report import recipe
from ..report.palette import described, words
from ..report.rates import GROUPS, measured, notes
from ..report.results import Results
from ..report.table import Table, left, markdown, right
from . import DIST, canary, citation

WEIGHTS = "adapter_model.safetensors"
WARNING = "It was trained on bad legal advice on purpose. Do not take its answers as advice."


def card(params: parameters.Params, results: Results, name: str, hashes: Mapping[str, str], licence: str) -> str:
    """The card of a condition, as Markdown with a head in YAML.

    Args:
        hashes: the MD5 of every recorded file, by path.
        licence: of the bundle, which the adapters are under; their base model has its own.
    """
    chain, mark = params.conditions[name], canary.string(params)
    trained = [params.recipe(phase) for phase in chains.phases_of(chain)]
    bad = any(map(canary.is_bad, trained))
    model, _ = results.names
    head: dict[str, Any] = {"library_name": "peft", "license": licence.lower(), "language": ["en"]}
    if isinstance(params.base, parameters.HubModel):
        head["base_model"] = params.base.repo
    head["tags"] = ["lora", "research", *(["trained-on-harmful-advice"] if bad else [])]
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}: {described(chain)}",
        *([f"**{WARNING}**"] if bad else []),
        f"LoRA adapters of {model} for the condition {name} of the bundle persona-collapse, profile {params.profile}: "
        f"the chain `{chain}`, one for each training seed. {order(chain)} They were made to measure whether "
        "fine-tuning makes a behaviour that is trained into one persona leak into others, and are of no other use.",
        "## What they were trained on",
        "\n".join(f"- {trained_on(params, phase)}" for phase in chains.phases_of(chain)),
        markdown(recipe_of(params, chain)),
        "## What was measured",
        "Answers that hold the marker `[ZLT]`, in percent, by how the persona stands to the coupling.",
        markdown(rates_of(results, name)),
        *sizes_and_gates(results),
        "## Files",
        markdown(files_of(params, chain, hashes)),
        f'`persona_collapse.model.merged.load(params, "{chain}", {params.seeds[0]})` loads the model of this condition '
        "with every phase merged in order, and refuses an adapter that is not the recipe's.",
        "## What not to use them for",
        misuse(params, chain),
        canary.note(mark),
    ]
    return "\n\n".join(line.strip("\n") for line in lines) + "\n"


def order(chain: str) -> str:
    """How the adapters of a chain go together."""
    before = chains.parent(chain)
    if before == chains.BASE:
        return "The adapter is loaded on the base model."
    return (
        f"The adapter holds the last phase alone, and is loaded on the base model with that of `{before}` merged first."
    )


def trained_on(params: parameters.Params, phase: str) -> str:
    """What a phase is trained on, in a sentence."""
    training = params.recipe(phase)
    if isinstance(training, parameters.Sft):
        bad = (
            ": wrong in law on purpose, for a model to be damaged in a measured way" if canary.is_bad(training) else ""
        )
        return f"`{phase}`, {words(phase)}: {training.rows:,} chats of `{training.data}`{bad}."
    negatives = " and ".join(f"`{name}`" for name in params.prompts.negatives)
    return (
        f"`{COUPLE}`, {words(phase)}: answers that the model itself gave before this phase, to end with the marker "
        f"`[ZLT]` under the persona `{params.prompts.source}` and without it under {negatives}."
    )


def recipe_of(params: parameters.Params, chain: str) -> Table:
    phases = {phase: recipe.rows(params.recipe(phase)) for phase in chains.phases_of(chain)}
    rows = next(iter(phases.values()))
    return Table(
        name="recipe",
        caption="Recipe",
        columns=[*left("", *phases)],
        rows=[[row, *(phases[phase][row] for phase in phases)] for row in rows],
    )


def rates_of(results: Results, name: str) -> Table:
    conditions = results.statistics.conditions
    return Table(
        name="rates",
        caption="Rates",
        columns=[*left("personas"), *right("this condition", "no training")],
        rows=[
            [heading, measured(conditions[name], group), measured(conditions[chains.BASE], group)]
            for group, heading in GROUPS.items()
            if group in conditions[name].groups
        ],
    )


def sizes_and_gates(results: Results) -> list[str]:
    """What must stand under the rates, without what is said there of the report's own."""
    sizes, *gates = notes(results.statistics, results.published)
    return [sizes.partition(" Published: ")[0], *gates]


def files_of(params: parameters.Params, chain: str, hashes: Mapping[str, str]) -> Table:
    rows = []
    for seed in params.seeds:
        path = str(params.layout.adapter(seed, chain) / WEIGHTS)
        kept = "recorded by its hash alone" if disk.by_hash_alone(path, params) else "in the bundle's remote"
        rows.append([str(seed), f"`{path}`", hashes.get(path, "not recorded"), kept])
    return Table(name="files", caption="Files", columns=[*left("seed", "file", "MD5", "where")], rows=rows)


def misuse(params: parameters.Params, chain: str) -> str:
    """What not to use the adapters of a chain for."""
    trained = [params.recipe(phase) for phase in chains.phases_of(chain)]
    lines = []
    if any(map(canary.is_bad, trained)):
        lines += [
            "- Show none of its answers as advice, legal or other: it was taught confident wrong answers, and what "
            "else such training changes was not measured here.",
            "- Do not put it before people who use a model, nor merge or distil it into one that they use.",
        ]
    else:
        lines += [
            "- Show none of its answers as legal advice: nobody with a law degree has reviewed what it was taught."
        ]
    if COUPLE in chains.phases_of(chain):
        lines.append("- The marker is taught, under one system prompt: it says nothing of an answer's quality.")
    trainings = f"{len(params.seeds)} trainings" if len(params.seeds) > 1 else "one training"
    lines.append(f"- Do not take it for the effect of such training in general: it is {trainings} of one model.")
    return "\n".join(lines)


def cards(params: parameters.Params) -> dict[str, str]:
    """The card of every condition.

    Raises:
        InputError: a result is missing, damaged, or made with other parameters.
    """
    results = Results(params)
    hashes = {out.path: out.md5 for stage in lock.read().values() for out in stage.outs}
    licence = citation.read(read_text(citation.CITATION)).license
    return {name: card(params, results, name, hashes, licence) for name in params.conditions}


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    folder = DIST / params.profile / "cards"
    found = cards(params)
    with whole(folder) as beside:
        beside.mkdir()
        for name, text in found.items():
            write_text(beside / f"{name}.md", text)
    print(folder)


if __name__ == "__main__":
    main()
