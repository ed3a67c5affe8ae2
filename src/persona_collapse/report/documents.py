"""Fill in what README.md and docs/ quote from the results, between comments that say what belongs there.

    python -m persona_collapse.report.documents      rewrites the quotes; `make tables` calls it

`<!-- table headline -->` up to `<!-- end -->` holds a table, `<!-- n KEY -->` up to `<!-- end -->` a number: one of
numbers.json or, where the key begins with `measured.`, one of the bench's record of what a newcomer waits for. The
documents are about the default profile; while params.yaml is another, they are left as they are.
"""

import argparse
import re
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

PROFILE = "smollm2"
LAYOUT = Layout(PROFILE)
MEASURED = LAYOUT.run_info / "measured.json"  # benchmarks/bench.py writes it
QUOTE = re.compile(r"(<!-- (table|n) (\S+) -->)(.*?)(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every document that may quote."""
    return [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


def quoted(text: str, numbers: Mapping[str, str], where: Path) -> str:
    """`text` with every quote as the results have it now.

    Args:
        numbers: as they are printed, by key.
    Raises:
        InputError: it quotes a table or a number that there is not, or a comment is left open.
    """

    def current(found: re.Match[str]) -> str:
        begin, kind, name, _, end = found.groups()
        if kind == "table":
            return f"{begin}\n{markdown(read(LAYOUT.tables / f'{name}.json'))}{end}"
        if name not in numbers:
            file = MEASURED if name.startswith("measured.") else LAYOUT.tables / "numbers.json"
            raise InputError(f"{where}: quotes {name}, which is no number of {file}")
        return f"{begin}{numbers[name]}{end}"

    opened, filled = len(re.findall(r"<!-- (?:table|n) ", text)), len(QUOTE.findall(text))
    if opened != filled:
        raise InputError(f"{where}: {opened - filled} of its quotes do not end with <!-- end -->")
    return QUOTE.sub(current, text)


def rewritten() -> dict[Path, str]:
    """Every document whose quotes are not those of the tables and numbers, as it should be."""
    numbers = records.read(LAYOUT.tables / "numbers.json", records.Numbers)
    measured = records.read(MEASURED, dict[str, str])
    texts = {key: number.text for key, number in numbers.items()}
    texts |= {f"measured.{key}": text for key, text in measured.items()}
    found = {}
    for path in documents():
        text = read_text(path)
        if (now := quoted(text, texts, path)) != text:
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
