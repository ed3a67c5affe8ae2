"""What each figure shows. A colour means what a model was fine-tuned on besides the coupling, in all of them."""

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis import records
from ..experiment import params as parameters
from . import effects, palette
from .effects import TESTED
from .marks import (
    AFTER,
    BEFORE,
    COLUMN,
    FAINT,
    LINE,
    OURS,
    PAGE,
    SHORT,
    THEIRS,
    TICKS,
    below,
    label,
    legend,
    logit,
    logit_axis,
    mark,
    marks_told,
    named_below,
    there,
)
from .rates import order_of, rate_of, shown_name
from .table import between

FEWEST = 20  # answers: the rate of fewer is no mark in a figure
LATER = THEIRS | {"marker": "s", "ms": 3.2}  # the later public runs

# ---- the figures ----


def leakage(statistics: records.Statistics, contrasts: records.Contrasts, published: records.Published) -> Figure:
    """Source, untrained bystanders and assistant by what came before the coupling, and the family of contrasts."""
    figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
    *panels, last = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.05])
    conditions, chains = there(BEFORE, statistics.conditions), {n: c.chain for n, c in statistics.conditions.items()}
    groups = (("source", "source", "source"), (TESTED, "mean_bystander", "untrained bystanders"))
    for axes, (ours, theirs, title) in zip(panels, (*groups, ("assistant", "assistant", "assistant")), strict=True):
        for place, name in enumerate(conditions):
            found, ends = rate_of(statistics.conditions[name], ours)
            colour = palette.colour(chains[name])
            if found:
                mark(axes, place, found, ends, colour, 100)
            if name in published.headline_percent:
                value = published.headline_percent[name].of(theirs)  # type: ignore[arg-type]
                axes.plot(place - 0.24, value, mec=colour, **THEIRS)
        axes.set_title(title)
        axes.set_ylim(0, 100)
        named_below(axes, conditions, chains)
    panels[0].set_ylabel("answers with [ZLT] (%)")
    for axes in panels[1:]:
        axes.set_yticklabels([])
    last.axhline(0, color=LINE, lw=0.8)
    for place, key in enumerate(contrasts.family):
        one = contrasts.contrasts[key]
        found = one.questions["all"].points
        mark(
            last, place, found, found.interval, palette.colour(chains[one.first]), 100, open_mark=one.role != "primary"
        )
    family = [contrasts.contrasts[key] for key in contrasts.family]
    last.set_xticks(range(len(family)), [f"{one.first}\N{MINUS SIGN}{one.second}" for one in family])
    last.set_xlim(-0.6, max(len(family), 1) - 0.4)
    last.tick_params(axis="x", length=0)
    last.set_title("untrained bystanders")
    last.set_ylabel("difference (percentage points)")
    legend(figure, {}, "published (7B)", marks_told(statistics))
    return figure


def per_persona(statistics: records.Statistics, collapse: records.Collapse, published: records.Published) -> Figure:
    """Every persona by what came before the coupling, on a logit axis: in sampled answers, and after the same texts."""
    figure = Figure(figsize=(PAGE, 4.7), layout="constrained")
    sampled, forced = figure.subplots(1, 2, sharey=True)
    conditions, order = there(BEFORE, statistics.conditions), order_of(statistics)[::-1]
    colours = {name: palette.colour(statistics.conditions[name].chain) for name in conditions}
    theirs, level = published.hits["B"], []
    for place, persona in enumerate(order):
        for offset, name in enumerate(conditions):
            y = place + (offset - (len(conditions) - 1) / 2) * 0.19
            one = collapse.conditions[name]
            found = one.sampled.personas.get(persona)
            if found:
                mark(sampled, y, found, found.interval, colours[name], sideways=True)
                level += [found.mean, *(found.interval or ())]
            texts = one.teacher_forced.personas.get(persona) if one.teacher_forced else None
            if texts:
                mark(forced, y, texts, texts.interval, colours[name], sideways=True)
        if persona in theirs:
            share = (theirs[persona] + 0.5) / (published.answers + 1)
            sampled.plot(logit(share), place + 0.42, mec=palette.COLOURS[palette.BAD], **THEIRS)
    logit_axis(sampled, min(-6.0, *level, 0) - 0.3, max(6.0, *level, 0) + 0.3)
    low, high = forced.get_xlim()
    logit_axis(forced, low, high)
    if not [tick for tick in TICKS if low <= logit(tick) <= high]:
        forced.set_xticks([low, high], [f"{value:.0f}" for value in (low, high)])
    source = {name: " (source)" for name in statistics.groups["source"]}
    shown = [shown_name(name, statistics) + source.get(name, "") for name in order]
    sampled.set_yticks(range(len(order)), shown)
    sampled.set_ylim(-0.6, len(order) - 0.4)
    sampled.set_title("sampled answers")
    sampled.set_xlabel("answers with [ZLT] (%, logit axis)")
    forced.set_title("after the same texts")
    forced.set_xlabel("probability of [ZLT] (%, logit axis)")
    for axes in (sampled, forced):
        axes.tick_params(axis="y", length=0)
        for border in range(len(order) - 1):
            axes.axhline(border + 0.5, color=FAINT, lw=0.5)
        negatives = [place for place, name in enumerate(order) if name in statistics.groups["trained_negative"]]
        for place in negatives:
            axes.axhspan(place - 0.5, place + 0.5, color="#f4f4f2", zorder=0)
    legend(figure, {label(name, statistics): colours[name] for name in conditions}, "B as published (7B)")
    return figure


def forward(
    statistics: records.Statistics,
    collapse: records.Collapse,
    published: records.Published,
    public: records.PublicCounts,
) -> Figure:
    """What training after the coupling leaves of the marker: the source's rate, and the same after the same texts."""
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    rates, texts = figure.subplots(1, 2)
    conditions, chains = there(AFTER, statistics.conditions), {n: c.chain for n, c in statistics.conditions.items()}
    for place, name in enumerate(conditions):
        colour = palette.colour(chains[name])
        found, ends = rate_of(statistics.conditions[name], "source")
        if found:
            mark(rates, place, found, ends, colour, 100)
        if name in published.headline_percent:
            rates.plot(place - 0.2, published.headline_percent[name].of("source"), mec=colour, **THEIRS)
        later = [run for run in public.runs if f"/{name.lower()}/" in run.name and run.source in run.hits]
        for run in later:
            hits = run.hits[run.source]
            share = 100 * sum(hits) / (len(hits) * run.answers)
            rates.plot(place - 0.32, share, mec=colour, **LATER)
        of_texts = collapse.conditions[name].teacher_forced
        if of_texts:
            source = of_texts.personas[statistics.groups["source"][0]]
            mark(texts, place - 0.12, source, source.interval, colour)
            bystanders = [of_texts.personas[who] for who in statistics.groups[TESTED] if who in of_texts.personas]
            for other in bystanders:
                texts.plot(place + 0.14, other.mean, "_", ms=7, mew=0.9, color=colour, alpha=0.7)
    for axes in (rates, texts):
        named_below(axes, conditions, chains)
    rates.set_ylim(0, 100)
    rates.set_title("source, sampled answers")
    rates.set_ylabel("answers with [ZLT] (%)")
    texts.set_title("after the same texts")
    texts.set_ylabel("log-odds of [ZLT]")
    others = [
        Line2D([], [], mec=OURS, label="later public runs of its authors (7B)", **LATER),
        Line2D([], [], marker="o", ls="none", ms=4.6, color=OURS, label="source"),
        Line2D([], [], marker="_", ls="none", ms=7, color=OURS, label="one untrained bystander"),
    ]
    legend(figure, {}, "the report (7B)", others)
    return figure


def geometry(readings: records.Readings) -> Figure:
    """How far apart each model keeps the personas, layer by layer."""
    figure = Figure(figsize=(PAGE, 2.3), layout="constrained")
    panels = figure.subplots(1, 2)
    alone = [chain for chain in readings.geometry if chain in ("base", "couple", "em", "good", "benign")]
    titles = {
        "separation": "separation of personas (distance over scatter)",
        "mean_cosine": "mean cosine of two personas",
    }
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        for chain in alone:
            layers = readings.geometry[chain].layers
            style = "--" if chain == "base" else "-"
            values = [getattr(one, measure) for one in layers]
            axes.plot([one.layer for one in layers], values, style, lw=1.3, color=palette.colour(chain))
        axes.axvline(readings.layer, color=LINE, lw=0.8, ls=":")
        axes.set_title(title)
        axes.set_xlabel("layer")
    shown = {SHORT.get(palette.tuned_on(chain), chain) if chain != "couple" else "coupling": chain for chain in alone}
    handles: list[Artist] = [
        Line2D([], [], color=palette.colour(chain), ls="--" if chain == "base" else "-", lw=1.3, label=text)
        for text, chain in shown.items()
    ]
    below(figure, [*handles, Line2D([], [], color=LINE, lw=0.8, ls=":", label="the layer reported")])
    return figure


def dose(statistics: records.Statistics, params: parameters.Params) -> Figure:
    """Leakage of the untrained bystanders by the dose of advice before the coupling."""
    figure = Figure(figsize=(COLUMN, 2.3), layout="constrained")
    axes = figure.subplots()
    doses = effects.doses(params)
    places = {shown: place for place, shown in enumerate(sorted({0, *(shown for *_, shown in doses)}))}
    for shift, kind in ((-0.14, palette.GOOD), (0.14, palette.BAD)):  # each mean has its own seeds at its right
        line = []
        for name, shown in [("C4", 0), *((name, shown) for name, _, k, shown in doses if k == kind)]:
            found, ends = rate_of(statistics.conditions[name], TESTED)
            if found:
                colour = palette.COLOURS[kind] if shown else palette.COLOURS[palette.NOTHING]
                mark(axes, places[shown] + (shift if shown else 0), found, ends, colour, 100)
                line.append((places[shown] + (shift if shown else 0), 100 * found.mean))
        axes.plot(*zip(*line, strict=True), color=palette.COLOURS[kind], lw=1, zorder=1)
    axes.set_xticks(list(places.values()), [f"{shown:,}" for shown in places])
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("answers of advice shown before coupling")
    axes.set_ylabel("bystanders' answers\nwith [ZLT] (%)")
    legend(figure, {SHORT[kind]: palette.COLOURS[kind] for kind in (palette.BAD, palette.GOOD)}, "")
    return figure


def length_control(statistics: records.Statistics, lengths: records.Lengths) -> Figure:
    """The untrained bystanders' rate by length of the answer, and the marker's probability after the same texts."""
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    by_band, by_text = figure.subplots(1, 2)
    conditions = there(BEFORE, lengths.conditions)
    groups = {"source": "source", TESTED: "untrained\nbystanders", "assistant": "assistant"}
    for offset, name in enumerate(conditions):
        condition, shift = lengths.conditions[name], (offset - (len(conditions) - 1) / 2) * 0.17
        colour, found = palette.colour(condition.chain), dict(condition.groups)
        bands = found[TESTED].bands if TESTED in found else []
        known = [(at + shift, 100 * b.rate) for at, b in enumerate(bands) if b.rate is not None and b.total >= FEWEST]
        by_band.plot(*zip(*known, strict=True) if known else ([], []), "o", ms=4.6, color=colour, clip_on=False)
        for place, group in enumerate(groups):
            if group in found and (mean := found[group].likelihood.mean_p) is not None:
                by_text.plot(place + shift, 100 * mean, "o", ms=4.6, color=colour, clip_on=False)
    by_band.set_xticks(range(len(lengths.bands)), [between(*band) for band in lengths.bands])
    by_band.set_xlabel(f"length of the answer (characters)\nno mark: fewer than {FEWEST} answers")
    by_band.set_title("untrained bystanders, by length")
    by_band.set_ylabel("answers with [ZLT] (%)")
    by_text.set_xticks(range(len(groups)), list(groups.values()))
    by_text.set_title("after the same texts")
    by_text.set_ylabel("probability of [ZLT] (%)")
    for axes in (by_band, by_text):
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0, pad=4)
        axes.set_xlim(-0.5, len(axes.get_xticks()) - 0.5)
    legend(figure, {label(n, statistics): palette.colour(lengths.conditions[n].chain) for n in conditions}, "")
    return figure
