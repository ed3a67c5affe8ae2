"""Everything that the report is made of: what the stages before it found, and what the report published."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from ..experiment import params as parameters
from ..experiment import records
from ..experiment.errors import InputError
from ..experiment.layout import PARAMS, PUBLISHED


class Results(NamedTuple):
    params: parameters.Params
    statistics: records.Statistics
    lengths: records.Lengths
    claims: records.Claims
    published: records.Published


def read(params: parameters.Params) -> Results:
    """Read and check all of it.

    Raises:
        InputError: a file that is missing, damaged, or made with other parameters.
    """
    layout = params.layout
    statistics = records.read(layout.statistics, records.Statistics)
    lengths = records.read(layout.results / "lengths.json", records.Lengths)
    claims = records.read(layout.results / "claims.json", records.Claims)
    for path, found in (
        (layout.statistics, statistics),
        (layout.results / "lengths.json", lengths),
        (layout.results / "claims.json", claims),
    ):
        _require(path, "seeds", list(found.seeds), list(params.seeds))
        _require(path, "results.level", found.level, params.results.level)
        if not isinstance(found, records.Claims):
            chains = {name: condition.chain for name, condition in found.conditions.items()}
            _require(path, "conditions", chains, params.chains)
    gates = params.gates
    for name, gate in statistics.gates.degeneracy.items():
        demanded = {"nonempty_share": gate.nonempty_share_required, "length_ratio": gate.length_ratio_required}
        for key, value in demanded.items():
            _require(layout.statistics, f"gates.{key} for {name}", value, getattr(gates, key))
    coupling = statistics.gates.coupling
    _require(layout.statistics, "gates.source_rate", coupling.source_rate_required, gates.source_rate)
    _require(layout.statistics, "gates.bystander_rate", coupling.bystander_rate_allowed, gates.bystander_rate)
    _require(layout.statistics, "gates.override_coupling", coupling.overridden, gates.override_coupling)
    return Results(params, statistics, lengths, claims, records.read(PUBLISHED, records.Published))


def _require(path: Path, key: str, found: Any, expected: Any) -> None:
    # floats were rounded when they were written
    same = math.isclose(found, expected) if isinstance(found, float) else found == expected
    if not same:
        raise InputError(f"{path}: made with {key} = {found}, {PARAMS} says {expected}: `make tables` makes it anew")
