"""What `bench.py` measures, each in a process of its own: a library as it comes, or this package.

    python benchmarks/measured.py train_portable      what bench.py starts

A measurement sets itself up, reports its first turn, and then does a piece of work each time it is told to.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

BATCH = 84
ROUNDS = 2
STEPS = {"cpu": 8, "cuda": 40}
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm")
REPORT = "turn: "


def turn(tokens: float = 0, **more: float) -> None:
    """Report a piece of work, the set-up being the first, and wait for the next turn. The memory is a GPU's if one is
    used."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_reserved() / 2**30
    print(REPORT + json.dumps({"tokens": tokens, "peak_GiB": peak, "at": time.monotonic(), **more}), flush=True)
    sys.stdin.readline()


def the_evaluation() -> tuple:
    """The parameters, and a request for each completion, those of one prompt in a row."""
    from persona_collapse.experiment import params as parameters
    from persona_collapse.experiment import personas
    from persona_collapse.model.tokenizer import load_tokenizer
    from persona_collapse.sampling.requests import Request

    params = parameters.load()
    prompts = personas.load(params)
    tokenizer = load_tokenizer(params.layout.model)
    requests = [
        Request(persona, ids, ("evaluation", 0, persona, question.text, sample))
        for persona in prompts.personas
        for question in prompts.questions
        for ids in [tuple(personas.tokens(tokenizer, prompts.messages(persona, question.text)))]
        for sample in range(params.evaluate.samples)
    ]
    return params, requests


def generate_portable(rounds: int = ROUNDS) -> None:
    from persona_collapse.model import merged
    from persona_collapse.sampling import native_engine

    params, requests = the_evaluation()
    weights = merged.load(params, "base", 0)
    turn()
    for _ in range(rounds):
        completions = native_engine.generate(
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
    from persona_collapse.model.tokenizer import load_tokenizer

    params, requests = the_evaluation()
    samples = params.evaluate.samples
    weights, tokenizer = merged.load(params, "base", 0), load_tokenizer(params.layout.model)
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
    from persona_collapse.model.tokenizer import load_tokenizer
    from persona_collapse.sampling import vllm_engine

    params, requests = the_evaluation()
    folder = params.layout.model  # the base model itself, in whatever precision vLLM is asked for
    run: dict[str, Any] = {}
    turn()
    vllm_engine.generate(
        folder,
        requests,
        max_new_tokens=params.evaluate.max_new_tokens,
        end_token=load_tokenizer(folder).eos_token_id,
        sampling=params.sampling,
        precision=precision,
        record=run.update,
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # vLLM has a process of its own
    turn(run["tokens"], seconds=run["seconds"], peak_GiB=peak)


def generate_vllm_bfloat16() -> None:
    generate_vllm("bfloat16")


def train_portable() -> None:
    from persona_collapse.experiment import params as parameters
    from persona_collapse.inputs import datasets
    from persona_collapse.model import merged
    from persona_collapse.model.tokenizer import load_tokenizer
    from persona_collapse.training import tokenization, trainer

    params = parameters.load()
    recipe, steps = params.phases.sft["em"], STEPS[params.compute.device]
    tokenizer = load_tokenizer(params.layout.model)
    chats, _ = datasets.load(recipe.data)
    rows = tokenization.tokenize(chats[: steps * recipe.batch_size * recipe.gradient_accumulation], tokenizer, recipe)
    tokens_per_step = sum(len(row["input_ids"]) for row in rows) / steps
    step = trainer.CompletionTrainer.training_step

    def in_turn(running: Any, *args: Any, **options: Any) -> Any:
        if running.state.global_step:
            turn(tokens_per_step)  # of the step before; the first is set-up, since memory is filled then
        return step(running, *args, **options)

    trainer.CompletionTrainer.training_step = in_turn
    weights = merged.load(params, "base", 0)
    trainer.train(weights, tokenizer, rows, recipe.model_copy(update={"epochs": 1}), params.compute, seed=0)
    turn(tokens_per_step)


def train_stock() -> None:
    _leave_numerics_off()
    train_portable()


def train_avx2() -> None:
    os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    train_stock()


def train_trl() -> None:
    _leave_numerics_off()
    from persona_collapse.training import trainer

    del trainer.CompletionTrainer.compute_loss
    trainer.scale_early = lambda model: None
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


MEASUREMENTS: dict[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        *(generate_portable, generate_stock, generate_vllm, generate_vllm_bfloat16, generate_share),
        *(train_portable, train_trl, train_stock, train_avx2, train_share),
    )
}
if __name__ == "__main__":
    MEASUREMENTS[sys.argv[1]]()
