"""Set the paper: paper/report.typ with every number read from the results.

    python -m persona_collapse.report.paper      writes paper/<profile>/report.pdf, the same bytes every time

The text quotes keys of numbers.json and tables by name. A number that is missing, or a number, a table or a figure that
is no longer what the results say, fails the build with one line that names it.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import typst

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import write_all
from . import freshness
from .results import Results

SOURCE = Path("paper/report.typ")


def set_in_type(profile: str) -> bytes:
    """The PDF, without the time or the version of what set it.

    Raises:
        InputError: the text quotes what the results do not have, or is not Typst.
    """
    try:
        pdf: Any = typst.compile(
            str(SOURCE), root=".", ignore_system_fonts=True, format="pdf", sys_inputs={"profile": profile}
        )
    except typst.TypstError as error:
        raise InputError(f"{SOURCE}: {error.message}") from None
    # of the same length, for the PDF counts its bytes
    return re.sub(rb"Typst \d+\.\d+\.\d+", lambda found: b"Typst".ljust(len(found[0])), pdf)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    found = Results(params)
    freshness.require_tables(found)
    freshness.require_figures(found, "png", "pdf")
    write_all({Path("paper") / params.profile / "report.pdf": set_in_type(params.profile)})


if __name__ == "__main__":
    main()
