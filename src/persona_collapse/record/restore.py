"""Fetch what `dvc.lock` records and is not here. What is here stays as it is, recorded or not.

    python -m persona_collapse.record.restore                    from the remote that is a folder of this repository
    python -m persona_collapse.record.restore --remote NAME      from a configured one, into the cache as well

Each object is checked by its hash before it is put anywhere. Exit code 2 and one line if something cannot be had.
What a run that was killed has left of `dvc.lock` is put right first.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5
from . import committed, disk, lock, pipeline, remotes, repository, transfer


def recorded(repo: Any, params: parameters.Params) -> dict[str, str]:
    """The objects of a profile's record that DVC keeps a copy of, by hash: a file of each.

    Raises:
        InputError: nothing of the profile is recorded.
    """
    record = committed.record(params.profile)
    if record is None:
        raise InputError(f"{lock.LOCK}: no stage of {params.profile} is recorded")
    stages = lock.of_profile(record.stages, params.profile)
    return {out.md5: out.path for out in repository.kept(stages, repository.declared(repo))}


def cached(repo: Any, oid: str) -> bool:
    """Is an object in the cache, with the bytes that its name is of?"""
    path = Path(repo.cache.local.oid_to_path(oid))
    return path.is_file() and md5(path) == oid


def restore(name: str = "", patience: float = transfer.PATIENCE) -> None:
    """Fetch what is missing.

    Args:
        name: of a remote, from which all that is recorded of the profile is fetched into the cache; without one, what
            is missing here is fetched from the remote that DVC takes by default.

    Raises:
        InputError: the remote fails, or does not have something that it should.
    """
    repo = repository.checked()
    params = parameters.load()
    outs = {str(out): out for stage in repo.index.stages for out in stage.outs if out.use_cache and out.hash_info}
    missing = {path: out for path, out in outs.items() if not out.exists}
    kept = {path: out for path, out in missing.items() if not disk.by_hash_alone(path, params)}
    if not kept and not name:
        return
    remote = remotes.find(repo, name)
    wanted = {out.hash_info.value: path for path, out in kept.items()}
    wanted |= recorded(repo, params) if name else {}
    wanted = {oid: path for oid, path in wanted.items() if not cached(repo, oid)}
    if kept:
        print(f"fetching {len(kept)} files that are recorded and not here", file=sys.stderr)
    elif wanted:
        print(f"fetching {len(wanted)} files that are recorded and not in the cache", file=sys.stderr)
    bring(repo, remote, wanted, params, patience)
    with repo.lock:
        for path, out in missing.items():
            if path in kept or cached(repo, out.hash_info.value):
                out.checkout()


def bring(
    repo: Any, remote: remotes.Remote, wanted: Mapping[str, str], params: parameters.Params, patience: float
) -> dict[str, str]:
    """Fetch objects into the cache; those that the remote does not have, and need not: recorded by their hash alone.

    Raises:
        InputError: the remote fails, or lacks another.
    """
    lacks = transfer.bring(repo, remote, wanted, patience)
    for oid, path in wanted.items():
        if oid in lacks and not disk.by_hash_alone(path, params):
            raise remote.trouble(f"does not have what was recorded of {path}, and it is not here")
    return {oid: path for oid, path in wanted.items() if oid in lacks}


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--remote", default="", help="the name of a configured remote (default: the repository's own)")
    parser.add_argument(
        "--patience", type=float, default=transfer.PATIENCE, help="seconds without a byte (%(default)s)"
    )
    args = parser.parse_args()
    with pipeline.alone():
        pipeline.put_right()
        restore(args.remote, args.patience)


if __name__ == "__main__":
    main()
