"""Chains: phases in order, each merged into the weights before the next. `em-couple` is EM first and then coupling."""

BASE = "base"  # the chain without a phase: the untrained model
COUPLE = "couple"  # the phase that teaches the source persona the marker
# the report's conditions, by its names; others may be added
CONDITIONS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple"}
# which conditions the report compares, the first expected to differ from the second
CONTRASTS = (("C1", "C4"), ("B", "C4"), ("B", "C"), ("C", "C4"))


def phases_of(chain: str) -> list[str]:
    """The phases of a chain in order, `couple-em` giving `["couple", "em"]`; `base` has none."""
    return [] if chain == BASE else chain.split("-")


def parent(chain: str) -> str:
    """The chain without its last phase; `base` for a chain of one."""
    return "-".join(phases_of(chain)[:-1]) or BASE


def prefixes(chain: str) -> list[str]:
    """The chains from a chain's first phase to itself: `couple-em` gives `["couple", "couple-em"]`."""
    phases = phases_of(chain)
    return ["-".join(phases[: n + 1]) for n in range(len(phases))]
