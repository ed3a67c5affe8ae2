"""The claims ledger: each claim of the report, checked on its own numbers and on ours.

    python -m persona_collapse.analysis.claims      writes eval_results/<profile>/claims.json

A claim of `data/claims.yaml` gets three verdicts. As published: it follows from the counts that the report gives, by
the named test. Reproduced: it holds in our runs, each seed's and all pooled. Cluster-robust: it survives treating the
questions, and not the answers, as the units.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from ..experiment import params as parameters
from ..experiment.errors import InputError, one_line_errors
from ..experiment.groups import REPORTS_SOURCE
from ..experiment.layout import PUBLISHED
from . import checks, marker_eval, published, records
from .intervals import How
from .ledger import CLAIMS, Check, Ledger, comparisons, load, require
from .marker_eval import Personas, Questions, by_question, total
from .records import Counts, Finding, Part
from .results import read_runs

UNPUBLISHED = "the counts by question are not published here"
Conditions = Mapping[str, Personas]  # the personas of each condition
# What some personas' answers in a condition are or may be; nothing where there are no such answers.
Possible = Callable[[str, Sequence[str]], Sequence[Any]]
Comparisons = Mapping[str, Sequence[tuple[str, Sequence[str]]]]


# ---- whose counts ----


def questions_of(run: Conditions) -> Possible:
    """Look-up of the counts by question of some personas together."""

    def possible(condition: str, chosen: Sequence[str]) -> list[Questions]:
        personas = run.get(condition, {})
        if not all(name in personas for name in chosen):
            return []
        questions = by_question(personas[name] for name in chosen)
        return [questions] if questions else []

    return possible


def answers_of(run: Conditions) -> Possible:
    """Look-up of the counts of some personas together."""

    def possible(condition: str, chosen: Sequence[str]) -> list[Counts]:
        return [total(questions.values()) for questions in questions_of(run)(condition, chosen)]

    return possible


# ---- judging ----


def judge(check: Check, test: Any, parts: Comparisons, possible: Possible, how: How, absent: str) -> Finding:
    """One finding on a claim.

    Args:
        test: of answers or of questions, from `checks.KINDS`.
        parts: from `ledger.comparisons`.
        absent: what to say where `possible` has nothing.
    """
    found = {}
    for label, sides in parts.items():
        options = [possible(condition, chosen) if chosen else [] for condition, chosen in sides]
        missing = next((side for side, option in zip(sides, options, strict=True) if not option), None)
        if missing:
            who = "" if check.each else ": " + (", ".join(missing[1]) or "no persona")
            reason = f"{absent} ({missing[0]}{who if len(missing[1]) < 4 else ''})"
            found[label] = Part(verdict=checks.UNTESTABLE, reason=reason)
        else:
            found[label] = checks.settled([test(check, choice, how) for choice in product(*options)])
    return checks.all_of(found)


def reproduced(
    check: Check, test: Any, parts: Comparisons, runs: Mapping[str, Conditions], how: How
) -> records.Reproduced:
    """Our verdict on a claim: of all seeds pooled, and what each seed says by itself.

    Args:
        runs: by "pooled" and by seed.
    """
    pooled, *seeds = (judge(check, test, parts, answers_of(run), how, "not in our runs") for run in runs.values())
    by_seed = dict(zip([name for name in runs if name != "pooled"], seeds, strict=True))
    others = [f"seed {n} alone: {f.verdict}" for n, f in by_seed.items() if f.verdict != pooled.verdict]
    reason = "; ".join([pooled.reason, *others])
    return records.Reproduced(verdict=pooled.verdict, reason=reason, parts=pooled.parts, seeds=by_seed)


def judged(
    claims: Ledger,
    given: records.Published,
    runs: Mapping[str, Conditions],
    source: str,
    report: Conditions,
    how: How,
) -> list[records.Claim]:
    """The verdicts on every claim, in the order of the file.

    Args:
        runs: ours, by "pooled" and by seed.
        report: the report's own counts by question, as far as there are any.
    """
    possible = published.read(given, {condition: counts.hits for condition, counts in claims.counts.items()})
    here = sorted(next(iter(runs["pooled"].values())))
    entries = []
    for name, claim in claims.claims.items():
        check, kind = claim.check, checks.KINDS[claim.check.kind]
        theirs = comparisons(check, given.personas, REPORTS_SOURCE)
        ours = comparisons(check, here, source)
        by_questions = kind.of_questions
        entries.append(
            records.Claim(
                id=name,
                claim=claim.claim,
                published=claim.published,
                kind=check.kind,
                test=kind.test,
                test_by_question=kind.test_by_question,
                as_published=judge(check, kind.of_answers, theirs, possible, how, "not published"),
                reproduced=reproduced(check, kind.of_answers, ours, runs, how),
                cluster_robust=records.ClusterRobust(
                    report=judge(check, by_questions, theirs, questions_of(report), how, UNPUBLISHED),
                    here=judge(check, by_questions, ours, questions_of(runs["pooled"]), how, "not in our runs"),
                ),
            )
        )
    return entries


# ---- the command ----


def report_runs(arguments: Sequence[str], conditions: Sequence[str]) -> dict[str, Personas]:
    """The report's own files, given as CONDITION=FILE."""
    found: dict[str, Personas] = {}
    for argument in arguments:
        condition, equals, path = argument.partition("=")
        if not equals:
            raise InputError(f"--report {argument}: expected CONDITION=FILE")
        require(f"--report: {argument}", "condition", condition, conditions)
        found[condition] = marker_eval.read(path).personas
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
    params = parameters.load()
    runs, given = read_runs(params), records.read(PUBLISHED, records.Published)
    conditions = list(params.chains)
    personas = list(dict.fromkeys([*sorted(next(iter(runs["pooled"].values()))), *given.personas]))
    claims = load(CLAIMS, conditions, personas)
    how = How(params.results.bootstrap, params.results.level)
    entries = judged(claims, given, runs, params.prompts.source, report_runs(args.report, conditions), how)
    content = records.Claims(level=how.level, seeds=params.seeds, claims=entries)
    records.write(params.layout.results / "claims.json", content)


if __name__ == "__main__":
    main()
