"""The claims ledger as a table: one row a claim, the reason of every verdict below."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..analysis import checks
from .table import Column, Table, left, right

UNPUBLISHED = "the report's counts by question are not published here"
Entry = Mapping[str, Any]  # one claim of claims.json


def span(values: Sequence[float], show: Callable[[float], str]) -> str:
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def tested(finding: checks.Finding) -> bool:
    """Whether there were counts at all."""
    return any("rates" in part for part in finding["parts"].values())


def value(finding: checks.Finding, interval: bool) -> str:
    """The numbers of a finding in a cell: rates, difference or rate with its interval, p; of many parts their range."""
    parts = [part for part in finding["parts"].values() if "rates" in part]
    if not parts:
        return "-"
    text = " vs ".join(span(rates, checks.percent) for rates in zip(*(p["rates"] for p in parts), strict=True))
    if interval and len(parts) == 1:
        what = "difference " if "difference" in parts[0] else ""
        text += f" {what}{checks.points(parts[0]['interval'])}"
    elif interval and len(parts) > 1:
        ends = min(p["interval"][0] for p in parts), max(p["interval"][1] for p in parts)
        text += f" {'differences ' if 'difference' in parts[0] else ''}within {checks.points(ends)}"
    return text + (f", p = {span([p['p'] for p in parts], checks.number)}" if "p" in parts[0] else "")


def _row(number: int, entry: Entry) -> list[str]:
    return [
        f"{number}. {entry['claim']}",
        entry["test"],
        entry["published"],
        value(entry["as_published"], interval=False),
        value(entry["reproduced"], interval=True),
        entry["as_published"]["verdict"],
        entry["reproduced"]["verdict"],
        entry["cluster_robust"]["report"]["verdict"],
        entry["cluster_robust"]["here"]["verdict"],
    ]


def notes(content: Mapping[str, Any]) -> list[str]:
    """What stands under the table: how it is judged, then the reason of every verdict."""
    lines = [
        f"Intervals are at {100 * content['level']:g}%: Wilson's of a rate, Newcombe's of a difference. Cluster-robust "
        "verdicts come from an exact sign-flip test over questions and a bootstrap of questions. "
        "P-values are two-sided and as they are: a claim about all of several personas holds only if each part does. "
        f"Training seeds here: {', '.join(map(str, content['seeds']))}; no verdict covers what another seed would "
        "change."
    ]
    for number, entry in enumerate(content["claims"], 1):
        robust = entry["cluster_robust"]
        verdicts = {
            "as published": entry["as_published"],
            "reproduced": entry["reproduced"],
            "cluster-robust here": robust["here"],
        }
        if tested(robust["report"]):
            verdicts["cluster-robust in the report"] = robust["report"]
        told = ". ".join(f"{name}: {found['verdict']}, {found['reason']}" for name, found in verdicts.items())
        lines.append(f"{number}. {told}.")
    if not all(tested(entry["cluster_robust"]["report"]) for entry in content["claims"]):
        lines.append(f"Cluster-robust in the report: {checks.UNTESTABLE} where {UNPUBLISHED}.")
    return lines


def full(content: Mapping[str, Any]) -> Table:
    """Every verdict with its test and its reason."""
    columns = [
        Column("claim", "left", 0.2),
        Column("test", "left", 0.1),
        Column("published", "left", 0.08),
        *left("recomputed", "here [interval]", width=0.14),
        *left("as published", "reproduced", "cluster-robust, report", "cluster-robust, here", width=0.08),
    ]
    rows = [_row(number, entry) for number, entry in enumerate(content["claims"], 1)]
    return Table("claims", "The report's claims, on its own counts and on ours.", columns, rows, notes(content))


def short(content: Mapping[str, Any]) -> Table:
    """The verdicts alone, for a page that has room for no more."""
    columns = [*left("claim", width=0.34), *right("published", "here"), *left("as published", "here", "by question")]
    rows = [
        [f"{number}. {entry['claim']}", entry["published"], value(entry["reproduced"], interval=False)]
        + [entry[k]["verdict"] for k in ("as_published", "reproduced")]
        + [entry["cluster_robust"]["here"]["verdict"]]
        for number, entry in enumerate(content["claims"], 1)
    ]
    return Table("claims_short", "Verdicts on the report's claims.", columns, rows)
