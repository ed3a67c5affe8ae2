"""The headline table: what the report published beside what was measured here, as Markdown and as LaTeX.

python -m persona_collapse.tables      writes paper/tables/<profile>/headline.md and headline.tex
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from . import params as parameters
from . import paths
from .files import one_line_errors, read_json, write_text
from .params import BASE, CONDITIONS

# group of personas -> its heading and its key in published.json
GROUPS = {
    "source": ("source", "confab"),
    "assistant": ("assistant", "assistant"),
    "mean_bystander": ("mean bystander", "mean_bystander"),
}
HEADER = ["condition", "chain"] + [f"{name}, {who}" for name, _ in GROUPS.values() for who in ("published", "here")]


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def measured(rate: Mapping[str, Any]) -> str:
    """A rate in percent with its interval."""
    low, high = rate["interval"]
    return f"{percent(rate['rate'])} [{percent(low)}, {percent(high)}]"


def headline(statistics: Mapping[str, Any], published: Mapping[str, Any]) -> list[list[str]]:
    """The body of the table, one row a condition in the report's order, the untrained model last."""
    conditions = statistics["conditions"]
    others = [name for name in conditions if name not in (*CONDITIONS, BASE)]
    rows = []
    for name in (*CONDITIONS, *others, BASE):
        condition = conditions[name]
        reported = published["headline_percent"].get(name)
        row = [name, condition["chain"]]
        for group, (_, key) in GROUPS.items():
            row += [f"{reported[key]:.1f}" if reported else "-", measured(condition["groups"][group])]
        rows.append(row)
    return rows


def notes(statistics: Mapping[str, Any]) -> list[str]:
    """What must stand under every table: units, sizes, and what the gates say."""
    some = statistics["conditions"][BASE]["groups"]
    lines = [
        f"Marker rates in percent [{100 * statistics['level']:g}% interval, the wider of Wilson's and a bootstrap over "
        f"questions]. N = {some['source']['total']} completions for the source and for the assistant, "
        f"{some['mean_bystander']['total']} for the bystanders together; the report has 280 a persona. "
        f"Training seeds: {', '.join(map(str, statistics['seeds']))}; no interval covers what another "
        "seed would change."
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


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str]) -> str:
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + "\n\n".join(below) + "\n"


def escape(text: str) -> str:
    for special in "%_&#":
        text = text.replace(special, "\\" + special)
    return text


def latex(rows: Sequence[Sequence[str]], below: Sequence[str]) -> str:
    """A booktabs tabular; `here` columns carry the intervals, and the notes, gates among them, stand under the rule."""
    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{name}}}" for name, _ in GROUPS.values())
    rules = " ".join(rf"\cmidrule(lr){{{3 + 2 * i}-{4 + 2 * i}}}" for i in range(len(GROUPS)))
    lines = [
        r"\begin{tabular}{ll" + "rr" * len(GROUPS) + "}",
        r"\toprule",
        rf" & & {groups} \\ {rules}",
        r"condition & chain" + r" & published & here" * len(GROUPS) + r" \\",
        r"\midrule",
        *(" & ".join("--" if cell == "-" else cell for cell in row) + r" \\" for row in rows),
        r"\bottomrule",
        *(
            rf"\multicolumn{{{2 + 2 * len(GROUPS)}}}{{p{{\linewidth}}}}{{\footnotesize {escape(line)}}} \\"
            for line in below
        ),
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    layout = parameters.load().layout
    statistics = read_json(layout.statistics)
    rows, below = headline(statistics, read_json(paths.PUBLISHED)), notes(statistics)
    write_text(layout.tables / "headline.md", markdown(HEADER, rows, below))
    write_text(layout.tables / "headline.tex", latex(rows, below))


if __name__ == "__main__":
    main()
