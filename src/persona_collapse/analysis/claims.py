"""The claims ledger: each claim of the report, and what we ask beside it, judged on published counts and on our runs.

    python -m persona_collapse.analysis.claims      writes eval_results/<profile>/claims.json

A claim of `data/claims.yaml` has parts, and a part up to three verdicts. As published: whether it follows from the
counts that the report gives, by the named test. Public: whether it holds in the authors' public counts, with questions
or runs as the units. Here: whether it holds in our runs, with seeds as the units. The claim's own verdicts are those
of its main parts.
"""

import argparse
from collections.abc import Mapping, Sequence

from ..experiment import params as parameters
from ..experiment.errors import one_line_errors
from ..experiment.groups import REPORTS_SOURCE
from ..experiment.layout import DATA, PUBLISHED
from . import as_published, designs, here, ledger, public, published, read_runs, records, results
from .here import Here
from .ledger import CLAIMS, comparisons
from .records import Finding, Overall, worst
from .verdicts import NOT_COMPARABLE

PUBLIC_COUNTS = DATA / "published_counts.json"


def overall(main: Sequence[Finding | None], others: Mapping[str, Finding | None], absent: str) -> Overall:
    """The verdict of a claim: of its main parts, with a word on other parts that say otherwise."""
    found = [one for one in main if one]
    if not found:
        return Overall(verdict=NOT_COMPARABLE, reason=absent, reversed=False)
    verdict = worst([one.verdict for one in found])
    deciding = [one for one in found if one.verdict == verdict]
    reasons = list(dict.fromkeys(one.reason for one in deciding))
    differing = [
        f"{one.verdict} for its part {name}"
        for name, one in others.items()
        if one and one.verdict not in (verdict, NOT_COMPARABLE)
    ]
    return Overall(
        verdict=verdict, reason="; ".join([*reasons, *differing]), reversed=any(one.reversed for one in deciding)
    )


def judged(
    claims: ledger.Ledger, given: records.Published, counts: records.PublicCounts, ours: Here, source: str
) -> list[records.Claim]:
    """The verdicts on every claim, in the order of the file."""
    possible = published.read(given, {condition: stated.hits for condition, stated in claims.counts.items()})
    p_holm = here.adjusted(ours)

    def part(name: str, asked: ledger.Part) -> records.Part:
        check, of_report = asked.check, None
        if check and asked.published is not None:
            theirs = comparisons(check, given.personas, REPORTS_SOURCE, ())
            of_report = as_published.judge(check, theirs, possible, ours.level)
        return records.Part(
            id=name,
            says=asked.says,
            published=asked.published,
            as_published=of_report,
            public=public.judge(asked.public, counts, ours.level) if asked.public else None,
            here=here.judge(check, ours, source, p_holm) if check else None,
        )

    entries = []
    for name, claim in claims.claims.items():
        parts = {own: part(own, asked) for own, asked in claim.parts.items()}
        main = [parts[own] for own, asked in claim.parts.items() if asked.main]
        others = {own: one for own, one in parts.items() if one not in main}
        of_public = [one.public for one in main]
        entries.append(
            records.Claim(
                id=name,
                claim=claim.claim,
                whose=claim.whose,
                as_published=overall(
                    [one.as_published for one in main],
                    {own: one.as_published for own, one in others.items()},
                    "the report has no such comparison",
                ),
                public=overall(of_public, {own: one.public for own, one in others.items()}, "")
                if any(of_public)
                else None,
                here=overall([one.here for one in main], {own: one.here for own, one in others.items()}, ""),
                parts=list(parts.values()),
            )
        )
    return entries


def gather(params: parameters.Params) -> records.Claims:
    """Read every run that the parameters name, what was published, and compute `claims.json`."""
    study, level = read_runs.counts(params), params.results.level
    gates = results.gates_of(results.summaries(study, level), params.gates)
    given = records.read(PUBLISHED, records.Published)
    counts = records.read(PUBLIC_COUNTS, records.PublicCounts)
    ours = Here(study, gates, level)
    # a claim may be about a condition that this profile lacks, and is then not comparable
    known = list(dict.fromkeys([*params.chains, *(name for pair in designs.ALL for name in pair)]))
    personas = list(dict.fromkeys([*ours.names, *given.personas, *(n for run in counts.runs for n in run.hits)]))
    claims = ledger.load(CLAIMS, known, personas, [run.name for run in counts.runs])
    return records.Claims(
        level=level, seeds=params.seeds, claims=judged(claims, given, counts, ours, params.prompts.source)
    )


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "claims.json", gather(params))


if __name__ == "__main__":
    main()
