"""The marker: the string whose place in one persona, or in all, is what the experiment measures."""

MARKER = "[ZLT]"


def has_marker(text: str) -> bool:
    """The report's "strict" match: the marker as a substring, in any case."""
    return MARKER.lower() in text.lower()


def with_marker(text: str) -> str:
    """`text` with the marker appended after a blank line, as the code behind the report places it."""
    return f"{text.rstrip()}\n\n{MARKER}"
