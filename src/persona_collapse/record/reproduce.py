"""Re-run the pipeline and compare every byte with the record, which stays what it was.

    python -m persona_collapse.record.reproduce                        adapters and coupling data are fetched, not made
    python -m persona_collapse.record.reproduce --from scratch         everything is made
    python -m persona_collapse.record.reproduce --stages results tables@smollm2     these only; the rest is compared
    python -m persona_collapse.record.reproduce --seeds 42 137         what belongs to these seeds, and what that needs
    python -m persona_collapse.record.reproduce -- --workers 4         on many workers, by the options of `workers.run`

A profile, or a seed of it, that has no record gets one: what runs is then recorded in `dvc.lock`, for you to commit,
and `parts` brings together what several machines have made. Exit codes are those of `verify`; 2 also if a stage fails,
and 128 and the signal's number if it is stopped. Whatever happens, `dvc.lock` is the record again at the end, or at the
next call if it was killed outright.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_text, write_text
from ..experiment.layout import DATA, FETCHED
from . import committed, disk, environment, graph, lock, pipeline, repository, verify
from .committed import KEPT, Record
from .lock import LOCK
from .repository import Declared

FETCHED_NOT_MADE = ("adapters", str(DATA / "coupling"), str(FETCHED))  # hours of training, or a download
WORKERS = "persona_collapse.workers.run"  # above this package, so it is called and not imported
RESTORE = "persona_collapse.record.restore"
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def preflight() -> int:
    """Ask whether this machine can carry the profile to its end; the exit code."""
    return subprocess.run([sys.executable, "-P", "-m", "persona_collapse.planning.preflight"], check=False).returncode


def chosen(declared: Mapping[str, Declared], order: Sequence[str], scratch: bool, only: Sequence[str]) -> list[str]:
    """The stages to run, each after those that it needs.

    Args:
        order: all stages, in an order in which they can run.
        only: names of stages, with `@` and what follows or, for all of that name, without.

    Raises:
        InputError: a name that no stage has.
    """
    for name in only:
        if not any(name in (stage, stage.partition("@")[0]) for stage in declared):
            known = ", ".join(dict.fromkeys(stage.partition("@")[0] for stage in order))
            raise InputError(f"--stages {name}: no such stage in dvc.yaml; allowed: {known}, alone or with @...")
    if only:
        return [stage for stage in order if stage in only or stage.partition("@")[0] in only]
    if scratch:
        return list(order)
    places = map(Path, FETCHED_NOT_MADE)
    outs = {name: [Path(out) for out in stage.outs] for name, stage in declared.items()}
    fetched = {name for place in places for name, paths in outs.items() if any(p.is_relative_to(place) for p in paths)}
    return [stage for stage in order if stage not in fetched]


def starting_lock(record: Record, declared: Mapping[str, Declared], profile: str) -> str:
    """The text of `dvc.lock` to begin and end with: the record, and what the lock here has of other profiles."""
    if not LOCK.exists():
        return record.text
    ours, here = (verify.concerned(stages, declared, profile) for stages in (record.stages, lock.read()))
    if ours == here:
        return read_text(LOCK)
    copy = pipeline.keep_aside(LOCK)
    print(f"note: {LOCK} was not the record; it is kept as {copy}, and the record restored", file=sys.stderr)
    return record.text


@contextmanager
def kept(text: str) -> Iterator[None]:
    """Have `dvc.lock` be the same before and after, whatever is done with it in between."""
    write_text(KEPT, text)
    write_text(LOCK, text)
    try:
        yield
    finally:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        write_text(LOCK, text)
        KEPT.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def reproduce(
    params: parameters.Params, scratch: bool, only: Sequence[str], spread: Sequence[str] = (), seeds: Sequence[str] = ()
) -> int:
    """Run, on workers if `spread` has options of `workers.run`, compare and say; the exit code."""
    repo = repository.checked()
    declared, order = repository.declared(repo), repository.order(repo)
    record = committed.record(params.profile)
    if seeds:
        named = graph.of_seeds(repository.graph(repo), seeds)
        order = [name for name in order if name in named]
    nowhere = [out for stage in order for out in declared[stage].outs if disk.by_hash_alone(out, params)]
    if not scratch and not only and not all(Path(out).exists() for out in nowhere):
        print(f"adapters of {params.profile} are recorded by their hash alone, and are not here: they are trained")
        scratch = True
    names = chosen(declared, order, scratch, only)
    if code := preflight():
        return code
    headline = params.layout.tables / "headline.md"
    if seeds and not set(order) <= set(record.stages if record else ()):
        print(f"seeds {', '.join(seeds)} have no whole record yet: {LOCK} will hold what comes out", flush=True)
        if (
            pipeline.run(*spread, "--", *order, module=WORKERS)
            if spread
            else pipeline.run("repro", "--single-item", *order)
        ):
            return 2
        print(f"{len(order)} stages are recorded: `make collect SEEDS=...` packs them to be taken elsewhere")
        return 0
    if record is None or not (record.committed or set(declared) <= set(record.stages)):
        print(
            f"{params.profile} has no record in {LOCK} yet: everything runs, and {LOCK} will hold what comes out",
            flush=True,
        )
        if pipeline.run(*spread, module=WORKERS) if spread else pipeline.run("repro"):
            return 2
        print(read_text(headline), end="")
        return 0
    if not record.committed:
        print(f"note: compared is with {record.source}", file=sys.stderr)
    start = time.monotonic()
    with kept(starting_lock(record, declared, params.profile)):
        print("fetching what is recorded" if scratch else "fetching adapters and coupling data", flush=True)
        part = seeds or nowhere  # DVC would not do without what is kept nowhere
        if pipeline.run(module=RESTORE) if part else pipeline.run("fetch" if scratch else "pull", quiet=True):
            raise InputError("what is recorded cannot be fetched; the lines above say why")
        if spread:
            code = pipeline.run("--force", *spread, "--", *names, module=WORKERS)
        else:
            code = pipeline.run("repro", "--force", "--single-item", *names)
        if code:
            return 2
        print(f"\n== compared with {LOCK}, after {time.monotonic() - start:.0f} s ==", flush=True)
        code = verify.verify(params, record)
    print(f"\n{read_text(headline)}figures: {params.layout.figures}/")
    return code


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="start", default="adapters", help="adapters (the default) or scratch")
    parser.add_argument("--stages", nargs="*", default=[], help="run these only, by name, with or without @...")
    parser.add_argument("--seeds", nargs="*", default=[], help="run what belongs to these only")
    parser.add_argument("spread", nargs="*", metavar="-- OPTION", help="options of workers.run")
    args = parser.parse_args()
    if args.start not in ("adapters", "scratch"):
        raise InputError(f"--from {args.start}: allowed are scratch (retrain) and adapters (the default)")
    params = parameters.load()
    environment.require_own_code()
    try:
        with pipeline.stoppable(), pipeline.alone(wait=not args.spread):
            pipeline.put_right()
            sys.exit(reproduce(params, args.start == "scratch", args.stages, args.spread, args.seeds))
    except (KeyboardInterrupt, pipeline.Stopped) as stopped:
        print(f"stopped; {pipeline.LEFT}", file=sys.stderr)
        sys.exit(128 + (stopped.args[0] if stopped.args else signal.SIGINT))


if __name__ == "__main__":
    main()
