"""What the figures are drawn with: marks, axes and legends, alike in all of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis import records
from . import palette

COLUMN, PAGE = 3.35, 6.85  # inches, of the paper: one column, both
BEFORE = ("C4", "C", "G", "B")  # what was done before the coupling
AFTER = ("C4", "C5", "G1", "C1")  # what was done after it
SHORT = {"": "nothing else", "em": "bad advice", "good": "good advice", "benign": "general chat", "base": "untrained"}
BRIEF = {"": "alone", "em": "bad", "good": "good", "benign": "chat", "base": ""}
THEIRS: Any = {"marker": "D", "ls": "none", "mfc": "white", "mew": 0.9, "ms": 3.8, "clip_on": False, "zorder": 4}
TICKS = (1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)
LINE, FAINT = "#b3b3b3", "#e4e4e4"


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def there(names: Sequence[str], conditions: Mapping[str, object]) -> list[str]:
    return [name for name in names if name in conditions]


def mark(
    axes: Axes,
    place: float,
    found: records.OverUnits,
    ends: Sequence[float] | None,
    colour: str,
    scale: float = 1.0,
    sideways: bool = False,
    open_mark: bool = False,
) -> None:
    """A mean with its interval, and each seed's own value as a small dot where there are several."""

    def at(values: Sequence[float], shift: float = 0.0) -> tuple[list[float], list[float]]:
        places = [place + shift] * len(values)
        return ([*values], places) if sideways else (places, [*values])

    if ends:
        axes.plot(*at([scale * end for end in ends]), color=colour, lw=1.1, solid_capstyle="butt", zorder=2)
    if len(found.by_unit) > 1:
        dots = [scale * value for value in found.by_unit.values()]
        axes.plot(*at(dots, 0.0 if sideways else 0.16), "o", ms=2, mew=0, color=colour, alpha=0.55, clip_on=False)
    face = "white" if open_mark else colour
    axes.plot(*at([scale * found.mean]), "o", ms=4.6, mfc=face, mec=colour, mew=1, clip_on=False, zorder=3)


def named_below(axes: Axes, conditions: Sequence[str], chains: Mapping[str, str]) -> None:
    """One place a condition along x, with its name and what it was tuned on."""
    labels = [f"{name}\n{BRIEF.get(palette.tuned_on(chains[name]), '')}" for name in conditions]
    axes.set_xticks(range(len(conditions)), labels)
    axes.set_xlim(-0.55, len(conditions) - 0.45)
    axes.tick_params(axis="x", length=0)
    for tick, name in zip(axes.get_xticklabels(), conditions, strict=True):
        tick.set_color(palette.colour(chains[name]))


def logit_axis(axes: Axes, low: float, high: float, along: str = "x") -> None:
    """An axis in log-odds that is labelled in percent."""
    ticks = [share for share in TICKS if low <= logit(share) <= high]
    places, labels = [logit(share) for share in ticks], [f"{100 * share:g}" for share in ticks]
    if along == "x":
        axes.set_xticks(places, labels)
        axes.set_xlim(low, high)
        axes.grid(axis="x", color=FAINT, lw=0.5)
    else:
        axes.set_yticks(places, labels)
        axes.set_ylim(low, high)
        axes.grid(axis="y", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)


# ---- legends ----


def label(name: str, statistics: records.Statistics) -> str:
    kind = palette.tuned_on(statistics.conditions[name].chain)
    return f"{name}: {SHORT.get(kind, kind)}"


OURS = "#222222"  # in a legend, of marks that have many colours


def legend(figure: Figure, colours: Mapping[str, str], published: str, others: Sequence[Artist] = ()) -> None:
    """A legend of colours, of the published values' mark if they have a name, and of whatever else."""
    handles: list[Artist] = [
        Line2D([], [], marker="o", ls="none", ms=4.6, color=colour, label=text) for text, colour in colours.items()
    ]
    if published:
        handles.append(Line2D([], [], mec=OURS, label=published, **THEIRS))
    below(figure, [*handles, *others])


def marks_told(statistics: records.Statistics) -> list[Artist]:
    """What `mark` draws, for a legend."""
    several = len(statistics.seeds) > 1
    text = f"{'mean' if several else 'rate'}, with its {100 * statistics.level:g}% interval"
    told: list[Artist] = [Line2D([], [], marker="o", ls="none", ms=4.6, color=OURS, label=text)]
    return told + [Line2D([], [], marker="o", ls="none", ms=2, color=OURS, label="one seed")] * several


def below(figure: Figure, handles: list[Artist]) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        columnspacing=1.3,
        handletextpad=0.3,
    )
