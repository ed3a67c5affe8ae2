"""The claims ledger as tables: one row a claim with the reason of every verdict below, and what a verdict rests on."""

from collections.abc import Callable, Sequence

from ..analysis import checks, records
from .table import Table, left, right

UNPUBLISHED = "the report's counts by question are not published here"


def span(values: Sequence[float], show: Callable[[float], str]) -> str:
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def tested(finding: records.Finding) -> bool:
    """Whether there were counts at all."""
    return any(part.counts for part in finding.parts.values())


def value(finding: records.Finding, interval: bool) -> str:
    """The numbers of a finding in a cell: rates, difference or rate with its interval, p; of many parts their range."""
    parts = [part for part in finding.parts.values() if part.counts]
    if not parts:
        return "-"
    text = " vs ".join(span(rates, checks.percent) for rates in zip(*(part.rates for part in parts), strict=True))
    intervals = [part.interval for part in parts if part.interval]
    differences = [part.difference for part in parts if part.difference is not None]
    if interval and len(parts) == 1:
        text += f" {'difference ' if differences else ''}{checks.points(intervals[0])}"
    elif interval:
        ends = min(low for low, _ in intervals), max(high for _, high in intervals)
        text += f" {'differences ' if differences else ''}within {checks.points(ends)}"
    p_values = [part.p for part in parts if part.p is not None]
    return text + (f", p = {span(p_values, checks.number)}" if p_values else "")


def _row(number: int, claim: records.Claim) -> list[str]:
    return [
        f"{number}. {claim.claim}",
        claim.test,
        claim.published,
        value(claim.as_published, interval=False),
        value(claim.reproduced, interval=True),
        claim.as_published.verdict,
        claim.reproduced.verdict,
        claim.cluster_robust.report.verdict,
        claim.cluster_robust.here.verdict,
    ]


def notes(content: records.Claims) -> list[str]:
    """What stands under the table: how it is judged, then the reason of every verdict."""
    lines = [
        f"Intervals are at {100 * content.level:g}%: Wilson's of a rate, Newcombe's of a difference. Cluster-robust "
        "verdicts come from an exact sign-flip test over questions and a bootstrap of questions. "
        "P-values are two-sided and as they are: a claim about all of several personas holds only if each part does. "
        f"Training seeds here: {', '.join(map(str, content.seeds))}; no verdict covers what another seed would "
        "change."
    ]
    for number, claim in enumerate(content.claims, 1):
        robust = claim.cluster_robust
        verdicts: dict[str, records.Finding] = {
            "as published": claim.as_published,
            "reproduced": claim.reproduced,
            "cluster-robust here": robust.here,
        }
        if tested(robust.report):
            verdicts["cluster-robust in the report"] = robust.report
        told = ". ".join(f"{name}: {found.verdict}, {found.reason}" for name, found in verdicts.items())
        lines.append(f"{number}. {told}.")
    if not all(tested(claim.cluster_robust.report) for claim in content.claims):
        lines.append(f"Cluster-robust in the report: {checks.UNTESTABLE} where {UNPUBLISHED}.")
    return lines


def full(content: records.Claims) -> Table:
    """Every verdict with its test and its reason."""
    columns = [
        *left("claim", width=0.2),
        *left("test", width=0.1),
        *left("published", width=0.08),
        *left("recomputed", "here [interval]", width=0.14),
        *left("as published", "reproduced", "cluster-robust, report", "cluster-robust, here", width=0.08),
    ]
    return Table(
        name="claims",
        caption="The report's claims, on its own counts and on ours.",
        columns=columns,
        rows=[_row(number, claim) for number, claim in enumerate(content.claims, 1)],
        notes=notes(content),
    )


def short(content: records.Claims) -> Table:
    """The verdicts alone, for a page that has room for no more."""
    columns = [*left("claim", width=0.34), *right("published", "here"), *left("as published", "here", "by question")]
    rows = [
        [
            f"{number}. {claim.claim}",
            claim.published,
            value(claim.reproduced, interval=False),
            claim.as_published.verdict,
            claim.reproduced.verdict,
            claim.cluster_robust.here.verdict,
        ]
        for number, claim in enumerate(content.claims, 1)
    ]
    return Table(name="claims_short", caption="Verdicts on the report's claims.", columns=columns, rows=rows)


def parts(finding: records.Finding, level: float, caption: str) -> Table | None:
    """What a finding rests on, one row a part: a persona, or all of them together. None where nothing was counted."""
    if not tested(finding):
        return None
    rows = []
    for label, part in finding.parts.items():
        counts = " vs ".join(f"{side.hits} of {side.total}" for side in part.counts) or "-"
        rates = " vs ".join(map(checks.percent, part.rates)) or "-"
        difference = "" if part.difference is None else f"{100 * part.difference:+.1f} "
        interval = difference + checks.points(part.interval) if part.interval else "-"
        p = "-" if part.p is None else checks.number(part.p)
        rows.append([label or "all together", part.verdict, counts, rates, interval, p])
    heading = f"{100 * level:g}% interval"
    if any(part.difference is not None for part in finding.parts.values()):
        heading = f"difference [{heading}]"
    columns = [*left("personas", "verdict"), *right("with marker", "rate", heading, "p")]
    return Table(name="parts", caption=caption, columns=columns, rows=rows)
