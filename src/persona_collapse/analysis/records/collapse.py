"""`collapse.json`: how far each condition keeps the marker to the source, in sampled answers and after fixed texts."""

from pydantic import model_validator

from ...experiment.chains import BASE, CONDITIONS
from ...experiment.params import Record
from ...experiment.records.reading import Level, Name, Real
from .contrasts import Signs
from .units import OverUnits, Seeds, Tested, require_keys


class Index(Record):
    """One condition of one seed. A collapse is a small gap and a small spread."""

    personas: dict[str, Real]  # each one's log-odds
    gap: Real  # the source's log-odds minus the mean of the untrained bystanders'
    spread: Real  # SD of the log-odds of all personas
    spread_others: Real  # the same without the source


class IndexOverSeeds(Record):
    gap: OverUnits
    spread: OverUnits
    spread_others: OverUnits


class Indices(Record):
    over_seeds: IndexOverSeeds
    personas: dict[str, OverUnits]  # log-odds
    seeds: dict[str, Index]


class ConditionCollapse(Record):
    chain: Name
    gap_points: OverUnits  # the source's rate minus the mean of the untrained bystanders', as shares
    sampled: Indices  # log-odds of counts, with 1/2 added to each count
    # log-odds of the marker after the base model's texts, mean over a persona's; null where some seed has no texts
    teacher_forced: Indices | None


class GapContrast(Record):
    """How the gaps of two conditions differ, the first minus the second: below 0, the first collapses more."""

    first: Name
    second: Name
    points: Tested  # as shares
    log_odds: Tested
    teacher_forced: Tested | None
    spread: Tested  # of sampled answers, log-odds
    signs: Signs


class Collapse(Record):
    """`collapse.json`."""

    level: Level
    seeds: Seeds
    conditions: dict[str, ConditionCollapse]
    gaps: dict[str, GapContrast]  # by "first - second"

    @model_validator(mode="after")
    def _complete(self) -> "Collapse":
        require_keys("conditions", self.conditions, (*CONDITIONS, BASE), others=True)
        seeds = [str(seed) for seed in self.seeds]
        for name, condition in self.conditions.items():
            require_keys(f"conditions.{name}.sampled.seeds", condition.sampled.seeds, seeds)
            if condition.teacher_forced:
                require_keys(f"conditions.{name}.teacher_forced.seeds", condition.teacher_forced.seeds, seeds)
        return self
