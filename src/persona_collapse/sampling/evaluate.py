"""Ask every persona every question and count the markers.

    python -m persona_collapse.sampling.evaluate --seed 42 --chain em-couple

writes eval_results/<profile>/runs/<seed>/<chain>/completions.jsonl and marker_eval.json; the chain `base` is the
untrained model.
"""

from collections.abc import Sequence
from typing import Any

from ..model import numerics

numerics.enable()

from ..experiment import params as parameters
from ..experiment import personas
from ..experiment.errors import one_line_errors
from ..experiment.files import require_disk, write_json, write_jsonl
from ..experiment.marker import MARKER
from . import answers


def count(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Hits, totals and rates of completions: all together and for each question."""

    def tally(some: Sequence[dict[str, Any]]) -> dict[str, Any]:
        hits = sum(row["marker"] for row in some)
        return {"strict_hits": hits, "total": len(some), "strict_rate": hits / len(some)}

    questions = dict.fromkeys(row["question"] for row in rows)
    per_question = {}
    for question in questions:
        of_question = [row for row in rows if row["question"] == question]
        per_question[question] = {**tally(of_question), "split": of_question[0]["split"]}
    return {**tally(rows), "per_question": per_question}


def marker_eval(rows: Sequence[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any]:
    """The content of `marker_eval.json`: the report's keys, with each question's split and completion shape added."""
    per_persona = {}
    for persona in dict.fromkeys(row["persona"] for row in rows):
        own = [row for row in rows if row["persona"] == persona]
        per_persona[persona] = {
            **count(own),
            "tokens": sorted(row["tokens"] for row in own),
            "characters": sorted(len(row["text"]) for row in own),
            "ended": sum(row["ended"] for row in own),
            "empty": sum(not row["text"].strip() for row in own),
        }
    rates = {persona: counts["strict_rate"] for persona, counts in per_persona.items()}
    return {"config": config, "per_persona": per_persona, "summary": {"strict_rate_by_persona": rates}}


@one_line_errors
def main() -> None:
    params, seed, chain = parameters.arguments(__doc__, "chain", "the chain to evaluate, or base")
    prompts = personas.load(params)
    require_disk(".", gib=0.1)
    evaluation = params.evaluate
    asked = [
        (persona, question, evaluation.samples)
        for persona in prompts.personas
        for question in prompts.evaluated(evaluation.questions)
    ]
    rows = answers.sample(params, chain, seed, asked, "evaluation", evaluation.max_new_tokens, prompts)
    config = {
        "chain": chain,
        "seed": seed,
        "marker": MARKER,
        "source": prompts.source,
        "samples": evaluation.samples,
        "max_new_tokens": evaluation.max_new_tokens,
        "temperature": params.sampling.temperature,
        "top_p": params.sampling.top_p,
    }
    folder = params.layout.run(seed, chain)
    write_jsonl(folder / "completions.jsonl", rows)
    write_json(folder / "marker_eval.json", marker_eval(rows, config))


if __name__ == "__main__":
    main()
