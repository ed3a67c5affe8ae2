"""The files of every figure, drawn from our results with the published values beside them.

    python -m persona_collapse.report.figures      writes figures/<profile>/*.png and *.pdf, the same bytes every time

Nothing of the user's reaches a figure: no matplotlibrc, style, backend or font of theirs, nor a time or a version.
"""

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

# Matplotlib reads a matplotlibrc when it is imported, one in the working directory before all others, and some of them
# make the import fail. So does a backend that it does not know, as a notebook may leave in MPLBACKEND.
os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}
with chdir(Path(__file__).parent):
    import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import write_all
from . import drawings
from .results import Results

STYLE: Any = {
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}


@contextmanager
def bare() -> Iterator[None]:
    """Matplotlib as it is when nobody has set anything, with the fonts that it brings, and `STYLE`."""
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    font_manager.fontManager.ttflist = []
    for path in sorted(fonts.glob("DejaVuSans*.ttf")):
        font_manager.fontManager.addfont(path)
    defaults: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with matplotlib.rc_context({**defaults, **STYLE}):
        yield


# ---- files ----

METADATA: dict[str, Any] = {  # by the kind of file: neither a time nor a version
    "png": {"Software": None},
    "pdf": {"Creator": None, "CreationDate": None, "Producer": None},
}


def drawn(found: Results) -> dict[str, Figure]:
    """Every figure, by the name of its files; to be called in `bare`."""
    statistics, published = found.statistics, found.published
    return {
        "dose": drawings.dose(statistics, found.params),
        "forward_order": drawings.forward(statistics, found.collapse, published, found.public),
        "length_control": drawings.length_control(statistics, found.lengths),
        "marker_transfer_confab_em_first_per_persona": drawings.per_persona(statistics, found.collapse, published),
        "marker_transfer_confab_threeway": drawings.leakage(statistics, found.contrasts, published),
        "persona_geometry": drawings.geometry(found.readings),
    }


def files(found: Results, kinds: Sequence[str] = ("png", "pdf")) -> dict[Path, bytes]:
    """The content of every figure's files, drawn now: equal results are equal bytes.

    Each saving lays a figure out again from where the last one left it: the bytes of a PDF are those after a PNG.
    """
    made = {}
    with bare():
        for name, figure in drawn(found).items():
            for kind in kinds:
                stream = io.BytesIO()
                figure.savefig(stream, format=kind, metadata=METADATA[kind])
                made[found.params.layout.figures / f"{name}.{kind}"] = stream.getvalue()
    return made


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    write_all(files(Results(parameters.load())))


if __name__ == "__main__":
    main()
