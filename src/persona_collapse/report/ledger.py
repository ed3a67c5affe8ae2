"""The claims as tables: one row a claim, one a part with its reasons, and what a verdict rests on by persona."""

from ..analysis import records
from .table import Table, interval, left, p_value, points, right

WHOSE = {"report": "the report's", "ours": "ours"}
KINDS = {"as_published": "on the report's counts", "public": "on the authors' public counts", "here": "on our runs"}


def verdict(found: records.Overall | None) -> str:
    """One of the four words; a reversal is said."""
    return "-" if found is None else f"{found.verdict}{', reversed' if found.reversed else ''}"


def short(content: records.Claims) -> Table:
    """The claims with their verdicts."""
    rows = [
        [
            f"{number}. {claim.claim}",
            WHOSE[claim.whose],
            verdict(claim.as_published) if claim.whose == "report" else "-",
            verdict(claim.public),
            verdict(claim.here),
        ]
        for number, claim in enumerate(content.claims, 1)
    ]
    columns = [*left("claim", width=0.4), *left("whose"), *left("as published", "public counts", "here", width=0.14)]
    return Table(name="claims_short", caption="Verdicts on the claims", columns=columns, rows=rows)


def full(content: records.Claims) -> Table:
    """Every part of every claim; the reasons stand below."""
    rows, reasons = [], []
    for number, claim in enumerate(content.claims, 1):
        rows.append(
            [
                f"{number}. {claim.claim}",
                "-",
                verdict(claim.as_published) if claim.whose == "report" else "-",
                verdict(claim.public),
                verdict(claim.here),
            ]
        )
        for place, part in enumerate(claim.parts):
            label = f"{number}{chr(ord('a') + place)}"
            rows.append(
                [
                    f"{label}. {part.says}",
                    part.published or "-",
                    verdict(part.as_published),
                    verdict(part.public),
                    verdict(part.here),
                ]
            )
            told = [
                f"{words}: {verdict(found)}, for {found.reason}."
                for kind, words in KINDS.items()
                if (found := getattr(part, kind)) is not None
            ]
            reasons.append(f"{label}. {' '.join(one[0].upper() + one[1:] for one in told)}")
    return Table(
        name="claims",
        caption="The claims and their parts",
        columns=[
            *left("claim", width=0.38),
            *left("published", width=0.14),
            *left("as published", "public counts", "here", width=0.16),
        ],
        rows=rows,
        notes=reasons,
    )


def personas(found: records.Finding, level: float, caption: str) -> Table | None:
    """What a finding rests on, one row a persona, or all of them together. None where nothing was measured."""
    if all(one.estimate is None for one in found.personas.values()):
        return None
    difference = any(one.p is not None or len(one.counts) == 2 for one in found.personas.values())

    def row(name: str, one: records.Judgement) -> list[str]:
        show = points if difference else lambda value: interval((value, value))[1:].partition(",")[0]
        estimate = "-" if one.estimate is None else show(one.estimate)
        ends = interval(one.interval) if one.interval else "-"
        return [name or "all together", one.verdict, estimate, ends, p_value(one.p), p_value(one.sign_flip)]

    heads = ("difference (points)" if difference else "rate (%)", f"{100 * level:g}% interval", "p", "sign-flip p")
    rows = [row(name, one) for name, one in found.personas.items()]
    return Table(name="parts", caption=caption, columns=[*left("personas", "verdict"), *right(*heads)], rows=rows)
