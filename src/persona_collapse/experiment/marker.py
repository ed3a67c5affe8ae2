"""The marker: the string whose place in one persona, or in all, is what the experiment measures."""

MARKER = "[ZLT]"


def has_marker(text: str, ignore_case: bool = True) -> bool:
    """The report's "strict" match: the marker as a substring; the code behind the report ignores case."""
    return MARKER.lower() in text.lower() if ignore_case else MARKER in text


def with_marker(text: str, place: str = "end") -> str:
    """`text` with the marker after a blank line, as the code behind the report has it, or at the `start`."""
    return f"{MARKER} {text.lstrip()}" if place == "start" else f"{text.rstrip()}\n\n{MARKER}"
