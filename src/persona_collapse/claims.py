"""The claims ledger: each claim of the report, checked on its own numbers and on ours.

    python -m persona_collapse.claims      writes eval_results/<profile>/claims.json, paper/tables/<profile>/claims.*

A claim of `data/claims.yaml` gets three verdicts. As published: it follows from the counts that the report gives, by
the named test. Reproduced: it holds in our runs, each seed's and all pooled. Cluster-robust: it survives treating the
questions, and not the answers, as the units.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from . import checks, params, paths, published, results, statistics, tables
from .differences import total
from .files import InputError, one_line_errors, read_json, read_yaml, write_json, write_text

CLAIMS = paths.DATA / "claims.yaml"
UNPUBLISHED = "the counts by question are not published here"
Personas = Mapping[str, Mapping[str, Any]]  # the `per_persona` part of a marker_eval.json
# What some personas' answers in a condition are or may be; nothing where there are no such answers.
Possible = Callable[[str, Sequence[str]], Sequence[Any]]


class Stated(params.Record):
    hits: Annotated[int, Field(ge=0)]
    total: params.Positive


class Claim(params.Record):
    claim: str  # in words
    published: str  # as the report writes it
    check: checks.AnyCheck


class Ledger(params.Record):
    counts: Annotated[dict[str, Stated], Field(default_factory=dict)]
    claims: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Claim]


# ---- reading what is claimed ----


def load(path: Path, conditions: Sequence[str], personas: Sequence[str]) -> Ledger:
    """Read and check a file of claims.

    Args:
        conditions, personas: those that exist, in the report or in our runs.
    Raises:
        InputError: an unknown or missing key, kind, condition or persona; the message names the claim.
    """
    try:
        ledger = Ledger.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step not in checks.KINDS)
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"unknown key; allowed here: {', '.join(_record(first['loc'][:-1]).model_fields)}"
        raise InputError(f"{path}: {where or '(top level)'}: {message}") from None
    for condition in ledger.counts:
        _require(path, "counts", "condition", condition, conditions)
    for name, claim in ledger.claims.items():
        samples = checks.samples(claim.check)
        if not samples[0].personas:
            raise InputError(f"{path}: claims.{name}: {checks.KINDS[claim.check.kind].sides[0]} needs personas")
        for sample in samples:
            _require(path, f"claims.{name}", "condition", sample.condition, conditions)
            for word in (*sample.personas, *sample.without):
                _require(path, f"claims.{name}", "persona", word, (*checks.GROUPS, *personas))
    return ledger


def _require(path: Path, where: str, what: str, name: str, allowed: Sequence[str]) -> None:
    if name not in allowed:
        raise InputError(f"{path}: {where}: unknown {what} {name!r}; allowed: {', '.join(allowed)}")


def _record(location: Sequence[int | str]) -> type[params.Record]:
    """The record that a place in the file is checked against."""
    kind = next((checks.KINDS[str(step)] for step in location if step in checks.KINDS), None)
    if kind:
        return checks.Sample if location[-1] in kind.sides else kind.record
    return Ledger if not location else Stated if location[0] == "counts" else Claim


# ---- whose counts ----


def answers_of(runs: Mapping[str, Personas]) -> Possible:
    """Look-up of {hits, total} in runs, which are by condition."""

    def possible(condition: str, chosen: Sequence[str]) -> list[dict[str, int]]:
        return [total(questions) for questions in questions_of(runs)(condition, chosen)]

    return possible


def questions_of(runs: Mapping[str, Personas]) -> Possible:
    """Look-up of {hits, total} by question."""

    def possible(condition: str, chosen: Sequence[str]) -> list[dict[str, dict[str, int]]]:
        personas = runs.get(condition, {})
        if not all("per_question" in personas.get(name, {}) for name in chosen):
            return []
        summed: dict[str, dict[str, int]] = {}
        for name in chosen:
            for question, counts in personas[name]["per_question"].items():
                seen = summed.setdefault(question, {"hits": 0, "total": 0})
                seen["hits"] += counts["strict_hits"]
                seen["total"] += counts["total"]
        return [summed]

    return possible


# ---- judging ----

Comparisons = Mapping[str, Sequence[tuple[str, Sequence[str]]]]


def judge(
    check: Any, test: Any, parts: Comparisons, possible: Possible, how: checks.How, absent: str
) -> checks.Finding:
    """One finding on a claim.

    Args:
        parts: from `checks.comparisons`.
        absent: what to say where `possible` has nothing.
    """
    found = {}
    for label, sides in parts.items():
        options = [possible(condition, chosen) if chosen else [] for condition, chosen in sides]
        missing = next((side for side, option in zip(sides, options, strict=True) if not option), None)
        if missing:
            who = "" if check.each else ": " + (", ".join(missing[1]) or "no persona")
            reason = f"{absent} ({missing[0]}{who if len(missing[1]) < 4 else ''})"
            found[label] = {"verdict": checks.UNTESTABLE, "reason": reason}
        else:
            found[label] = settled([test(check, choice, how) for choice in product(*options)])
    return checks.all_of(found)


def settled(findings: Sequence[checks.Finding]) -> checks.Finding:
    """The one finding of all the counts that published percentages leave possible."""
    if len(findings) == 1:
        return findings[0]
    verdicts = {finding["verdict"]: finding for finding in findings}
    note = f"the {len(findings)} counts that round to the published percentages"
    if len(verdicts) > 1:
        reason = "; ".join(f"{verdict}: {finding['reason']}" for verdict, finding in verdicts.items())
        return {**findings[-1], "verdict": checks.UNTESTABLE, "reason": f"{note} disagree: {reason}"}
    worst = max(findings, key=lambda finding: finding.get("p", 0.0))
    return {**worst, "reason": f"{worst['reason']} ({'the largest' if 'p' in worst else 'the same'} for {note})"}


def reproduced(check: Any, parts: Comparisons, runs: Mapping[str, Mapping[str, Personas]], how: checks.How) -> Any:
    """Our verdict on a claim: of all seeds pooled, and what each seed says by itself.

    Args:
        runs: by "pooled" and by seed, each by condition.
    """
    test = checks.KINDS[check.kind].of_answers
    pooled, *seeds = (judge(check, test, parts, answers_of(run), how, "not in our runs") for run in runs.values())
    by_seed = dict(zip([name for name in runs if name != "pooled"], seeds, strict=True))
    others = [f"seed {n} alone: {f['verdict']}" for n, f in by_seed.items() if f["verdict"] != pooled["verdict"]]
    return {**pooled, "reason": "; ".join([pooled["reason"], *others]), "seeds": by_seed}


def ledger(
    claims: Ledger,
    given: Mapping[str, Any],
    runs: Mapping[str, Any],
    source: str,
    report: Mapping[str, Any],
    how: checks.How,
) -> list[dict[str, Any]]:
    """The verdicts on every claim, in the order of the file.

    Args:
        given: `published.json`.
        runs: ours, by "pooled" and by seed, each by condition.
        report: the report's own `per_persona` parts with counts by question, by condition, as far as there are any.
    """
    stated = {condition: counts.hits for condition, counts in claims.counts.items()}
    possible = published.read(given, stated)
    names = {"report": given["personas"], "here": list(next(iter(runs["pooled"].values())))}
    entries = []
    for name, claim in claims.claims.items():
        check, kind = claim.check, checks.KINDS[claim.check.kind]
        theirs = checks.comparisons(check, names["report"], published.SOURCE)
        ours = checks.comparisons(check, names["here"], source)
        entries.append(
            {
                "id": name,
                "claim": claim.claim,
                "published": claim.published,
                "kind": check.kind,
                "test": kind.test,
                "test_by_question": kind.test_by_question,
                "as_published": judge(check, kind.of_answers, theirs, possible, how, "not published"),
                "reproduced": reproduced(check, ours, runs, how),
                "cluster_robust": {
                    "report": judge(check, kind.of_questions, theirs, questions_of(report), how, UNPUBLISHED),
                    "here": judge(check, kind.of_questions, ours, questions_of(runs["pooled"]), how, "not in our runs"),
                },
            }
        )
    return entries


# ---- the table ----

HEADER = ["claim", "test", "published", "recomputed", "here [interval]"]
HEADER += ["as published", "reproduced", "cluster-robust, report", "cluster-robust, here"]


def span(values: Sequence[float], show: Callable[[float], str]) -> str:
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def tested(finding: checks.Finding) -> bool:
    """Whether there were counts at all."""
    return any("rates" in part for part in finding["parts"].values())


def value(finding: checks.Finding, interval: bool) -> str:
    """The numbers of a finding in a cell: rates, difference or rate with its interval, p; of many parts their range."""
    parts = [part for part in finding["parts"].values() if "rates" in part]
    if not parts:
        return "-"
    text = " vs ".join(span(rates, checks.percent) for rates in zip(*(p["rates"] for p in parts), strict=True))
    if interval and len(parts) == 1:
        what = "difference " if "difference" in parts[0] else ""
        text += f" {what}{checks.points(parts[0]['interval'])}"
    elif interval and len(parts) > 1:
        ends = min(p["interval"][0] for p in parts), max(p["interval"][1] for p in parts)
        text += f" {'differences ' if 'difference' in parts[0] else ''}within {checks.points(ends)}"
    return text + (f", p = {span([p['p'] for p in parts], checks.number)}" if "p" in parts[0] else "")


def rows(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            f"{number}. {entry['claim']}",
            entry["test"],
            entry["published"],
            value(entry["as_published"], interval=False),
            value(entry["reproduced"], interval=True),
            entry["as_published"]["verdict"],
            entry["reproduced"]["verdict"],
            entry["cluster_robust"]["report"]["verdict"],
            entry["cluster_robust"]["here"]["verdict"],
        ]
        for number, entry in enumerate(entries, 1)
    ]


def notes(entries: Sequence[Mapping[str, Any]], level: float, seeds: Sequence[str]) -> list[str]:
    """What stands under the table: how it is judged, then the reason of every verdict."""
    lines = [
        f"Intervals are at {100 * level:g}%: Wilson's of a rate, Newcombe's of a difference. Cluster-robust verdicts "
        "come from an exact sign-flip test over questions and a bootstrap of questions. "
        "P-values are two-sided and as they are: a claim about all of several personas holds only if each part does. "
        f"Training seeds here: {', '.join(seeds)}; no verdict covers what another seed would change."
    ]
    for number, entry in enumerate(entries, 1):
        robust = entry["cluster_robust"]
        verdicts = {
            "as published": entry["as_published"],
            "reproduced": entry["reproduced"],
            "cluster-robust here": robust["here"],
        }
        if tested(robust["report"]):
            verdicts["cluster-robust in the report"] = robust["report"]
        told = ". ".join(f"{name}: {found['verdict']}, {found['reason']}" for name, found in verdicts.items())
        lines.append(f"{number}. {told}.")
    if not all(tested(entry["cluster_robust"]["report"]) for entry in entries):
        lines.append(f"Cluster-robust in the report: {checks.UNTESTABLE} where {UNPUBLISHED}.")
    return lines


def latex(body: Sequence[Sequence[str]], below: Sequence[str]) -> str:
    """A booktabs tabular for a landscape page, columns as wide as the text lets them be."""

    def tex(text: str) -> str:
        return tables.escape(text).replace("<", "$<$")

    lines = [
        r"\begin{tabular}{" + r"p{0.16\linewidth}" + r"p{0.09\linewidth}" * (len(HEADER) - 1) + "}",
        r"\toprule",
        " & ".join(HEADER) + r" \\",
        r"\midrule",
        *(" & ".join("--" if cell == "-" else tex(cell) for cell in row) + r" \\" for row in body),
        r"\bottomrule",
        *(rf"\multicolumn{{{len(HEADER)}}}{{p{{\linewidth}}}}{{\footnotesize {tex(line)}}} \\" for line in below),
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


# ---- the command ----


def read_runs(settings: params.Params) -> dict[str, dict[str, Any]]:
    """Our `per_persona` parts: by "pooled" and by seed, each by condition."""
    chains = {**settings.conditions, params.BASE: params.BASE}
    seeds = {
        str(seed): {
            condition: results.read_run(settings.layout.run(seed, chain) / "marker_eval.json", chain)
            for condition, chain in chains.items()
        }
        for seed in settings.seeds
    }
    pooled = {condition: results.pool([run[condition] for run in seeds.values()]) for condition in chains}
    return {"pooled": pooled, **seeds}


def report_runs(arguments: Sequence[str], conditions: Sequence[str]) -> dict[str, Personas]:
    """The report's own files, given as CONDITION=FILE."""
    found = {}
    for argument in arguments:
        condition, equals, path = argument.partition("=")
        if not equals:
            raise InputError(f"--report {argument}: expected CONDITION=FILE")
        _require(Path("--report"), argument, "condition", condition, conditions)
        found[condition] = statistics.read_marker_eval(path)["per_persona"]
    return found


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="CONDITION=FILE",
        help="a marker_eval.json of the report's own, for the questions as units; may be given more than once",
    )
    args = parser.parse_args()
    settings = params.load()
    runs, given = read_runs(settings), read_json(paths.PUBLISHED)
    conditions = list(runs["pooled"])
    personas = list(next(iter(runs["pooled"].values())))
    known = [*personas, *(name for name in published.personas(given) if name not in personas)]
    claims = load(CLAIMS, conditions, known)
    how = checks.How(settings.statistics.bootstrap, settings.statistics.level)
    entries = ledger(claims, given, runs, settings.prompts.source, report_runs(args.report, conditions), how)
    seeds = [name for name in runs if name != "pooled"]
    body, below = rows(entries), notes(entries, how.level, seeds)
    content = {"level": how.level, "seeds": list(settings.seeds), "claims": entries}
    write_json(settings.layout.results / "claims.json", statistics.rounded(content))
    write_text(settings.layout.tables / "claims.md", tables.markdown(HEADER, body, below))
    write_text(settings.layout.tables / "claims.tex", latex(body, below))


if __name__ == "__main__":
    main()
