"""Entries of `dvc.lock` that DVC wrote elsewhere, taken over as they are and written as DVC writes them."""

from collections.abc import Mapping
from typing import Any

from ..experiment.files import read_text, whole
from ..experiment.strict import from_yaml
from .lock import LOCK


def read() -> dict[str, Any]:
    """What `dvc.lock` has of each stage, in its order; nothing if there is none."""
    return from_yaml(read_text(LOCK))["stages"] if LOCK.exists() else {}


def take(taken: Mapping[str, Any]) -> None:
    """Add entries, or put them in the place of those that are there."""
    if taken:
        replace({**read(), **taken})


def replace(entries: Mapping[str, Any]) -> None:
    """Have `dvc.lock` hold these entries in this order."""
    from dvc.utils.serialize import dump_yaml

    with whole(LOCK) as beside:
        dump_yaml(str(beside), {"schema": "2.0", "stages": dict(entries)})
