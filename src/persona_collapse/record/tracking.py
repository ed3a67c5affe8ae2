"""The curves of a stage while it runs, drawn by trackio on this machine: what TRACK=trackio adds to a run.

    bin/stage training.train ARGUMENT... | python -m persona_collapse.record.tracking RUN

It reads what a stage prints, hands it on as it came, and logs what a trainer says of each step and how far a progress
bar is. It is a process beside the stage, in an environment of its own (requirements/track.txt): the stage computes the
same bytes with it and without. Whatever goes wrong with the log, the stage's output is handed on.
"""

import ast
import collections
import contextlib
import io
import itertools
import os
import re
import sys
from collections.abc import Iterator

PROJECT = "persona-collapse"
CHUNK = 65536  # bytes
# What transformers' trainer prints of a step, and a bar of tqdm, but for the one of the model's files.
STEP = re.compile(r"\{'loss': .*\}")
BAR = re.compile(r"^(?!Loading weights).*?(\d+)/([1-9]\d*) \[")


def metrics(line: str) -> dict[str, float]:
    """What a printed line says: `loss` [nats a token], `grad_norm`, `learning_rate`, `epoch`; or `done`, 0 to 1."""
    if step := STEP.search(line):
        return {key: float(value) for key, value in ast.literal_eval(step[0]).items()}
    if bar := BAR.match(line):
        return {"done": int(bar[1]) / int(bar[2])}
    return {}


def handed_on(source: int, sink: int) -> Iterator[str]:
    """Copy all bytes of one file descriptor to another as they come, and give the lines among them, a bar's as well."""
    rest = b""
    while chunk := os.read(source, CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(sink, view) :]
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (line.decode(errors="replace") for line in lines)


def log(run: str, found: Iterator[dict[str, float]]) -> None:
    """Log a run's metrics with trackio, which writes into TRACKIO_DIR and asks no network. None make no run."""
    first = next(found, None)
    if first is None:
        return
    import trackio

    with contextlib.redirect_stdout(io.StringIO()):  # it greets
        started = trackio.init(PROJECT, run, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        number: collections.Counter[frozenset[str]] = collections.Counter()
        for values in itertools.chain([first], found):
            number[frozenset(values)] += 1
            started.log(values, step=number[frozenset(values)])
        trackio.finish()


def main() -> None:
    (run,) = sys.argv[1:]
    found = filter(None, map(metrics, handed_on(0, 1)))
    try:
        log(run, found)
    except Exception as error:  # any: a run is worth more than its curves
        print(f"note: no curves of {run} from here on: {error}", file=sys.stderr)
        collections.deque(found, maxlen=0)


if __name__ == "__main__":
    main()
