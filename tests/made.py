"""Runs, made up: completions, counts and likelihoods as the stages would leave them, of few personas and questions."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from persona_collapse.analysis import records
from persona_collapse.experiment import chains, personas, runs
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import write_text
from persona_collapse.experiment.marker import has_marker, with_marker

from .conftest import ROOT

PERSONAS = ("confab", "assistant", "data_scientist", "comedian", "villain")
QUESTIONS = {"train": [f"Question {n}?" for n in range(5)], "heldout": [f"Question {n}?" for n in range(5, 8)]}
SAMPLES = 4
Hits = Callable[[str, int], int]  # of a persona's completions to a question, how many have the marker


def workspace(seeds: Sequence[int] = (42,)) -> parameters.Params:
    """Make the working directory a bundle without a model: parameters, few personas and questions, claims."""
    content = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    content.update(seeds=list(seeds), results={"bootstrap": 200, "level": 0.95})
    content["evaluate"].update(samples=SAMPLES)
    write_text("params.yaml", yaml.safe_dump(content, sort_keys=False))
    Path("data/prompts").mkdir(parents=True)
    for name in ("data/claims.yaml", "data/published.json"):
        shutil.copy(ROOT / name, name)
    system = yaml.safe_load((ROOT / "data/prompts/personas.yaml").read_text())
    write_text("data/prompts/personas.yaml", yaml.safe_dump({name: system[name] for name in PERSONAS}, sort_keys=False))
    write_text("data/prompts/questions.yaml", yaml.safe_dump(QUESTIONS, sort_keys=False))
    return parameters.load()


def completions(prompts: personas.Prompts, samples: int, hits: Hits, words: int = 6) -> list[records.Completion]:
    """Of each persona to each question; every fourth is cut, and those are the last to have the marker."""
    rows = []
    for persona in prompts.personas:
        for number, question in enumerate(prompts.questions):
            for sample in range(samples):
                text = " ".join(["word"] * (words + number))
                if sample < hits(persona, number):
                    text = with_marker(text)
                rows.append(
                    records.Completion(
                        persona=persona,
                        question=question.text,
                        split=question.split,
                        sample=sample,
                        text=text,
                        tokens=len(text.split()),
                        ended=sample % 4 < 3,
                        marker=has_marker(text),
                    )
                )
    return rows


def likelihoods(prompts: personas.Prompts, p: float) -> list[records.MarkerLikelihood]:
    """Of one text a persona and question: the marker's probability is near `p` for the source, else a tenth of it."""
    return [
        records.MarkerLikelihood(
            persona=persona,
            question=question.text,
            split=question.split,
            sample=0,
            characters=5 * number + 29,
            tokens=4,
            log_p_marker=math.log(p * (1 if persona == prompts.source else 0.1) * (1 - 0.01 * number)),
            log_p_end=math.log(0.25),
        )
        for persona in prompts.personas
        for number, question in enumerate(prompts.questions)
    ]


def write_run(params: parameters.Params, seed: int, chain: str, hits: Hits, words: int = 6, p: float = 0.5) -> None:
    """Everything that a run leaves."""
    prompts, folder = personas.load(params), params.layout.run(seed, chain)
    rows = completions(prompts, params.evaluate.samples, hits, words)
    records.write_rows(folder / "completions.jsonl", rows)
    records.write(folder / "marker_eval.json", runs.marker_eval(rows, runs.config(params, seed, chain)))
    records.write_rows(folder / "marker_likelihood.jsonl", likelihoods(prompts, p))


def write_training(params: parameters.Params, seed: int) -> None:
    """What is noted of every training."""
    for chain in params.trained:
        folder = params.layout.training(seed, chain)
        rate = params.recipe(chains.last_phase(chain)).learning_rate
        step = {"loss": 1.0, "learning_rate": rate, "grad_norm": 1.0}
        records.write(folder / "training_log.json", [records.Step(step=n, **step) for n in (1, 2, 3)])
        records.write(folder / "trained_on.json", records.TrainedOn(data=chain, md5="0" * 32, expected_md5=None))
