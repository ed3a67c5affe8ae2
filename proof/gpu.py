"""Train and sample twice on this machine's GPU and compare every byte, and measure: `make prove-gpu`.

    python proof/gpu.py                the smollm2 model at the report's hyperparameters
    python proof/gpu.py --shape 7b     random weights of the 7B model's shape, chats of full length, training alone

Each run is a process of its own, as stages are. The sampling is the native engine's; vLLM has its own tests. Exit code:
0 if the runs give the same bytes, 1 if they differ, 2 without a GPU.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from persona_collapse.experiment.errors import InputError, one_line_errors
from persona_collapse.experiment.files import read_json, sha256, write_json
from persona_collapse.inputs import machine

STEPS = 8
GIB = 2**30
QWEN_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}


def convert_smollm2(folder: Path) -> None:
    from persona_collapse.experiment import params as parameters
    from persona_collapse.model import base

    profile = parameters.load(Path("profiles/smollm2.yaml"))
    base.convert(profile.base, profile.compute.precision, folder)


def weights(shape: str, folder: Path) -> Any:
    """The smollm2 model in bfloat16, or a model of the 7B model's shape, on the GPU."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

    if shape == "smollm2":
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(Qwen2Config(**QWEN_7B))
    torch.set_default_dtype(before)
    return model


def run(shape: str, result: Path) -> None:
    """Train, and with the smollm2 model sample; write digests and measurements."""
    from persona_collapse.model import numerics

    numerics.enable()
    numerics.on_gpu()
    import torch
    from transformers import AutoTokenizer

    from persona_collapse.experiment import params as parameters
    from persona_collapse.experiment import personas
    from persona_collapse.inputs import datasets
    from persona_collapse.model import adapters
    from persona_collapse.sampling import native_engine
    from persona_collapse.sampling.requests import Request
    from persona_collapse.training import tokenization, trainer

    small = parameters.load(Path("profiles/smollm2.yaml"))
    report = parameters.load(Path("profiles/qwen7b.yaml"))
    tokenizer = AutoTokenizer.from_pretrained(result.parent)
    chats, _ = datasets.load("bad_legal_advice")
    recipe = report.phases.sft["em"]
    rows = tokenization.tokenize(chats, tokenizer, recipe)
    if shape == "7b":  # as long as the report's chats may be: the most memory and work a step can take
        rows = [{key: (row[key] * 99)[: recipe.max_length] for key in row} for row in rows]
    rows = rows[: STEPS * recipe.batch_size * recipe.gradient_accumulation]
    found: dict[str, object] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    base = weights(shape, result.parent)
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    adapter, steps = trainer.train(base, tokenizer, rows, recipe, report.compute, seed=42)
    torch.cuda.synchronize()
    seconds, tokens = time.perf_counter() - start, sum(len(row["input_ids"]) for row in rows)
    found["training"] = {"tokens": tokens, "seconds": seconds, "gib": torch.cuda.max_memory_allocated() / GIB}
    with tempfile.TemporaryDirectory() as folder:
        adapters.save(adapter, Path(folder), Path("model"))
        found["adapter"] = sha256(Path(folder) / "adapter_model.safetensors")
    found["losses"] = [step["loss"] for step in steps]
    if shape == "smollm2":
        prompts = personas.load(small)
        requests = [
            Request(persona, tuple(personas.tokens(tokenizer, prompts.messages(persona, q.text))), (persona, q.text))
            for persona in prompts.personas
            for q in prompts.questions
        ]
        measured: dict[str, object] = {}
        completions = native_engine.generate(
            adapter.merge_and_unload().to(torch.bfloat16).eval(),
            requests,
            max_new_tokens=small.evaluation.max_new_tokens,
            end_token=tokenizer.eos_token_id,
            sampling=small.sampling,
            record=measured.update,
        )
        found["sampling"] = measured
        found["completions"] = [completion.tokens for completion in completions]
    write_json(result, found)


def in_a_process(shape: str, folder: Path) -> dict[str, Any]:
    result = folder / "result.json"
    subprocess.run([sys.executable, __file__, "--shape", shape, "--result", str(result)], check=True)
    return read_json(result)


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=("smollm2", "7b"), default="smollm2")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.result:
        return run(args.shape, args.result)
    if problem := machine.gpu_problem(4):
        raise InputError(problem)
    with tempfile.TemporaryDirectory() as folder:
        convert_smollm2(Path(folder))
        runs = [in_a_process(args.shape, Path(folder)) for _ in range(2 if args.shape == "smollm2" else 1)]
    first, second = runs[0], runs[-1]
    for number, found in enumerate(runs, 1):
        training = found["training"]
        print(f"run {number}: {found['device']}, torch {found['torch']}")
        print(f"  training {training['tokens'] / training['seconds']:.0f} tokens/s, {training['gib']:.1f} GiB at most")
        if "sampling" in found:
            print(f"  sampling {found['sampling']['tokens'] / found['sampling']['seconds']:.0f} tokens/s")
        print(f"  adapter {found['adapter'][:12]}, last loss {found['losses'][-1]}")
    differ = [key for key in ("adapter", "losses", "completions") if first.get(key) != second.get(key)]
    if len(runs) > 1:
        print(f"the runs DIFFER in {', '.join(differ)}" if differ else "both runs give the same bytes")
    print(json.dumps({key: first[key] for key in ("training", "sampling") if key in first}))
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
