"""Everything that the report is made of: what the stages before it found, and what the report published."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

from ..analysis import records
from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.layout import PARAMS, PUBLISHED


class Results:
    """The results of a profile, each read when it is first asked for.

    Raises:
        InputError: then, if a file is missing, damaged, or made with other parameters.
    """

    def __init__(self, params: parameters.Params) -> None:
        self.params = params
        self.paths = {name: params.layout.results / f"{name}.json" for name in ("statistics", "lengths", "claims")}

    @cached_property
    def statistics(self) -> records.Statistics:
        path, gates = self.paths["statistics"], self.params.gates
        found = records.read(path, records.Statistics)
        self._require_same(path, found)
        coupling = found.gates.coupling
        _require(path, "gates.source_rate", coupling.source_rate_required, gates.source_rate)
        _require(path, "gates.bystander_rate", coupling.bystander_rate_allowed, gates.bystander_rate)
        _require(path, "gates.override_coupling", coupling.overridden, gates.override_coupling)
        for gate in found.gates.degeneracy.values():
            _require(path, "gates.nonempty_share", gate.nonempty_share_required, gates.nonempty_share)
            _require(path, "gates.length_ratio", gate.length_ratio_required, gates.length_ratio)
        return found

    @cached_property
    def lengths(self) -> records.Lengths:
        path = self.paths["lengths"]
        found = records.read(path, records.Lengths)
        self._require_same(path, found)
        return found

    @cached_property
    def claims(self) -> records.Claims:
        path = self.paths["claims"]
        found = records.read(path, records.Claims)
        self._require_same(path, found)
        return found

    @cached_property
    def published(self) -> records.Published:
        return records.read(PUBLISHED, records.Published)

    def _require_same(self, path: Path, found: records.Statistics | records.Lengths | records.Claims) -> None:
        _require(path, "seeds", list(found.seeds), list(self.params.seeds))
        _require(path, "results.level", found.level, self.params.results.level)
        if not isinstance(found, records.Claims):
            chains = {name: condition.chain for name, condition in found.conditions.items()}
            _require(path, "conditions", chains, self.params.chains)


def _require(path: Path, key: str, found: Any, expected: Any) -> None:
    # floats were rounded when they were written
    same = math.isclose(found, expected) if isinstance(found, float) else found == expected
    if not same:
        raise InputError(f"{path}: made with {key} = {found}, {PARAMS} says {expected}: `make tables` makes it anew")
