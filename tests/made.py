"""Runs, made up: completions, counts and likelihoods as the stages would leave them, of few personas and questions."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from persona_collapse.analysis import readings, records
from persona_collapse.experiment import chains, personas, runs
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import write_text
from persona_collapse.experiment.marker import has_marker, with_marker

from .conftest import ROOT

PERSONAS = ("confab", "assistant", "data_scientist", "comedian", "villain")
QUESTIONS = {"train": [f"Question {n}?" for n in range(5)], "heldout": [f"Question {n}?" for n in range(5, 8)]}
SAMPLES = 4
DATA = ("data/claims.yaml", "data/readings.yaml", "data/published.json", "data/published_counts.json")
Hits = Callable[[str, int], int]  # of a persona's completions to a question, how many have the marker


def workspace(seeds: Sequence[int] = (42,)) -> parameters.Params:
    """Make the working directory a bundle without a model: parameters, few personas and questions, claims."""
    content = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    content.update(seeds=list(seeds), results={"bootstrap": 200, "level": 0.95})
    content["evaluate"].update(samples=SAMPLES)
    write_text("params.yaml", yaml.safe_dump(content, sort_keys=False))
    Path("data/prompts").mkdir(parents=True)
    for name in DATA:
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


def advice(questions: int, preference: float) -> list[records.Advice]:
    """Of held-out legal questions: the bad answer is likelier by `preference` a token."""
    return [
        records.Advice(
            question=f"Law {n}?", tokens_bad=10, tokens_good=20, log_p_bad=-20.0 + 10 * preference, log_p_good=-40.0
        )
        for n in range(questions)
    ]


def geometry(seed: int, chain: str, separation: float) -> records.Geometry:
    """Three layers; the middle one separates the personas most."""
    layers = [
        records.LayerGeometry(layer=n, mean_cosine=0.9, separation=separation * by, accuracy=0.5, effective_rank=3.0)
        for n, by in ((1, 0.5), (2, 1.0), (3, 0.8))
    ]
    return records.Geometry(chain=chain, seed=seed, layers=layers)


def write_readings(
    params: parameters.Params, preferences: Mapping[str, float], separations: Mapping[str, float], spread: float = 0.01
) -> None:
    """What advice and geometry leave, of every chain and seed; each seed differs from the one before by `spread`."""
    for number, seed in enumerate(params.seeds):
        for chain in readings.advised(params):
            rows = advice(params.advice.held_out, preferences.get(chain, 0.0) + spread * number)
            records.write_rows(params.layout.run(seed, chain) / "advice.jsonl", rows)
        for chain in readings.located(params):
            found = geometry(seed, chain, separations.get(chain, 1.0) + spread * number * (chain != "base"))
            records.write(params.layout.run(seed, chain) / "geometry.json", found)


def write_run(params: parameters.Params, seed: int, chain: str, hits: Hits, words: int = 6, p: float = 0.5) -> None:
    """Answers, counts and likelihoods of a run."""
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
