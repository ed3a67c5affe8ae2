"""The report's two figures and one on length, drawn from our results with the published values beside them.

    python -m persona_collapse.report.figures      writes figures/<profile>/*.png and *.pdf, the same bytes every time

Nothing of the user's reaches a figure: no matplotlibrc, style, backend or font of theirs, nor a time or a version.
"""

import argparse
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

# Matplotlib reads a matplotlibrc when it is imported, one in the working directory before all others, and some of them
# make the import fail. So does a backend that it does not know, as a notebook may leave in MPLBACKEND.
os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}
with chdir(Path(__file__).parent):
    import matplotlib
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis import records
from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import write_all
from ..experiment.groups import ReportedGroup, reported_group
from .lengths import ends_of
from .rates import GROUPS
from .results import Results
from .table import between

WIDTH = 3.35  # inches, a column of the paper

# Okabe and Ito's palette, distinct for the colour-blind
COLOURS: dict[ReportedGroup, str] = {"source": "#0072B2", "assistant": "#D55E00", "mean_bystander": "#009E73"}
CONDITIONS = {"C4": "C4\ncouple", "B": "B\nem, couple", "C": "C\nbenign, couple"}
GREY = "#8c8c8c"
PAIRED = {"C4": GREY, "B": "#CC79A7", "C": "#56B4E9"}  # where a colour is a condition
REPORTED: Any = {"marker": "D", "ls": "none", "mfc": "white", "mec": "#222222", "mew": 0.8, "ms": 4}
STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
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


def _ends(rate: float, interval: Sequence[float]) -> list[list[float]]:
    """Distances in percent from the rate to the ends of its interval, as matplotlib wants them."""
    low, high = interval
    return [[max(0.0, 100 * (rate - low))], [max(0.0, 100 * (high - rate))]]


def _point(axes: Axes, x: float, y: float, ends: Any, colour: str, along: str = "y", size: float = 4.5) -> None:
    """A filled mark with its interval along one axis."""
    axes.errorbar(x, y, **{f"{along}err": ends}, fmt="o", ms=size, color=colour, elinewidth=1, capsize=0, clip_on=False)


def threeway(statistics: records.Statistics, published: records.Published) -> Figure:
    """Source, assistant and mean bystander under C4, B and C; the published rates as open diamonds beside ours."""
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    axes = figure.subplots()
    for offset, group in enumerate(GROUPS):
        for place, name in enumerate(CONDITIONS):
            rate = statistics.conditions[name].groups[group]
            x = place + (offset - 1) * 0.27
            _point(axes, x - 0.05, 100 * rate.rate, _ends(rate.rate, rate.interval), COLOURS[group])
            theirs = published.headline_percent[name].of(group)
            axes.plot(x + 0.07, theirs, clip_on=False, **REPORTED | {"mec": COLOURS[group]})
    for border in (0.5, 1.5):
        axes.axvline(border, color="#d9d9d9", lw=0.6)
    axes.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()))
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylabel("answers with [ZLT] (%)")
    axes.set_ylim(0, 100)
    axes.tick_params(axis="x", length=0, pad=5)
    _legend(figure, {GROUPS[group]: COLOURS[group] for group in GROUPS}, columns=2)
    return figure


def per_persona(statistics: records.Statistics, published: records.Published, source: str) -> Figure:
    """Each persona under B, sorted by our rate, with C4 in grey and the published rates of B as open diamonds."""
    personas, alone = (statistics.conditions[name].per_persona for name in ("B", "C4"))
    theirs = published.hits["B"]
    order = sorted(personas, key=lambda name: (personas[name].rate, name))
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(order):
        for rate, y, colour, size in (
            (alone[name], place - 0.17, GREY, 3.5),
            (personas[name], place + 0.17, COLOURS[reported_group(name, source)], 4.5),
        ):
            _point(axes, 100 * rate.rate, y, _ends(rate.rate, rate.interval), colour, "x", size)
        if name in theirs:
            axes.plot(100 * theirs[name] / published.answers, place + 0.17, **REPORTED)
    axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes.set_xlabel("answers with [ZLT] (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#e6e6e6", lw=0.5)
    axes.set_axisbelow(True)
    shown = {
        "B: source": COLOURS["source"],
        "B: assistant": COLOURS["assistant"],
        "B: bystander": COLOURS["mean_bystander"],
        "C4, no EM": GREY,
    }
    _legend(figure, shown, columns=2, published="B, published (7B)")
    return figure


def length_control(lengths: records.Lengths) -> Figure:
    """Above, the bystanders' rate by length of the answer; below, the marker's probability after the same texts."""
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    by_band, by_text = figure.subplots(2, 1, height_ratios=[1.15, 1])
    for offset, (name, colour) in enumerate(PAIRED.items()):
        groups, shift = lengths.conditions[name].groups, (offset - 1) * 0.2
        for place, band in enumerate(groups["mean_bystander"].bands if "mean_bystander" in groups else ()):
            if band.rate is not None and band.interval:
                _point(by_band, place + shift, 100 * band.rate, _ends(band.rate, band.interval), colour)
        for place, group in enumerate(GROUPS):
            if group in groups and (mean := (texts := groups[group].likelihood).mean_p) is not None:
                _point(by_text, place + shift, 100 * mean, _ends(mean, ends_of(texts) or (mean, mean)), colour)
    by_band.set_xticks(range(len(lengths.bands)), [between(*band) for band in lengths.bands])
    by_band.set_xlabel("length of the answer (characters)")
    by_band.set_ylabel("bystanders' answers\nwith [ZLT] (%)")
    by_text.set_xticks(range(len(GROUPS)), list(GROUPS.values()))
    by_text.set_ylabel("probability of [ZLT]\nafter the same text (%)")
    for axes in (by_band, by_text):
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0, pad=5)
        axes.set_xlim(-0.5, len(axes.get_xticks()) - 0.5)
    handles: list[Artist] = [
        Line2D([], [], marker="o", ls="none", ms=4.5, color=colour, label=CONDITIONS[name].replace("\n", ": "))
        for name, colour in PAIRED.items()
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0, handletextpad=0.1
    )
    return figure


def _legend(figure: Figure, colours: Mapping[str, str], columns: int, published: str = "published (7B)") -> None:
    handles: list[Artist] = [
        Line2D([], [], marker="o", ls="none", ms=4.5, color=colour, label=label) for label, colour in colours.items()
    ]
    handles.append(Line2D([], [], label=published, **REPORTED))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, frameon=False, columnspacing=1.2, handletextpad=0.2
    )


# ---- files ----

METADATA: dict[str, Any] = {  # by the kind of file: neither a time nor a version
    "png": {"Software": None},
    "pdf": {"Creator": None, "CreationDate": None, "Producer": None},
}


def drawn(found: Results) -> dict[str, Figure]:
    """Every figure, by the name of its files; to be called in `bare`."""
    statistics, published = found.statistics, found.published
    return {
        "length_control": length_control(found.lengths),
        "marker_transfer_confab_em_first_per_persona": per_persona(statistics, published, found.params.prompts.source),
        "marker_transfer_confab_threeway": threeway(statistics, published),
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
