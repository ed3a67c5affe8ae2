"""The tables of the length control: answers of like length, and the marker's probability after the same texts."""

from ..analysis import records
from .palette import in_order
from .rates import GROUPS
from .table import Table, between, left, over, percent, points, right


def rate(found: records.PossibleRate) -> str:
    return "-" if found.rate is None else percent(found.rate)


def lengths(content: records.Lengths) -> Table:
    """Lengths, rates of answers that ended and of like length, and the marker's probability after the same texts."""
    rows = []
    for name in in_order(content.conditions):
        for group in [group for group in GROUPS if group in content.conditions[name].groups]:
            of_group = dict(content.conditions[name].groups)[group]
            shape, texts = of_group.completions, of_group.likelihood
            low, high = shape.characters.quartiles
            rows.append(
                [name, GROUPS[group], f"{shape.characters.median:.0f} [{low:.0f}, {high:.0f}]"]
                + [percent(shape.ended_share), rate(of_group.rate), rate(of_group.rate_of_ended)]
                + ["-" if b.rate is None else f"{percent(b.rate)} ({b.total})" for b in of_group.bands]
                + ["-" if texts.mean_p is None else percent(texts.mean_p)]
            )
    bands = [f"{between(*band)} char." for band in content.bands]
    heads = left("condition", "personas") + right("length [quartiles]", "ended (%)", "rate", "rate of ended")
    return Table(
        name="lengths",
        caption="Rates by length, and after the same texts",
        columns=heads + right(*bands, "P(marker)"),
        rows=rows,
        notes=[
            "All seeds' answers together; they describe, so no interval stands by them. Length: characters without the "
            "marker, median and quartiles. Rates in percent, by band of length with the number of answers. P(marker): "
            "mean probability, in percent, of the marker after the base model's answers."
        ],
    )


def length_contrasts(content: records.Lengths) -> Table:
    """The differences between conditions: raw, for answers of like length, and of the marker's probability."""
    rows = []
    for one, found in content.contrasts.items():
        pair, _, group = one.partition(", ")
        first, second = pair.split(" - ")
        like = [over(found.standardised.over_seeds, points), percent(found.standardised.covered)]
        of_group = GROUPS[group]  # type: ignore[index]
        raw = over(found.raw.over_seeds, points)
        rows.append([f"{first} {chr(0x2212)} {second}", of_group, raw, *like, over(found.likelihood, points)])
    heads = ("raw", "at like length", "covered (%)", "P(marker)")
    return Table(
        name="length_contrasts",
        caption="Differences with length held fixed",
        columns=[*left("contrast", "personas"), *right(*heads)],
        rows=rows,
        notes=[
            "In points, mean over seeds with a t interval where there are two or more. At like length: each band's "
            "difference weighted by the answers of both in it; covered: their share of all answers."
        ],
    )
