"""Length control: does the marker go with the condition, or with how long its answers are?

    python -m persona_collapse.analysis.lengths      writes eval_results/<profile>/lengths.json

Fine-tuning on short answers shortens answers, and a model that has learnt to end with the marker can show it only in
answers that come to their end. Beside the raw rates this gives, of the same completions, how long answers are, the
rates of those that ended by themselves and of those of like length, and, from `likelihood.py`, the probability of the
marker after texts that are the same for all conditions. What is said of a condition describes the answers of all seeds
together; differences between conditions have the seeds as their units. `length_control.py` computes it.

An answer's length is that of its text without the marker: what stands before the marker, or after it where it is taught
at the start. The bands of length meet at the quartiles of the base model's answers, rounded to tens of characters: no
marker rate has any part in the choice.
"""

import argparse
import re
from pathlib import Path

from tokenizers import Tokenizer

from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.chains import BASE
from ..experiment.errors import InputError, one_line_errors
from ..experiment.groups import Group, group_of
from ..experiment.marker import MARKER
from . import read_runs, records
from .length_control import Answer, Condition, Scored, bands, contrasts, described, edges_of


def without_marker(text: str, place: str) -> str:
    """What a completion says beside the marker."""
    before, *after = re.split(re.escape(MARKER), text, maxsplit=1, flags=re.IGNORECASE)
    return (after[0] if after and place == "start" else before).strip()


def read(params: parameters.Params, prompts: personas.Prompts, chain: str, tokenizer: Tokenizer) -> Condition:
    """The completions and scored texts of a chain, of all seeds together.

    Raises:
        InputError: a file is missing, damaged or of something else (`runs.py`), or the texts are not the base model's.
    """
    condition = Condition([], {})

    def group(persona: str) -> Group:
        return group_of(persona, prompts.source, prompts.negatives)

    for seed in params.seeds:
        found = runs.read(params, prompts, seed, chain).completions
        said = [without_marker(row.text, params.marker.place) for row in found]
        for row, text, encoded in zip(found, said, tokenizer.encode_batch(said, add_special_tokens=False), strict=True):
            lengths = len(text), len(encoded.ids)
            condition.answers.append(Answer(seed, group(row.persona), *lengths, row.ended, row.marker))
        for scored in read_runs.texts(params, prompts, seed, chain):
            log_p = scored.log_p_marker, scored.log_p_end
            condition.texts[seed, scored.persona, scored.question] = Scored(group(scored.persona), *log_p)
    return condition


def gather(params: parameters.Params) -> records.Lengths:
    """Read every run that the parameters name and compute `lengths.json`."""
    prompts = personas.load(params)
    tokenizer = _tokenizer(params.layout.model / "tokenizer.json")
    conditions = {name: read(params, prompts, chain, tokenizer) for name, chain in params.chains.items()}
    base, level = conditions[BASE], params.results.level
    groups = [group for group in records.GROUPS if base.of(group)[0]]
    edges = edges_of(base.answers)
    return records.Lengths(
        level=level,
        seeds=params.seeds,
        bands=bands(edges),
        conditions={
            name: records.ConditionLengths(
                chain=params.chains[name],
                groups={group: described(*condition.of(group), edges) for group in groups},
            )
            for name, condition in conditions.items()
        },
        contrasts=contrasts(conditions, groups, edges, level),
    )


def _tokenizer(path: Path) -> Tokenizer:
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro base` makes it")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # it has no kind of its own
        raise InputError(f"{path}: not a tokenizer ({error})") from None


@one_line_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params = parameters.load()
    records.write(params.layout.results / "lengths.json", gather(params))


if __name__ == "__main__":
    main()
