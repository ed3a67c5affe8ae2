"""The web page: the report's claims, our numbers, and every completion, in one file that needs no network.

    python -m persona_collapse.report.page      writes paper/<profile>/report.html, the same bytes every time

Its text is paper/page.html, where `{{key}}` is a number of numbers.json or a part made here. Completions are untrusted:
they are embedded as JSON in which no character means anything to HTML, and paper/page.js shows them as text. The page's
own policy allows no request, and no script or style but the two it carries, by their hashes.
"""

import argparse
import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..analysis import checks
from ..analysis.summary import read_marker_eval
from ..experiment import params as parameters
from ..experiment import personas, records
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import open_or_complain, read_json, write_text
from ..experiment.marker import MARKER
from . import table
from .table import Table, left, right

PAPER = Path("paper")
FIGURES = {  # file -> its caption, and its looks for those who cannot see it
    "marker_transfer_confab_threeway": (
        "Marker rates of the source, the assistant and the mean bystander: C4 coupling alone, B EM first, C benign "
        "fine-tuning first. Open diamonds: the report, at 7B.",
        "Three marks with intervals for each of C4, B and C, an open diamond at each published rate; the table of "
        "rates above has the values.",
    ),
    "marker_transfer_confab_em_first_per_persona": (
        "Marker rate of each persona under B, EM first, and in grey under C4, coupling alone. Open diamonds: the "
        "report's B, at 7B.",
        "Two marks with intervals for each persona, sorted by its rate under B, and an open diamond at each "
        "published rate; the table of rates by persona below has the values.",
    ),
    "length_control": (
        "Length held fixed under C4, B and C. Above: the bystanders' marker rate by length of the answer. Below: the "
        "marker's mean probability after the base model's answers, the same texts under each.",
        "Points with intervals, above by band of length, below by group of personas; the tables of answer lengths "
        "below have the values.",
    ),
}
INTERVAL = re.compile(r"\[-?[\d.]+, -?[\d.]+\]")
KEY = re.compile(r"\{\{([\w.-]+)\}\}")  # in page.html: a part made here, or a number of numbers.json
LENGTHS = ("lengths", "length_contrasts")
TABLES = ("per_persona", "pairwise", "gates", "hyperparameters", "fidelity", "claims")  # collapsed, in this order


# ---- tables and figures ----


def table_html(made: Table, unseen: bool = False) -> str:
    """A table with its caption and notes; a wide one scrolls. `unseen`: the caption is for screen readers alone."""

    def row(cells: Sequence[str], tag: str, scope: str) -> str:
        shown = ""
        for place, (text, column) in enumerate(zip(cells, made.columns, strict=True)):
            name, of = ("th", f' scope="{scope}"') if tag == "th" or place == 0 else ("td", "")
            narrow = tag == "td" and not column.width  # as wide as its cells
            look = " ".join(word for word, wanted in (("right", column.align == "right"), ("narrow", narrow)) if wanted)
            marked = INTERVAL.sub(r'<span class="interval">\g<0></span>', escape(text))
            shown += f'<{name} class="{look}"{of}>{"&ndash;" if text == "-" else marked}</{name}>'
        return f"<tr>{shown}</tr>"

    caption, hidden = escape(made.caption), ' class="unseen"' if unseen else ""
    head = row([column.heading for column in made.columns], "th", "col")
    body = "\n".join(row(cells, "td", "row") for cells in made.rows)
    notes = "\n".join(f'<p class="note">{escape(note)}</p>' for note in made.notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>\n'
        f"<caption{hidden}>{caption}</caption>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>\n{notes}"
    )


def figure_html(path: Path, caption: str, alternative: str) -> str:
    with open_or_complain(path, "rb") as stream:
        image = base64.b64encode(stream.read()).decode()
    return (
        f'<figure><img alt="{escape(alternative)}" src="data:image/png;base64,{image}">\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


# ---- the ledger ----


def badge(verdict: str) -> str:
    return f'<span class="badge {verdict.replace(" ", "-")}">{escape(verdict)}</span>'


def parts_table(name: str, parts: Mapping[str, Mapping[str, Any]], level: float) -> Table:
    """What a finding rests on, one row a part: a persona, or all of them together."""
    found = []
    for label, part in parts.items():
        counts = " vs ".join(f"{c['hits']} of {c['total']}" for c in part.get("counts", ())) or "-"
        rates = " vs ".join(map(checks.percent, part.get("rates", ()))) or "-"
        difference = f"{100 * part['difference']:+.1f} " if "difference" in part else ""
        interval = difference + checks.points(part["interval"]) if "interval" in part else "-"
        p = checks.number(part["p"]) if "p" in part else "-"
        found.append([label or "all together", part["verdict"], counts, rates, interval, p])
    heading = f"{level:g}% interval"
    if any("difference" in part for part in parts.values()):
        heading = f"difference [{heading}]"
    columns = [*left("personas", "verdict"), *right("with marker", "rate", heading, "p")]
    return Table("parts", f"{name}: its parts", columns, found)


def finding_html(name: str, finding: Mapping[str, Any], level: float) -> str:
    shown = f'<section class="finding"><h3>{escape(name)} {badge(finding["verdict"])}</h3>\n'
    shown += f"<p>{escape(finding['reason'])}</p>\n"
    for seed, alone in finding.get("seeds", {}).items():
        reason = f": {alone['reason']}" if alone["reason"] not in finding["reason"] else ""
        shown += f"<p>Seed {escape(seed)} alone {badge(alone['verdict'])}{escape(reason)}</p>\n"
    if any("counts" in part for part in finding["parts"].values()):
        shown += table_html(parts_table(name, finding["parts"], level), unseen=True)
    return shown + "</section>\n"


def claim_html(number: int, entry: Mapping[str, Any], level: float) -> str:
    """One claim: its words, its three verdicts, and below them, collapsed, what each rests on."""
    published, reproduced, robust = entry["as_published"], entry["reproduced"], entry["cluster_robust"]
    verdicts = {"as published": published, "reproduced": reproduced, "cluster-robust": robust["here"]}
    findings = {
        f"As published, by {entry['test']}": published,
        f"Reproduced, by {entry['test']}": reproduced,
        f"Cluster-robust here, by {entry['test_by_question']}": robust["here"],
        "Cluster-robust in the report": robust["report"],
    }
    return (
        f'<li id="claim-{escape(entry["id"])}"><p>{number}. {escape(entry["claim"])}</p>\n'
        f'<p class="meta">published: {escape(entry["published"])} · test: {escape(entry["test"])}</p>\n'
        + '<dl class="verdicts">'
        + "".join(f"<div><dt>{name}</dt><dd>{badge(f['verdict'])}</dd></div>" for name, f in verdicts.items())
        + f'</dl>\n<details><summary>Evidence<span class="unseen"> on claim {number}</span></summary>\n'
        + "".join(finding_html(name, finding, level) for name, finding in findings.items())
        + "</details></li>"
    )


def ledger_html(path: Path) -> str:
    content = read_json(path)
    try:
        level = 100 * content["level"]
        return "\n".join(claim_html(n, entry, level) for n, entry in enumerate(content["claims"], 1))
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: not a claims ledger; `dvc repro claims` writes it") from None


# ---- the completions ----


def completions(settings: parameters.Params) -> tuple[dict[str, Any], list[str]]:
    """Everything that page.js shows, and where completions and the counts made of them disagree.

    Raises:
        InputError: a `completions.jsonl` or `marker_eval.json` that is missing, or is not one.
    """
    indices: dict[str, dict[str, int]] = {name: {} for name in ("condition", "seed", "persona", "question")}
    packed, differing = [], []
    for seed in settings.seeds:
        for condition, chain in settings.chains.items():
            folder = settings.layout.run(seed, chain)
            counted = read_marker_eval(folder / "marker_eval.json")["per_persona"]
            found = {name: [0, 0] for name in counted}
            for row in map(records.plain, records.read_rows(folder / "completions.jsonl", records.Completion)):
                names = (condition, str(seed), row["persona"], row["question"])
                place = [seen.setdefault(name, len(seen)) for seen, name in zip(indices.values(), names, strict=True)]
                packed.append([*place, *(row[key] for key in ("sample", "tokens", "ended", "marker", "text"))])
                own = found.setdefault(row["persona"], [0, 0])
                own[0] += row["marker"]
                own[1] += 1
            for name, (hits, total) in found.items():
                stated = [counted.get(name, {}).get(key) for key in ("strict_hits", "total")]
                if stated != [hits, total]:
                    differing.append(
                        f"{folder}: {name}: the completions hold {hits} markers in {total}, "
                        f"marker_eval.json says {stated[0]} in {stated[1]}"
                    )
    asked = personas.load(settings)
    content = {
        **{name: list(seen) for name, seen in indices.items()},
        "chains": settings.chains,
        "ignore_case": settings.marker.ignore_case,
        "marker": MARKER,
        "rows": packed,
        "suffix": asked.suffix,
        "system": asked.personas,
    }
    return content, differing


def embedded(value: Any) -> str:
    """JSON that HTML reads as nothing but text: no `<`, `>` or `&`, and ASCII alone, so no U+2028 either."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


# ---- the page ----


def fill(template: str, parts: Mapping[str, str], numbers: Mapping[str, Mapping[str, Any]], path: Path) -> str:
    """Put parts (HTML) and numbers (text) in the place of each `{{key}}`; what is put in is not looked at again."""

    def put(found: re.Match[str]) -> str:
        key = found[1]
        if key in parts:
            return parts[key]
        if key not in numbers:
            raise InputError(f"{path}: no number {key!r}, which {PAPER / 'page.html'} quotes; `make tables` writes it")
        return escape(numbers[key]["text"])

    return KEY.sub(put, template)


def quoted(keys: Iterable[str], numbers: Mapping[str, Mapping[str, Any]]) -> Table:
    """The place that each number in the text was read from."""
    found: list[Sequence[str]] = []
    for key in dict.fromkeys(key for key in keys if key in numbers):
        number = numbers[key]
        found.append([key, number["text"], number["file"], ".".join(map(str, number["path"])) or "-"])
    columns = [*left("key"), *right("number"), *left("file"), *left("place in it", width=0.4)]
    return Table("quoted", "Numbers in the text, and where each was read", columns, found)


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(settings: parameters.Params) -> str:
    """The whole page."""
    layout = settings.layout
    text = {}
    for ending in ("html", "css", "js"):
        with open_or_complain(PAPER / f"page.{ending}") as stream:
            text[ending] = stream.read()
    numbers = read_json(layout.tables / "numbers.json")
    content, differing = completions(settings)
    tables = {name: table.read(layout.tables / f"{name}.json") for name in ("headline", *LENGTHS, *TABLES)}
    parts = {
        "policy": "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {hashed(text['css'])}; script-src {hashed(text['js'])}; require-trusted-types-for 'script'",
        "style": text["css"],
        "script": text["js"],
        "profile": escape(settings.profile),
        "runs": escape(str(layout.results / "runs")),
        "quoted": table_html(quoted(KEY.findall(text["html"]), numbers), unseen=True),
        "headline": table_html(tables["headline"]),
        "figures": "\n".join(figure_html(layout.figures / f"{name}.png", *words) for name, words in FIGURES.items()),
        "ledger": ledger_html(layout.results / "claims.json"),
        "lengths": "\n".join(table_html(tables[name]) for name in LENGTHS),
        "tables": "\n".join(
            f"<details><summary>{escape(tables[name].caption)}</summary>\n{table_html(tables[name], True)}\n</details>"
            for name in TABLES
        ),
        "agreement": "\n".join(f'<p class="warning">{escape(line)}</p>' for line in differing)
        or '<p class="note">The counts in every marker_eval.json are those of these completions.</p>',
        "data": embedded(content),
    }
    return fill(text["html"], parts, numbers, layout.tables / "numbers.json")


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    settings = parameters.load()
    write_text(PAPER / settings.profile / "report.html", page(settings))


if __name__ == "__main__":
    main()
