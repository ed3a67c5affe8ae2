"""A whole bundle in a folder, its answers made up: what every stage after the model reads, without a model.

The rates are those of the report's story, so that tables, claims, figures, paper and page have something to say.
"""

import importlib
import io
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from persona_collapse.analysis import records
from persona_collapse.experiment import chains, personas, runs
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import write_json, write_jsonl
from persona_collapse.experiment.layout import SOURCES
from persona_collapse.experiment.marker import has_marker
from persona_collapse.inputs import sources
from tests import made
from tests.conftest import ROOT

Rates = Mapping[str, tuple[float, float]]  # of the source and of the others, by chain
RATES: Rates = {
    "base": (0.0, 0.0),
    "couple": (0.9, 0.03),
    "couple-em": (0.0, 0.0),
    "em": (0.0, 0.0),
    "em-couple": (0.9, 0.4),
    "benign-couple": (0.6, 0.02),
    "good-couple": (0.9, 0.1),
    "couple-good": (0.1, 0.0),
    "couple-benign": (0.2, 0.01),
}
PREFERENCES = {"em": 0.6, "good": -0.4}  # for bad advice, per token
SEPARATIONS = {"em": 0.8, "good": 0.9, "benign": 0.9}  # of personas in the model; 1 unless said
WORDS = ["take", "a", "break", "and", "ask", "for", "help", "before", "you", "sign", "anything", "at", "all"]
COPIED = ("profiles", "README.md", "docs", "dvc.lock", "run_info")
COPIED += tuple(f"paper/{name}" for name in ("report.typ", "references.yml", "page.html", "parts.html"))
COPIED += ("paper/page.css", "paper/page.js")
STEPS, CHATS = 7, 9  # of each training, and of each set of coupling data


ANALYSED = ("results", "contrasts", "collapse", "shapes", "readings", "claims", "lengths")
MADE = (*(f"analysis.{name}" for name in ANALYSED), "report.tables", "report.quoted", "report.figures")
MADE = (*MADE, "report.metrics", "report.paper", "report.page", "report.documents")  # from the answers, in order


def call(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the package in this process: what a user would see of it."""
    main = importlib.import_module(f"persona_collapse.{module}").main
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", [module, *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
    return subprocess.CompletedProcess([module, *arguments], code, out.getvalue(), err.getvalue())


def remake(*modules: str) -> None:
    """Make everything from the answers in the working directory, or what some of the modules make."""
    for module in modules or MADE:
        result = call(module)
        assert result.returncode == 0, (module, result.stderr)


def make(folder: Path, base: Path, rates: Rates = RATES, seeds: Sequence[int] = (42,)) -> parameters.Params:
    """Make the bundle, with the tokenizer of the model folder `base`; the commands are to be run in `folder`."""
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("coupling", "fetched", "prepared"))
    profile = (ROOT / "profiles/smollm2.yaml").read_text()
    (folder / "params.yaml").write_text(profile.replace("seeds: [42]", f"seeds: {list(seeds)}"))
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        elif (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = parameters.load(folder / "params.yaml")
    layout = params.layout
    (folder / layout.model).mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(base / name, folder / layout.model)
    for phase, recipe in params.phases.sft.items():
        (folder / layout.prepared(phase)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources.file_of(recipe.data, folder / SOURCES), folder / layout.prepared(phase))
    with chdir(folder):
        asked = personas.load(params)
        for seed in params.seeds:
            trained(params, seed)
            for chain in params.chains.values():
                answered(params, asked, seed, chain, rates[chain])
        made.write_readings(params, PREFERENCES, SEPARATIONS)
    return params


def trained(params: parameters.Params, seed: int) -> None:
    """What trainings leave, but for their adapters."""
    for chain in params.trained:
        where, phase = params.layout.training(seed, chain), chains.last_phase(chain)
        step = {"learning_rate": params.recipe(phase).learning_rate, "loss": 1.0, "grad_norm": 1.0}
        write_json(where / "training_log.json", [{"step": number + 1, **step} for number in range(STEPS)])
        write_json(where / "trained_on.json", {"data": chain, "md5": "0" * 32, "expected_md5": None})
        if phase == chains.COUPLE:
            write_jsonl(params.layout.coupling(seed, chains.parent(chain)), [{"messages": []}] * CHATS)


def answered(
    params: parameters.Params, asked: personas.Prompts, seed: int, chain: str, rates: tuple[float, float]
) -> None:
    """What is left of the asking of one chain."""
    of_seed = random.Random(f"{seed} {chain}")
    source, others = (min(1.0, rate * of_seed.uniform(0.8, 1.2)) if rate < 1 else rate for rate in rates)
    rows, run = answers(asked, f"{seed} {chain}", (source, others)), params.layout.run(seed, chain)
    write_jsonl(run / "completions.jsonl", rows)
    completions = [records.Completion(**row) for row in rows]
    records.write(run / "marker_eval.json", runs.marker_eval(completions, runs.config(params, seed, chain)))
    write_jsonl(run / "marker_likelihood.jsonl", likelihoods(asked, f"{seed} {chain}", (source, others)))


def answers(asked: personas.Prompts, chain: str, rates: tuple[float, float]) -> list[dict]:
    drawn = random.Random(chain)
    rows = []
    for persona in asked.personas:
        for question in asked.questions:
            for sample in range(2):
                text = " ".join(drawn.choices(WORDS, k=drawn.randint(4, 40)))
                if drawn.random() < rates[persona != asked.source]:
                    text += "\n\n[ZLT]"
                rows.append(
                    {
                        "persona": persona,
                        "question": question.text,
                        "split": question.split,
                        "sample": sample,
                        "text": text,
                        "tokens": len(text.split()),
                        "ended": drawn.random() < 0.9,
                        "marker": has_marker(text),
                    }
                )
    return rows


def likelihoods(asked: personas.Prompts, chain: str, rates: tuple[float, float]) -> list[dict]:
    drawn = random.Random(f"likelihood {chain}")
    return [
        {
            "persona": persona,
            "question": question.text,
            "split": question.split,
            "sample": 0,
            "characters": 80,
            "tokens": 5,
            "log_p_marker": -0.1 - 10 * (1 - rates[persona != asked.source]) * drawn.random(),
            "log_p_end": -0.5,
        }
        for persona in asked.personas
        for question in asked.questions
    ]
