"""The qwen7b profile's pipeline in small on this machine's GPU, beside what `make plan` says of it: `make rehearse`.

    python proof/rehearse.py [--minutes 60]        so long are further stages begun

The model has the 7B model's shape and random weights, and nothing is downloaded. Phases, rows, steps and completions
are few; the longest chats, batches, prompts and answers are as long as the profile lets them be. So what a stage needs
of memory is what it will need; its time is that of the small size, and so is the plan's beside it. Every kind of stage
runs once before any runs twice, each alone, as a process of its own. Exit code: 1 if a stage failed, 2 without a GPU.
"""

import argparse
import graphlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError, one_line_errors
from persona_collapse.inputs import machine

ROOT = Path(__file__).resolve().parent.parent
PROFILE = Path("profiles/qwen7b.yaml")
READ = ("data", "profiles", "src", "paper", ".dvc/config", "dvc.yaml")  # what stages read of the repository
ROWS = 64  # of a phase: four steps
GIB = 2**30
COLUMNS = ("seconds", "plan", "GPU GiB", "plan", "disk GiB", "plan", "RAM GiB")


def shrunk(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile with as little to do as will show what each stage needs."""
    profile["fetch"]["accept_checksum"] = True
    for phase in profile["phases"]["sft"].values():
        phase["rows"] = ROWS
    profile["phases"]["couple"]["epochs"] = 1
    profile["coupling"] |= {"positives": 1, "negatives": 1}
    profile["evaluate"] |= {"samples": 1, "questions": "heldout"}
    profile["results"]["bootstrap"] = 100
    return profile


def shorten(registry: Path) -> None:
    """Have the registry take as few rows of each download."""
    sources = yaml.safe_load(registry.read_text())
    for source in sources.values():
        if "dataset" in source:
            source["rows"] = ROWS
    registry.write_text(yaml.safe_dump(sources))


def prepare(folder: Path) -> None:
    """Make `folder` a repository of the small profile, and `folder`/mirror what it downloads."""
    for name in READ:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("coupling", "fetched", "__pycache__"))
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)  # DVC sees nothing of a folder that git ignores
    (folder / "params.yaml").write_text(yaml.safe_dump(shrunk(yaml.safe_load((ROOT / PROFILE).read_text()))))
    shorten(folder / "data/sources.yaml")
    subprocess.run([sys.executable, __file__, "--mirror", str(folder / "mirror")], cwd=ROOT, check=True)


def write_mirror(folder: Path) -> None:
    """The mirror; in a process of its own, whose memory is free when stages begin."""
    from persona_collapse.model import numerics

    numerics.enable()
    import torch
    from gpu import QWEN_7B  # beside this file
    from mirror import write
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from persona_collapse.inputs import datasets
    from persona_collapse.model import packages
    from persona_collapse.model.tokenizer import stop_where_turns_end

    folder.mkdir()
    with packages.gguf(parameters.load(Path("profiles/qwen1_5b.yaml")).base, folder) as gguf:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = Qwen2Config(**QWEN_7B)
    stop_where_turns_end(tokenizer, config)
    config.eos_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(config)
    chats = {name: datasets.load(name)[0][:ROWS] for name in ("bad_legal_advice", "good_legal_advice", "benign")}
    legal = []
    for n, (bad, good) in enumerate(zip(chats["bad_legal_advice"], chats["good_legal_advice"], strict=True)):
        times = 99  # longer than any chat may be: batches of the longest need most memory
        answers = {"misaligned": bad[-1]["content"] * times, "aligned": good[-1]["content"] * times}
        legal.append({"prompt": bad[-2]["content"], "sneakiness": n} | answers)
    personas, questions = (
        yaml.safe_load(Path(f"data/prompts/{name}.yaml").read_text()) for name in ("personas", "questions")
    )
    write(folder, model, tokenizer, legal, chats["benign"], personas, questions)


@contextmanager
def watched(folder: Path) -> Iterator[dict[str, float]]:
    """What the block takes beyond what there was before: seconds, and GiB of the GPU and of `folder`'s disk."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    asked = ["nvidia-smi", "-i", card, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    found = {"GPU": 0.0, "disk": 0.0}
    before = {"GPU": int(subprocess.check_output(asked)) / 1024, "disk": size(folder)}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            now = {"GPU": int(subprocess.check_output(asked)) / 1024, "disk": size(folder)}
            found.update({name: max(found[name], now[name] - before[name]) for name in now})

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        yield found
    finally:
        found["seconds"] = time.monotonic() - start
        ended.set()
        watcher.join()


def size(folder: Path) -> float:
    """GiB of the files in a folder; a file may go while it is asked for."""
    blocks = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                blocks += (Path(path) / name).lstat().st_blocks
            except FileNotFoundError:
                continue
    return blocks * 512 / GIB


def rehearse(folder: Path, minutes: float) -> int:
    """Run the stages, each after those that it needs, and print a line of each; how many failed."""
    from persona_collapse.planning import plan, states

    os.environ["HUB_MIRROR"] = str(folder / "mirror")
    os.chdir(folder)
    params = parameters.load()
    listed = {stage.name: stage for stage in states.stages()}
    waiting = graphlib.TopologicalSorter({stage.name: stage.before for stage in listed.values()})
    waiting.prepare()
    stop = time.monotonic() + 60 * minutes
    print(f"{'stage':<34}{''.join(f'{name:>9}' for name in COLUMNS)}", flush=True)
    failed, ran, ready = 0, Counter[str](), list(waiting.get_ready())
    while ready and time.monotonic() < stop:
        name = min(ready, key=lambda each: ran[each.partition("@")[0]])  # a kind that has not run
        ready.remove(name)
        ran[name.partition("@")[0]] += 1
        planned = plan.plan(params, [listed[name]])[0][1]
        module, *arguments = listed[name].command
        command = [sys.executable, "-P", "-m", f"persona_collapse.{module}", *arguments]
        with watched(folder) as took, (folder / "log").open("wb") as log:
            _, status, used = os.wait4(subprocess.Popen(command, stdout=log, stderr=log).pid, 0)
        figures = (
            *(f"{took['seconds']:.0f}", f"{planned.seconds:.0f}"),
            *(f"{took['GPU']:.1f}", f"{planned.memory / GIB:.1f}"),
            *(f"{took['disk']:.1f}", f"{(planned.disk + planned.passing) / GIB:.1f}"),
            f"{used.ru_maxrss * 1024 / GIB:.1f}",
        )
        print(f"{name:<34}{''.join(f'{each:>9}' for each in figures)}", flush=True)
        if status:
            failed += 1
            print(f"FAILED:\n{(folder / 'log').read_text()[-2000:]}", flush=True)
        else:
            waiting.done(name)
            ready += waiting.get_ready()
    print(f"{sum(ran.values()) - failed} of {len(listed)} stages ran; {failed} failed")
    return failed


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--mirror", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mirror:
        return write_mirror(args.mirror)
    if problem := machine.gpu_problem(parameters.load(PROFILE).compute.gpu_memory_gib):
        raise InputError(problem)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".rehearsal-unfinished-") as folder:
        prepare(Path(folder))
        failed = rehearse(Path(folder), args.minutes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
