"""Start a Dask scheduler that workers of other machines join: what they and the coordinator say is encrypted.

    python -m persona_collapse.workers.scheduler --host login1      it prints what to type there

It runs until it is stopped. The certificate that it writes lets whoever has the file run code as you do.
"""

import argparse
import socket
import subprocess
import sys

from ..experiment.errors import one_line_errors
from . import cluster

PORT = 8786


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default=socket.gethostname(), help="this machine's name or address, as others see it")
    parser.add_argument("--port", type=int, default=PORT)
    args = parser.parse_args()
    file = cluster.certificate()
    options = f"SCHEDULER=tls://{args.host}:{args.port} CERTIFICATE={file}"
    print(f"in each clone that is to work, with a copy of {file}:\n    make worker {options}")
    print(f"here or in another clone of this commit:\n    make reproduce {options} REMOTE=name", flush=True)
    command = [sys.executable, "-P", "-m", "distributed.cli.dask_scheduler", "--protocol", "tls"]
    command += ["--host", args.host, "--port", str(args.port), "--dashboard-address", "127.0.0.1:8787"]
    sys.exit(subprocess.run([*command, *cluster.tls_options(file)], check=False).returncode)


if __name__ == "__main__":
    main()
