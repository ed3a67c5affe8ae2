"""The tables of differences between conditions: contrasts, the collapse index, and the dose."""

from ..analysis import records
from ..experiment import chains
from ..experiment import params as parameters
from ..experiment.groups import Group
from . import palette
from .rates import GROUPS, measured
from .table import Table, decimals, left, over, p_value, points, right, signed

ROLES: dict[records.Role, str] = {"primary": "primary", "secondary": "secondary", "descriptive": "descriptive"}
TESTED: Group = "untrained_bystander"


def contrasts(content: records.Contrasts) -> Table:
    """Each comparison on the untrained bystanders: in points with every test, and in log-odds."""
    some = sorted(
        (one for one in content.contrasts.values() if one.group == TESTED), key=lambda one: list(ROLES).index(one.role)
    )
    rows = []
    for one in some:
        found = one.questions["all"].points
        rows.append(
            [
                f"{one.first} {chr(8722)} {one.second}",
                ROLES[one.role],
                over(found, points),
                p_value(found.p),
                p_value(one.p_holm),
                p_value(found.sign_flip),
                "-" if found.detectable is None else f"{100 * found.detectable:.1f}",
                over(one.questions["all"].log_odds, signed),
                over(one.teacher_forced, signed),
            ]
        )
    heads = ("points", "p", "p, Holm", "sign-flip p", "seen from", "log-odds", "log-odds, same texts")
    if len(content.seeds) == 1:
        lines = ["One seed: differences without an interval or a test, for nothing is known of another seed's."]
    else:
        smallest = next((f.smallest_sign_flip for f in (one.questions["all"].points for one in some)), None)
        lines = [
            f"Means over seeds with {100 * content.level:g}% t intervals. p: t-test, its Holm adjustment for the "
            f"primary and the two secondary contrasts alone; sign-flip p: exact, {p_value(smallest)} at the least with "
            f"{len(content.seeds)} seeds. Seen from: the difference in points that would be seen with 80% power."
        ]
    lines.append("Log-odds: of counts, with 1/2 added; same texts: of the marker after the base model's answers.")
    return Table(
        name="contrasts",
        caption="Differences in the leakage of untrained bystanders",
        columns=[*left("contrast"), *left("role", minor=True), *right(*heads[:3]), *right(*heads[3:], minor=True)],
        rows=rows,
        notes=lines,
    )


def contrasts_by_group(content: records.Contrasts) -> Table:
    """Every comparison for every group and for trained and held-out questions apart. All describe."""
    rows = []
    for one in content.contrasts.values():
        asked = [
            over(one.questions[which].points, points) if which in one.questions else "-"
            for which in ("all", "train", "heldout")
        ]
        odds = [over(one.questions["all"].log_odds, signed), over(one.teacher_forced, signed)]
        agree = "yes" if one.signs.agree else "no"
        rows.append([f"{one.first} {chr(0x2212)} {one.second}", GROUPS[one.group], *asked, *odds, agree])
    heads = ("all questions", "trained questions", "held-out questions", "log-odds", "log-odds, same texts")
    return Table(
        name="contrasts_by_group",
        caption="Differences by group of personas and by questions",
        columns=[*left("contrast", "personas"), *right(*heads), *left("scales agree")],
        rows=rows,
        notes=["In points, then in log-odds. Scales agree: no two of the last three go opposite ways."],
    )


def collapse(content: records.Collapse) -> Table:
    """How far each condition keeps the marker to the source."""
    rows = []
    for name in palette.in_order(content.conditions):
        one = content.conditions[name]
        sampled, forced = one.sampled.over_seeds, one.teacher_forced.over_seeds if one.teacher_forced else None
        rows.append(
            [
                name,
                over(one.gap_points, points),
                over(sampled.gap, signed),
                over(sampled.spread, decimals),
                over(forced.gap if forced else None, signed),
                over(forced.spread if forced else None, decimals),
            ]
        )
    heads = ("gap, points", "gap, log-odds", "spread", "gap, same texts", "spread, same texts")
    return Table(
        name="collapse",
        caption="Collapse index",
        columns=[*left("condition"), *right(*heads)],
        rows=rows,
        notes=[
            "Gap: the source minus the mean of the untrained bystanders. Spread: standard deviation of all personas' "
            "log-odds. A collapse is a small gap and a small spread. Same texts: of the marker after the base model's "
            "answers."
        ],
    )


def doses(params: parameters.Params) -> list[tuple[str, str, str, int]]:
    """The conditions that end with coupling after one phase of legal advice.

    Returns:
        The condition, its chain, what it was tuned on, and the answers it was shown: rows times epochs.
    """
    found = []
    for name, chain in params.conditions.items():
        kind = palette.tuned_on(chain)
        if chains.last_phase(chain) == chains.COUPLE and kind in (palette.BAD, palette.GOOD):
            sft = params.phases.sft[chains.phases_of(chain)[0]]
            found.append((name, chain, kind, sft.rows * sft.epochs))
    return sorted(found, key=lambda one: (one[3], one[2]))


def dose(statistics: records.Statistics, params: parameters.Params) -> Table:
    """Leakage by the dose of legal advice, bad and good."""
    none = ["0", "-", "C4", *(measured(statistics.conditions["C4"], group) for group in ("source", TESTED))]
    rows = [
        [f"{shown:,}", palette.WORDS[kind], name]
        + [measured(statistics.conditions[name], group) for group in ("source", TESTED)]
        for name, _, kind, shown in doses(params)
    ]
    return Table(
        name="dose",
        caption="Leakage by the dose of advice before coupling",
        columns=[*right("answers shown"), *left("advice", "condition"), *right("source", "untrained bystanders")],
        rows=[none, *rows],
        notes=["Answers shown: rows times epochs. Marker rates in percent, with intervals as in the headline."],
    )
