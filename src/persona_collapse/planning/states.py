"""The stages of the pipeline under a profile's parameters, and whether what is recorded of each still holds.

Both are DVC's own word. Of a stage's outputs it says:

    on disk    they lie where they should, as recorded: `dvc repro` skips the stage
    in cache   `dvc repro` brings them back without running the stage
    recorded   not on this machine; `dvc pull` fetches what the remote has
    outdated   a parameter, a data file or code is not the recorded one, of the stage or of one before it
    not yet    never recorded
"""

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx  # type: ignore[import-untyped]  # comes with DVC, whose graphs are its
from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from ..experiment.errors import InputError
from ..experiment.files import open_or_complain
from ..experiment.layout import PARAMS
from ..record import patches
from ..record.disk import Disk
from ..record.lock import LOCK, Entry
from ..record.repository import PIPELINE

STATES = ("on disk", "in cache", "recorded", "outdated", "not yet")


@dataclass(frozen=True)
class Stage:
    name: str
    module: str  # of this package, without its room
    options: dict[str, str]  # its command line: `{"seed": "42", "chain": "em"}`
    state: str  # one of STATES
    before: frozenset[str] = frozenset()  # the stages whose outputs it reads
    cached: bool = True  # does DVC keep a copy of all that it makes?
    command: tuple[str, ...] = ()  # what follows `bin/stage`

    @property
    def chain(self) -> str:
        """The chain that it trains, evaluates or samples from."""
        return self.options.get("chain", self.options.get("parent", ""))


def stages(profile: Path = PARAMS) -> list[Stage]:
    """The stages of dvc.yaml under a profile's parameters, in its order, whatever profile params.yaml is.

    Raises:
        InputError: no dvc.yaml here, or one that DVC cannot read, or such a dvc.lock.
    """
    patches.reading()
    with TemporaryDirectory() as folder:
        for source, name in ((PIPELINE, PIPELINE), (profile, PARAMS), (LOCK, LOCK)):
            if source != LOCK or LOCK.exists():
                with open_or_complain(source, "rb") as stream:
                    (Path(folder) / name).write_bytes(stream.read())
        try:
            index = Repo(folder, uninitialized=True).index
            graph = index.graph
            here = Repo(uninitialized=True)
        except DvcException as error:
            raise InputError(f"{PIPELINE} or {LOCK}: {error}") from None
        outs = [Path(out.def_path) for stage in index.stages for out in stage.outs]
        made = {str(place) for out in outs for place in (out, *out.parents)}
        disk = Disk(here)
        changed = {stage for stage in index.stages if _changed(stage, made, disk)}
        outdated = {stage for stage in index.stages if changed & {stage, *networkx.descendants(graph, stage)}}
        return [
            Stage(
                name=stage.name,
                module=str(stage.cmd).removeprefix("bin/stage ").split()[0].rpartition(".")[2],
                options=dict(re.findall(r"--(\w+) (\S+)", str(stage.cmd))),
                state=_state(stage, stage in outdated, here.cache.local),
                before=frozenset(other.name for other in graph.successors(stage)),  # DVC's edges go to what is needed
                cached=all(out.use_cache for out in stage.outs),
                command=tuple(str(stage.cmd).removeprefix("bin/stage ").split()),
            )
            for stage in index.stages
        ]


def _changed(stage: Any, made: set[str], disk: Disk) -> bool:
    """Is the command, a parameter or an input another one than recorded? `made` are files, and their folders, that
    stages make: those are judged by their stages."""
    if stage.cmd_changed:
        return True
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            if dependency.status():
                return True
        elif str(Path(dependency.def_path)) not in made:
            recorded = dependency.hash_info.value
            if not recorded or disk.state(Entry(path=dependency.def_path, hash="md5", md5=recorded)):
                return True
    return False


def _state(stage: Any, outdated: bool, cache: Any) -> str:
    if not all(out.hash_info for out in stage.outs):
        return "not yet"
    if outdated:
        return "outdated"
    missing = [out for out in stage.outs if not _on_disk(out)]
    if not missing:
        return "on disk"
    cached = cache is not None and all(Path(cache.oid_to_path(out.hash_info.value)).exists() for out in missing)
    return "in cache" if cached else "recorded"


def _on_disk(out: Any) -> bool:
    path = Path(out.def_path)  # sizes alone: the hash of a base model takes a minute
    return path.is_file() and path.stat().st_size == out.meta.size
