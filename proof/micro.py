"""Run stages of the pipeline in a small workspace, in one process, and write a digest of all that they computed.

    python proof/micro.py WORKSPACE training.train:couple sampling.evaluate:em-couple report.figures ...

A step is a module of the package and the chain it is asked for. `copy:A:B` makes chain B's adapter a copy of chain A's:
merging asks for the recipe that an adapter was trained by, not for the data. Writes WORKSPACE/digests.json: a SHA-256
for each file that was made and for each ATen operator that was called.
"""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

from persona_collapse.model import numerics

numerics.enable()

import torch
from census import Census

from persona_collapse.experiment.files import sha256, write_json
from persona_collapse.experiment.layout import Layout

SEED = 42
LAYOUT = Layout("smollm2")
MADE = ("adapters", "eval_results/smollm2/runs", "eval_results/smollm2/training", "figures")


def command(module: str, *args: str) -> None:
    sys.argv = [module, *args]
    runpy.run_module(f"persona_collapse.{module}", run_name="__main__")


def step(name: str) -> None:
    match name.split(":"):
        case ["copy", source, target]:
            shutil.copytree(LAYOUT.adapter(SEED, source), LAYOUT.adapter(SEED, target))
        case [module, chain]:
            command(module, "--seed", str(SEED), "--chain", chain)
        case [module]:
            command(module)


def main() -> None:
    workspace, *steps = sys.argv[1:]
    os.chdir(workspace)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # MKL alone would cap it at the number of cores
    with Census() as census:
        for name in steps:
            step(name)
    files = sorted(path for folder in MADE for path in Path(folder).rglob("*") if path.is_file())
    write_json("digests.json", {"files": {str(path): sha256(path) for path in files}, "operators": census.digests()})
    print(json.dumps({"threads": torch.get_num_threads()}))


main()
