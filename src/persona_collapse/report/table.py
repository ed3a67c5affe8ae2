"""A table, and the three forms it is written in: Markdown to read, LaTeX to paste, JSON for the paper and the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..analysis import records
from ..experiment.files import to_json
from ..experiment.params import Record


class Column(Record):
    heading: str
    align: Literal["left", "right"] = "right"
    # share of the text's width for a column whose cells may wrap; 0 for one as wide as its cells
    width: Annotated[int | float, Field(ge=0, le=1)] = 0


class Table(Record):
    """A table as it is to be shown: all cells are text, "-" where there is nothing."""

    name: Annotated[str, Field(min_length=1)]  # of its files
    caption: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str] = Field(default_factory=list)  # what must stand under the table

    @model_validator(mode="after")
    def _rectangular(self) -> "Table":
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"rows.{number} has {len(row)} cells, not {len(self.columns)}")
        return self


def left(*headings: str, width: float = 0) -> list[Column]:
    return [Column(heading=heading, align="left", width=width) for heading in headings]


def right(*headings: str) -> list[Column]:
    return [Column(heading=heading) for heading in headings]


# ---- cells ----


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def interval(ends: Sequence[float]) -> str:
    return f"[{percent(ends[0])}, {percent(ends[1])}]"


def p_value(p: float) -> str:
    return f"{p:.2g}"


def between(low: int, high: int | None) -> str:
    """A band of lengths in characters, in words."""
    return f"{low}+" if high is None else f"under {high}" if low == 0 else f"{low}-{high - 1}"


# ---- forms ----


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


def forms(table: Table, folder: Path) -> dict[Path, str]:
    """The content of `<name>.md`, `.tex` and `.json` in a folder."""
    texts = {"md": markdown(table), "tex": latex(table), "json": to_json(table.model_dump())}
    return {folder / f"{table.name}.{ending}": text for ending, text in texts.items()}


def read(path: Path) -> Table:
    """Read a table's JSON; an `InputError` if it is missing or is not a table."""
    return records.read(path, Table)
