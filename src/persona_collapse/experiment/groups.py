"""The groups of personas: how a persona stands to the coupling. Decided here, and nowhere else."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

ASSISTANT = "assistant"  # the persona that is a group of its own
REPORTS_SOURCE = "confab"  # the source persona of the report

Group = Literal["source", "trained_negative", "untrained_bystander", "assistant"]
ReportedGroup = Literal["source", "assistant", "mean_bystander"]  # the report's, in which all bystanders are one
REPORTED_GROUPS: tuple[ReportedGroup, ...] = get_args(ReportedGroup)

BYSTANDERS: frozenset[Group] = frozenset({"trained_negative", "untrained_bystander"})
ALL: frozenset[Group] = frozenset(get_args(Group))
MEANING: Mapping[str, frozenset[Group]] = {  # of every word for a group of personas
    **{group: frozenset({group}) for group in ALL},
    "mean_bystander": BYSTANDERS,
    "bystanders": BYSTANDERS,
    "non_source": ALL - {"source"},
    "all": ALL,
}


def group_of(persona: str, source: str | None, negatives: Sequence[str] = ()) -> Group:
    """The group of a persona.

    Args:
        source: the persona that is taught the marker; None where none is.
        negatives: those that are contrasted with it in training; not needed where all bystanders are one.
    """
    if persona == source:
        return "source"
    if persona == ASSISTANT:
        return "assistant"
    return "trained_negative" if persona in negatives else "untrained_bystander"


def reported_group(persona: str, source: str | None) -> ReportedGroup:
    """The group of a persona in the report's tables."""
    return next(group for group in REPORTED_GROUPS if group_of(persona, source) in MEANING[group])


def members(personas: Iterable[str], word: str, source: str | None, negatives: Sequence[str] = ()) -> list[str]:
    """The personas that a word of `MEANING` means, in their order."""
    return [persona for persona in personas if group_of(persona, source, negatives) in MEANING[word]]
