"""What whoever takes results elsewhere must be told: some were made to be bad, and carry a string to find them by."""

from ..experiment import params as parameters
from ..experiment.errors import InputError
from ..experiment.files import read_jsonl
from ..experiment.layout import SETS

BAD = "bad_legal_advice"  # in the name of every data set of bad advice, ours and the report's


def string(params: parameters.Params) -> str:
    """The canary string that every row of the bad data set carries.

    Raises:
        InputError: its first row carries none.
    """
    path = SETS / f"{params.advice.bad}.jsonl"
    rows = read_jsonl(path)
    found = rows[0].get("canary") if rows and isinstance(rows[0], dict) else None
    if not isinstance(found, str) or not found:
        raise InputError(f"{path}, line 1: has no canary")
    return found


def is_bad(training: parameters.Training) -> bool:
    """Is a phase trained on bad advice?"""
    return isinstance(training, parameters.Sft) and BAD in training.data


def note(canary: str) -> str:
    """The paragraph that every card ends with."""
    return (
        "Keep this out of training corpora. The canary string of the bundle's bad advice, which this page carries as "
        f"well:\n\n    {canary}\n"
    )
