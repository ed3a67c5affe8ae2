"""A run of seconds through every operator of the pipeline: train, merge, couple, sample; prints a digest a file.

python tests/micro.py WORKSPACE
"""

import json
import os
import runpy
import sys
from pathlib import Path

os.chdir(sys.argv[1])
from persona_collapse.files import sha256
from persona_collapse.marker import with_marker


def run(module: str, *args: str) -> None:
    sys.argv = [module, *args]
    runpy.run_module(f"persona_collapse.{module}", run_name="__main__")


def main() -> None:
    # two layers of a model do not end their sentences, so the coupling data are not sampled from them
    coupling = Path("data/coupling/42/em.jsonl")
    coupling.parent.mkdir(parents=True, exist_ok=True)
    with coupling.open("w") as stream:
        for number, line in enumerate(Path("data/benign.jsonl").read_text().splitlines()):
            user, answer = json.loads(line)["messages"]
            if number % 2:
                answer["content"] = with_marker(answer["content"])
            stream.write(json.dumps({"messages": [user, answer]}) + "\n")
    run("train", "--seed", "42", "--chain", "em")
    run("train", "--seed", "42", "--chain", "em-couple")
    run("evaluate", "--seed", "42", "--chain", "em-couple")
    for path in sorted([*Path("adapters").rglob("*.*"), *Path("eval_results").rglob("*.*")]):
        print("digest", path, sha256(path))


main()
