"""The tables of marker rates, by condition and by persona, of what answers look like, and of the gates."""

from collections.abc import Callable
from typing import Literal

from ..analysis import records
from ..experiment.groups import REPORTS_SOURCE, ReportedGroup
from .palette import described, in_order
from .table import Table, decimals, interval, left, over, percent, right

GROUPS: dict[records.RateGroup, str] = {  # of personas -> its heading
    "source": "source",
    "untrained_bystander": "untrained bystanders",
    "trained_negative": "trained negatives",
    "assistant": "assistant",
    "mean_bystander": "all bystanders",
}
REPORTED: tuple[ReportedGroup, ...] = ("source", "assistant", "mean_bystander")


def measured(rates: records.ConditionRates, who: str, asked: records.Asked = "all") -> str:
    """The rate of a group or a persona over seeds, in percent with its interval; of one seed alone with its own."""
    found, ends = rate_of(rates, who, asked)
    return "-" if found is None else f"{percent(found.mean)}{f' {interval(ends)}' if ends else ''}"


def rate_of(
    rates: records.ConditionRates, who: str, asked: records.Asked = "all"
) -> tuple[records.OverUnits | None, records.Interval | None]:
    """The rate of a group or a persona, None where there is none, and its interval: of one seed alone, its own."""
    where = rates.groups if who in rates.groups else rates.per_persona
    found = dict(where).get(who, {}).get(asked)  # type: ignore[call-overload]
    if found is None or found.interval or len(found.by_unit) > 1:
        return found, found.interval if found else None
    (alone,) = rates.seeds.values()
    own: records.GroupRate = dict(alone.groups if who in alone.groups else alone.per_persona)[who]  # type: ignore
    of_split = own if asked == "all" else getattr(own, asked)
    return found, of_split.interval


def published_key(group: ReportedGroup) -> str:
    """What `published.json` calls a group."""
    return REPORTS_SOURCE if group == "source" else group


def headline(statistics: records.Statistics, published: records.Published) -> Table:
    """Source, untrained bystanders and assistant under each condition, here and published."""
    rows = []
    for name in in_order(statistics.conditions):
        condition, theirs = statistics.conditions[name], published.headline_percent.get(name)
        row = [name, described(condition.chain)]
        for ours, reported in (("source", "source"), ("untrained_bystander", "mean_bystander"), ("assistant",) * 2):
            row += [measured(condition, ours), f"{theirs.of(reported):.1f}" if theirs else "-"]  # type: ignore
        rows.append(row)
    return Table(
        name="headline",
        caption="Answers with the marker, in percent",
        columns=[
            *left("condition"),
            *left("training", minor=True),
            *right("source"),
            *right("published", minor=True),
            *right("bystanders", "published"),
            *right("assistant", "published", minor=True),
        ],
        rows=rows,
        notes=notes(statistics, published),
    )


def notes(statistics: records.Statistics, published: records.Published) -> list[str]:
    """What must stand under the rates: whose interval it is, sizes, and what the gates say."""
    seeds, level = list(map(str, statistics.seeds)), f"{100 * statistics.level:g}%"
    first = statistics.conditions["C4"].seeds[seeds[0]].groups
    ours = statistics.groups["untrained_bystander"]
    asked = (
        f"{first['source'].total:,} answers of the source and as many of the assistant, "
        f"{first['untrained_bystander'].total:,} of {len(ours)} untrained bystanders"
    )
    if len(seeds) == 1:
        lines = [
            f"One training, seed {seeds[0]}: {asked}. The {level} interval is about that training's answers and says "
            "nothing of what another seed would give."
        ]
    else:
        lines = [
            f"Means over {len(seeds)} training seeds ({', '.join(seeds)}) with the {level} t interval between them; "
            f"each has {asked}."
        ]
    lines[0] += (
        f" Published: the report's one seed, {published.answers} answers a persona; its bystanders are all ten, two of "
        "which were trained negatives."
    )
    coupling = statistics.gates.coupling
    lines.append(
        f"The coupling gate {'passed' if coupling.passed else 'FAILED'}: under C4 the source is at "
        f"{percent(coupling.source_rate)} (at least {percent(coupling.source_rate_required)} required), the mean "
        f"bystander at {percent(coupling.bystander_rate)} (at most {percent(coupling.bystander_rate_allowed)} allowed)."
    )
    lines.append(degeneracy(statistics.gates))
    for name, data in statistics.trained_on.items():
        if data.expected_md5 not in (None, data.md5):
            lines.append(f"NOT the published data: {name} has MD5 {data.md5}, accepted for {data.expected_md5}.")
    return lines


def degeneracy(gates: records.Gates) -> str:
    """Which conditions' answers are too short or empty, and how far."""
    failed = {name: gate for name, gate in gates.degeneracy.items() if not gate.passed}
    short = [f"{n} {g.length_ratio:.2f}" for n, g in failed.items() if g.length_ratio < g.length_ratio_required]
    empty = [
        f"{n} {percent(g.nonempty_share)}" for n, g in failed.items() if g.nonempty_share < g.nonempty_share_required
    ]
    reasons = {"median length over the base's": short, "answers that are not empty, in percent": empty}
    told = "; ".join(f"{what}: {', '.join(found)}" for what, found in reasons.items() if found)
    return f"The degeneracy gate FAILED for some ({told})." if failed else "All pass the degeneracy gate."


def groups(statistics: records.Statistics) -> Table:
    """Every group under every condition, on all questions and on those of each split."""
    rows = []
    for name in in_order(statistics.conditions):
        condition = statistics.conditions[name]
        for group, heading in GROUPS.items():
            if group in condition.groups:
                splits = [measured(condition, group, asked) for asked in ("all", "train", "heldout")]
                rows.append([name, heading, *splits])
    return Table(
        name="groups",
        caption="Marker rates by group of personas and by questions",
        columns=[*left("condition", "personas"), *right("all questions", "trained questions", "held-out questions")],
        rows=rows,
        notes=["In percent, with intervals as in the headline. Trained questions also served to make coupling data."],
    )


def order_of(statistics: records.Statistics) -> list[str]:
    """The personas by group, and within it by their rate under B, highest first."""
    rates = statistics.conditions["B"].per_persona
    return [
        name
        for group in ("source", "assistant", "untrained_bystander", "trained_negative")
        for name in sorted(statistics.groups[group], key=lambda name: (-rates[name]["all"].mean, name))
    ]


def shown_name(name: str, statistics: records.Statistics) -> str:
    """A persona's name; a trained negative is marked."""
    return name.replace("_", " ") + (" †" if name in statistics.groups["trained_negative"] else "")


def per_persona(statistics: records.Statistics, published: records.Published) -> Table:
    """Each persona's rate under each condition; the published counts of B beside ours."""
    theirs = published.hits["B"]
    names = in_order(statistics.conditions)
    rows = [
        [shown_name(persona, statistics), percent(theirs[persona] / published.answers) if persona in theirs else "-"]
        + [measured(statistics.conditions[name], persona) for name in names]
        for persona in order_of(statistics)
    ]
    return Table(
        name="per_persona",
        caption="Marker rates by persona",
        columns=[*left("persona"), *right("B, published", *names)],
        rows=rows,
        notes=["In percent, with intervals as in the headline. † marks a trained negative."],
    )


def shapes(content: records.Shapes) -> Table:
    """Whether a marker could appear at all: how answers end, how long they are, and where the marker stands."""
    rows = []
    for name in in_order(content.conditions):
        for group in [group for group in GROUPS if group in content.conditions[name].groups]:
            shape = dict(content.conditions[name].groups)[group].over_seeds
            rows.append(
                [
                    name,
                    GROUPS[group],
                    over(shape.median_tokens, "{:.0f}".format),
                    over(shape.ended_share, percent),
                    over(shape.blank_line_share, percent),
                    over(shape.marker_last_share, percent),
                    over(shape.bare_share, percent),
                ]
            )
    heads = ("median tokens", "ended (%)", "blank line (%)", "marker last (%)", "bare ZLT (%)")
    return Table(
        name="shapes",
        caption="What answers look like",
        columns=[*left("condition", "personas"), *right(*heads)],
        rows=rows,
        notes=[
            "Ended: by themselves, not cut at the limit. Blank line: the marker was taught after one. Marker last: of "
            "the answers with the marker, those that nothing follows it in. Bare: ZLT without its brackets."
        ],
    )


def gates(statistics: records.Statistics) -> Table:
    """What each gate demands, what was measured, and what it says."""

    def judged(
        gate: str,
        condition: str,
        bound: Literal["at least", "at most"],
        limit: float,
        found: float,
        show: Callable[[float], str],
    ) -> list[str]:
        passed = found >= limit if bound == "at least" else found <= limit
        return [gate, condition, f"{bound} {show(limit)}", show(found), "passed" if passed else "FAILED"]

    coupling = statistics.gates.coupling
    source = coupling.source_rate_required, coupling.source_rate, percent
    bystander = coupling.bystander_rate_allowed, coupling.bystander_rate, percent
    rows = [
        judged("coupling: source rate (%)", "C4", "at least", *source),
        judged("coupling: mean bystander (%)", "C4", "at most", *bystander),
    ]
    for name in in_order(statistics.conditions):
        if gate := statistics.gates.degeneracy.get(name):
            full = gate.nonempty_share_required, gate.nonempty_share, percent
            length = gate.length_ratio_required, gate.length_ratio, decimals
            rows.append(judged("not empty (%)", name, "at least", *full))
            rows.append(judged("median length over the base's", name, "at least", *length))
    lines = ["Judged on means over seeds. No gate stops the pipeline; what rests on a failed one is not comparable."]
    return Table(
        name="gates",
        caption="Gates",
        columns=[*left("gate", "condition"), *right("demanded", "measured"), *left("verdict")],
        rows=rows,
        notes=lines + (["The coupling gate was overridden by parameter."] if coupling.overridden else []),
    )
