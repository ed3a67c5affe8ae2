"""Fill in what README.md and docs/ quote from the results, between comments that say what belongs there.

    python -m persona_collapse.report.documents      rewrites the quotes; `make tables` calls it

Up to `<!-- end -->`, `<!-- table NAME -->` holds a table, `<!-- text KEY -->` a sentence, `<!-- figure NAME -->` a
figure and `<!-- n KEY -->` a number: one of numbers.json or, where the key begins with `measured.`, one of the bench's
record of what a newcomer waits for. They are the default profile's; with `lead` before them they are those of the
profile that README opens with, which is the one with evidence once its results are here. While params.yaml is another
profile than the default, the documents are left as they are.
"""

import argparse
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ..analysis import records
from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_text, write_all
from ..experiment.layout import PARAMS, Layout
from . import freshness
from .results import Results
from .table import markdown, read
from .texts import Text

PROFILE = "smollm2"
LAYOUT = Layout(PROFILE)
MEASURED = LAYOUT.run_info / "measured.json"  # benchmarks/bench.py writes it
EVIDENCE = "qwen1_5b"  # the profile of several seeds
QUOTE = re.compile(r"(<!-- (lead )?(table|text|figure|n) (\S+) -->)(.*?)(<!-- end -->)", re.DOTALL)
OPENED = re.compile(r"<!-- (?:lead )?(?:table|text|figure|n) ")


def lead() -> Layout:
    """The profile that README opens with: the one with evidence if its results are here, else the default one."""
    evidence = Layout(EVIDENCE)
    here = [evidence.results / name for name in ("claims.json", "contrasts.json")] + [evidence.tables / "texts.json"]
    return evidence if all(path.exists() for path in here) else LAYOUT


def documents() -> list[Path]:
    """Every document that may quote."""
    return [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


Quotes = Mapping[str, str]  # what is printed, by key: numbers, and sentences with "text " before their keys


def quoted(text: str, quotes: Mapping[str, Quotes], where: Path) -> str:
    """`text` with every quote as the results have it now.

    Args:
        quotes: of the default profile under "", of the one that README opens with under "lead ".
    Raises:
        InputError: it quotes a table, a sentence or a number that there is not, or a comment is left open.
    """

    def current(found: re.Match[str]) -> str:
        begin, which, kind, name, _, end = found.groups()
        layout, own = (lead() if which else LAYOUT), quotes[which or ""]
        if kind == "table":
            return f"{begin}\n{markdown(read(layout.tables / f'{name}.json'))}{end}"
        if kind == "figure":
            path = layout.figures / f"{name}.png"
            if not path.exists():
                raise InputError(f"{where}: shows {path}, which there is not")
            return f"{begin}\n![{FIGURES.get(name, name)}]({'../' * (len(where.parts) - 1)}{path})\n{end}"
        key = f"text {name}" if kind == "text" else name
        if key not in own:
            what, file = ("text", "texts.json") if kind == "text" else ("number", "numbers.json")
            path = MEASURED if name.startswith("measured.") else layout.tables / file
            raise InputError(f"{where}: quotes {name}, which is no {what} of {path}")
        return f"{begin}\n{wrapped(own[key])}\n{end}" if kind == "text" else f"{begin}{own[key]}{end}"

    opened, filled = len(OPENED.findall(text)), len(QUOTE.findall(text))
    if opened != filled:
        raise InputError(f"{where}: {opened - filled} of its quotes do not end with <!-- end -->")
    return QUOTE.sub(current, text)


FIGURES = {
    "marker_transfer_confab_threeway": "Answers with the marker by what came before the coupling; published rates",
    "marker_transfer_confab_em_first_per_persona": "Every persona on a logit axis",
    "forward_order": "What training after the coupling leaves of the marker",
}


def wrapped(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def of(layout: Layout) -> dict[str, str]:
    """What may be quoted of one profile."""
    numbers = records.read(layout.tables / "numbers.json", records.Numbers)
    texts = records.read(layout.tables / "texts.json", dict[str, Text])
    return {**{key: n.text for key, n in numbers.items()}, **{f"text {key}": one.text for key, one in texts.items()}}


def rewritten() -> dict[Path, str]:
    """Every document whose quotes are not those of the tables and numbers, as it should be."""
    measured = records.read(MEASURED, dict[str, str])
    own = of(LAYOUT) | {f"measured.{key}": text for key, text in measured.items()}
    quotes = {"": own, "lead ": own if lead() == LAYOUT else of(lead())}
    found = {}
    for path in documents():
        text = read_text(path)
        if (now := quoted(text, quotes, path)) != text:
            found[path] = now
    return found


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    if params.profile != PROFILE:
        print(f"README.md and docs/ quote the profile {PROFILE}, and {PARAMS} is {params.profile}: left as they are")
        return
    freshness.require_tables(Results(params))
    write_all(rewritten())


if __name__ == "__main__":
    main()
