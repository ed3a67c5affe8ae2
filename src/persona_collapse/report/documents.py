"""Fill in what README.md and docs/ quote from the results, between comments that say what belongs there.

    python -m persona_collapse.report.documents      rewrites the quotes; `make tables` calls it

`<!-- table headline -->` up to `<!-- end -->` holds a table, `<!-- n KEY -->` up to `<!-- end -->` a number: one of
numbers.json or, where the key begins with `measured.`, one of the bench's record of what a newcomer waits for. The
documents are about the default profile, whichever is in use.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, write_text
from ..experiment.layout import Layout
from .table import markdown, read

DOCUMENTS = (Path("README.md"), *(Path("docs") / f"{name}.md" for name in ("artifact", "fidelity", "reproducibility")))
LAYOUT = Layout("smollm2")
MEASURED = LAYOUT.run_info / "measured.json"  # benchmarks/bench.py writes it
QUOTE = re.compile(r"(<!-- (table|n) (\S+) -->)(.*?)(<!-- end -->)", re.DOTALL)


def quoted(text: str, numbers: Mapping[str, Any], measured: Mapping[str, str], where: Path) -> str:
    """`text` with every quote as the results have it now.

    Raises:
        InputError: it quotes a table or a number that there is not, or a comment is left open.
    """

    def current(found: re.Match[str]) -> str:
        begin, kind, name, _, end = found.groups()
        if kind == "table":
            return f"{begin}\n{markdown(read(LAYOUT.tables / f'{name}.json'))}{end}"
        source = measured if name.startswith("measured.") else {key: entry["text"] for key, entry in numbers.items()}
        if name.removeprefix("measured.") not in source:
            raise InputError(f"{where}: quotes {name}, which is no number of {LAYOUT.tables / 'numbers.json'}")
        return f"{begin}{source[name.removeprefix('measured.')]}{end}"

    opened, filled = len(re.findall(r"<!-- (?:table|n) ", text)), len(QUOTE.findall(text))
    if opened != filled:
        raise InputError(f"{where}: {opened - filled} of its quotes do not end with <!-- end -->")
    return QUOTE.sub(current, text)


def rewritten() -> dict[Path, str]:
    """Every document as it should be."""
    numbers = read_json(LAYOUT.tables / "numbers.json")
    measured = read_json(MEASURED)
    return {path: quoted(path.read_text(encoding="utf-8"), numbers, measured, path) for path in DOCUMENTS}


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for path, text in rewritten().items():
        if text != path.read_text(encoding="utf-8"):
            write_text(path, text)


if __name__ == "__main__":
    main()
