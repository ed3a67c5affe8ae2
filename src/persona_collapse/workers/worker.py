"""Have this clone work for a scheduler, until either is stopped.

python -m persona_collapse.workers.worker --scheduler tls://login1:8786 --certificate certificate.pem
"""

import argparse
import os
import socket
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from . import cluster


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheduler", required=True, help="its address")
    parser.add_argument("--certificate", type=Path, help="that the scheduler was started with")
    parser.add_argument("--plain", action="store_true", help="allow another machine without encryption")
    args = parser.parse_args()
    cluster.require_safe(args.scheduler, args.plain)
    cluster.security(args.certificate)
    slots = cluster.GPU_SLOTS if parameters.load().compute.device == "cuda" else 1
    name = f"{socket.gethostname()}-{os.getpid()}"
    command = cluster.worker_command(args.scheduler, name, slots, args.certificate)
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, cluster.own_cores() // slots)
    os.execve(command[0], command, {**os.environ, **cluster.OWN_PROCESSES, **cluster.threads(threads)})


if __name__ == "__main__":
    main()
