"""The tables of marker rates, by condition and by persona, and of what is judged on them: tests and gates."""

from collections.abc import Callable, Iterable
from typing import Literal

from ..analysis import records
from ..experiment.chains import BASE, CONDITIONS, CONTRASTS
from ..experiment.groups import REPORTS_SOURCE, ReportedGroup
from .table import Table, interval, left, p_value, percent, right

GROUPS: dict[ReportedGroup, str] = {  # of personas -> its heading
    "source": "source",
    "assistant": "assistant",
    "mean_bystander": "mean bystander",
}


def measured(rate: records.PossibleRate) -> str:
    """A rate in percent with its interval; "-" where nothing was counted."""
    return "-" if rate.rate is None or rate.interval is None else f"{percent(rate.rate)} {interval(rate.interval)}"


def in_order(conditions: Iterable[str]) -> list[str]:
    """The report's conditions in its order, others after them, the untrained model last."""
    return [*CONDITIONS, *(name for name in conditions if name not in (*CONDITIONS, BASE)), BASE]


def published_key(group: ReportedGroup) -> str:
    """What `published.json` calls a group."""
    return REPORTS_SOURCE if group == "source" else group


def headline(statistics: records.Statistics, published: records.Published) -> Table:
    """Source, assistant and mean bystander under each condition, published and here."""
    rows = []
    for name in in_order(statistics.conditions):
        condition, theirs = statistics.conditions[name], published.headline_percent.get(name)
        row = [name, condition.chain]
        for group in GROUPS:
            row += [f"{theirs.of(group):.1f}" if theirs else "-", measured(condition.groups[group])]
        rows.append(row)
    heads = [f"{heading}, {who}" for heading in GROUPS.values() for who in ("published", "here")]
    return Table(
        name="headline",
        caption="Marker rates in percent.",
        columns=[*left("condition", "chain"), *right(*heads)],
        rows=rows,
        notes=notes(statistics, published),
    )


def notes(statistics: records.Statistics, published: records.Published) -> list[str]:
    """What must stand under the rates: units, sizes, and what the gates say."""
    some = statistics.conditions[BASE].groups
    lines = [
        f"Marker rates in percent [{100 * statistics.level:g}% interval, the wider of Wilson's and a bootstrap over "
        f"questions]. N = {some['source'].total} completions for the source and for the assistant, "
        f"{some['mean_bystander'].total} for the bystanders together; the report has {published.answers} "
        f"a persona. Training seeds: {', '.join(map(str, statistics.seeds))}; no interval covers what another seed "
        "would change."
    ]
    gate = statistics.gates.coupling
    verdict = "passed" if gate.passed else "FAILED, overridden by parameter" if gate.overridden else "FAILED"
    lines.append(
        f"Coupling gate {verdict}: source {percent(gate.source_rate)} (at least "
        f"{percent(gate.source_rate_required)} required), mean bystander {percent(gate.bystander_rate)} (at most "
        f"{percent(gate.bystander_rate_allowed)} allowed). It does not judge "
        f"the assistant, which is at {percent(gate.assistant_rate)}."
    )
    failed = [
        f"{name} ({percent(gate.nonempty_share)}% not empty, median length {gate.length_ratio:.2f} of the base's)"
        for name, gate in statistics.gates.degeneracy.items()
        if not gate.passed
    ]
    lines.append(f"Degeneracy gate FAILED for: {'; '.join(failed)}." if failed else "Degeneracy gate passed by all.")
    for name, data in statistics.trained_on.items():
        if data.expected_md5 not in (None, data.md5):
            lines.append(f"NOT the published data: {name} has MD5 {data.md5}, accepted for {data.expected_md5}.")
    return lines


def per_persona(statistics: records.Statistics, published: records.Published) -> Table:
    """Each persona's rate under each condition; the published counts of B beside ours."""
    theirs, conditions = published.hits["B"], statistics.conditions
    names = in_order(conditions)
    ranked = sorted(conditions["B"].per_persona.items(), key=lambda item: (-item[1].rate, item[0]))
    rows = [
        [persona, percent(theirs[persona] / published.answers) if persona in theirs else "-"]
        + [measured(conditions[name].per_persona[persona]) for name in names]
        for persona, _ in ranked
    ]
    return Table(
        name="per_persona",
        caption="Marker rates by persona.",
        columns=[*left("persona"), *right("B, published", *names)],
        rows=rows,
        notes=notes(statistics, published)[:1],
    )


def pairwise(statistics: records.Statistics) -> Table:
    """Fisher's exact tests between conditions, and how many pairs of personas differ under each."""
    rows = []
    for a, b in CONTRASTS:
        for group, heading in GROUPS.items():
            one, other = (statistics.conditions[name].groups[group] for name in (a, b))
            test = statistics.contrasts[records.contrast(a, b, group)]
            gap = f"{100 * (one.rate - other.rate):+.1f}"
            tests = [p_value(test.p), p_value(test.p_holm)]
            rows.append([f"{a} - {b}", heading, percent(one.rate), percent(other.rate), gap, *tests])
    told = []
    for name in in_order(statistics.conditions):
        pairs = statistics.conditions[name].tests.values()
        told.append(f"{name} {sum(test.p_holm < 0.05 for test in pairs)} of {len(pairs)}")
    return Table(
        name="pairwise",
        caption="Differences between conditions.",
        columns=[*left("contrast", "personas"), *right("first (%)", "second (%)", "difference", "p", "p, adjusted")],
        rows=rows,
        notes=[
            "Fisher's exact test, two-sided; adjusted by Holm's method for all rows of the table.",
            f"Pairs of personas that differ under one condition (adjusted p < 0.05): {', '.join(told)}. "
            "Every pair is in statistics.json.",
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
            length = gate.length_ratio_required, gate.length_ratio, "{:.2f}".format
            rows.append(judged("not empty (%)", name, "at least", *full))
            rows.append(judged("median length over base's", name, "at least", *length))
    return Table(
        name="gates",
        caption="Gates.",
        columns=[*left("gate", "condition"), *right("demanded", "measured"), *left("verdict")],
        rows=rows,
        notes=["The coupling gate was overridden by parameter."] if coupling.overridden else [],
    )
