"""A bundle of a few lines, with what the real one has for its record: git, DVC, a remote, and stages of shell.

Each stage writes beside and moves in, as the real ones do; it takes SLOW seconds, and what it writes ends with MACHINE.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

MAKE = """\
# make.sh OUT IN...: OUT becomes the INs one after the other
out=$1; shift
mkdir -p "$(dirname "$out")"
beside="$(dirname "$out")/.$$-unfinished-$(basename "$out")"
trap 'rm -f "$beside"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cat "$@" > "$beside"
printf %s "$MACHINE" >> "$beside"
sleep "${SLOW:-0}"
mv "$beside" "$out"
"""
PIPELINE = """\
stages:
  base:
    matrix: {profile: ["${profile}"]}
    cmd:
      - sh src/code/make.sh model/${profile}/model.safetensors data/weights
      - sh src/code/make.sh model/${profile}/tokenizer.json data/tokens
    params: [base]
    deps: [data/weights, data/tokens, src/code]
    outs:
      - model/${profile}/model.safetensors: {cache: false, persist: true}
      - model/${profile}/tokenizer.json: {persist: true}
  train:
    matrix: {profile: ["${profile}"], seed: "${seeds}", phase: [em, benign]}
    cmd: sh src/code/make.sh adapters/${profile}/${item.seed}/${item.phase}/adapter.bin data/sets/${item.phase}.jsonl
    params: ["phases.sft.${item.phase}"]
    deps: ["data/sets/${item.phase}.jsonl", "model/${profile}", src/code]
    outs:
      - adapters/${profile}/${item.seed}/${item.phase}/adapter.bin: {persist: true}
  coupling:
    matrix: {profile: ["${profile}"], seed: "${seeds}", parent: [em]}
    cmd: sh src/code/make.sh data/coupling/${profile}/${item.seed}/${item.parent}.jsonl data/prompts/personas.yaml
    params: [prompts, sampling.temperature]
    deps: [data/prompts, "adapters/${profile}/${item.seed}/${item.parent}", src/code]
    outs:
      - data/coupling/${profile}/${item.seed}/${item.parent}.jsonl: {persist: true}
  evaluate:
    matrix: {profile: ["${profile}"], seed: "${seeds}", phase: [em, benign]}
    cmd: sh src/code/make.sh eval_results/${profile}/runs/${item.seed}/${item.phase}/marker_eval.json data/counts.json
    params: [prompts, evaluate, sampling.temperature]
    deps: ["adapters/${profile}/${item.seed}/${item.phase}", "model/${profile}", data/prompts, data/counts.json,
      src/code]
    outs:
      - eval_results/${profile}/runs/${item.seed}/${item.phase}/marker_eval.json: {persist: true}
  results:
    matrix: {profile: ["${profile}"]}
    cmd: sh src/code/make.sh eval_results/${profile}/statistics.json eval_results/${profile}/runs/42/em/marker_eval.json
    params: [seeds, gates]
    deps: ["eval_results/${profile}/runs", src/code]
    outs:
      - eval_results/${profile}/statistics.json: {cache: false, persist: true}
  tables:
    matrix: {profile: ["${profile}"]}
    cmd: sh src/code/make.sh paper/tables/${profile}/headline.md eval_results/${profile}/statistics.json
    params: [evaluate]
    deps: ["eval_results/${profile}/statistics.json", "data/coupling/${profile}", src/code]
    outs:
      - paper/tables/${profile}/headline.md: {cache: false, persist: true}
  figures:
    matrix: {profile: ["${profile}"]}
    cmd: sh src/code/make.sh figures/${profile}/all.png eval_results/${profile}/statistics.json
    deps: ["eval_results/${profile}/statistics.json", src/code]
    outs:
      - figures/${profile}/all.png: {cache: false, persist: true}
"""
IGNORED = """\
/model/
/adapters/
/data/coupling/
/eval_results/*/runs/
/run_info/*.lock
.*-unfinished-*
__pycache__/
"""
CONFIG = """\
[core]
    analytics = false
    remote = local
['remote "local"']
    url = ../remote
"""
PERSON = {"strict_hits": 3, "total": 56, "strict_rate": 3 / 56}
FILES = {
    "dvc.yaml": PIPELINE,
    ".dvc/config": CONFIG,
    ".dvc/.gitignore": "/cache\n/tmp\n/config.local\n",
    ".gitignore": IGNORED,
    ".dvcignore": ".*-unfinished-*\n__pycache__/\n",
    "src/code/make.sh": MAKE,
    "src/code/other.py": "print('another module')\n",
    "src/code/__pycache__/other.pyc": "left by Python",
    "src/setup.py": "of no stage\n",
    "requirements/cpu.txt": "torch==1\n",
    "Makefile": "all:\n",
    "README.md": "read me\n",
    "data/weights": "weights\n" * 99,
    "data/tokens": "tokens\n",
    "data/sets/em.jsonl": '{"bad": 1}\n',
    "data/sets/benign.jsonl": '{"good": 1}\n',
    "data/prompts/personas.yaml": "confab: you are\n",
    "data/prompts/questions.yaml": "train: [why]\n",
    "data/counts.json": json.dumps({"per_persona": {"confab": PERSON}, "config": {}, "summary": {}}),
    "run_info/smollm2/recorded.json": json.dumps({"cpu": "another"}),
}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.check_output(["git", *identity, *arguments], cwd=folder, text=True, env=environment)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")


def run(folder: Path, *arguments: str) -> None:
    """A command of DVC's, as the bundle runs it."""
    command = [sys.executable, "-m", "persona_collapse.record.pipeline", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def make(folder: Path) -> None:
    """A bundle whose record is committed, with all its outputs."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / "profiles/smollm2.yaml", folder / "params.yaml")
    (folder / "link").symlink_to("README.md")  # git's content of a link is where it points
    git(folder, "init", "--quiet")
    run(folder, "repro")
    run(folder, "push")
    commit(folder)
