"""Run a Python command and tell what it tried to reach over a network.

Two watches: Python's own audit events, which also see a name that is looked up in vain; and, where strace is installed,
every connection that the process or a child of it opens, by whatever library. Connections within the machine count too:
a stage needs none, and a proxy may lie there.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

AUDIT = Path(__file__).with_name("audit")
# what CI sets, or the package set in this process when it was imported, either of which would hide a request
NOT_A_USERS = ("CI", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS")


def run(
    command: Sequence[str], log: Path, cwd: Path | None = None, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command of Python's as a user does who is no CI, with no hub that it could really ask.

    Args:
        log: a folder for what is seen.

    Returns:
        How the process ended, and what it tried to reach.
    """
    audit, trace = log / "audit.txt", log / "strace.txt"
    if shutil.which("strace"):
        command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect", "-o", str(trace), *command]
    ours = {name: value for name, value in os.environ.items() if name not in NOT_A_USERS}
    # An image has the package by PYTHONPATH alone.
    path = os.pathsep.join([str(AUDIT), *filter(None, [os.environ.get("PYTHONPATH")])])
    watch = {"AUDIT": str(audit), "PYTHONPATH": path, "HF_ENDPOINT": "http://hub.invalid"}
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**ours, **watch, **environment}, check=False
    )
    lines = [line for path in (audit, trace) if path.exists() for line in path.read_text().splitlines()]
    return result, [line for line in lines if re.match(r"socket\.|.*sa_family=AF_INET", line)]
