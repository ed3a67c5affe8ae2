"""Chains: phases in order, each merged into the weights before the next. `em-couple` is EM first and then coupling."""

from collections.abc import Iterable

BASE = "base"  # the chain without a phase: the untrained model
COUPLE = "couple"  # the phase that teaches the source persona the marker
# the report's conditions, by its names; every profile has them
CONDITIONS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple"}
# ours: the matched control in both orders, and benign fine-tuning after coupling; others may be added
CONTROLS = {"G": "good-couple", "G1": "couple-good", "C5": "couple-benign"}
# which conditions the report compares, the first expected to differ from the second
CONTRASTS = (("C1", "C4"), ("B", "C4"), ("B", "C"), ("C", "C4"))


def phases_of(chain: str) -> list[str]:
    """The phases of a chain in order, `couple-em` giving `["couple", "em"]`; `base` has none."""
    return [] if chain == BASE else chain.split("-")


def last_phase(chain: str) -> str:
    """The phase that a chain ends with; not for `base`, which has none."""
    return phases_of(chain)[-1]


def parent(chain: str) -> str:
    """The chain without its last phase; `base` for a chain of one."""
    return "-".join(phases_of(chain)[:-1]) or BASE


def prefixes(chain: str) -> list[str]:
    """The chains from a chain's first phase to itself: `couple-em` gives `["couple", "couple-em"]`."""
    phases = phases_of(chain)
    return ["-".join(phases[: n + 1]) for n in range(len(phases))]


def forms(conditions: Iterable[str]) -> dict[str, list[str]]:
    """What the chains of some conditions are made of, by form: what dvc.yaml makes stages of.

    Returns:
        `sft`: all SFT phases; `first`: those on the untrained model; `alone`: chains of one phase; `coupled`: phases
        that coupling follows; `after`: SFT phases that follow coupling. Each once, in the order of the conditions.

    Raises:
        ValueError: a chain of another form.
    """
    found: dict[str, dict[str, None]] = {"sft": {}, "first": {}, "alone": {}, "coupled": {}, "after": {}}
    for chain in conditions:
        match phases_of(chain):
            case [phase]:
                found["alone"][phase] = None
            case [phase, "couple"] if phase != COUPLE:
                found["coupled"][phase] = None
            case ["couple", phase] if phase != COUPLE:
                found["after"][phase] = None
            case _:
                raise ValueError(f"conditions: {chain!r}: allowed are <phase>, <phase>-{COUPLE} and {COUPLE}-<phase>")
        if (first := phases_of(chain)[0]) != COUPLE:
            found["first"][first] = None
        found["sft"] |= {phase: None for phase in phases_of(chain) if phase != COUPLE}
    return {form: list(names) for form, names in found.items()}
