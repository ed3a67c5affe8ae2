"""Every number that prose may quote, by a key, with the place it was read from; and the sentences that turn on them.

    python -m persona_collapse.report.quoted      writes numbers.json and texts.json in paper/tables/<profile>/

A key such as `headline.B.assistant` leads to the text as it is printed, the value, the file and the path in it, and the
chain of phases that the number is about. The paper quotes keys, never numbers; `make trace KEY=...` goes on from here.
"""

import argparse
from collections import Counter
from pathlib import Path

from ..analysis import records
from ..experiment import chains, personas
from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import read_jsonl, to_json, write_all
from ..experiment.layout import DATA, PARAMS, PUBLISHED
from ..model import shape
from . import measured, recipe, texts
from .measured import number
from .results import LATER, REPORT, Results, named


def of_recipe(params: parameters.Params) -> records.Numbers:
    """What was trained and on how much, from the parameters and from what the stages left."""
    layout = params.layout
    found: records.Numbers = {}

    def counted(key: str, rows: int, file: Path, chain: str | None = None) -> None:
        found[key] = number(f"{rows:,}", rows, file, [], chain)

    for phase in parameters.phase_names(params.phases):
        sft = phase in params.phases.sft
        for key in ("epochs", "learning_rate"):
            value, path = getattr(params.recipe(phase), key), ["phases", *(["sft"] if sft else []), phase, key]
            found[f"recipe.{phase}.{key}"] = number(recipe.shown(value), value, PARAMS, path)
        if sft:
            rows = params.phases.sft[phase].rows
            found[f"recipe.{phase}.rows"] = number(f"{rows:,}", rows, PARAMS, ["phases", "sft", phase, "rows"])
            if phase in params.pipeline.sft:  # a phase may wait for a condition
                chats = layout.prepared(phase)
                counted(f"data.{phase}.chats", len(read_jsonl(chats)), chats)
    for chain in params.trained:
        for seed in params.seeds:
            file, log = recipe.log_of(params, seed, chain)
            found[f"steps.{chain}.{seed}"] = number(str(len(log)), len(log), file, [], chain)
            if chains.last_phase(chain) == chains.COUPLE:
                chats = layout.coupling(seed, chains.parent(chain))
                counted(f"data.{chain}.{seed}.chats", len(read_jsonl(chats)), chats, chain)
    for key in ("evaluate.samples", "evaluate.max_new_tokens", "sampling.temperature"):
        value = recipe.look_up(params, key)
        found[f"recipe.{key}"] = number(recipe.shown(value), value, PARAMS, key.split("."))
    asked, folder = personas.load(params), DATA / params.prompts.folder
    splits = Counter(question.split for question in asked.evaluated(params.evaluate.questions))
    counted("asked.personas", len(asked.personas), folder / personas.PERSONAS)
    counted("asked.bystanders", len(asked.bystanders), folder / personas.PERSONAS)
    counted("asked.questions", splits.total(), folder / personas.QUESTIONS)
    for split in ("heldout", "train"):
        counted(f"asked.questions.{split}", splits[split], folder / personas.QUESTIONS)
    config = layout.model / "config.json"
    size = shape.parameter_count(shape.read(config))
    base = params.base
    repo = parameters.load(REPORT).base
    for key, model, where in (("model.name", base, PARAMS), ("report.model", repo, REPORT)):
        name, place = named(model)
        found[key] = number(name, name, where, ["base", place])
    found["profile"] = number(params.profile, params.profile, PARAMS, ["profile"])
    found["model.parameters"] = number(f"{size / 1e6:.0f}M" if size < 1e9 else f"{size / 1e9:.1f}B", size, config, [])
    return found


def gather(found: Results) -> records.Numbers:
    """All of them, in the order of their keys."""
    paths = found.paths
    numbers = {
        **measured.of_statistics(paths["statistics"], found.statistics),
        **measured.of_contrasts(paths["contrasts"], found.contrasts),
        **measured.of_collapse(paths["collapse"], found.collapse),
        **measured.of_shapes(paths["shapes"], found.shapes),
        **measured.of_readings(paths["readings"], found.readings),
        **measured.of_lengths(paths["lengths"], found.lengths),
        **measured.of_claims(paths["claims"], found.claims),
        **measured.of_published(PUBLISHED, found.published),
        **measured.of_later(LATER, found.later),
        **of_recipe(found.params),
    }
    return dict(sorted(numbers.items()))


def files(found: Results) -> dict[Path, str]:
    """The content of numbers.json and of texts.json."""
    folder, numbers = found.params.layout.tables, gather(found)
    return {
        folder / "numbers.json": to_json(records.plain(numbers)),
        folder / "texts.json": to_json(records.plain(texts.gather(found, numbers))),
    }


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    write_all(files(Results(parameters.load())))


if __name__ == "__main__":
    main()
