"""The report's two figures, drawn from our results with the published values beside them.

python -m persona_collapse.figures      writes figures/<profile>/*.png and *.pdf, the same bytes every time
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import params as parameters
from . import paths
from .files import one_line_errors, read_json, whole

WIDTH = 5.5  # inches

# Okabe and Ito's palette, distinct for the colour-blind
COLOURS = {"source": "#0072B2", "assistant": "#E69F00", "mean_bystander": "#009E73"}
LABELS = {"source": "source (confab)", "assistant": "assistant", "mean_bystander": "mean bystander"}
CONDITIONS = {"C4": "C4\ncouple", "B": "B\nem, then couple", "C": "C\nbenign, then couple"}
WHISKER: Any = {"fmt": "none", "ecolor": "#222222", "capsize": 2, "lw": 0.9}
DIAMOND: Any = {"marker": "D", "ls": "none", "mfc": "white", "mec": "#222222", "ms": 4.5, "zorder": 4}
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def _interval(rate: Mapping[str, Any]) -> list[list[float]]:
    """Distances in percent from the rate to the ends of its interval, as matplotlib wants them."""
    low, high = rate["interval"]
    return [[max(0.0, 100 * (rate["rate"] - low))], [max(0.0, 100 * (high - rate["rate"]))]]


def threeway(statistics: Mapping[str, Any], published: Mapping[str, Any]) -> Figure:
    """Grouped bars: source, assistant and mean bystander under C4, B and C; published rates as open diamonds."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    width = 0.26
    for offset, group in enumerate(LABELS):
        for place, name in enumerate(CONDITIONS):
            rate = statistics["conditions"][name]["groups"][group]
            x = place + (offset - 1) * width
            axes.bar(x, 100 * rate["rate"], width * 0.92, color=COLOURS[group])
            axes.errorbar(x, 100 * rate["rate"], yerr=_interval(rate), **WHISKER)
            key = "confab" if group == "source" else group
            axes.plot(x, published["headline_percent"][name][key], clip_on=False, **DIAMOND)
    axes.set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()))
    axes.set_ylabel("completions with [ZLT] (%)")
    axes.set_ylim(0, 105)
    axes.tick_params(axis="x", length=0, pad=6)
    _legend(figure, LABELS)
    return figure


def per_persona(statistics: Mapping[str, Any], published: Mapping[str, Any]) -> Figure:
    """One horizontal bar a persona under B, sorted by our rate; published rates as open diamonds."""
    personas = statistics["conditions"]["B"]["per_persona"]
    reported = published["B_hits_of_280"]
    order = sorted(personas, key=lambda name: (personas[name]["rate"], name))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    for place, name in enumerate(order):
        rate = personas[name]
        group = {"confab": "source", "assistant": "assistant"}.get(name, "mean_bystander")
        axes.barh(place, 100 * rate["rate"], 0.72, color=COLOURS[group])
        axes.errorbar(100 * rate["rate"], place, xerr=_interval(rate), **WHISKER)
        if name in reported:
            axes.plot(100 * reported[name] / 280, place, **DIAMOND)
    axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes.set_xlabel("completions with [ZLT] under B: em, then couple (%)")
    axes.set_xlim(0, 105)
    axes.tick_params(axis="y", length=0)
    _legend(figure, {**LABELS, "mean_bystander": "bystander"})
    return figure


def _legend(figure: Figure, labels: Mapping[str, str]) -> None:
    handles: list[Artist] = [Patch(color=COLOURS[group], label=label) for group, label in labels.items()]
    handles.append(Line2D([], [], label="published (7B)", **DIAMOND))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, columnspacing=1.4)


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
    statistics, published = read_json(layout.statistics), read_json(paths.PUBLISHED)
    with matplotlib.rc_context(STYLE):
        save(threeway(statistics, published), layout.figures / "marker_transfer_confab_threeway")
        save(per_persona(statistics, published), layout.figures / "marker_transfer_confab_em_first_per_persona")


if __name__ == "__main__":
    main()
