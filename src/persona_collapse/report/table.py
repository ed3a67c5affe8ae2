"""A table, and the three forms it is written in: Markdown to read, LaTeX to paste, JSON for the paper and the page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..analysis import records
from ..experiment.files import to_json
from ..experiment.params import Record

MINUS = "\N{MINUS SIGN}"


class Column(Record):
    heading: str
    align: Literal["left", "right"] = "right"
    # share of the text's width for a column whose cells may wrap; 0 for one as wide as its cells
    width: Annotated[int | float, Field(ge=0, le=1)] = 0
    minor: bool = False  # may be left out where there is room for few


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


def left(*headings: str, width: float = 0, minor: bool = False) -> list[Column]:
    return [Column(heading=heading, align="left", width=width, minor=minor) for heading in headings]


def right(*headings: str, minor: bool = False) -> list[Column]:
    return [Column(heading=heading, minor=minor) for heading in headings]


# ---- cells ----


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def interval(ends: Sequence[float]) -> str:
    return f"[{percent(ends[0])}, {percent(ends[1])}]"


def points(difference: float) -> str:
    """A difference of shares in percentage points, a true minus before a negative one."""
    return signed(100 * difference, 1)


def signed(value: float, digits: int = 2) -> str:
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", MINUS)


def decimals(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def span(ends: Sequence[float], show: Callable[[float], str]) -> str:
    return f"[{', '.join(map(show, ends))}]"


def p_value(p: float | None) -> str:
    return "-" if p is None else f"{p:.2g}" if p >= 0.0001 else "<0.0001"


def over(found: records.OverUnits | None, show: Callable[[float], str]) -> str:
    """A mean over seeds with its interval, where there are two seeds or more."""
    if found is None:
        return "-"
    return show(found.mean) + (f" {span(found.interval, show)}" if found.interval else "")


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
    MINUS: "$-$",
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
