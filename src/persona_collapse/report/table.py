"""A table, and the three forms it is written in: Markdown to read, LaTeX to paste, JSON for the paper and the page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..experiment.errors import InputError
from ..experiment.files import read_json, write_json, write_text


@dataclass(frozen=True)
class Column:
    heading: str
    align: str = "right"  # or left
    width: float = 0  # share of the text's width for a column whose cells may wrap; 0 for one as wide as its cells


@dataclass(frozen=True)
class Table:
    name: str  # of its files
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]  # cells as they are to be shown, "-" where there is nothing
    notes: Sequence[str] = ()  # what must stand under the table

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.name}: a row has not {len(self.columns)} cells")


def left(*headings: str, width: float = 0) -> list[Column]:
    return [Column(heading, "left", width) for heading in headings]


def right(*headings: str) -> list[Column]:
    return [Column(heading) for heading in headings]


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def interval(ends: Sequence[float]) -> str:
    return f"[{percent(ends[0])}, {percent(ends[1])}]"


def p_value(p: float) -> str:
    return f"{p:.2g}"


def between(low: int, high: int | None) -> str:
    """A band of lengths in characters, in words."""
    return f"{low}+" if high is None else f"under {high}" if low == 0 else f"{low}-{high - 1}"


def markdown(table: Table) -> str:
    rule = ["---:" if column.align == "right" else "---" for column in table.columns]
    lines = [[column.heading for column in table.columns], rule, *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n\n".join([body, *table.notes]) + "\n"


def latex(table: Table) -> str:
    """A booktabs tabular, the notes under its last rule."""
    shape = "".join(rf"p{{{c.width:g}\linewidth}}" if c.width else c.align[0] for c in table.columns)
    lines = [
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        " & ".join(_escape(column.heading) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join("--" if cell == "-" else _escape(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        *(
            rf"\multicolumn{{{len(table.columns)}}}{{p{{\linewidth}}}}{{\footnotesize {_escape(note)}}} \\"
            for note in table.notes
        ),
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


_SPECIAL = {
    **{c: f"\\{c}" for c in "%_&#$"},
    **{c: f"${c}$" for c in "<>"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
}


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def write(table: Table, folder: Path) -> None:
    """Write `<name>.md`, `.tex` and `.json` into a folder."""
    write_text(folder / f"{table.name}.md", markdown(table))
    write_text(folder / f"{table.name}.tex", latex(table))
    write_json(folder / f"{table.name}.json", asdict(table))


def read(path: Path) -> Table:
    """Read a table's JSON.

    Raises:
        InputError: the file is missing or is not a table.
    """
    content: Any = read_json(path)
    try:
        return Table(**{**content, "columns": [Column(**column) for column in content["columns"]]})
    except (TypeError, KeyError, ValueError):
        raise InputError(f"{path}: not a table; `make tables` writes it") from None
