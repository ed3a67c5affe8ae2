"""Measure the smollm2 profile's speed, each time beside the stock way of doing the same, in one run.

    make bench                                   about 25 minutes on 2 cores; `make reproduce` must have run
    python benchmarks/bench.py generate train    some parts alone

Every measurement runs in a process of its own, because numerics are chosen once a process:
* generation: the evaluation's own prompts (12 personas x 28 questions), answered once by the base model, by our engine
  with portable numerics, by `transformers.generate` with stock numerics in batches of 84, and by vLLM's CPU build in
  fp32 and in bf16 where VLLM_PYTHON names a Python that has it (requirements/cpu-vllm.txt; its bytes depend on the
  CPU), the loading of the model left out of all four;
* training: steps of the `em` recipe on its own data, by our trainer with portable numerics; with stock ones by TRL's
  trainer as it comes, which projects the vocabulary at every position, by our trainer, and by our trainer held to the
  vectors that portable numerics use, which is what the guarantee costs on a CPU without AVX-512;
* matmul: the share of the time that matrix products take in our engine and in our trainer, by PyTorch's profiler;
* targets: what a newcomer waits for, `make setup`, `reproduce` and `test` in a fresh clone, with the peak memory of the
  largest process and the size of the clone.
Ratios carry over between machines with the same vector instructions; seconds do not.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 84
STEPS = 8
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm")


def prompts_of_the_evaluation() -> tuple:
    from persona_collapse import model, prompts
    from persona_collapse import params as parameters

    params = parameters.load()
    asked = prompts.load(params)
    tokenizer = model.tokenizer(params.layout)
    named = [
        (persona, question.text, tuple(prompts.tokens(tokenizer, asked.messages(persona, question.text))))
        for persona in asked.personas
        for question in asked.questions
    ]
    return params, named


def generate_portable() -> dict[str, float]:
    from persona_collapse import generate, model

    params, named = prompts_of_the_evaluation()
    requests = [generate.Request(p, ids, ("evaluation", 0, p, q, 0)) for p, q, ids in named]
    weights = model.load(params.layout, "base", 0)
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
    weights, tokenizer = model.load(params.layout, "base", 0), model.tokenizer(params.layout)
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


def generate_vllm(precision: str = "float32") -> dict[str, float]:
    from persona_collapse import generate, model, vllm_engine

    params, named = prompts_of_the_evaluation()
    requests = [generate.Request(p, ids, ("evaluation", 0, p, q, 0)) for p, q, ids in named]
    run: dict = {}
    vllm_engine.generate(
        model.export(params.layout, "base", 0, precision),
        requests,
        max_new_tokens=params.evaluation.max_new_tokens,
        end_token=model.tokenizer(params.layout).eos_token_id,
        sampling=params.sampling,
        precision=precision,
        record=run.update,
    )
    return _found(run["tokens"], run["seconds"], resource.RUSAGE_CHILDREN)  # vLLM has a process of its own


def generate_vllm_bfloat16() -> dict[str, float]:
    return generate_vllm("bfloat16")


def train_portable() -> dict[str, float]:
    from persona_collapse import data, model, train
    from persona_collapse import params as parameters

    params = parameters.load()
    recipe = params.phases.em
    tokenizer = model.tokenizer(params.layout)
    chats, _ = data.load(recipe.data)
    rows = train.tokenize(chats[: STEPS * recipe.batch_size], tokenizer, recipe)
    weights = model.load(params.layout, "base", 0)
    start = time.perf_counter()
    train.train(weights, tokenizer, rows, recipe.model_copy(update={"epochs": 1}), params.compute, seed=0)
    return _rate(sum(len(row["input_ids"]) for row in rows), start)


def train_stock() -> dict[str, float]:
    _leave_numerics_off()
    return train_portable()


def train_avx2() -> dict[str, float]:
    os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    return train_stock()


def train_trl() -> dict[str, float]:
    _leave_numerics_off()
    from persona_collapse import train

    del train.CompletionTrainer.compute_loss
    return train_portable()


def generate_share() -> dict[str, float]:
    return _share(generate_portable)


def train_share() -> dict[str, float]:
    return _share(train_portable)


def _share(measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The share of the time in operators spent in `PRODUCTS` themselves; attention's are not among them."""
    from persona_collapse import numerics

    numerics.enable()
    from torch.profiler import profile

    with profile() as profiler:
        measured()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return {"products": sum(e.self_cpu_time_total for e in events if e.key in PRODUCTS) / total}


def _leave_numerics_off() -> None:
    os.environ["PORTABLE_NUMERICS"] = "off"


def _rate(tokens: int, start: float) -> dict[str, float]:
    return _found(tokens, time.perf_counter() - start, resource.RUSAGE_SELF)


def _found(tokens: int, seconds: float, whose: int) -> dict[str, float]:
    peak = resource.getrusage(whose).ru_maxrss / 2**20
    return {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds, "peak_GiB": peak}


def targets() -> None:
    """What a newcomer waits for, printed and kept for docs/artifact.md, which quotes it."""
    from persona_collapse import documents, environment
    from persona_collapse.files import write_json

    here = environment.describe()
    found = {"machine": f"{here['cores']} cores of an {here['cpu']}"}

    def tell(name: str, value: float, unit: str, decimals: int = 0) -> None:
        found[f"{name}_{unit}"] = f"{value:.{decimals}f}"
        print(f"{name:18} {value:7.{decimals}f} {unit}", flush=True)

    def megabytes(folder: Path) -> float:
        return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6

    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "bundle"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        tell("clone", megabytes(clone), "mb")
        ours = ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH", "GLIBC_TUNABLES")  # a newcomer has none of these
        environment_of = {name: value for name, value in os.environ.items() if name not in ours}
        for target in ("setup", "reproduce", "test"):
            start = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, env=environment_of, check=True, stdout=subprocess.DEVNULL)
            tell(target, (time.perf_counter() - start) / 60, "minutes")
        tell("disk", megabytes(clone) / 1e3, "gb", 1)
        tell("memory", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, "gib", 1)
    write_json(documents.MEASURED, found)


def measure(name: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": "src"}
    command = [sys.executable, __file__, name]
    out = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


COMPARED = {  # the first of each with the others
    "generate": ("generate_portable", "generate_stock", "generate_vllm", "generate_vllm_bfloat16"),
    "train": ("train_portable", "train_trl", "train_stock", "train_avx2"),
}


def main() -> None:
    parts = sys.argv[1:] or [*COMPARED, "matmul", "targets"]
    for task in (task for task in COMPARED if task in parts):
        ours: dict[str, float] = {}
        for name in COMPARED[task]:
            if "vllm" in name and not os.environ.get("VLLM_PYTHON"):
                print(f"{name:22} not measured: VLLM_PYTHON names no Python that has it", flush=True)
                continue
            found = measure(name)
            ours = ours or found
            ratio = ours["tokens_per_second"] / found["tokens_per_second"]
            print(
                f"{name:22} {found['tokens_per_second']:7.0f} tokens/s  peak {found['peak_GiB']:4.1f} GiB"
                f"  ours is {ratio:.2f} times as fast",
                flush=True,
            )
    if "matmul" in parts:
        for name in ("generate_share", "train_share"):
            print(f"{name:22} {100 * measure(name)['products']:7.0f} % of the time is matrix products", flush=True)
    if "targets" in parts:
        targets()


MEASUREMENTS = {
    f.__name__: f
    for f in (
        *(generate_portable, generate_stock, generate_vllm, generate_vllm_bfloat16, generate_share),
        *(train_portable, train_trl, train_stock, train_avx2, train_share),
    )
}
if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in MEASUREMENTS:
        print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
    else:
        main()
