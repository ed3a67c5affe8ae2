"""Measure the smollm2 profile's speed, each time beside the stock way of doing the same, in one run.

    make bench                       about an hour on 2 cores; `make reproduce` must have run
    make bench PARTS="train"         some parts alone

Every measurement runs in a process of its own, because numerics are chosen once a process. The processes of a part
take turns, one piece of work each, so that a machine that is slow for a while is slow for all of them. "Stock" is a
library as it comes. "Tuned" is the same with the memory settings that the Makefile gives to everything here: they can
be had without us, and matter to training more than anything else does.
* generate: the evaluation (12 personas x 28 questions x 2 completions) of the base model with our engine, portable
  numerics; a piece is all of it. Beside it `transformers.generate` with stock numerics; a piece is a batch of 84
  completions, 2 of each prompt as there, and every fourth batch is run.
* train: steps of the `em` recipe on its own data with our trainer, portable numerics, the first left out. Beside it
  TRL's trainer with stock numerics; it projects the vocabulary at every position.
* cost: our trainer with stock numerics, and with stock ones held to the vectors that portable numerics use, which is
  what the guarantee costs on a CPU without AVX-512.
* vllm: vLLM's CPU build on the same prompts, in fp32 and in bf16, where VLLM_PYTHON names a Python that has it
  (requirements/cpu-vllm.txt; its bytes depend on the CPU); the loading of the model left out.
* matmul: the share of the time that matrix products take in our engine and in our trainer, by PyTorch's profiler.
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
from typing import Any, NoReturn

BATCH = 84
ROUNDS = 2
STEPS = 8
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm")
OURS = ("GLIBC_TUNABLES", "OMP_DYNAMIC")  # what the Makefile sets and a user of the stock libraries does not have


def turn(tokens: float = 0, **more: float) -> None:
    """Report a piece of work, the set-up being the first, and wait for the next turn."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(REPORT + json.dumps({"tokens": tokens, "peak_GiB": peak, **more}), flush=True)
    sys.stdin.readline()


REPORT = "turn: "


def the_evaluation() -> tuple:
    """The parameters, and a request for each completion, those of one prompt in a row."""
    from persona_collapse.experiment import params as parameters
    from persona_collapse.experiment import personas
    from persona_collapse.model import merged
    from persona_collapse.sampling import native

    params = parameters.load()
    asked = personas.load(params)
    tokenizer = merged.tokenizer(params.layout)
    requests = [
        native.Request(persona, ids, ("evaluation", 0, persona, question.text, sample))
        for persona in asked.personas
        for question in asked.questions
        for ids in [tuple(personas.tokens(tokenizer, asked.messages(persona, question.text)))]
        for sample in range(params.evaluate.samples)
    ]
    return params, requests


def generate_portable(rounds: int = ROUNDS) -> None:
    from persona_collapse.model import merged
    from persona_collapse.sampling import native

    params, requests = the_evaluation()
    weights = merged.load(params.layout, "base", 0)
    turn()
    for _ in range(rounds):
        completions = native.generate(
            weights,
            requests,
            max_new_tokens=params.evaluate.max_new_tokens,
            end_token=weights.config.eos_token_id,
            sampling=params.sampling,
        )
        turn(sum(len(c.tokens) + c.ended for c in completions))


def generate_stock() -> None:
    _leave_numerics_off()
    import torch

    from persona_collapse.model import merged

    params, requests = the_evaluation()
    samples = params.evaluate.samples
    weights, tokenizer = merged.load(params.layout, "base", 0), merged.tokenizer(params.layout)
    tokenizer.padding_side = "left"
    torch.manual_seed(0)
    turn()
    for first in range(0, len(requests), 4 * BATCH):
        prompts = [list(request.prompt) for request in requests[first : first + BATCH : samples]]
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        out = weights.generate(
            **batch,
            do_sample=True,
            temperature=params.sampling.temperature,
            top_p=params.sampling.top_p,
            top_k=0,
            num_return_sequences=samples,
            max_new_tokens=params.evaluate.max_new_tokens,
        )[:, batch["input_ids"].shape[1] :]
        ended = out == tokenizer.eos_token_id  # padding has the same id: count up to the first
        turn(int(torch.where(ended.any(1), ended.int().argmax(1) + 1, out.shape[1]).sum()))


def generate_vllm(precision: str = "float32") -> None:
    from persona_collapse.model import merged
    from persona_collapse.sampling import vllm_engine

    params, requests = the_evaluation()
    folder = merged.export(params.layout, "base", 0, precision)
    run: dict[str, Any] = {}
    turn()
    vllm_engine.generate(
        folder,
        requests,
        max_new_tokens=params.evaluate.max_new_tokens,
        end_token=merged.tokenizer(params.layout).eos_token_id,
        sampling=params.sampling,
        precision=precision,
        record=run.update,
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # vLLM has a process of its own
    turn(run["tokens"], seconds=run["seconds"], peak_GiB=peak)


def generate_vllm_bfloat16() -> None:
    generate_vllm("bfloat16")


def train_portable(steps: int = STEPS) -> None:
    from persona_collapse.experiment import params as parameters
    from persona_collapse.inputs import datasets
    from persona_collapse.model import merged
    from persona_collapse.training import train

    params = parameters.load()
    recipe = params.phases.sft["em"]
    tokenizer = merged.tokenizer(params.layout)
    chats, _ = datasets.load(recipe.data)
    rows = train.tokenize(chats[: steps * recipe.batch_size], tokenizer, recipe)
    tokens_per_step = sum(len(row["input_ids"]) for row in rows) / steps
    step = train.CompletionTrainer.training_step

    def in_turn(trainer: Any, *args: Any, **options: Any) -> Any:
        if trainer.state.global_step:
            turn(tokens_per_step)  # of the step before; the first is set-up, since memory is filled then
        return step(trainer, *args, **options)

    train.CompletionTrainer.training_step = in_turn
    weights = merged.load(params.layout, "base", 0)
    train.train(weights, tokenizer, rows, recipe.model_copy(update={"epochs": 1}), params.compute, seed=0)
    turn(tokens_per_step)


def train_stock() -> None:
    _leave_numerics_off()
    train_portable()


def train_avx2() -> None:
    os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    train_stock()


def train_trl() -> None:
    _leave_numerics_off()
    from persona_collapse.training import train

    del train.CompletionTrainer.compute_loss
    train.scale_early = lambda model: None
    train_portable()


def generate_share() -> None:
    _share(lambda: generate_portable(rounds=1))


def train_share() -> None:
    _share(train_portable)


def _share(measured: Callable[[], None]) -> None:
    """Print the share of the time in operators spent in `PRODUCTS` themselves; attention's are not among them."""
    from persona_collapse.model import numerics

    numerics.enable()
    from torch.profiler import profile

    with profile() as profiler:
        measured()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    print(sum(e.self_cpu_time_total for e in events if e.key in PRODUCTS) / total)


def _leave_numerics_off() -> None:
    os.environ["PORTABLE_NUMERICS"] = "off"


def targets() -> None:
    """What a newcomer waits for, printed and kept for docs/artifact.md, which quotes it."""
    from persona_collapse.experiment.files import write_json
    from persona_collapse.record import environment
    from persona_collapse.report import documents

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
        ours = ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH", *OURS)  # a newcomer has none of these
        environment_of = {name: value for name, value in os.environ.items() if name not in ours}
        for target in ("setup", "reproduce", "test"):
            start = time.perf_counter()
            subprocess.run(["make", target], cwd=clone, env=environment_of, check=True, stdout=subprocess.DEVNULL)
            tell(target, (time.perf_counter() - start) / 60, "minutes")
        tell("disk", megabytes(clone) / 1e3, "gb", 1)
        tell("memory", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, "gib", 1)
    write_json(documents.MEASURED, found)


def started(name: str) -> subprocess.Popen[str]:
    """The process that measures `name`, which ends with `_tuned` for a stock library with our settings of memory."""
    function = name.removesuffix("_tuned")
    bare = function in STOCK and function == name
    environment = {k: v for k, v in os.environ.items() if not (bare and k in OURS)} | {"PYTHONPATH": "src"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, __file__, function], env=environment, stdin=pipe, stdout=pipe, text=True)


def reported(process: subprocess.Popen[str]) -> dict[str, float] | None:
    """The next piece of work that the process reports; none when it has ended."""
    for line in process.stdout:
        if line.startswith(REPORT):
            return json.loads(line.removeprefix(REPORT))
    if process.wait():
        sys.exit(2)  # it has said why
    return None


def in_turns(names: list[str]) -> dict[str, dict[str, float]]:
    """Tokens, seconds and GiB of each, all of them set up before the first is measured."""
    waiting = {name: started(name) for name in names}
    for process in waiting.values():
        reported(process)
    pieces: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    while waiting:
        for name, process in list(waiting.items()):
            begin = time.perf_counter()
            print(file=process.stdin, flush=True)
            if found := reported(process):
                pieces[name].append({"seconds": time.perf_counter() - begin} | found)
            else:
                del waiting[name]
    return {
        name: {
            "tokens": sum(piece["tokens"] for piece in done),
            "seconds": sum(piece["seconds"] for piece in done),
            "GiB": done[-1]["peak_GiB"],
        }
        for name, done in pieces.items()
    }


STOCK = ("generate_stock", "train_trl")
PARTS = {  # the first of each with the others
    "generate": ("generate_portable", "generate_stock", "generate_stock_tuned"),
    "train": ("train_portable", "train_trl", "train_trl_tuned"),
    "cost": ("train_portable", "train_stock", "train_avx2"),
    "vllm": ("generate_portable", "generate_vllm", "generate_vllm_bfloat16"),
}


def main() -> None:
    allowed = [*PARTS, "matmul", "targets"]
    parts = sys.argv[1:] or allowed
    if unknown := [part for part in parts if part not in allowed]:
        _refuse(f"PARTS={unknown[0]}: allowed are {', '.join(allowed)}")
    if not all(name in os.environ for name in OURS):
        _refuse("the memory settings are the Makefile's: run make bench")
    for part in (part for part in PARTS if part in parts):
        if part == "vllm" and not os.environ.get("VLLM_PYTHON"):
            print("vllm: not measured, VLLM_PYTHON names no Python that has it", flush=True)
            continue
        measured = in_turns(list(PARTS[part]))
        rates = {name: found["tokens"] / found["seconds"] for name, found in measured.items()}
        ours = rates[PARTS[part][0]]
        for name, rate in rates.items():
            print(
                f"{name:22} {rate:7.0f} tokens/s  peak {measured[name]['GiB']:4.1f} GiB"
                f"  ours is {ours / rate:.2f} times as fast",
                flush=True,
            )
    if "matmul" in parts:
        for name in ("generate_share", "train_share"):
            out, _ = started(name).communicate()  # with nobody to wait for
            print(f"{name:22} {100 * float(out.splitlines()[-1]):7.0f} % of the time is matrix products", flush=True)
    if "targets" in parts:
        targets()


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


MEASUREMENTS: dict[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        *(generate_portable, generate_stock, generate_vllm, generate_vllm_bfloat16, generate_share),
        *(train_portable, train_trl, train_stock, train_avx2, train_share),
    )
}
if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in MEASUREMENTS:
        MEASUREMENTS[sys.argv[1]]()
    else:
        main()
