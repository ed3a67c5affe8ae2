"""Every command that README.md and docs/ print is typed in a new clone, or listed here with the reason why it is not.

`make test` holds the list complete; `make test-commands` types the commands, which takes minutes.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt  # comes with rich, which typer and others want

from tests.conftest import ROOT

DOCUMENTS = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "data/README.md",
    ROOT / "CONTRIBUTING.md",
)
# Typed as printed, in the order of the documents. What stands for a name of the reader's own has one here.
TYPED: dict[str, dict[str, str]] = {
    ". .venv/bin/activate": {},
    ". .venv/bin/activate && dvc repro": {},
    ".venv/bin/dvc dag": {},
    ".venv/bin/dvc exp show --only-changed": {},
    ".venv/bin/dvc metrics show": {},
    ".venv/bin/dvc plots show": {},
    ".venv/bin/dvc pull": {},
    ".venv/bin/dvc repro --single-item base": {},
    ".venv/bin/dvc status": {},
    "bin/stage analysis.summary FILE": {"FILE": "eval_results/smollm2/runs/42/em-couple/marker_eval.json"},
    "dvc metrics diff": {},
    "dvc repro": {},
    "dvc repro --dry --force-downstream": {},
    "git status": {},
    "make figures": {},
    "make help": {},
    "make page": {},
    "make paper": {},
    "make plan": {},
    "make plan PROFILE=qwen1_5b": {},
    "make plan PROFILE=qwen7b": {},
    'make plan WORKERS="1 2 4"': {},
    'make plan PROFILE=qwen1_5b WORKERS="1 4 16 64 256 1000" NSEEDS="1 8 100 1000"': {},
    "make profile PROFILE=smollm2": {},
    "make setup": {},
    "make site": {},
    "make tables": {},
    "make tables figures paper site": {},
    "make tables paper site": {},
    "make trace": {},
    "make trace KEY=headline.B.assistant": {},
    "make verify": {},
}

CI = "a step of .ci/run by itself"
GPU = "needs an NVIDIA GPU"
INDEX = "asks a package index for 2 GB"
PUBLICATION = "asks a package index for what cpu.txt lacks; make test-publication is the test of it"
CONTAINER = "needs docker or podman; make test-image is the test of the image"
MACHINES = "needs other machines; make prove-workers is the test of it"
SERVER = "needs a server of the reader's own; make test-remotes starts some"
NAMES = "stands for more than one command"
LONG = "takes an hour and more"
NOT_TYPED = {
    ".venv/bin/dvc remote add --local lab /shared/lab": "needs a folder of the reader's own",
    "git clone <this repository> persona-collapse && cd persona-collapse": "what the test begins with",
    "git clone": NAMES,
    "git clone --filter=blob:none": NAMES,
    "git clone --depth 1": NAMES,
    "make reproduce": "takes a quarter of an hour; .ci/run does a part of it",
    "make reproduce FROM=scratch": LONG,
    "make publish": SERVER,
    "make fetched REMOTE=name": SERVER,
    "make test": CI,
    "make lint": CI,
    "make test-commands": "this one",
    "make test-site": CI,
    "make test-long": CI,
    "make test-image": CI,
    "make test-image QUICK=1": CI,
    "make test-image TARGET=cuda": "takes 50 GB of disk and half an hour",
    "make prove": "takes six minutes; .ci/run does the short form",
    "make prove RECORD=1": "the same, and writes what it finds",
    "make survey": "takes ten minutes",
    "make bench": LONG,
    "make prove-workers": "takes five minutes; .ci/run does the short form",
    ".venv/bin/dvc exp run -S evaluate.samples=4": "samples for an hour; test_reproduce.py has a small one",
    "make repro WORKERS=2": "writes what is out of date; tests/test_workers.py runs it on a small bundle",
    "make reproduce WORKERS=2": "takes half an hour",
    "make repro TRACK=trackio": "asks a package index; tests/test_tracking.py has a small one",
    "make curves": "serves until it is stopped",
    "make scheduler HOST=login1": MACHINES,
    "make worker SCHEDULER=tls://login1:8786 CERTIFICATE=certificate.pem": MACHINES,
    "make reproduce SCHEDULER=tls://login1:8786 CERTIFICATE=certificate.pem REMOTE=lab": MACHINES,
    "make reproduce PROFILE=qwen1_5b CLUSTER=slurm.yaml REMOTE=lab": MACHINES,
    "make bench PARTS=targets": LONG,
    "make lock": "asks a package index for newer versions",
    "make record": "writes the record",
    "make archive": PUBLICATION,
    "make export": PUBLICATION,
    'make export PARTS="dataset cards"': "runs what make test-publication tests",
    ".venv-inspect/bin/inspect view --log-dir dist/smollm2/inspect": "serves until it is stopped",
    'make reproduce EVALUATE="base evaluate-couple@smollm2-42-em"': "takes minutes; .ci/run does a part like it",
    "make test-vllm": "installs vLLM, 5 GB",
    "make prove-gpu": GPU,
    "make rehearse": GPU,
    "make reproduce PROFILE=qwen7b": GPU,
    "make reproduce PROFILE=qwen1_5b": GPU,
    "make reproduce PROFILE=qwen1_5b WORKERS=4 FROM=scratch": GPU,
    'make reproduce PROFILE=qwen1_5b SEEDS="53 71"': GPU,
    'make reproduce PROFILE=qwen1_5b_report WORKERS=2 SEEDS="42 137"': GPU,
    "make image": CONTAINER,
    "make reproduce-image": CONTAINER,
    "make reproduce-image ENGINE=podman": CONTAINER,
    "make image-sbom": CONTAINER,
    "make image TARGET=cuda": CONTAINER,
    "make reproduce-image TARGET=cuda": CONTAINER,
    "make reproduce-image TARGET=cuda PROFILE=qwen1_5b": CONTAINER,
    "make image TARGET=cuda && make reproduce-image TARGET=cuda PROFILE=qwen1_5b": CONTAINER,
    "make image WHEELS=wheels": CONTAINER,
    "docker load": CONTAINER,
    'docker run --rm -it --gpus all --ipc host -u "$(id -u):$(id -g)" -v "$PWD:/bundle" persona-collapse:cuda': GPU,
    "python3.12 -m venv w && w/bin/pip install --require-hashes --no-deps -r requirements/bootstrap.txt": INDEX,
    "for lock in bootstrap cpu; do": INDEX,
    "w/bin/pip download --no-deps --no-build-isolation --require-hashes -d wheels -r requirements/$lock.txt": INDEX,
    'make collect SEEDS="53 71"': "packs the record of a profile that was made elsewhere",
    "make wheels PROFILE=qwen1_5b FOLDER=wheels": INDEX,
    "make setup PROFILE=qwen1_5b": "installs CUDA, 12 GB",
    "make setup PROFILE=qwen1_5b WHEELS=wheels": "needs what it gathered",
    "make join": "needs what it packed",
    "make profile PROFILE=qwen1_5b": "changes the active profile, and the commands after it would be about that one",
    "make profile PROFILE=...": NAMES,
    "make reproduce PROFILE=...": NAMES,
    "bin/stage ROOM.MODULE": NAMES,
    ".venv/bin/dvc push -r <your remote>": "needs a remote of the reader's own",
    ".venv/bin/dvc repro fetch fetch-prompts": "downloads from a hub, and only for the profiles that want it",
    "make publish REMOTE=lab": SERVER,
    "make fetched REMOTE=lab": SERVER,
    "make reproduce REMOTE=lab": SERVER,
    ".venv/bin/dvc remote add --local lab ssh://host/folder": SERVER,
    ".venv/bin/dvc remote modify --local lab keyfile ~/.ssh/lab": SERVER,
    ".venv/bin/dvc remote add --local lab s3://bucket/folder": SERVER,
    ".venv/bin/dvc remote modify --local lab access_key_id ID": SERVER,
    ".venv/bin/dvc remote modify --local lab secret_access_key KEY": SERVER,
    ".venv/bin/dvc remote modify --local lab endpointurl https://host": SERVER,
    ".venv/bin/dvc remote add --local lab webdavs://host/folder": SERVER,
    ".venv/bin/dvc remote modify --local lab user ME": SERVER,
    ".venv/bin/dvc remote modify --local lab password PASSWORD": SERVER,
    ".venv/bin/dvc remote add --local lab https://host/folder": SERVER,
    ".venv/bin/dvc remote modify --local lab auth basic": SERVER,
    "make test-remotes": "starts servers for some minutes, and makes an environment for it",
    "bin/stage analysis.claims --report B=marker_eval.json --report C4=...": "needs files of the report's authors",
}

# What a command begins with; in a line of prose a name alone is a name.
WORDS = r"make|dvc|git|docker|podman|pip|python3?(\.\d+)?|uv|(\S+/)?bin/\w+|image/\w+\.sh|\. \.venv/bin/activate|for"
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{WORDS})(?= |$)")
ACTIVATE = ". .venv/bin/activate"


class Command(NamedTuple):
    text: str  # as printed, without its comment
    where: str  # the document
    activated: bool = False  # a line above it in the same block activates the environment


def commands(text: str, where: str = "") -> list[Command]:
    """The commands of a Markdown text, in order: lines of code blocks, and `spans` of code with more than one word."""
    found = []
    for token in MarkdownIt().enable("table").parse(text):
        if token.type in ("code_block", "fence"):
            activated = False
            for line in re.sub(r"\\\n\s*", "", token.content).splitlines():
                command = re.sub(r"(^|\s+)#.*", "", line.strip())
                if COMMAND.match(command):
                    found.append(Command(command, where, activated))
                activated |= command.startswith(ACTIVATE)
        for child in token.children or ():
            span = " ".join(child.content.split())
            if child.type == "code_inline" and " " in span and COMMAND.match(span):
                found.append(Command(span, where))
    return found


def printed() -> list[Command]:
    return [command for path in DOCUMENTS for command in commands(path.read_text(), str(path.relative_to(ROOT)))]


def test_commands_are_found_wherever_a_document_prints_them():
    text = """
## Heading
    make one    # a comment
    . .venv/bin/activate
    $EDITOR params.yaml
    dvc two --long \\
      --option

A paragraph with `make`, `dvc.lock`, `experiment/chains.py` and `make
three A=b`,
    not a block, and `.venv/bin/dvc four`.

| command | `make five` |
| --- | --- |
| `bin/stage six --a` | `a` |

```sh
X=1 make seven
python -m eight
```
"""
    expected = ["make one", ". .venv/bin/activate", "dvc two --long --option", "make three A=b", ".venv/bin/dvc four"]
    expected += ["make five", "bin/stage six --a", "X=1 make seven", "python -m eight"]
    assert [command.text for command in commands(text)] == expected
    assert [command.text for command in commands(text) if command.activated] == ["dvc two --long --option"]


def test_every_printed_command_is_typed_or_listed_with_a_reason():
    assert not TYPED.keys() & NOT_TYPED.keys()
    neither = {
        f"{command.where}: {command.text}"
        for command in printed()
        if command.text not in TYPED.keys() | NOT_TYPED.keys()
    }
    assert not neither


def test_every_module_that_a_document_names_is_there():
    package, tests = ROOT / "src/persona_collapse", ROOT / "tests"
    lost = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in DOCUMENTS
        for name in re.findall(r"`([\w./-]+\.py)`", path.read_text())
        if not any((folder / name).exists() for folder in (ROOT, package, tests))
    }
    assert not lost


def test_a_typed_command_finds_what_it_calls():
    """`dvc` alone is in nobody's PATH: a document prints .venv/bin/dvc, or activates the environment above."""
    lost = {
        f"{c.where}: {c.text}" for c in printed() if re.match(r"dvc |python -m persona", c.text) and not c.activated
    }
    assert not lost


# ---- make test-commands ----

asked_for = pytest.mark.skipif("COMMANDS" not in os.environ, reason="takes minutes: make test-commands")
ALONE = ("tables", "figures", "paper", "site", "trace", "verify")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed, with the environment of here, which `make setup` has to mend for its new place."""
    folder = tmp_path_factory.mktemp("clone") / "bundle"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    shutil.copytree(ROOT / ".venv", folder / ".venv", symlinks=True, copy_function=linked)
    return folder


def linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk
        shutil.copy2(source, target)


def plain(folder: Path) -> dict[str, str]:
    """The environment of a shell that has nothing of ours."""
    return {"PATH": os.environ["PATH"].replace(f"{ROOT}/.venv/bin:", ""), "HOME": str(folder.parent)}


def status(folder: Path) -> str:
    return subprocess.check_output(["git", "status", "--porcelain"], cwd=folder, text=True)


def typed(folder: Path, command: str) -> None:
    """Type a command into such a shell; it must succeed and leave git with nothing to say."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=plain(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert status(folder) == "", f"$ {command}\n{status(folder)}"


@asked_for
@pytest.mark.parametrize("target", ALONE)
def test_each_of_the_report_is_made_in_a_clone_alone(clone, target):
    subprocess.run(["git", "clean", "-xfdq", "--exclude=/.venv"], cwd=clone, check=True)
    typed(clone, f"make {target}")


REPRODUCED = "base prepare geometry@smollm2-42-em results contrasts claims tables"


@asked_for
@pytest.mark.parametrize("target", ["tables", "figures", "paper", "site", f'reproduce EVALUATE="{REPRODUCED}"'])
def test_stopped_at_ten_random_moments_it_loses_nothing_and_works_when_called_again(clone, target):
    """By Ctrl-C and by KILL in turn, each time it and all that it has started; of the times that the whole takes."""
    subprocess.run(["git", "clean", "-xfdq", "--exclude=/.venv"], cwd=clone, check=True)
    began = time.monotonic()
    typed(clone, f"make {target}")
    whole, drawn = time.monotonic() - began, random.Random(target)
    for number in (signal.SIGINT, signal.SIGKILL) * 5:
        with subprocess.Popen(
            ["sh", "-c", f"exec make {target}"],
            cwd=clone,
            env=plain(clone),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a group of its own, as a terminal gives it
        ) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment := drawn.uniform(0, whole))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            said, _ = process.communicate(timeout=120)
        print(f"$ make {target}: {signal.Signals(number).name} after {moment:.1f} of {whole:.1f} s", flush=True)
        assert "Traceback" not in said
        # a lock that a killed run left is put right by the next one
        assert {line for line in status(clone).splitlines() if line[3:] != "dvc.lock"} == set(), said
    typed(clone, f"make {target}")


@asked_for
def test_every_command_works_as_printed_one_after_the_other(clone):
    subprocess.run(["git", "clean", "-xfdq", "--exclude=/.venv"], cwd=clone, check=True)
    for command in dict.fromkeys((command.text, command.activated) for command in printed() if command.text in TYPED):
        text, activated = command
        for name, ours in TYPED[text].items():
            text = text.replace(name, ours)
        print(f"$ {text}", flush=True)
        typed(clone, f"{ACTIVATE}; {text}" if activated else text)
