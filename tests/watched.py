"""Run modules one after the other in one process, and tell what it tried to reach over a network.

Two watches: Python's own audit events, which also see a name that is looked up in vain; and, where strace is installed,
every connection that the process or a child of it opens, by whatever library. Connections within the machine count too:
a stage needs none, and a proxy may lie there.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# what CI sets, or the package set in this process when it was imported, either of which would hide a request
NOT_A_USERS = ("CI", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS")


def run(
    commands: Iterable[str], log: Path, cwd: Path | None = None, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run commands such as `persona_collapse.training.train --seed 42 --chain em`, as a user does who is no CI.

    Args:
        log: a folder for what is seen.

    Returns:
        How the process ended, and what it tried to reach.
    """
    seen, traced = log / "audit.txt", log / "strace.txt"
    command = [sys.executable, "-P", __file__, str(seen)]
    if shutil.which("strace"):
        command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect", "-o", str(traced), *command]
    ours = {name: value for name, value in os.environ.items() if name not in NOT_A_USERS}
    result = subprocess.run(
        command,
        input="\n".join(commands),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ours, "HF_ENDPOINT": "http://hub.invalid", **environment},  # so that no test asks the real one
        check=False,
    )
    lines = [line for path in (seen, traced) if path.exists() for line in path.read_text().splitlines()]
    return result, [line for line in lines if re.match(r"socket\.|.*sa_family=AF_INET", line)]


def main() -> None:
    with Path(sys.argv[1]).open("w", buffering=1) as seen:

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if event in ("socket.getaddrinfo", "socket.gethostbyname"):
                print(event, args[0], file=seen)
            elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):  # else a file's name
                print(event, args[1], file=seen)

        sys.addaudithook(watch)
        for line in sys.stdin.read().splitlines():
            sys.argv = line.split()
            runpy.run_module(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
