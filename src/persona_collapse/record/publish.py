"""Push the record of the active profile to a remote, and read every object back.

    python -m persona_collapse.record.publish NAME

What is pushed is the cache's copy of each output that the committed `dvc.lock` names. An object that is there already
and right is left; one that is there and damaged is replaced. There is no run-cache to push: DVC keeps none of stages
whose outputs persist, as all of ours do. Exit code 2 and one line if the tree is not as committed, or anything fails.
"""

import argparse
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from . import committed, pipeline, remotes, repository, restore, transfer


def publish(name: str, patience: float) -> str:
    """Push and check; what was done, in a line.

    Raises:
        InputError: no such remote, a tree with changes, an object that the cache lacks, or a remote that fails.
    """
    repo = repository.checked()
    if not name:
        raise InputError(f"REMOTE=NAME says where to; configured are {remotes.names(repo)}")
    remote = remotes.find(repo, name)
    committed.require_as_committed("what is published")
    params = parameters.load()
    objects = restore.recorded(repo, params)
    lacks = {oid: path for oid, path in objects.items() if not restore.cached(repo, oid)}
    if lacks:  # a clone has them in the repository's own remote
        lacks = restore.bring(repo, remotes.find(repo, ""), lacks, params, patience)
    have = {oid: path for oid, path in objects.items() if oid not in lacks}
    sent = transfer.send(repo, remote, have, patience)
    size = sum(Path(repo.cache.local.oid_to_path(oid)).stat().st_size for oid in have) / 1e6
    left = f"; {len(lacks)} adapters are neither here nor there" if lacks else ""
    return (
        f"{remote.name} has the {len(have)} objects ({size:.1f} MB) of {params.profile} as committed in"
        f" {committed.head()}: {sent} sent, all read back and their MD5 right{left}"
    )


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a configured remote")
    parser.add_argument(
        "--patience", type=float, default=transfer.PATIENCE, help="seconds without a byte (%(default)s)"
    )
    args = parser.parse_args()
    with pipeline.alone():
        pipeline.put_right()
        print(publish(args.name, args.patience))


if __name__ == "__main__":
    main()
