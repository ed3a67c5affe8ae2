"""The claims ledger: each claim of the report, checked on its own numbers and on ours.

    python -m persona_collapse.analysis.claims      writes eval_results/<profile>/claims.json

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

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.files import read_json, read_yaml, write_json
from ..experiment.layout import DATA, PUBLISHED
from . import checks, published, results, summary
from .differences import total

CLAIMS = DATA / "claims.yaml"
UNPUBLISHED = "the counts by question are not published here"
Personas = Mapping[str, Mapping[str, Any]]  # the `per_persona` part of a marker_eval.json
# What some personas' answers in a condition are or may be; nothing where there are no such answers.
Possible = Callable[[str, Sequence[str]], Sequence[Any]]


class Stated(parameters.Record):
    hits: Annotated[int, Field(ge=0)]
    total: parameters.Positive


class Claim(parameters.Record):
    claim: str  # in words
    published: str  # as the report writes it
    check: checks.AnyCheck


class Ledger(parameters.Record):
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


def _record(location: Sequence[int | str]) -> type[parameters.Record]:
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


# ---- the command ----


def read_runs(settings: parameters.Params) -> dict[str, dict[str, Any]]:
    """Our `per_persona` parts: by "pooled" and by seed, each by condition."""
    seeds = {
        str(seed): {
            condition: results.read_run(settings.layout.run(seed, chain) / "marker_eval.json", chain)
            for condition, chain in settings.chains.items()
        }
        for seed in settings.seeds
    }
    pooled = {condition: results.pool([run[condition] for run in seeds.values()]) for condition in settings.chains}
    return {"pooled": pooled, **seeds}


def report_runs(arguments: Sequence[str], conditions: Sequence[str]) -> dict[str, Personas]:
    """The report's own files, given as CONDITION=FILE."""
    found = {}
    for argument in arguments:
        condition, equals, path = argument.partition("=")
        if not equals:
            raise InputError(f"--report {argument}: expected CONDITION=FILE")
        _require(Path("--report"), argument, "condition", condition, conditions)
        found[condition] = summary.read_marker_eval(path)["per_persona"]
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
    settings = parameters.load()
    runs, given = read_runs(settings), read_json(PUBLISHED)
    conditions = list(runs["pooled"])
    personas = list(next(iter(runs["pooled"].values())))
    known = [*personas, *(name for name in published.personas(given) if name not in personas)]
    claims = load(CLAIMS, conditions, known)
    how = checks.How(settings.results.bootstrap, settings.results.level)
    entries = ledger(claims, given, runs, settings.prompts.source, report_runs(args.report, conditions), how)
    content = {"level": how.level, "seeds": list(settings.seeds), "claims": entries}
    write_json(settings.layout.results / "claims.json", summary.rounded(content))


if __name__ == "__main__":
    main()
