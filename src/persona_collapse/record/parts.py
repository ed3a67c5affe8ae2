"""A record made elsewhere, in one part or several: what a machine that comes and goes has made, brought home.

    python -m persona_collapse.record.parts collect --folder FOLDER [--mib 16] [--seeds 42 137]
                                                                                   there: FOLDER/part.tar.xz.000 and on
    python -m persona_collapse.record.parts join FILE...                           here: all the files of one part

A part holds the stages of the active profile as `dvc.lock` has them, their outputs but for weights, which are recorded
by their hash alone, and what is noted of the machine. Joining puts the outputs in their places and into DVC's cache,
and the stages into `dvc.lock`; stages that need no model then run here. What was recorded before must agree: of a stage
that was made twice with other outputs the files that differ are named, and nothing is changed.
"""

import argparse
import hashlib
import io
import lzma
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import md5, read_bytes, write_all
from ..experiment.layout import Layout
from ..experiment.strict import from_yaml
from . import entries, environment, graph, lock, pipeline, repository
from .lock import LOCK, Entry, Stages

WEIGHTS = ".safetensors"
NAME = "part.tar.xz"
MACHINE = re.compile(r"run_info/\w+/recorded\.json")  # what is noted of the machine, which is no output


def collect(profile: str, folder: Path, mib: int, seeds: Sequence[str] = ()) -> list[Path]:
    """Pack what is recorded of a profile, but for weights, into files of at most `mib` MiB each; their paths.

    The same record gives the same bytes. If `seeds` are named, it is what belongs to them and what that needs.

    Raises:
        InputError: nothing is recorded, also of a seed, or an output is not as recorded.
    """
    stages = lock.of_profile(lock.read(), profile)
    if seeds:
        named = graph.of_seeds(graph.of_stages(stages), seeds)
        stages = {name: stage for name, stage in stages.items() if name in named}
    if not stages:
        raise InputError(f"{LOCK}: no stage of {profile} is recorded")
    packed = io.BytesIO()
    with lzma.open(packed, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        names = [out.path for out in _carried(stages)]
        for out in _carried(stages):
            if (found := md5(Path(out.path))) != out.md5:
                raise InputError(f"{out.path}: MD5 is {found}, recorded is {out.md5}")
        about_machine = environment.recorded(Layout(profile))
        names += [str(about_machine)] if about_machine.exists() else []
        for name in [str(LOCK), *sorted(names)]:
            content = read_bytes(name)
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    content, size = packed.getvalue(), mib * 2**20
    pieces = [content[first : first + size] for first in range(0, len(content), size)]
    files = {folder / f"{NAME}.{number:03}": piece for number, piece in enumerate(pieces)}
    write_all(files)
    return list(files)


def join(files: Sequence[Path]) -> list[str]:
    """Take a part in; the names of its stages.

    Raises:
        InputError: a file is missing or damaged, an output is not as the part records it, or the part disagrees with
            what is recorded here.
    """
    content = _unpacked(files)
    if str(LOCK) not in content:
        raise InputError(f"{files[0]}: holds no {LOCK}")
    text = content.pop(str(LOCK)).decode()
    stages = lock.parse(text, f"{LOCK} of {files[0]}")
    # what else that machine's lock holds, of other profiles, is not this part's
    stages = {name: stage for name, stage in stages.items() if any(out.path in content for out in stage.outs)}
    made = {out.path: out.md5 for stage in stages.values() for out in stage.outs}
    for name, own in content.items():
        if not MACHINE.fullmatch(name) and hashlib.md5(own).hexdigest() != made.get(name):
            raise InputError(f"{files[0]}: {name} is not what the part records")
    here = lock.read() if LOCK.exists() else {}
    recorded = {out.path: out.md5 for stage in here.values() for out in stage.outs}
    different = sorted(name for name in made if name in recorded and recorded[name] != made[name])
    if different:
        raise InputError(f"{files[0]}: disagrees with what is recorded here: {', '.join(different)}")
    write_all({Path(name): own for name, own in content.items()})
    _keep(stages, content)
    taken = from_yaml(text)["stages"]
    entries.take({name: taken[name] for name in stages})
    return list(stages)


def _carried(stages: Stages) -> list[Entry]:
    """What travels of the stages' outputs."""
    return [out for stage in stages.values() for out in stage.outs if not out.path.endswith(WEIGHTS)]


def _unpacked(files: Sequence[Path]) -> dict[str, bytes]:
    """The files of a part, by name."""
    ordered = sorted(files, key=lambda path: path.name)
    if [path.name for path in ordered] != [f"{NAME}.{number:03}" for number in range(len(ordered))]:
        raise InputError(f"{files[0].parent}: expected {NAME}.000 and all that follow it, each once")
    packed = b"".join(map(read_bytes, ordered))
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed))) as archive:
            return {about.name: archive.extractfile(about).read() for about in archive if about.isfile()}  # type: ignore[union-attr]
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise InputError(f"{ordered[0]}: not a whole part ({error})") from None


def _keep(stages: Stages, content: dict[str, bytes]) -> None:
    """Put outputs that DVC keeps a copy of into its cache."""
    from dvc.fs import localfs

    cache = repository.opened().cache.local
    for stage in stages.values():
        for out in stage.outs:
            if out.path in content and not _in_git(out.path):
                cache.add(str(Path(out.path).absolute()), localfs, out.md5)


def _in_git(path: str) -> bool:
    """What is computed from the results is kept by git, and by DVC only the rest."""
    return path.startswith(("paper/", "figures/")) or Path(path).parent.parent == Path("eval_results")


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("collect", help="pack what is recorded of the active profile")
    packing.add_argument("--folder", type=Path, required=True)
    packing.add_argument("--seeds", nargs="*", default=[], help="only what belongs to these")
    packing.add_argument("--mib", type=int, default=16, choices=range(1, 1025), metavar="MIB")
    joining = commands.add_parser("join", help="take in what was packed elsewhere")
    joining.add_argument("files", type=Path, nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.command == "collect":
        print("\n".join(map(str, collect(parameters.load().profile, args.folder, args.mib, args.seeds))))
        return
    with pipeline.alone():
        pipeline.put_right()
        names = join(args.files)
    print(f"{len(names)} stages recorded: `make tables paper site` makes what follows from them", file=sys.stderr)


if __name__ == "__main__":
    main()
