"""Fetch from the remote what `dvc.lock` records and is not here. What is here stays as it is, recorded or not.

    python -m persona_collapse.record.restore

The remote is a folder of this repository, so a clone is enough. Exit code 2 and one line if something cannot be had.
What a run that was killed has left of `dvc.lock` is put right first.
"""

import argparse
import logging
import sys

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from . import disk, lock, pipeline


def restore() -> None:
    """Fetch what is missing.

    Raises:
        InputError: the remote does not have something that it should.
    """
    from dvc.exceptions import DvcException

    repo = lock.repository()
    params = parameters.load()
    outs = [out for stage in repo.index.stages for out in stage.outs if not disk.by_hash_alone(str(out), params)]
    missing = [out for out in outs if out.use_cache and out.hash_info and not out.exists]
    if not missing:
        return
    logging.getLogger("dvc_data").setLevel(logging.ERROR)  # its warning of what the remote lacks is our error below
    print(f"fetching {len(missing)} files that are recorded and not here", file=sys.stderr)
    try:
        repo.fetch()  # one by one, it would read the whole lock again for each
        with repo.lock:
            for out in missing:
                if out.changed_cache():
                    raise InputError(f"{out}: not here, and the remote does not have what was recorded of it")
                out.checkout()
    except DvcException as error:
        raise InputError(f"dvc: {error}") from None


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with pipeline.alone():
        pipeline.put_right()
        restore()


if __name__ == "__main__":
    main()
