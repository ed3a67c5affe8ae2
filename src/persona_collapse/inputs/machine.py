"""Is this machine's GPU what a profile needs? Asked before anything is installed or downloaded.

    python3 src/persona_collapse/inputs/machine.py profiles/qwen7b.yaml      exit code 2 and one line if it is not
    python3 src/persona_collapse/inputs/machine.py 40                        the same for so many GiB

Stands alone on the standard library of Python 3.6 and later, so that `make` can ask whatever `python3` there is before
there is an environment to run anything in.
"""

import re
import subprocess
import sys
from pathlib import Path

DRIVER = 580  # the first branch of NVIDIA's driver that runs CUDA 13, which requirements/cuda.txt is built for
QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]


def gpu_problem(needed_gib: int, query: "list[str]" = QUERY) -> "str | None":
    """What is wrong with the first GPU for work that needs so much memory, in one line; None if nothing is."""
    needs = f"an NVIDIA GPU with at least {needed_gib} GiB of memory and driver {DRIVER} or newer"
    try:
        answer = subprocess.check_output(query, stderr=subprocess.DEVNULL, timeout=15)
    except (OSError, subprocess.SubprocessError):
        return f"no GPU: this needs {needs}; `{query[0]}` finds none on this machine"
    text = answer.decode("utf-8", "replace").strip()
    fields = [field.strip() for field in text.split("\n")[0].split(",")]
    if len(fields) != 3 or not fields[1].isdigit() or not re.match(r"\d+\.", fields[2]):
        return f"no GPU: this needs {needs}; `{query[0]}` answers {text[:80]!r}"
    name, memory, driver = fields
    if int(memory) / 1024 < needed_gib:
        return f"too little GPU memory: {name} has {int(memory) / 1024:.0f} GiB; this needs {needs}"
    if int(driver.split(".")[0]) < DRIVER:
        return f"GPU driver {driver} is too old for CUDA 13: this needs {needs}"
    return None


def needed_gib(profile: str) -> int:
    """The GPU memory that a profile's text asks for; 0 for one that runs on a CPU."""
    asked = re.search(r"""^[^#\n]*\bgpu_memory_gib["']? *: *(\d+)""", profile, re.MULTILINE)
    return int(asked[1]) if asked else 0


def main() -> None:
    asked = sys.argv[1]
    try:
        needed = int(asked) if asked.isdigit() else needed_gib(Path(asked).read_bytes().decode("utf-8", "replace"))
        problem = gpu_problem(needed) if needed else None
    except OSError as error:
        problem = f"{asked}: {error.strerror}"
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
