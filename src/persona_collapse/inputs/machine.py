"""Is this machine's GPU what a profile needs? Asked before anything is installed or downloaded.

    python3 src/persona_collapse/inputs/machine.py profiles/qwen7b.yaml      exit code 2 and one line if it is not
    python3 src/persona_collapse/inputs/machine.py 40                        the same for so many GiB

Stands alone on the standard library, so that `make` can ask before there is an environment to run anything in.
"""

import re
import subprocess
import sys
from pathlib import Path

DRIVER = 580  # the first branch of NVIDIA's driver that runs CUDA 13, which requirements/cuda.txt is built for
QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]


def gpu_problem(needed_gib: int, query: list[str] = QUERY) -> str | None:
    """What is wrong with the first GPU for work that needs so much memory, in one line; None if nothing is."""
    needs = f"an NVIDIA GPU with at least {needed_gib} GiB of memory and driver {DRIVER} or newer"
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=15, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return f"no GPU: this needs {needs}; `{query[0]}` finds none on this machine"
    fields = [field.strip() for field in answer.splitlines()[0].split(",")] if answer.strip() else []
    if len(fields) != 3 or not fields[1].isdigit():
        return f"no GPU: this needs {needs}; `{query[0]}` answers {answer.strip()[:80]!r}"
    name, memory, driver = fields
    if int(memory) / 1024 < needed_gib:
        return f"too little GPU memory: {name} has {int(memory) / 1024:.0f} GiB; this needs {needs}"
    if int(driver.split(".")[0]) < DRIVER:
        return f"GPU driver {driver} is too old for CUDA 13: this needs {needs}"
    return None


def needed_gib(profile: str) -> int:
    """The GPU memory that a profile's text asks for; 0 for one that runs on a CPU."""
    asked = re.search(r"^  gpu_memory_gib: *(\d+)", profile, re.MULTILINE)
    return int(asked[1]) if asked else 0


if __name__ == "__main__":
    asked = sys.argv[1]
    needed = int(asked) if asked.isdigit() else needed_gib(Path(asked).read_text(encoding="utf-8"))
    if needed and (problem := gpu_problem(needed)):
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
