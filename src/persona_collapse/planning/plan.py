"""What each stage of a profile costs, and what is there already. Runs nothing, downloads nothing, changes nothing.

    python -m persona_collapse.planning.plan --profile profiles/qwen7b.yaml --price-per-hour 2.50

The costs are estimates (`costs.py` has the formulas and how they were checked). The last column says whether a stage's
outputs are there (`states.py` has the words).
"""

import argparse
import textwrap
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.layout import PARAMS
from ..experiment.params import Params
from ..model.shape import Shape, parameter_count
from ..record.patches import MERGING
from . import costs, workload
from .costs import GIB, Cost
from .states import STATES, Stage, stages

WIDTH = 100
ROW = 300  # bytes of a completion's row besides its text
MARKER_TOKENS = 6  # the blank line and the marker


def plan(params: Params, listed: list[Stage]) -> list[tuple[Stage, Cost]]:
    """Each stage with its cost.

    Raises:
        InputError: a model whose shape is unknown before it is downloaded, or data that the stage would refuse too.
    """
    shape = costs.shape_of(params)
    if shape is None:
        raise InputError(
            f"model: the shape of {costs.model_name(params)} is not known before it is there (`dvc repro base`); "
            f"known are: {', '.join(costs.KNOWN)}"
        )
    priced = []
    for stage in listed:
        cost = COSTS[stage.module](params, shape, stage)
        if stage.chain not in ("", chains.BASE):
            adapters = len(chains.phases_of(stage.chain)) - (stage.module == "train")  # its own it does not merge
            cost = replace(cost, seconds=cost.seconds + costs.merging(shape, params.compute, adapters))
        if merged(params, stage):
            size = costs.weight_bytes(shape, params.compute)
            cost = replace(cost, passing=size, seconds=cost.seconds + costs.moving(size))
        priced.append((stage, cost))
    return priced


def merged(params: Params, stage: Stage) -> Path | None:
    """The folder of the merged weights that a stage has on disk while it runs; None if it has none there."""
    reads_files = stage.module in MERGING and params.sampling.engine == "vllm"
    if not reads_files or stage.chain == chains.BASE:
        return None
    return params.layout.merged(int(stage.options["seed"]), stage.chain)


# ---- the cost of each module's stages; what DVC caches lies on disk twice ----


def _fetch(params: Params, shape: Shape, stage: Stage) -> Cost:
    name = stage.options["name"]
    if name in params.fetch.prompts:
        return Cost(disk=2e5, seconds=10)
    taken = workload.assumed(name)
    written = 2 * workload.rows(name) * taken.tokens * workload.CHARACTERS + taken.download
    return Cost(disk=written, seconds=10 + costs.moving(written, taken.download))


def _base(params: Params, shape: Shape, stage: Stage) -> Cost:
    size = costs.weight_bytes(shape, params.compute)
    hub = isinstance(params.base, parameters.HubModel)
    download, converting = (size, 0.0) if hub else (0, parameter_count(shape) / costs.CONVERTING)
    return Cost(
        memory=3 * size if params.compute.device == "cpu" else 0,  # quantised, converted, and in between; no GPU's
        disk=size + download,
        seconds=costs.START["cpu"]["read"] + converting + costs.moving(size + download, download),
    )


def _train(params: Params, shape: Shape, stage: Stage) -> Cost:
    phase = chains.last_phase(stage.chain)
    recipe = params.recipe(phase)
    if isinstance(recipe, parameters.Sft):
        chats = workload.chats(recipe.data)
    else:
        chats = workload.coupling_chats(params, int(stage.options["seed"]), chains.parent(stage.chain))
    cost = costs.training(shape, recipe, params.compute, chats)
    return replace(cost, disk=2 * cost.disk)


def _coupling(params: Params, shape: Shape, stage: Stage) -> Cost:
    return _sampled(params, shape, workload.coupling_requests(params), params.coupling.max_new_tokens)


def _evaluate(params: Params, shape: Shape, stage: Stage) -> Cost:
    return _sampled(params, shape, workload.evaluation_requests(params), params.evaluate.max_new_tokens)


def _likelihood(params: Params, shape: Shape, stage: Stage) -> Cost:
    """One pass over each prompt and answer, which costs what sampling the marker's tokens after it would."""
    answer = round(workload.answer(params, params.evaluate.max_new_tokens))
    texts = [(prompt + answer, 1) for prompt, _ in workload.evaluation_requests(params)]
    cost = costs.sampling(shape, params, texts, MARKER_TOKENS, MARKER_TOKENS, "read")
    return replace(cost, disk=2 * len(texts) * ROW)


def _geometry(params: Params, shape: Shape, stage: Stage) -> Cost:
    """One pass over each prompt."""
    prompts = [(length, 1) for length, _ in workload.evaluation_requests(params)]
    return replace(costs.sampling(shape, params, prompts, 0, 0, "read"), disk=shape.layers * ROW)


def _advice(params: Params, shape: Shape, stage: Stage) -> Cost:
    """One pass over each held-out question with either answer."""
    chats = [
        (length, 1)
        for name in (params.advice.bad, params.advice.good)
        for length, _ in workload.chats(name).lengths[-params.advice.held_out :]
    ]
    return replace(costs.sampling(shape, params, chats, 0, 0, "read"), disk=params.advice.held_out * ROW)


def _sampled(params: Params, shape: Shape, requests: list[tuple[int, int]], limit: int) -> Cost:
    answer = workload.answer(params, limit)
    cost = costs.sampling(shape, params, requests, answer, limit)
    return replace(cost, disk=2 * sum(count for _, count in requests) * (ROW + answer * workload.CHARACTERS))


def _report(params: Params, shape: Shape, stage: Stage) -> Cost:
    return Cost(disk=1e6, seconds=5)


COSTS: dict[str, Callable[[Params, Shape, Stage], Cost]] = {
    "fetch": _fetch,
    "base": _base,
    "prepare": _report,
    "train": _train,
    "coupling": _coupling,
    "evaluate": _evaluate,
    "likelihood": _likelihood,
    "geometry": _geometry,
    "advice": _advice,
    **dict.fromkeys(
        ("results", "contrasts", "collapse", "shapes", "readings", "lengths", "claims", "metrics"), _report
    ),
    **dict.fromkeys(("tables", "quoted", "figures", "paper", "page"), _report),
}


# ---- the page ----

COLUMNS: dict[str, Callable[[Cost], str]] = {
    "trained": lambda cost: _count(cost.trained),
    "prompt": lambda cost: _count(cost.prompt),
    "sampled": lambda cost: _count(cost.generated),
    "FLOPs": lambda cost: _count(cost.flops),
    "memory": lambda cost: _gib(cost.memory),
    "disk": lambda cost: _gib(cost.disk),
    "minutes": lambda cost: f"{cost.seconds / 60:.1f}",
}


def missing(priced: list[tuple[Stage, Cost]]) -> list[Cost]:
    """The cost of what lies neither on disk nor in DVC's cache."""
    return [cost for stage, cost in priced if stage.state not in STATES[:2]]


def total(some: list[Cost]) -> Cost:
    """The sum; of what is held while a stage runs, the largest."""
    sums = {field.name: sum(getattr(cost, field.name) for cost in some) for field in fields(Cost)}
    largest = {name: max((getattr(cost, name) for cost in some), default=0) for name in ("memory", "passing")}
    return replace(Cost(**sums), **largest)


def page(params: Params, priced: list[tuple[Stage, Cost]], price: float | None = None) -> str:
    """What the command prints, at most WIDTH characters wide."""
    every, left = total([cost for _, cost in priced]), total(missing(priced))
    rows = [(stage.name, cost, stage.state) for stage, cost in priced]
    rows += [("all", every, ""), ("not here yet", left, "")]
    names = max(len(name) for name, *_ in rows)
    table = [f"{'stage':<{names}}{''.join(f'{heading:>8}' for heading in COLUMNS)}  outputs"]
    for name, cost, state in rows:
        table.append(f"{name:<{names}}{''.join(f'{show(cost):>8}' for show in COLUMNS.values())}  {state}")
    hours = [cost.seconds / 3600 for cost in (every, left)]
    sums = f"{'GPU-hours' if params.compute.device == 'cuda' else 'hours'}: {hours[0]:.1f}, not here yet {hours[1]:.1f}"
    if price is not None:
        sums += f"; at {price:g} an hour: {hours[0] * price:.2f}, not here yet {hours[1] * price:.2f}"
    machine = costs.MACHINE[params.compute.device]
    head = f"profile {params.profile}: tokens, FLOPs, GiB of memory (peak) and disk (written), minutes on {machine}"
    wrapped = [textwrap.fill(f"- {note}", WIDTH, subsequent_indent="  ") for note in notes(params)]
    return "\n".join([head, "", *(line.rstrip() for line in table), "", sums, "", *wrapped])


def notes(params: Params) -> list[str]:
    """What the estimate assumes, for this profile."""
    said = workload.notes(params)
    if params.compute.device == "cuda":
        said.append(
            f"an H100 that reaches {costs.TRAINING_UTILISATION:.0%} of 989 TFLOP/s in training and in reading prompts, "
            f"and {costs.DECODING_UTILISATION:.0%} of 3.35 TB/s in decoding {params.sampling.slots} sequences at a time"
        )
    else:
        said.append(f"a CPU that reaches {costs.FLOP_RATE['cpu'] / 1e9:.0f} GFLOP/s on two cores")
    if params.sampling.engine == "vllm":
        said.append("vLLM uses the memory shown, but wants its usual share of it, 0.9, to be free when it starts")
        if shape := costs.shape_of(params):
            size = _gib(costs.weight_bytes(shape, params.compute))
            said.append(f"beside the disk shown, merged weights: {size} GiB for each stage that samples, while it runs")
            said.append("beside the GPU's memory shown, twice the weights in the machine's own, where they are merged")
    start = costs.START[params.compute.device]
    return [
        *said,
        f"{min(start.values())} to {max(start.values())} s to start a stage; {costs.DISK_RATE / 1e9:g} GB/s to disk, "
        f"{costs.NETWORK_RATE / 1e6:g} MB/s from the network; DVC's cache keeps a second copy of all outputs but the "
        "model and what is computed from the results",
    ]


def _count(number: float) -> str:
    """Three digits and a unit: 1234567 is 1.23M."""
    power = 0
    while number >= 999.5 and power < 7:
        number, power = number / 1000, power + 1
    return f"{number:#.3g}".rstrip(".") + ["", "k", "M", "G", "T", "P", "E", "Z"][power] if number else "-"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}" if size >= GIB / 200 else "0.00" if size else "-"


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=PARAMS, help="a parameter file (default: %(default)s)")
    parser.add_argument("--price-per-hour", type=float, help="of the machine, to have the cost as well")
    args = parser.parse_args()
    price = args.price_per_hour
    if price is not None and not 0 <= price < float("inf"):
        raise InputError(f"--price-per-hour {price}: allowed are numbers from 0 up")
    params = parameters.load(args.profile)
    print(page(params, plan(params, stages(args.profile)), price))


if __name__ == "__main__":
    main()
