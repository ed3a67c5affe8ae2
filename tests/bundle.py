"""A whole bundle in a folder, its answers made up: what every stage after the model reads, without a model.

The rates are those of the report's story, so that tables, claims, figures, paper and page have something to say.
"""

import json
import random
import shutil
import struct
from contextlib import chdir
from pathlib import Path

from persona_collapse.experiment import chains, personas
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import write_json, write_jsonl
from persona_collapse.experiment.marker import MARKER, has_marker
from persona_collapse.sampling import evaluate
from tests.conftest import ROOT

RATES = {  # of the source and of the others, by chain
    "base": (0.0, 0.0),
    "couple": (0.8, 0.05),
    "couple-em": (0.0, 0.0),
    "em": (0.0, 0.0),
    "em-couple": (0.9, 0.4),
    "benign-couple": (0.6, 0.02),
}
WORDS = ["take", "a", "break", "and", "ask", "for", "help", "before", "you", "sign", "anything", "at", "all"]
COPIED = ("profiles", "README.md", "docs", "dvc.lock", "run_info")
COPIED += tuple(f"paper/{name}" for name in ("report.typ", "references.yml", "page.html", "page.css", "page.js"))


def make(folder: Path, base: Path) -> parameters.Params:
    """Make the bundle, with the tokenizer of the model folder `base`; the commands are to be run in `folder`."""
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("coupling", "fetched"))
    shutil.copy(ROOT / "profiles/smollm2.yaml", folder / "params.yaml")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        elif (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = parameters.load(folder / "params.yaml")
    layout = params.layout
    weights = json.dumps({"w": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 60]}}).encode()
    (folder / layout.model).mkdir(parents=True)
    (folder / layout.model / "model.safetensors").write_bytes(struct.pack("<Q", len(weights)) + weights + bytes(60))
    shutil.copy(base / "tokenizer.json", folder / layout.model)
    for chain in params.trained:
        phase = chains.last_phase(chain)
        of_phase, where = params.recipe(phase), folder / layout.adapter(42, chain)
        lora = of_phase.lora
        config = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
        write_json(where / "adapter_config.json", {**config, "use_rslora": lora.rank_stabilised})
        step = {"learning_rate": of_phase.learning_rate, "loss": 1.0, "grad_norm": 1.0}
        write_json(where / "training_log.json", [{"step": number, **step} for number in range(1, 8)])
        write_json(where / "trained_on.json", {"data": chain, "md5": "0" * 32, "expected_md5": None})
        if phase == "couple":
            parent = chains.parent(chain)
            write_jsonl(folder / layout.coupling(42, parent), [{"messages": []}] * 9)
    with chdir(folder):
        asked = personas.load(params)
    for chain, rates in RATES.items():
        rows = answers(asked, chain, rates)
        run = folder / layout.run(42, chain)
        write_jsonl(run / "completions.jsonl", rows)
        config = {
            "chain": chain,
            "seed": 42,
            "marker": MARKER,
            "source": asked.source,
            "samples": params.evaluate.samples,
            "max_new_tokens": params.evaluate.max_new_tokens,
            "temperature": params.sampling.temperature,
            "top_p": params.sampling.top_p,
        }
        write_json(run / "marker_eval.json", evaluate.marker_eval(rows, config))
        write_jsonl(run / "marker_likelihood.jsonl", likelihoods(asked, chain, rates))
    return params


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
