"""The web page: the report's claims, our numbers, and every completion, in one file that needs no network.

    python -m persona_collapse.report.page      writes paper/<profile>/report.html, the same bytes every time

Its text is paper/page.html, a template; here is gathered what it is filled with. All of it is escaped on the way in.
Completions are untrusted: they are embedded as JSON in which no character means anything to HTML, and paper/page.js
shows them as text. The page's own policy allows no request, and no script or style but the two it carries, by their
hashes. A number, a table or a figure that is no longer what the results say stops it with one line.
"""

import argparse
import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from markupsafe import Markup, escape

from ..analysis import records
from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_bytes, read_text, write_all
from ..experiment.marker import MARKER
from . import freshness, ledger, palette, table
from .results import Results
from .table import Table, left, right
from .texts import Text

PAPER = Path("paper")
TEMPLATE, PARTS = "page.html", "parts.html"
SHOWN = (
    *("groups", "per_persona", "contrasts", "contrasts_by_group", "collapse", "advice", "shapes", "geometry"),
    *("predictions", "dose", "lengths", "length_contrasts", "gates", "later", "hyperparameters", "fidelity", "claims"),
)
TABLES = ("headline", *SHOWN)
SENTENCE = "say"  # what the template calls for a text of texts.json
INTERVAL = re.compile(rf"\[[-+{table.MINUS}]?[\d.]+, [-+{table.MINUS}]?[\d.]+\]")


# ---- the completions ----


def completions(params: parameters.Params) -> dict[str, Any]:
    """Everything that page.js shows.

    Raises:
        InputError: a run that is missing or damaged, not what the parameters describe, or whose counts are not those of
            its completions.
    """
    asked = personas.load(params)
    indices: dict[str, dict[str, int]] = {name: {} for name in ("condition", "seed", "persona", "question")}
    packed = []
    for seed in params.seeds:
        for condition, chain in params.chains.items():
            for row in runs.read(params, asked, seed, chain).completions:
                names = (condition, str(seed), row.persona, row.question)
                place = [seen.setdefault(name, len(seen)) for seen, name in zip(indices.values(), names, strict=True)]
                packed.append([*place, row.sample, row.tokens, row.ended, row.marker, row.text])
    return {
        **{name: list(seen) for name, seen in indices.items()},
        "chains": params.chains,
        "ignore_case": params.marker.ignore_case,
        "marker": MARKER,
        "rows": packed,
        "suffix": asked.suffix,
        "system": asked.personas,
    }


def embedded(value: Any) -> Markup:
    """JSON that HTML reads as nothing but text: no `<`, `>` or `&`, and ASCII alone, so no U+2028 either."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text))


# ---- the template ----


def environment(texts: Mapping[str, str]) -> jinja2.Environment:
    """Jinja on some templates, with escaping always on; a name that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.DictLoader(texts),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["intervals"] = intervals
    return made


def intervals(text: str) -> Markup:
    """A cell, an interval in it marked as one."""
    return Markup(INTERVAL.sub(r'<span class="interval">\g<0></span>', str(escape(text))))


def keys(template: nodes.Template, texts: Mapping[str, Text]) -> list[str]:
    """The numbers that a template asks for with `n("key")`, and those of its sentences, in the order of the text."""
    found: dict[str, None] = {}
    for call in template.find_all(nodes.Call):
        name = getattr(call.node, "name", None)
        for arg in call.args:
            if isinstance(arg, nodes.Const) and name == "n":
                found[arg.value] = None
            elif isinstance(arg, nodes.Const) and name == SENTENCE and arg.value in texts:
                found |= dict.fromkeys(texts[arg.value].numbers)
    return list(found)


def quoted(asked: Sequence[str], numbers: Mapping[str, records.Number]) -> Table:
    """The place that each number in the text was read from."""
    rows = [
        [key, numbers[key].text, numbers[key].file, ".".join(map(str, numbers[key].path)) or "-"]
        for key in asked
        if key in numbers
    ]
    columns = [*left("key"), *right("number"), *left("file"), *left("place in it", width=0.4)]
    return Table(name="quoted", caption="Numbers in the text, and where each was read", columns=columns, rows=rows)


def colours() -> str:
    """The colours of the figures, as the style's own names for them."""
    names = {palette.NOTHING: "none"}
    return ":root { " + " ".join(f"--{names.get(k, k)}: {value};" for k, value in palette.COLOURS.items()) + " }\n"


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(params: parameters.Params) -> str:
    """The whole page.

    Raises:
        InputError: a file that is missing or damaged, or a template that asks for what there is not.
    """
    layout = params.layout
    style, script = colours() + read_text(PAPER / "page.css"), read_text(PAPER / "page.js")
    templates = {name: read_text(PAPER / name) for name in (TEMPLATE, PARTS)}
    numbers = records.read(layout.tables / "numbers.json", records.Numbers)
    texts = records.read(layout.tables / "texts.json", dict[str, Text])
    tables = {name: table.read(layout.tables / f"{name}.json") for name in TABLES}
    claims = records.read(layout.results / "claims.json", records.Claims)
    allowed = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "img-src": "data:",
        "style-src": hashed(style),
        "script-src": hashed(script),
        "require-trusted-types-for": "'script'",
    }

    def number(key: str) -> str:
        if key not in numbers:
            raise InputError(f"{layout.tables / 'numbers.json'}: no number {key!r}, which {PAPER / TEMPLATE} quotes")
        return numbers[key].text

    def say(key: str) -> str:
        if key not in texts:
            raise InputError(f"{layout.tables / 'texts.json'}: no text {key!r}, which {PAPER / TEMPLATE} quotes")
        return texts[key].text

    def image(name: str) -> str:
        return f"data:image/png;base64,{base64.b64encode(read_bytes(layout.figures / f'{name}.png')).decode()}"

    jinja = environment(templates)
    try:
        asked = keys(jinja.parse(templates[TEMPLATE], TEMPLATE), texts)
        return jinja.get_template(TEMPLATE).render(
            policy="; ".join(f"{what} {where}" for what, where in allowed.items()),
            style=Markup(style),
            script=Markup(script),
            data=embedded(completions(params)),
            profile=params.profile,
            runs=layout.results / "runs",
            n=number,
            say=say,
            limits=[one.text for key, one in texts.items() if key.startswith("limit.")],
            shown=SHOWN,
            kinds=ledger.KINDS,
            quoted=quoted(asked, numbers),
            tables=tables,
            image=image,
            claims=claims,
            evidence=ledger.personas,
        )
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{PAPER / (error.name or TEMPLATE)}, line {error.lineno}: {error.message}") from None
    except jinja2.TemplateError as error:
        raise InputError(f"{PAPER / TEMPLATE}: {error}") from None


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    found = Results(params)
    freshness.require_tables(found)
    text = page(params)
    freshness.require_figures(found, "png")
    write_all({PAPER / params.profile / "report.html": text})


if __name__ == "__main__":
    main()
