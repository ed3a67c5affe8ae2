"""The tables of the length control: answers of like length, and the marker's probability after the same texts."""

from ..analysis import records
from ..experiment.chains import CONTRASTS
from .rates import GROUPS, in_order, measured
from .table import Table, between, interval, left, p_value, percent, right


def ends_of(texts: records.TextLikelihood) -> records.Interval | None:
    """The interval of a mean probability; where resampling gives no width, the mean itself; None without texts."""
    return None if texts.mean_p is None else texts.interval or (texts.mean_p, texts.mean_p)


def lengths(content: records.Lengths) -> Table:
    """Lengths, rates of answers that ended and of like length, and the marker's probability after the same texts."""
    rows = []
    for name in in_order(content.conditions):
        for group, heading in GROUPS.items():
            if of_group := content.conditions[name].groups.get(group):
                shape, texts = of_group.completions, of_group.likelihood
                low, high = shape.characters.quartiles
                ends = ends_of(texts)
                rows.append(
                    [name, heading, f"{shape.characters.median:.0f} [{low:.0f}, {high:.0f}]"]
                    + [percent(shape.ended_share), measured(of_group.rate), measured(of_group.rate_of_ended)]
                    + ["-" if b.rate is None else f"{percent(b.rate)} ({b.total})" for b in of_group.bands]
                    + [f"{percent(texts.mean_p)} {interval(ends)}" if texts.mean_p is not None and ends else "-"]
                )
    bands = [f"{between(*band)} characters" for band in content.bands]
    heads = left("condition", "personas") + right("length [quartiles]", "ended (%)", "rate", "rate of ended")
    return Table(
        name="lengths",
        caption="Length control.",
        columns=heads + right(*bands, "P(marker)"),
        rows=rows,
        notes=[
            "Length: characters of an answer without the marker, median and quartiles. Rates in percent "
            f"[{100 * content.level:g}% interval]; by band of length with the number of answers. P(marker): mean "
            "probability, in percent, of the marker after texts that are the same for every condition (the base "
            "model's answers), with an interval of a bootstrap over questions."
        ],
    )


def length_contrasts(content: records.Lengths) -> Table:
    """The differences between conditions: raw, for answers of like length, and of the marker's probability."""

    def shown(found: records.RateDifference | records.TextDifference) -> str:
        if found.difference is None:
            return "-"
        ends = f" {interval(found.interval)}" if found.interval else ""
        return f"{100 * found.difference:+.1f}{ends}"

    rows = []
    for a, b in CONTRASTS:
        for group, heading in GROUPS.items():
            if found := content.contrasts.get(records.contrast(a, b, group)):
                standardised, texts = found.standardised, found.likelihood
                like = [shown(standardised), percent(standardised.covered)]
                p = "-" if texts.p_holm is None else p_value(texts.p_holm)
                rows.append([f"{a} - {b}", heading, shown(found.raw), *like, shown(texts), p])
    heads = ("raw", "at like length", "covered (%)", "P(marker)", "p, adjusted")
    return Table(
        name="length_contrasts",
        caption="Differences between conditions with length held fixed.",
        columns=[*left("contrast", "personas"), *right(*heads)],
        rows=rows,
        notes=[
            "Differences in points with intervals of a bootstrap over questions. At like length: each band's "
            "difference weighted by the answers of both conditions in it, over the bands in which both have answers; "
            "covered is their share of all answers. P(marker): after the same texts; sign-flip test of questions, "
            "adjusted by Holm's method for all rows."
        ],
    )
