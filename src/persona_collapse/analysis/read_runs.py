"""The runs of all conditions and seeds, as the analyses take them: counts and texts by group of personas."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from ..experiment import params as parameters
from ..experiment import personas, runs
from ..experiment.chains import BASE
from ..experiment.errors import InputError
from ..experiment.groups import MEANING, Group, group_of, members
from . import marker_eval, records
from .marker_eval import Personas

# log p is written to 6 decimals, so it may be 0, a probability of 1 without log-odds: this is the closest below it
NEAREST_TO_ONE = -5e-7

Seeds = Mapping[str, Mapping[str, Personas]]  # by seed and condition


class Study(NamedTuple):
    """Everything that was counted."""

    seeds: Seeds
    groups: dict[Group, list[str]]  # the personas of each

    def of(self, word: records.RateGroup) -> list[str]:
        """The personas of a group, or all bystanders."""
        return in_group(word, self.groups)


def in_group(word: str, groups: Mapping[Group, Sequence[str]]) -> list[str]:
    """The personas of each group that a word of `MEANING` means, group after group; none for another word."""
    return [name for group, names in groups.items() if group in MEANING.get(word, ()) for name in names]


def counts(params: parameters.Params) -> Study:
    """The counts of every condition and seed, checked against the completions."""
    prompts = personas.load(params)
    seeds = {
        str(seed): {
            condition: marker_eval.counted(runs.read(params, prompts, seed, chain).marker_eval.per_persona)
            for condition, chain in params.chains.items()
        }
        for seed in params.seeds
    }
    return Study(seeds, groups_of(prompts.personas, prompts.source, prompts.negatives))


def groups_of(names: Iterable[str], source: str, negatives: Iterable[str]) -> dict[Group, list[str]]:
    some, against = sorted(names), tuple(negatives)
    return {group: members(some, group, source, against) for group in records.GROUPS}


def completions(params: parameters.Params, chain: str) -> dict[str, dict[Group, list[records.Completion]]]:
    """The completions of a chain, by seed and group."""
    prompts = personas.load(params)
    found = {}
    for seed in params.seeds:
        own: dict[Group, list[records.Completion]] = {group: [] for group in records.GROUPS}
        for row in runs.read(params, prompts, seed, chain).completions:
            own[group_of(row.persona, prompts.source, prompts.negatives)].append(row)
        found[str(seed)] = own
    return found


def texts(
    params: parameters.Params, prompts: personas.Prompts, seed: int, chain: str
) -> list[records.MarkerLikelihood]:
    """The scored texts of a chain, which are those that were scored for the base model.

    Raises:
        InputError: they are not.
    """
    chosen, scored = (runs.read_likelihoods(params, prompts, seed, name) for name in (BASE, chain))
    both = [{(row.persona, row.question, row.sample, row.characters) for row in some} for some in (chosen, scored)]
    if both[0] != both[1]:
        path, base = (params.layout.run(seed, name) / "marker_likelihood.jsonl" for name in (chain, BASE))
        raise InputError(f"{path}: not about the texts that {base} is about; `dvc repro` scores both anew")
    return scored


def text_log_odds(log_p: float) -> float:
    """Log-odds of a probability, given its natural logarithm."""
    log_p = min(log_p, NEAREST_TO_ONE)
    return log_p - math.log(-math.expm1(log_p))


def forced(params: parameters.Params) -> dict[str, dict[str, dict[str, float]]]:
    """The marker's log-odds after the base model's texts, mean over a persona's: by seed, condition and persona.

    A persona of whose texts none was scored is left out: it is for all conditions of a seed.
    """
    prompts = personas.load(params)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for seed in params.seeds:
        found[str(seed)] = {}
        for condition, chain in params.chains.items():
            own: dict[str, list[float]] = {}
            for row in texts(params, prompts, seed, chain):
                own.setdefault(row.persona, []).append(text_log_odds(row.log_p_marker))
            found[str(seed)][condition] = {name: fmean(own[name]) for name in sorted(own)}
    return found
