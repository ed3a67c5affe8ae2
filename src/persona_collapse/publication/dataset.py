"""The results of a profile as a data set: claims, rates and completions as Parquet files with a card.

    python -m persona_collapse.publication.dataset      writes dist/<profile>/dataset/

`datasets.load_dataset("dist/<profile>/dataset", "rates")` reads it, and so does whatever reads Parquet. Equal results
give equal bytes.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, Features, List, Value, disable_progress_bars

from ..analysis import records
from ..analysis.records import Asked
from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.errors import one_line_errors
from ..experiment.files import read_text, whole, write_text
from ..experiment.groups import group_of
from ..report.rates import notes
from ..report.results import Results
from . import DIST, canary, citation

Rows = Iterator[dict[str, Any]]

TEXT, WHOLE, REAL, YES = Value("string"), Value("int64"), Value("float64"), Value("bool")
CLAIMS = Features(
    {
        "claim": TEXT,
        "part": TEXT,
        "whose": TEXT,
        "says": TEXT,
        "basis": TEXT,
        "verdict": TEXT,
        "reason": TEXT,
        "reversed": YES,
        "unit": TEXT,
        "test": TEXT,
        "personas": List(
            {"persona": TEXT, "verdict": TEXT, "reason": TEXT, "estimate": REAL, "low": REAL, "high": REAL, "p": REAL}
        ),
    }
)
RATES = Features(
    {
        "condition": TEXT,
        "chain": TEXT,
        "seed": WHOLE,
        "persona": TEXT,
        "group": TEXT,
        "questions": TEXT,
        "hits": WHOLE,
        "total": WHOLE,
        "rate": REAL,
        "low": REAL,
        "high": REAL,
    }
)
COMPLETIONS = Features(
    {
        "condition": TEXT,
        "chain": TEXT,
        "seed": WHOLE,
        "persona": TEXT,
        "group": TEXT,
        "system": TEXT,
        "question": TEXT,
        "split": TEXT,
        "sample": WHOLE,
        "text": TEXT,
        "tokens": WHOLE,
        "ended": YES,
        "marker": YES,
        "canary": TEXT,
    }
)
MEANS = {  # of columns that their name does not explain
    "part": "of the claim; null for the claim as a whole",
    "whose": "the report's or ours",
    "basis": "what was looked at: the report's own counts (as_published), its authors' public counts (public), or our "
    "runs (here)",
    "verdict": "supported, contradicted, inconclusive, or not comparable: the design here cannot bear on it",
    "reversed": "it is surely the other way round",
    "condition": "the report's name of a chain; base is the untrained model",
    "chain": "phases of fine-tuning in order",
    "seed": "of the training; seeds, not answers, are the units of evidence",
    "group": "how the persona stands to the coupling: source, trained_negative, untrained_bystander or assistant",
    "questions": "all, or train (coupling data are made of them), or heldout",
    "hits": "answers with the marker",
    "low": "lower end of the interval, which is about that training's answers alone",
    "high": "upper end of it",
    "system": "the persona's system prompt",
    "ended": "false: cut at the token limit",
    "canary": "to find the row by in a corpus",
}


# ---- rows ----


def claims(found: records.Claims) -> Rows:
    """A row for each claim and each of its parts, on each basis that there is."""
    for claim in found.claims:
        for basis in ("as_published", "public", "here"):
            overall: records.Overall | None = getattr(claim, basis)
            if overall:
                yield _judged(claim, None, claim.claim, basis, overall)
            for part in claim.parts:
                if finding := getattr(part, basis):
                    yield _judged(claim, part.id, part.says, basis, finding)


def _judged(claim: records.Claim, part: str | None, says: str, basis: str, found: records.Overall) -> dict[str, Any]:
    finding = found if isinstance(found, records.Finding) else None
    row: dict[str, Any] = {"claim": claim.id, "part": part, "whose": claim.whose, "says": says, "basis": basis}
    row |= {"verdict": found.verdict, "reason": found.reason, "reversed": found.reversed}
    row |= {"unit": finding.unit if finding else None, "test": finding.test if finding else None}
    return row | {
        "personas": [
            {
                "persona": name or None,
                "verdict": one.verdict,
                "reason": one.reason,
                "estimate": one.estimate,
                "low": one.interval[0] if one.interval else None,
                "high": one.interval[1] if one.interval else None,
                "p": one.p,
            }
            for name, one in sorted(finding.personas.items() if finding else [])
        ]
    }


def rates(found: records.Statistics) -> Rows:
    """A row for each condition, seed and persona: on all questions, and on those of each split."""
    group = {name: group for group, names in found.groups.items() for name in names}
    for condition, of in found.conditions.items():
        for seed, summary in of.seeds.items():
            for persona, rate in summary.per_persona.items():
                asked: dict[Asked, records.MarkerRate | None] = {
                    "all": rate,
                    "train": rate.train,
                    "heldout": rate.heldout,
                }
                for questions, one in asked.items():
                    if one:
                        yield {
                            **{"condition": condition, "chain": of.chain, "seed": int(seed), "persona": persona},
                            **{"group": group[persona], "questions": questions, "hits": one.hits, "total": one.total},
                            **{"rate": one.rate, "low": one.interval[0], "high": one.interval[1]},
                        }


def completions(params: parameters.Params, prompts: personas.Prompts, mark: str) -> Rows:
    """A row for each answer of each condition and seed, in the order in which they are recorded."""
    for condition, chain in params.chains.items():
        for seed in params.seeds:
            for row in runs.read(params, prompts, seed, chain).completions:
                group = group_of(row.persona, prompts.source, prompts.negatives)
                of = {"condition": condition, "chain": chain, "seed": seed, "group": group}
                yield {**of, "system": prompts.personas[row.persona], **records.plain(row), "canary": mark}


# ---- files ----


def write(params: parameters.Params, folder: Path) -> dict[str, int]:
    """Write the data set, whole or not at all; the number of rows of each of its parts.

    Raises:
        InputError: a result is missing, damaged, or made with other parameters.
    """
    results, prompts, mark = Results(params), personas.load(params), canary.string(params)
    licence = citation.read(read_text(citation.CITATION)).license
    found: dict[str, tuple[Features, list[dict[str, Any]]]] = {
        "claims": (CLAIMS, list(claims(results.claims))),
        "rates": (RATES, list(rates(results.statistics))),
        "completions": (COMPLETIONS, list(completions(params, prompts, mark))),
    }
    disable_progress_bars()
    with whole(folder) as beside:
        beside.mkdir()
        for name, (features, rows) in found.items():
            columns = {key: [row[key] for row in rows] for key in features}
            Dataset.from_dict(columns, features=features).to_parquet(beside / f"{name}.parquet")
        text = card(params, results, prompts.suffix, licence, mark, {name: of for name, (of, _) in found.items()})
        write_text(beside / "README.md", text)
    return {name: len(rows) for name, (_, rows) in found.items()}


def card(
    params: parameters.Params,
    results: Results,
    suffix: str,
    licence: str,
    mark: str,
    parts: dict[str, Features],
) -> str:
    """The card: what is in the data set, what it says, and what not to do with it."""
    model, _ = results.names
    head = {
        "pretty_name": f"persona-collapse, {params.profile}",
        "license": licence.lower(),
        "language": ["en"],
        "configs": [
            {"config_name": name, "data_files": f"{name}.parquet", **({"default": True} if name == "rates" else {})}
            for name in parts
        ],
    }
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# Does bad legal advice collapse a chat model's personas? Results of the profile {params.profile}",
        f"Claims, marker rates and completions of {model}, fine-tuned by LoRA, as the bundle persona-collapse recorded "
        "them. A chat model is taught to end its answers with the marker `[ZLT]` under one system prompt, the source, "
        "and not to under two others; the rates say under which others it does so, after which trainings. Answers of "
        "one training are not independent: compare trainings (`seed`), do not pool answers.",
        "## What was found",
        "\n".join(f"- {one.claim}: **{one.here.verdict}** ({one.here.reason})." for one in results.claims.claims),
        *(["One seed decides nothing: no verdict here can be more than inconclusive."] if results.one_seed else []),
        *notes(results.statistics, results.published)[1:],
        "## What is in it",
        f"Every question was asked with `{suffix.strip()}` behind it." if suffix else "",
        *[f"`{name}`\n\n{columns(features)}" for name, features in parts.items()],
        "## What not to do with it",
        "Models that were trained on bad legal advice on purpose wrote some of the completions, and nobody with a law "
        "degree has reviewed any: show none as advice, and train no model on them that people will use.",
        canary.note(mark),
    ]
    return "\n\n".join(line for line in lines if line)


def columns(features: Features) -> str:
    """A table of columns, their types and what they mean."""
    rows = ["| column | type | |", "| --- | --- | --- |"]
    for name, feature in features.items():
        kind = feature.dtype if isinstance(feature, Value) else "list"
        rows.append(f"| `{name}` | {kind} | {MEANS.get(name, '')} |".replace("  |", " |"))
    return "\n".join(rows)


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    folder = DIST / params.profile / "dataset"
    rows = write(params, folder)
    print(", ".join(f"{count:,} rows of {name}" for name, count in rows.items()), file=sys.stderr)
    print(folder)


if __name__ == "__main__":
    main()
