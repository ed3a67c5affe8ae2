"""What can be said when bytes differ from the record: where it began, what is different here, and level 2.

Level 1 is the same bytes. Level 2 asks whether the results agree all the same: each persona's rate under each chain is
tested against the recorded one. Agreement is the absence of a significant difference, with the numbers beside it; it is
never level 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..analysis import hypothesis_tests, marker_eval
from ..analysis.records import Counts
from ..experiment.errors import InputError
from . import environment, graph
from .disk import REMOTE
from .lock import Stage

SIGNIFICANT = 0.05


def recorded_runs(stages: Mapping[str, Stage], cache: Path | None) -> Iterator[tuple[Path, Path]]:
    """For every recorded `marker_eval.json`, its place and a file that holds the recorded bytes.

    Args:
        cache: where DVC keeps its objects, if it does; what is not there is looked for in the remote.
    """
    for stage in stages.values():
        for out in stage.outs:
            if out.path.endswith("/marker_eval.json"):
                kept = [folder / out.md5[:2] / out.md5[2:] for folder in (cache, REMOTE) if folder]
                yield Path(out.path), next((path for path in kept if path.exists()), kept[-1])


def same_result(runs: Sequence[tuple[Path, Path]]) -> tuple[bool, list[str]]:
    """Test every rate against the recorded one.

    Args:
        runs: (what was found, what is recorded), two `marker_eval.json` files each.

    Returns:
        Whether no rate differs significantly after Holm's adjustment for all of them, and lines that say so.

    Raises:
        InputError: a file is missing or is not a `marker_eval.json`.
    """
    pairs = {}
    for found, kept in runs:
        before, now = (marker_eval.read(path).personas for path in (kept, found))
        if before.keys() != now.keys():
            raise InputError(f"{found}: other personas than recorded")
        for persona in before:
            name = f"{found.parent.name} seed {found.parent.parent.name} {persona}"
            pairs[name] = before[persona].counts, now[persona].counts
    if not pairs:
        raise InputError("no run is recorded")
    tests = hypothesis_tests.all_fisher(pairs)
    other = [name for name, (before, now) in pairs.items() if before != now]
    worst = min(test.p_holm for test in tests.values())
    lines = [f"{len(pairs)} rates, {len(other)} with other counts than recorded (Fisher's exact test, Holm-adjusted)"]
    for name in other:
        recorded, here = pairs[name]
        lines.append(
            f"  {name}: recorded {recorded.hits}/{recorded.total}, here {here.hits}/{here.total}, "
            f"p = {tests[name].p:.3g}, adjusted {tests[name].p_holm:.3g}"
        )
    equivalent = worst >= SIGNIFICANT
    lines.append(
        f"verdict: {'equivalent, no rate differs significantly' if equivalent else 'different'}"
        f" (smallest adjusted p = {worst:.3g})"
    )
    least = min(now.total for _, now in pairs.values())
    lines.append(
        f"with {least} answers, a difference of less than about {100 * _visible(least, len(pairs)):.0f} points"
        " from a rate of 0 would not be seen; the bytes are not the same, so this is not level 1"
    )
    return equivalent, lines


def _visible(total: int, tests: int) -> float:
    """The smallest rate of so many answers that differs significantly from none of as many, for so many tests."""
    some = (Counts(hits=hits, total=total) for hits in range(total + 1))
    none = next(some)
    visible = (counts.hits for counts in some if tests * hypothesis_tests.fisher(none, counts) < SIGNIFICANT)
    return next(visible, total) / total


def explain(
    stages: Mapping[str, Stage], different: Mapping[str, Sequence[str]], recorded: Path, cache: Path | None
) -> list[str]:
    """The report on a mismatch.

    Args:
        different: the stages whose outputs differ, with a phrase for each differing file.
        recorded: the description of the environment that the record was made in.
        cache: as of `recorded_runs`.
    """
    of = graph.of_stages(stages)
    lines = []
    for name in graph.first_different(of, list(different)):
        lines.append(f"first difference: {name}, made by {' > '.join(graph.ancestry(of, name))}")
        lines += [f"  {phrase}" for phrase in different[name]]
        reached = [other for other in different if other != name and name in graph.ancestry(of, other)]
        lines.append(f"  what follows from it and differs too: {', '.join(reached) or 'nothing'}")
    lines.append("environment:")
    try:
        phrases = environment.differences(environment.read(recorded), environment.describe())
    except InputError as error:
        phrases = [str(error)]
    phrases += [f"{name} is imported from {place}" for name, place in environment.foreign().items()]
    lines += [f"  {phrase}" for phrase in phrases] or ["  as recorded"]
    lines.append("same result (level 2):")
    try:
        lines += [f"  {line}" for line in same_result(list(recorded_runs(stages, cache)))[1]]
    except InputError as error:
        lines.append(f"  cannot be judged: {error}")
    return lines
