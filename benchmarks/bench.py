"""Measure the active profile's speed, each time beside the stock way of doing the same, in one run.

    make bench                       about an hour on 2 cores; `make reproduce` must have run
    make bench PARTS="train"         some parts alone

Every measurement runs in a process of its own, because numerics are chosen once a process. The processes of a part
take turns, one piece of work each, so that a machine that is slow for a while is slow for all of them. "Stock" is a
library as it comes. "Tuned" is the same with the memory settings that bin/python gives to everything here: they can
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
With a profile of a GPU the parts are train, and
* beside: our trainer alone on the card and beside itself, all at once.
* start: a stage of each kind that samples or reads, and what of it is not sampling.
Ratios carry over between machines with the same vector instructions; seconds do not.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import REPORT

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError, one_line_errors
from persona_collapse.experiment.files import read_json, write_json

MEASURED = Path(__file__).with_name("measured.py")
OURS = ("GLIBC_TUNABLES", "OMP_DYNAMIC")  # what bin/python sets and a user of the stock libraries does not have


def targets() -> None:
    """What a newcomer waits for, printed and kept for docs/artifact.md, which quotes it."""
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
    return subprocess.Popen(
        [sys.executable, str(MEASURED), function], env=environment, stdin=pipe, stdout=pipe, text=True
    )


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


def beside(counts: tuple[int, ...] = (1, 2, 4, 6)) -> None:
    """Tokens a second of so many trainings on one GPU at once, from the second step of each to its end."""
    alone = 0.0
    for count in counts:
        trainings = [started("train_portable") for _ in range(count)]
        for training in trainings:
            reported(training)
        begin, tokens, end = time.monotonic(), 0.0, 0.0
        for training in trainings:
            training.stdin.write("\n" * 1000)  # all of its turns
            training.stdin.flush()
        for training in trainings:
            while found := reported(training):
                tokens, end = tokens + found["tokens"], max(end, found["at"])
        rate = tokens / (end - begin)
        alone = alone or rate
        print(f"{count} trainings at once {rate:9.0f} tokens/s, {rate / alone:.2f} times one alone", flush=True)


def start() -> None:
    """Seconds of a stage of each kind for the first chain that is here, and of those the seconds of sampling."""
    from persona_collapse.model.adapters import TENSORS

    params = parameters.load()
    chosen = ((seed, chain) for seed in params.seeds for chain in params.conditions.values())
    here = [one for one in chosen if (params.layout.adapter(*one) / TENSORS).exists()]
    if not here:
        raise InputError("PARTS=start: no adapter of a condition is here; make reproduce trains them")
    seed, chain = here[0]
    noted = params.layout.run_info / f"evaluation-{seed}-{chain}.json"
    for kind in ("evaluate", "likelihood", "geometry"):
        begin = time.perf_counter()
        command = ["bin/stage", f"sampling.{kind}", "--seed", str(seed), "--chain", chain]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.perf_counter() - begin
        sampling = f", without sampling {whole - read_json(noted)['seconds']:.0f}" if kind == "evaluate" else ""
        print(f"{kind:22} {whole:7.0f} seconds{sampling}", flush=True)


ON_GPU = {"beside": beside, "start": start}


@one_line_errors
def main() -> None:
    on_gpu = parameters.load().compute.device == "cuda"
    allowed = ["train", *ON_GPU] if on_gpu else [*PARTS, "matmul", "targets"]
    parts = sys.argv[1:] or allowed
    if unknown := [part for part in parts if part not in allowed]:
        raise InputError(f"PARTS={unknown[0]}: allowed are {', '.join(allowed)}")
    if not all(name in os.environ for name in OURS):
        raise InputError("the memory settings are those of bin/python: run make bench")
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
    for part in (part for part in ON_GPU if part in parts):
        ON_GPU[part]()
    if "matmul" in parts:
        for name in ("generate_share", "train_share"):
            out, _ = started(name).communicate()  # with nobody to wait for
            print(f"{name:22} {100 * float(out.splitlines()[-1]):7.0f} % of the time is matrix products", flush=True)
    if "targets" in parts:
        targets()


if __name__ == "__main__":
    main()
