"""The report's two figures and one on length, drawn from our results with the published values beside them.

python -m persona_collapse.report.figures      writes figures/<profile>/*.png and *.pdf, the same bytes every time
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.published import answers as published_answers
from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.files import read_json, whole
from ..experiment.layout import PUBLISHED
from .table import between

WIDTH = 3.35  # inches, a column of the paper

# Okabe and Ito's palette, distinct for the colour-blind
COLOURS = {"source": "#0072B2", "assistant": "#D55E00", "mean_bystander": "#009E73"}
LABELS = {"source": "source", "assistant": "assistant", "mean_bystander": "mean bystander"}
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


def _ends(rate: Mapping[str, Any]) -> list[list[float]]:
    """Distances in percent from the rate to the ends of its interval, as matplotlib wants them."""
    low, high = rate["interval"]
    return [[max(0.0, 100 * (rate["rate"] - low))], [max(0.0, 100 * (high - rate["rate"]))]]


def _point(axes: Axes, x: float, y: float, ends: Any, colour: str, along: str = "y", size: float = 4.5) -> None:
    """A filled mark with its interval along one axis."""
    axes.errorbar(x, y, **{f"{along}err": ends}, fmt="o", ms=size, color=colour, elinewidth=1, capsize=0, clip_on=False)


def threeway(statistics: Mapping[str, Any], published: Mapping[str, Any]) -> Figure:
    """Source, assistant and mean bystander under C4, B and C; the published rates as open diamonds beside ours."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.5), layout="constrained")
    for offset, group in enumerate(LABELS):
        for place, name in enumerate(CONDITIONS):
            rate = statistics["conditions"][name]["groups"][group]
            x = place + (offset - 1) * 0.27
            _point(axes, x - 0.05, 100 * rate["rate"], _ends(rate), COLOURS[group])
            key = "confab" if group == "source" else group
            axes.plot(
                x + 0.07, published["headline_percent"][name][key], clip_on=False, **REPORTED | {"mec": COLOURS[group]}
            )
    for border in (0.5, 1.5):
        axes.axvline(border, color="#d9d9d9", lw=0.6)
    axes.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()))
    axes.set_xlim(-0.5, 2.5)
    axes.set_ylabel("answers with [ZLT] (%)")
    axes.set_ylim(0, 100)
    axes.tick_params(axis="x", length=0, pad=5)
    _legend(figure, {LABELS[group]: COLOURS[group] for group in LABELS}, columns=2)
    return figure


def per_persona(statistics: Mapping[str, Any], published: Mapping[str, Any]) -> Figure:
    """Each persona under B, sorted by our rate, with C4 in grey and the published rates of B as open diamonds."""
    personas, alone = (statistics["conditions"][name]["per_persona"] for name in ("B", "C4"))
    answers = published_answers(published)
    reported = published[f"B_hits_of_{answers}"]
    order = sorted(personas, key=lambda name: (personas[name]["rate"], name))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.3), layout="constrained")
    for place, name in enumerate(order):
        group = {"confab": "source", "assistant": "assistant"}.get(name, "mean_bystander")
        for rate, y, colour, size in (
            (alone[name], place - 0.17, GREY, 3.5),
            (personas[name], place + 0.17, COLOURS[group], 4.5),
        ):
            _point(axes, 100 * rate["rate"], y, _ends(rate), colour, "x", size)
        if name in reported:
            axes.plot(100 * reported[name] / answers, place + 0.17, **REPORTED)
    axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes.set_xlabel("answers with [ZLT] (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#e6e6e6", lw=0.5)
    axes.set_axisbelow(True)
    colours = {"B: source": "source", "B: assistant": "assistant", "B: bystander": "mean_bystander"}
    shown = {label: COLOURS[group] for label, group in colours.items()} | {"C4, no EM": GREY}
    _legend(figure, shown, columns=2, published="B, published (7B)")
    return figure


def length_control(lengths: Mapping[str, Any]) -> Figure:
    """Above, the bystanders' rate by length of the answer; below, the marker's probability after the same texts."""
    figure, (by_band, by_text) = plt.subplots(2, 1, figsize=(WIDTH, 3.9), layout="constrained", height_ratios=[1.15, 1])
    for offset, (name, colour) in enumerate(PAIRED.items()):
        bands = lengths["conditions"][name]["groups"]["mean_bystander"]["bands"]
        for place, band in enumerate(bands):
            if band["total"]:
                _point(by_band, place + (offset - 1) * 0.2, 100 * band["rate"], _ends(band), colour)
        for place, group in enumerate(LABELS):
            texts = lengths["conditions"][name]["groups"][group]["likelihood"]
            if not texts["texts"]:
                continue
            rate = {"rate": texts["mean_p"], "interval": texts["interval"] or [texts["mean_p"]] * 2}
            _point(by_text, place + (offset - 1) * 0.2, 100 * rate["rate"], _ends(rate), colour)
    by_band.set_xticks(range(len(lengths["bands"])), [between(*band) for band in lengths["bands"]])
    by_band.set_xlabel("length of the answer (characters)")
    by_band.set_ylabel("bystanders' answers\nwith [ZLT] (%)")
    by_text.set_xticks(range(len(LABELS)), list(LABELS.values()))
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


def save(figure: Figure, path: Path) -> None:
    """Write PNG and PDF without dates or versions, so that equal figures are equal bytes."""
    for ending, metadata in (
        ("png", {"Software": None}),
        ("pdf", {"Creator": None, "CreationDate": None, "Producer": None}),
    ):
        with whole(path.with_suffix(f".{ending}")) as beside:
            figure.savefig(beside, metadata=metadata)
    plt.close(figure)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    layout = parameters.load().layout
    statistics, published = read_json(layout.statistics), read_json(PUBLISHED)
    lengths = read_json(layout.results / "lengths.json")
    with matplotlib.rc_context(STYLE):
        save(threeway(statistics, published), layout.figures / "marker_transfer_confab_threeway")
        save(length_control(lengths), layout.figures / "length_control")
        save(per_persona(statistics, published), layout.figures / "marker_transfer_confab_em_first_per_persona")


if __name__ == "__main__":
    main()
