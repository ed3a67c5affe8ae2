"""Run what is out of date and make it the record: `dvc.lock`, the remote, and the environment that it was made in.

python -m persona_collapse.record.update

Stopped at any moment, it goes on at the next call. What it has changed is for you to look at and commit.
"""

import argparse
import sys

from ..experiment.errors import one_line_errors
from . import environment, pipeline
from .lock import LOCK


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    environment.require_own()
    with pipeline.alone():
        pipeline.put_right()
        before = LOCK.read_bytes() if LOCK.exists() else b""
        for command in ("repro", "push"):
            if code := pipeline.run(command):
                sys.exit(code)
        if not LOCK.exists() or LOCK.read_bytes() != before:
            environment.write()


if __name__ == "__main__":
    main()
