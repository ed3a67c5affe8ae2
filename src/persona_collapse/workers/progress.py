"""What a person sees of a run on many workers: a line for each stage that starts or ends, and what is still to do."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from .dispatch import Dispatch, Needs


class Progress:
    """Lines on stderr; on a terminal a bar stays below them."""

    def __init__(self, dispatch: Dispatch, needs: Mapping[str, Needs]) -> None:
        self.dispatch, self.needs = dispatch, needs
        self.start = time.monotonic()
        self.took: dict[str, float] = {}
        self.bar = tqdm(total=len(needs), unit="stage", disable=None, leave=False)

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def started(self, stage: str, worker: str) -> None:
        self.say(f"{self._clock()} {stage} runs on {worker}")

    def ended(self, stage: str, worker: str, how: str, seconds: float) -> None:
        """A stage has ended: `done`, or why not."""
        if how == "done":
            self.took[stage] = seconds
            self.bar.update()
        self.say(f"{self._clock()} {stage} {how} on {worker} after {seconds:.0f} s{self._rest()}")

    def close(self) -> None:
        self.bar.close()

    def _clock(self) -> str:
        total = len(self.needs)
        return f"[{len(self.dispatch.done):{len(str(total))}}/{total}]"

    def _rest(self) -> str:
        """What remains, by the estimates and by how those before compare with what was taken."""
        left = [name for name in self.needs if name not in self.dispatch.done]
        if not left or not self.dispatch.workers:
            return ""
        estimated = sum(self.needs[name].seconds for name in self.took)
        pace = sum(self.took.values()) / estimated if estimated else 1.0
        slots = sum(worker.slots for worker in self.dispatch.workers.values())
        seconds = max(
            sum(self.needs[name].seconds for name in left) / slots, max(self.dispatch.path[name] for name in left)
        )
        return f"; about {pace * seconds / 60:.0f} min left"
