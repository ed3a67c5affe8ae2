"""Every table of the paper, from the results and the parameters that were used.

python -m persona_collapse.report.tables      writes paper/tables/<profile>/<name>.md, .tex and .json
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..analysis.published import answers as published_answers
from ..analysis.results import CONTRASTS
from ..experiment import params as parameters
from ..experiment.chains import BASE, CONDITIONS
from ..experiment.errors import one_line_errors
from ..experiment.files import read_json
from ..experiment.layout import PUBLISHED
from . import ledger, recipe
from .table import Column, Table, between, interval, left, p_value, percent, right, write

# group of personas -> its heading and its key in published.json
GROUPS = {
    "source": ("source", "confab"),
    "assistant": ("assistant", "assistant"),
    "mean_bystander": ("mean bystander", "mean_bystander"),
}
Content = Mapping[str, Any]


def measured(rate: Content) -> str:
    """A rate in percent with its interval; "-" where nothing was counted."""
    return f"{percent(rate['rate'])} {interval(rate['interval'])}" if rate["total"] else "-"


def in_order(conditions: Content) -> list[str]:
    """The report's conditions in its order, others after them, the untrained model last."""
    return [*CONDITIONS, *(name for name in conditions if name not in (*CONDITIONS, BASE)), BASE]


# ---- rates ----


def headline(statistics: Content, published: Content) -> Table:
    """Source, assistant and mean bystander under each condition, published and here."""
    conditions = statistics["conditions"]
    rows = []
    for name in in_order(conditions):
        reported = published["headline_percent"].get(name)
        row = [name, conditions[name]["chain"]]
        for group, (_, key) in GROUPS.items():
            row += [f"{reported[key]:.1f}" if reported else "-", measured(conditions[name]["groups"][group])]
        rows.append(row)
    heads = [f"{heading}, {who}" for heading, _ in GROUPS.values() for who in ("published", "here")]
    columns = [*left("condition", "chain"), *right(*heads)]
    return Table("headline", "Marker rates in percent.", columns, rows, notes(statistics, published))


def notes(statistics: Content, published: Content) -> list[str]:
    """What must stand under the rates: units, sizes, and what the gates say."""
    some = statistics["conditions"][BASE]["groups"]
    lines = [
        f"Marker rates in percent [{100 * statistics['level']:g}% interval, the wider of Wilson's and a bootstrap over "
        f"questions]. N = {some['source']['total']} completions for the source and for the assistant, "
        f"{some['mean_bystander']['total']} for the bystanders together; the report has {published_answers(published)} "
        f"a persona. Training seeds: {', '.join(map(str, statistics['seeds']))}; no interval covers what another seed "
        "would change."
    ]
    gate = statistics["gates"]["coupling"]
    verdict = "passed" if gate["passed"] else "FAILED, overridden by parameter" if gate["overridden"] else "FAILED"
    lines.append(
        f"Coupling gate {verdict}: source {percent(gate['source_rate'])} (at least "
        f"{percent(gate['source_rate_required'])} required), mean bystander {percent(gate['bystander_rate'])} (at most "
        f"{percent(gate['bystander_rate_allowed'])} allowed). It does not judge "
        f"the assistant, which is at {percent(gate['assistant_rate'])}."
    )
    failed = [
        f"{name} ({percent(gate['nonempty_share'])}% not empty, median length {gate['length_ratio']:.2f} of the base's)"
        for name, gate in statistics["gates"]["degeneracy"].items()
        if not gate["passed"]
    ]
    lines.append(f"Degeneracy gate FAILED for: {'; '.join(failed)}." if failed else "Degeneracy gate passed by all.")
    for name, data in statistics["trained_on"].items():
        if data["expected_md5"] not in (None, data["md5"]):
            lines.append(f"NOT the published data: {name} has MD5 {data['md5']}, accepted for {data['expected_md5']}.")
    return lines


def per_persona(statistics: Content, published: Content) -> Table:
    """Each persona's rate under each condition; the published counts of B beside ours."""
    answers = published_answers(published)
    reported = published[f"B_hits_of_{answers}"]
    conditions = statistics["conditions"]
    names = in_order(conditions)
    ranked = sorted(conditions["B"]["per_persona"].items(), key=lambda item: (-item[1]["rate"], item[0]))
    rows = [
        [persona, percent(reported[persona] / answers) if persona in reported else "-"]
        + [measured(conditions[name]["per_persona"][persona]) for name in names]
        for persona, _ in ranked
    ]
    columns = [*left("persona"), *right("B, published", *names)]
    return Table("per_persona", "Marker rates by persona.", columns, rows, notes(statistics, published)[:1])


def pairwise(statistics: Content) -> Table:
    """Fisher's exact tests between conditions, and how many pairs of personas differ under each."""
    rows = []
    for a, b in CONTRASTS:
        for group, (heading, _) in GROUPS.items():
            one, other = (statistics["conditions"][name]["groups"][group] for name in (a, b))
            test = statistics["contrasts"][f"{a} - {b}, {group}"]
            rates = [percent(side["rate"]) for side in (one, other)]
            gap = f"{100 * (one['rate'] - other['rate']):+.1f}"
            rows.append([f"{a} - {b}", heading, *rates, gap, p_value(test["p"]), p_value(test["p_holm"])])
    told = []
    for name in in_order(statistics["conditions"]):
        tests = statistics["conditions"][name]["tests"].values()
        told.append(f"{name} {sum(test['p_holm'] < 0.05 for test in tests)} of {len(tests)}")
    below = [
        "Fisher's exact test, two-sided; adjusted by Holm's method for all rows of the table.",
        f"Pairs of personas that differ under one condition (adjusted p < 0.05): {', '.join(told)}. "
        "Every pair is in statistics.json.",
    ]
    columns = [*left("contrast", "personas"), *right("first (%)", "second (%)", "difference", "p", "p, adjusted")]
    return Table("pairwise", "Differences between conditions.", columns, rows, below)


def gates(statistics: Content) -> Table:
    """What each gate demands, what was measured, and what it says."""

    def verdict(passed: bool) -> str:
        return "passed" if passed else "FAILED"

    def at_least(gate: str, condition: str, bound: float, found: float, show: Callable[[float], str]) -> list[str]:
        return [gate, condition, f"at least {show(bound)}", show(found), verdict(found >= bound)]

    coupling = statistics["gates"]["coupling"]
    source, source_bound = coupling["source_rate"], coupling["source_rate_required"]
    others, others_bound = coupling["bystander_rate"], coupling["bystander_rate_allowed"]
    most, met = f"at most {percent(others_bound)}", verdict(others <= others_bound)
    rows = [
        at_least("coupling: source rate (%)", "C4", source_bound, source, percent),
        ["coupling: mean bystander (%)", "C4", most, percent(others), met],
    ]
    for name in in_order(statistics["conditions"]):
        if gate := statistics["gates"]["degeneracy"].get(name):
            full, length = gate["nonempty_share"], gate["length_ratio"]
            rows.append(at_least("not empty (%)", name, gate["nonempty_share_required"], full, percent))
            rows.append(
                at_least("median length over base's", name, gate["length_ratio_required"], length, "{:.2f}".format)
            )
    below = ["The coupling gate was overridden by parameter."] if coupling["overridden"] else []
    columns = [*left("gate", "condition"), *right("demanded", "measured"), *left("verdict")]
    return Table("gates", "Gates.", columns, rows, below)


# ---- length control ----


def ends_of(texts: Content) -> Sequence[float]:
    """The interval of a mean probability; where resampling gives no width, the mean itself."""
    return texts["interval"] or [texts["mean_p"]] * 2


def lengths(content: Content) -> Table:
    """Lengths, rates of answers that ended and of like length, and the marker's probability after the same texts."""
    rows = []
    for name in in_order(content["conditions"]):
        for group, (heading, _) in GROUPS.items():
            if of_group := content["conditions"][name]["groups"].get(group):
                shape, texts = of_group["completions"], of_group["likelihood"]
                low, high = shape["characters"]["quartiles"]
                rows.append(
                    [name, heading, f"{shape['characters']['median']:.0f} [{low:.0f}, {high:.0f}]"]
                    + [percent(shape["ended_share"]), measured(of_group["rate"]), measured(of_group["rate_of_ended"])]
                    + [f"{percent(b['rate'])} ({b['total']})" if b["total"] else "-" for b in of_group["bands"]]
                    + [f"{percent(texts['mean_p'])} {interval(ends_of(texts))}" if texts["texts"] else "-"]
                )
    bands = [f"{between(*band)} characters" for band in content["bands"]]
    columns = [*left("condition", "personas"), *right("length [quartiles]", "ended (%)", "rate", "rate of ended")]
    below = [
        "Length: characters of an answer without the marker, median and quartiles. Rates in percent "
        f"[{100 * content['level']:g}% interval]; by band of length with the number of answers. P(marker): mean "
        "probability, in percent, of the marker after texts that are the same for every condition (the base model's "
        "answers), with an interval of a bootstrap over questions."
    ]
    return Table("lengths", "Length control.", [*columns, *right(*bands, "P(marker)")], rows, below)


def length_contrasts(content: Content) -> Table:
    """The differences between conditions: raw, for answers of like length, and of the marker's probability."""

    def shown(difference: Content) -> str:
        if difference["difference"] is None:
            return "-"
        ends = f" {interval(difference['interval'])}" if difference["interval"] else ""
        return f"{100 * difference['difference']:+.1f}{ends}"

    rows = []
    for a, b in CONTRASTS:
        for group, (heading, _) in GROUPS.items():
            if contrast := content["contrasts"].get(f"{a} - {b}, {group}"):
                standardised, texts = contrast["standardised"], contrast["likelihood"]
                like = [shown(standardised), percent(standardised["covered"])]
                p = p_value(texts["p_holm"]) if "p_holm" in texts else "-"
                rows.append([f"{a} - {b}", heading, shown(contrast["raw"]), *like, shown(texts), p])
    heads = ("raw", "at like length", "covered (%)", "P(marker)", "p, adjusted")
    columns = [*left("contrast", "personas"), *right(*heads)]
    below = [
        "Differences in points with intervals of a bootstrap over questions. At like length: each band's difference "
        "weighted by the answers of both conditions in it, over the bands in which both have answers; covered is their "
        "share of all answers. P(marker): after the same texts; sign-flip test of questions, adjusted by Holm's method "
        "for all rows."
    ]
    return Table("length_contrasts", "Differences between conditions with length held fixed.", columns, rows, below)


# ---- what was done ----


def hyperparameters(used: parameters.Params, report: parameters.Params) -> Table:
    """Each phase's recipe as its adapters were trained, beside the report's."""
    phases = parameters.phase_names(used.phases)
    here = {phase: recipe.used(used, phase) for phase in phases}
    theirs = {phase: recipe.rows(report.recipe(phase)) for phase in phases}
    rows = [
        [key, *(here[phase].get(key, "-") for phase in phases), *(theirs[phase].get(key, "-") for phase in phases)]
        for key in dict.fromkeys(key for phase in phases for key in here[phase])
    ]
    heads = [f"{phase}, {who}" for who in ("here", "report's code") for phase in phases]
    below = [
        f"Here: profile {used.profile}, {recipe.evaluation(used)}. The report's code: profile {report.profile}, "
        f"{recipe.evaluation(report)}. AdamW, gradients clipped at 1, LoRA on the seven projections of every layer. "
        "Steps, ranks and rates here are read from the adapters and their logs."
    ]
    return Table("hyperparameters", "Hyperparameters.", [*left("parameter"), *right(*heads)], rows, below)


def fidelity(used: parameters.Params, report: parameters.Params) -> Table:
    """Where the report and its code disagree, and what was taken here and in the report's own profile."""
    rows = [
        [point["point"], point["code"], point["report"]]
        + [", ".join(recipe.value(profile, key) for key in point["parameters"]) for profile in (report, used)]
        + [", ".join(point["parameters"])]
        for point in recipe.points()
    ]
    columns = [
        Column("point", "left", 0.14),
        *left("the code", "the report", width=0.18),
        *left(f"in {report.profile}", "here", width=0.14),
        Column("parameters", "left", 0.22),
    ]
    below = ["The report's own profile follows the code, since the published numbers came out of it."]
    return Table("fidelity", "Where the report and the code behind it disagree.", columns, rows, below)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params, report = parameters.load(), parameters.load(recipe.REPORT)
    layout = params.layout
    statistics, published = read_json(layout.statistics), read_json(PUBLISHED)
    claims, answers = read_json(layout.results / "claims.json"), read_json(layout.results / "lengths.json")
    tables = [
        headline(statistics, published),
        per_persona(statistics, published),
        pairwise(statistics),
        gates(statistics),
        lengths(answers),
        length_contrasts(answers),
        hyperparameters(params, report),
        fidelity(params, report),
        ledger.full(claims),
        ledger.short(claims),
    ]
    for table in tables:
        write(table, layout.tables)


if __name__ == "__main__":
    main()
