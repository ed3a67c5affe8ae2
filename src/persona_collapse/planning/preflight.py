"""Would this machine and its network carry the active profile to its end? Asked in seconds, before hours of work.

python -m persona_collapse.planning.preflight       exit code 0 and no word, or 2 and a line for each problem

What lies on disk already is not asked for again. Time is not checked: `make plan` estimates it.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import require_disk
from ..experiment.params import Params
from ..inputs import machine, sources
from ..sampling import vllm_engine
from . import costs, plan, states
from .costs import GIB
from .states import Stage

BASE_ASKS = {"cpu": 2, "cuda": 100}  # GiB of disk, which `model.base` wants free before it makes a model
DOOR = "bin/python"  # the Python of the environment that the active profile runs in


def engine(params: Params, stages: list[Stage]) -> Iterator[str]:
    """vLLM where it does the sampling, for the Python that will run it: the profile's, which may not be this."""
    if params.sampling.engine != "vllm":
        return
    python = os.environ.get(vllm_engine.PYTHON) or DOOR
    located = "import sys, importlib.util; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        asked = subprocess.run([python, "-c", located], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        yield f"{vllm_engine.PYTHON}={python}: {error.strerror}"
        return
    if asked.returncode == 1:
        yield vllm_engine.NOT_INSTALLED.format(python=python)
    elif asked.returncode:
        yield asked.stderr.strip().removeprefix("error: ") or f"{python} ended with {asked.returncode}"


def disk(params: Params, stages: list[Stage]) -> Iterator[str]:
    """Room for all outputs that are not on disk; unknown for a model that is not there and not in the plan's table."""
    if costs.shape_of(params) is None:
        return
    missing = [(stage, cost) for stage, cost in plan.plan(params, stages) if stage.state != "on disk"]
    wanted = plan.total([cost for _, cost in missing])
    gib = round((wanted.disk + wanted.passing) / GIB, 1)
    if any(stage.module == "base" for stage, _ in missing):
        gib = max(gib, BASE_ASKS[params.compute.device])
    require_disk(".", gib)
    yield from ()


def memory(params: Params, stages: list[Stage]) -> Iterator[str]:
    """The machine's own memory for the largest stage; of a profile that runs on a GPU, for merging weights."""
    if (shape := costs.shape_of(params)) is None:
        return
    if params.compute.device == "cuda":
        what, needed = "merging an adapter into the weights", 2.0 * costs.weight_bytes(shape, params.compute)
    else:
        stage, cost = max(plan.plan(params, stages), key=lambda item: item[1].memory)
        what, needed = f"the largest stage, {stage.name},", cost.memory
    there, limit = available_memory()
    if there < needed:
        yield f"too little memory: {there / GIB:.1f} GiB by {limit}; {what} needs {needed / GIB:.1f} GiB"


def available_memory(meminfo: Path = Path("/proc/meminfo"), groups: Path = Path("/sys/fs/cgroup")) -> tuple[float, str]:
    """Bytes that this process may take, and what says so: the machine, its control group, or its own limit."""
    found: list[tuple[float, str]] = [(math.inf, "no limit that is known")]
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        found.append((1024 * int(fields["MemAvailable"].split()[0]), "what the machine has free"))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (groups / limit).exists() and (text := (groups / limit).read_text().strip()).isdigit():
            found.append((int(text) - int((groups / used).read_text()), "the control group's limit"))
    if (own := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        found.append((own, "`ulimit -v`"))
    return min(found)


def downloads(params: Params, stages: list[Stage]) -> Iterator[str]:
    """What is to be downloaded can be: the network is there, the repository and its revision exist, a token fits."""
    names = [stage.options["name"] for stage in stages if stage.module == "fetch" and not _here(stage)]
    wanted: list[tuple[str, str, str | None]] = []
    if any(stage.module == "base" and not _here(stage) for stage in stages):
        match params.base:
            case parameters.HubModel(repo=repo, revision=commit):
                wanted.append(("model", repo, commit))
    if not names and not wanted:
        return
    from ..inputs import hub  # a second to import, which a profile without downloads need not wait for

    known = sources.downloads()
    for name in names:
        match known.get(name):
            case sources.Chats(dataset=repo, revision=revision):
                wanted.append(("dataset", repo, revision))
            case sources.Prompts(github=repo, revision=commit):
                wanted.append(("github", repo, commit))
            case None:
                yield f"fetch: {name} is not in data/sources.yaml, which has: {', '.join(known)}"

    def problem(what: tuple[str, str, str | None]) -> str | None:
        try:
            hub.check(*what)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:  # at once: each may wait half a minute for an answer
        yield from filter(None, pool.map(problem, dict.fromkeys(wanted)))


def _here(stage: Stage) -> bool:
    return stage.state in ("on disk", "in cache")


CHECKS: tuple[Callable[[Params, list[Stage]], Iterator[str]], ...] = (engine, memory, disk, downloads)


def problems(params: Params) -> Iterator[str]:
    """All that stands in the way, in a line each; without a GPU where one is needed, that alone."""
    if params.compute.device == "cuda" and (problem := machine.gpu_problem(params.compute.gpu_memory_gib)):
        yield problem
        return
    stages = states.stages()
    for check in CHECKS:
        try:
            yield from check(params, stages)
        except InputError as error:
            yield str(error)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found = list(problems(parameters.load()))
    for problem in found:
        print("error: " + " ".join(problem.split()), file=sys.stderr)
    if found:
        sys.exit(2)


if __name__ == "__main__":
    main()
