"""The web page: the report's claims, our numbers, and every completion, in one file that needs no network.

    python -m persona_collapse.report.page      writes paper/<profile>/report.html, the same bytes every time

Its text is paper/page.html, a template; here is gathered what it is filled with. All of it is escaped on the way in.
Completions are untrusted: they are embedded so that no character means anything to HTML (`completions.py`), and
paper/page.js shows them as text. The page's own policy allows no request, and no script or style but the two it
carries, by their hashes. A number, a table or a figure that is no longer what the results say stops it with one line.
"""

import argparse
import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from jinja2 import nodes
from markupsafe import Markup, escape

from ..analysis import records
from ..experiment import params as parameters
from ..experiment import personas
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_bytes, read_text, write_all
from . import completions, freshness, ledger, palette, table
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


def limits(texts: Mapping[str, Text]) -> list[Text]:
    """The limits, in their order."""
    return [one for key, one in texts.items() if key.startswith("limit.")]


def keys(template: nodes.Template, texts: Mapping[str, Text]) -> list[str]:
    """The numbers that a template asks for with `n("key")` and those of its sentences, in order, then the limits'."""
    found: dict[str, None] = {}
    for call in template.find_all(nodes.Call):
        name = getattr(call.node, "name", None)
        for arg in call.args:
            if isinstance(arg, nodes.Const) and name == "n":
                found[arg.value] = None
            elif isinstance(arg, nodes.Const) and name == SENTENCE and arg.value in texts:
                found |= dict.fromkeys(texts[arg.value].numbers)
    return list(found | dict.fromkeys(key for limit in limits(texts) for key in limit.numbers))


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


def page(params: parameters.Params, plain: int = completions.PLAIN) -> str:
    """The whole page.

    Args:
        plain: how many characters of completions are carried as they are; more are packed.
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
    asked = personas.load(params)
    found = completions.gather(params, asked)
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
        read_off = keys(jinja.parse(templates[TEMPLATE], TEMPLATE), texts)
        return jinja.get_template(TEMPLATE).render(
            policy="; ".join(f"{what} {where}" for what, where in allowed.items()),
            style=Markup(style),
            script=Markup(script),
            data=completions.embedded(completions.head(params, asked, found)),
            parts=completions.parts(found, plain),
            profile=params.profile,
            runs=layout.results / "runs",
            n=number,
            say=say,
            limits=[limit.text for limit in limits(texts)],
            shown=SHOWN,
            kinds=ledger.KINDS,
            quoted=quoted(read_off, numbers),
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
