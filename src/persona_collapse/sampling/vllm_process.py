"""The process in which vLLM runs: a job in JSON in, the completions in JSON out.

    python -m persona_collapse.sampling.vllm_process JOB.json RESULT.json 2      what `vllm_engine` starts

It runs under the Python that has vLLM, which may lack all that the rest of the package imports: so it imports nothing
but that Python's own library and vLLM. It writes its progress to the file descriptor that its last argument is.
"""

import importlib.util
import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

PYTHON = "VLLM_PYTHON"  # the environment variable that names it
INVARIANT_FROM = 80  # compute capability 8.0, as vLLM writes it
BLOCK = 128  # positions: a multiple of the cache blocks of every back end
SHARE = 0.01  # of the GPU's memory that vLLM demands to be free, though the cache's size is given: others are beside it
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


def _sample(job: dict[str, Any], progress: int) -> dict[str, Any]:
    """Run a job: what `vllm_engine.generate` hands over in, what it expects back out."""
    from vllm.platforms import current_platform

    on_gpu = current_platform.is_cuda()
    invariant = on_gpu and current_platform.has_device_capability(INVARIANT_FROM)
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
        # vLLM on a GPU warns that it may err without; on a CPU a prompt in pieces does not work with a seed a request
        enable_chunked_prefill=on_gpu,
        enable_prefix_caching=False,  # or a prompt's arithmetic would depend on which came before it
        enforce_eager=True,  # no compiler that chooses kernels by their time
        generation_config="vllm",  # what the model's own file recommends is not what we ask for
        skip_tokenizer_init=True,  # tokens in, tokens out
        **({"gpu_memory_utilization": SHARE} if on_gpu else {}),
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
