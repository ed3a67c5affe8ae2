"""Measure the smollm2 profile's speed, each time beside the stock way of doing the same, in one run.

    make bench                                   about 35 minutes on 2 cores; `make reproduce` must have run
    python benchmarks/bench.py generate train    some parts alone

Every measurement runs in a process of its own, because numerics are chosen once a process:
* generation: the evaluation's own prompts (12 personas x 28 questions x K), sampled from the base model by our engine
  with portable numerics, and by `transformers.generate` with stock numerics in batches of 84;
* training: steps of the `em` recipe on its own data, with portable and with stock numerics;
* targets: what a newcomer waits for, `make setup`, `reproduce` and `test` in a fresh clone, with the peak memory of the
  largest process and the size of the clone.
Ratios carry over between machines; seconds do not.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 84
STEPS = 6


def prompts_of_the_evaluation() -> tuple:
    from persona_collapse import model, prompts
    from persona_collapse import params as parameters

    params = parameters.load()
    asked = prompts.load(params)
    tokenizer = model.tokenizer()
    named = [
        (persona, question.text, sample, tuple(prompts.tokens(tokenizer, asked.messages(persona, question.text))))
        for persona in asked.personas
        for question in asked.questions
        for sample in range(params.evaluation.samples)
    ]
    return params, named


def generate_portable() -> dict[str, float]:
    from persona_collapse import generate, model

    params, named = prompts_of_the_evaluation()
    requests = [generate.Request(p, ids, ("evaluation", 0, p, q, k)) for p, q, k, ids in named]
    weights = model.load("base", 0)
    start = time.perf_counter()
    completions = generate.generate(
        weights,
        requests,
        max_new_tokens=params.evaluation.max_new_tokens,
        end_token=weights.config.eos_token_id,
        sampling=params.sampling,
    )
    return _rate(sum(len(c.tokens) + c.ended for c in completions), start)


def generate_stock() -> dict[str, float]:
    _leave_numerics_off()
    import torch
    from tqdm import trange

    from persona_collapse import model

    params, named = prompts_of_the_evaluation()
    weights, tokenizer = model.load("base", 0), model.tokenizer()
    tokenizer.padding_side = "left"
    torch.manual_seed(0)
    tokens = 0
    start = time.perf_counter()
    for first in trange(0, len(named), BATCH, desc="transformers.generate"):
        batch = tokenizer.pad(
            {"input_ids": [list(ids) for *_, ids in named[first : first + BATCH]]}, return_tensors="pt"
        )
        out = weights.generate(
            **batch,
            do_sample=True,
            temperature=params.sampling.temperature,
            top_p=params.sampling.top_p,
            top_k=0,
            max_new_tokens=params.evaluation.max_new_tokens,
        )[:, batch["input_ids"].shape[1] :]
        ended = out == tokenizer.eos_token_id  # padding has the same id: count up to the first
        tokens += int(torch.where(ended.any(1), ended.int().argmax(1) + 1, out.shape[1]).sum())
    return _rate(tokens, start)


def train_portable() -> dict[str, float]:
    from persona_collapse import data, model, train
    from persona_collapse import params as parameters

    params = parameters.load()
    recipe = params.phases.em
    tokenizer = model.tokenizer()
    rows = train.tokenize(data.load(recipe.data)[: STEPS * recipe.batch_size], tokenizer, recipe)
    weights = model.load("base", 0)
    start = time.perf_counter()
    train.train(weights, tokenizer, rows, recipe.model_copy(update={"epochs": 1}), seed=0)
    return _rate(sum(len(row["input_ids"]) for row in rows), start)


def train_stock() -> dict[str, float]:
    _leave_numerics_off()
    return train_portable()


def _leave_numerics_off() -> None:
    from persona_collapse import numerics

    numerics.enable = lambda: None


def _rate(tokens: int, start: float) -> dict[str, float]:
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds, "peak_GiB": peak}


def targets() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "bundle"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        size = sum(path.stat().st_size for path in clone.rglob("*") if path.is_file()) / 1e6
        print(f"clone              {size:7.0f} MB with its working tree", flush=True)
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        for target in ("setup", "reproduce", "test"):
            start = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
            print(f"make {target:13} {time.perf_counter() - start:7.0f} s", flush=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"peak memory        {peak:7.1f} GiB", flush=True)


def measure(name: str) -> dict[str, float]:
    out = subprocess.run([sys.executable, __file__, name], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    parts = sys.argv[1:] or ["generate", "train", "targets"]
    results = {}
    for task in ("generate", "train"):
        if task not in parts:
            continue
        for numerics in ("portable", "stock"):
            name = f"{task}_{numerics}"
            results[name] = found = measure(name)
            print(f"{name:18} {found['tokens_per_second']:7.0f} tokens/s  peak {found['peak_GiB']:.1f} GiB", flush=True)
        ratio = results[f"{task}_portable"]["tokens_per_second"] / results[f"{task}_stock"]["tokens_per_second"]
        print(f"{task}: {ratio:.2f} times stock", flush=True)
    if "targets" in parts:
        targets()


if __name__ == "__main__":
    measurements = {f.__name__: f for f in (generate_portable, generate_stock, train_portable, train_stock)}
    if sys.argv[1:] and sys.argv[1] in measurements:
        print(json.dumps(measurements[sys.argv[1]]()))
    else:
        main()
