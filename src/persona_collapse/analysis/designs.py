"""Which conditions are compared, and which of these comparisons the experiment is about.

The primary contrast is bad advice against good advice, both before the coupling: same questions, same order, same
dose. It is asked of the untrained bystanders. Two secondary ones set each against coupling alone, and Holm's correction
is over these three. All other comparisons, and other groups, describe. All were fixed before the results.
"""

from collections.abc import Collection

from ..experiment.groups import Group
from .records import Role, contrast

PRIMARY = ("B", "G")
SECONDARY = (("B", "C4"), ("G", "C4"))
DESCRIPTIVE = (
    ("B", "C"),
    ("C", "C4"),
    ("C1", "C4"),
    ("G1", "C4"),
    ("C5", "C4"),
    ("C1", "G1"),
    ("B_low", "G_low"),
    ("B_high", "G_high"),
)
ALL = (PRIMARY, *SECONDARY, *DESCRIPTIVE)
TESTED_GROUP: Group = "untrained_bystander"


def pairs(conditions: Collection[str]) -> list[tuple[str, str]]:
    """The comparisons whose two conditions a profile has."""
    return [pair for pair in ALL if set(pair) <= set(conditions)]


def role(pair: tuple[str, str], group: Group) -> Role:
    if group != TESTED_GROUP:
        return "descriptive"
    return "primary" if pair == PRIMARY else "secondary" if pair in SECONDARY else "descriptive"


def family(conditions: Collection[str]) -> list[str]:
    """The keys of the contrasts under Holm's correction."""
    return [contrast(*pair, TESTED_GROUP) for pair in pairs(conditions) if role(pair, TESTED_GROUP) != "descriptive"]
