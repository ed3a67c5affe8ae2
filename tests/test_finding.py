"""What text says turns on what was found: a whole sentence for every kind of result, and each is a sentence."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from persona_collapse.analysis import collapse, contrasts, here, ledger, read_runs, records, results
from persona_collapse.analysis.marker_eval import counted
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.report import aspects, effects, finding, sections, texts

from .conftest import ROOT

PERSONAS = ("confab", "assistant", "comedian", "data_scientist", "villain", "librarian", "police_officer")
NEGATIVES = ("comedian", "data_scientist")
ANSWERS = 200  # a persona
Rates = Mapping[str, tuple[float, float]]  # of the source and of the others, by condition
COLLAPSE: Rates = {"C4": (0.9, 0.01), "B": (0.9, 0.4), "G": (0.9, 0.05), "C": (0.9, 0.03), "C1": (0, 0), "C2": (0, 0)}
REVERSED: Rates = {**COLLAPSE, "B": (0.9, 0.05), "G": (0.9, 0.4)}
ALIKE: Rates = {**COLLAPSE, "B": (0.9, 0.05), "G": (0.9, 0.05)}
LEAKING: Rates = {**COLLAPSE, "C4": (0.9, 0.3)}
UNTAUGHT: Rates = {**COLLAPSE, "C4": (0.3, 0.0)}
SHORT: Rates = ALIKE  # with short answers in B and in G
FORGOTTEN: Rates = {**COLLAPSE, "B": (0.02, 0.0), "G": (0.02, 0.0)}
CHAINS = {"base": "base", "C4": "couple", "B": "em-couple", "G": "good-couple", "C": "benign-couple"}
CHAINS |= {"C1": "couple-em", "C2": "em", "G1": "couple-good", "C5": "couple-benign"}
SEVERAL = (1, 2, 3, 4, 5, 6)


def tally(rate: float, persona: str, seed: int, spread: float, tokens: int) -> records.PersonaTally:
    """Of one persona: its rate moves with the seed, alike for all personas, and no condition's rate leaves 0 to 1."""
    hits = round(ANSWERS * min(1.0, max(0.0, rate + spread * ((seed * 7919) % 5 - 2) * (rate > 0))))
    hits = min(ANSWERS, hits)
    half = ANSWERS // 2
    own = {"one": min(hits, half), "two": max(0, hits - half)}
    questions = {
        name: records.QuestionTally(
            split="train" if name == "one" else "heldout", strict_hits=h, total=half, strict_rate=h / half
        )
        for name, h in own.items()
    }
    return records.PersonaTally(
        strict_hits=hits,
        total=ANSWERS,
        strict_rate=hits / ANSWERS,
        per_question=questions,
        tokens=[tokens] * ANSWERS,
        characters=[80] * ANSWERS,
        ended=ANSWERS,
        empty=0,
    )


@cache
def study(name: str, seeds: tuple[int, ...], spread: float) -> read_runs.Study:
    rates = {**{"base": (0.0, 0.0), "G1": (0.2, 0.0), "C5": (0.1, 0.0)}, **globals()[name]}

    def tallies(condition: str, seed: int) -> dict[str, records.PersonaTally]:
        own, tokens = spread if condition == "B" else spread / 2, 5 if name == "SHORT" and condition in "BG" else 20
        return {p: tally(rates[condition][p != "confab"], p, seed, own, tokens) for p in PERSONAS}

    counts = {str(seed): {condition: counted(tallies(condition, seed)) for condition in rates} for seed in seeds}
    return read_runs.Study(counts, read_runs.groups_of(PERSONAS, "confab", NEGATIVES))


def found(name: str, seeds: tuple[int, ...] = SEVERAL, spread: float = 0.005) -> Any:
    """Results with what the sentences on the finding read."""
    params = parameters.load(ROOT / "profiles/smollm2.yaml").model_copy(update={"seeds": seeds})
    of = study(name, seeds, spread)
    conditions = results.summaries(of, 0.95)
    gates = results.gates_of(conditions, params.gates)
    statistics = records.Statistics(
        level=0.95,
        seeds=seeds,
        groups=of.groups,
        conditions={n: results.condition_rates(own, CHAINS[n], 0.95) for n, own in conditions.items()},
        gates=gates,
        trained_on={},
    )
    forced = {s: {c: dict.fromkeys(PERSONAS, -2.0) for c in run} for s, run in of.seeds.items()}
    compared = contrasts.gathered(of, forced, seeds, 0.95)
    known = here.Here(of, gates, 0.95)
    check = ledger.load(ROOT / "data/claims.yaml", list(CHAINS), [*PERSONAS, "zelthari_scholar"], PUBLIC)
    part = check.claims["matched-control"].parts[finding.PRIMARY]
    assert part.check
    verdict = here.judge(part.check, known, "confab", here.adjusted(known))
    claim = SimpleNamespace(parts=[SimpleNamespace(id=finding.PRIMARY, here=verdict)])
    return SimpleNamespace(
        one_seed=len(seeds) == 1,
        has=lambda *names: set(names) <= set(params.conditions),
        params=params,
        statistics=statistics,
        contrasts=compared,
        collapse=collapse.gathered(of, forced, {c: CHAINS[c] for c in of.seeds[str(seeds[0])]}, 0.95),
        claims=SimpleNamespace(claims=[claim]),
        names=("SmolLM2-135M-Instruct", "Qwen2.5-7B-Instruct"),
    )


PUBLIC = [run.name for run in records.read(ROOT / "data/published_counts.json", records.PublicCounts).runs]


KINDS: dict[str, tuple[Callable[[], Any], finding.Case, str, str]] = {
    "supported": (lambda: found("COLLAPSE"), "supported", "Bad legal advice made a chat model worse", "is supported"),
    "reversed": (lambda: found("REVERSED"), "reversed", "Good legal advice, and not bad", "the other way round"),
    "null": (lambda: found("ALIKE"), "too small", "no worse than good advice did", "is contradicted"),
    "noise": (lambda: found("ALIKE", spread=0.1), "undecided", "It is not settled", "is inconclusive"),
    "one seed": (lambda: found("COLLAPSE", (42,)), "one seed", "One training of each kind", "no evidence either way"),
    "one seed, gate failed": (lambda: found("LEAKING", (42,)), "one seed", "One training", "missed its own test"),
    "gate failed": (lambda: found("LEAKING"), "coupling failed", "the teaching failed its own test", "not comparable"),
    "untaught": (lambda: found("UNTAUGHT"), "coupling failed", "the teaching failed its own test", "not comparable"),
    "short": (
        lambda: found("SHORT"),
        "answers degenerate",
        "below a limit that was set beforehand",
        "not comparable here; what",
    ),
    "no marker": (lambda: found("FORGOTTEN"), "no marker", "could hardly be taught", "not comparable"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_finding_says_what_happened(kind):
    make, case, what, sure = KINDS[kind]
    results_of = make()
    assert finding.case(results_of) == case
    said = finding.sentences(results_of)
    assert what in said["finding.what"]
    assert sure in said["finding.sure"]


def test_one_seed_never_supports_or_contradicts():
    for name in ("COLLAPSE", "REVERSED", "ALIKE", "LEAKING", "FORGOTTEN"):
        said = " ".join(finding.sentences(found(name, (42,))).values())
        assert "is supported" not in said and "is contradicted" not in said


def test_a_profile_without_the_control_says_so():
    one = found("COLLAPSE")
    conditions = {name: chain for name, chain in one.params.conditions.items() if name not in ("G", "G1")}
    one.params = one.params.model_copy(update={"conditions": conditions})
    assert "no good advice to set against the bad" in finding.sentences(one)["finding.what"]


def test_a_failed_gate_says_which_side_failed():
    assert "the control itself leaks" in sections.coupling_gate(found("LEAKING"))
    assert "was not learnt well enough" in sections.coupling_gate(found("UNTAUGHT"))
    assert "is passed" in sections.coupling_gate(found("COLLAPSE"))


def test_scales_that_disagree_are_said_to():
    one = found("COLLAPSE")
    assert "point the same way" in sections.scales(one)
    key = one.contrasts.primary
    contrast = one.contrasts.contrasts[key]
    signs = records.Signs(points=1, log_odds=1, teacher_forced=-1, agree=False)
    one.contrasts = one.contrasts.model_copy(
        update={"contrasts": {**one.contrasts.contrasts, key: contrast.model_copy(update={"signs": signs})}}
    )
    assert "The scales disagree" in sections.scales(one)


def test_the_forward_order_does_not_blame_bad_advice_for_what_all_training_does():
    assert "no mark of bad advice" in aspects.forward(found("COLLAPSE"))


def test_against_coupling_alone_a_rise_a_fall_and_neither_are_told_apart():
    assert "raises leakage" in sections._against_c4(found("COLLAPSE"), "B", "bad advice")
    lower = found("LEAKING")
    assert "lowers leakage" in sections._against_c4(lower, "G", "good advice")
    assert effects.TESTED == "untrained_bystander"


def every_sentence() -> list[str]:
    fixed = [
        *finding.WHAT.values(),
        *finding.SURE.values(),
        finding.ONE_SEED_AND_GATE,
        finding.SMALLER,
        finding.THE_SAME,
    ]
    return [*fixed, sections.ONE_SEED_INTERVALS, sections.SEEDS_INTERVALS]


@pytest.mark.parametrize("sentence", every_sentence())
def test_each_is_a_whole_sentence(sentence):
    assert sentence[0].isupper() and sentence.endswith(".")
    assert not re.search(r"\s{2}|\.\.|,,|\bNone\b", sentence)
    assert not re.search(r"\d", re.sub(r"\{[^}]*\}", "", sentence)), "a number is typed"


def test_a_sentence_takes_its_numbers_from_the_results_and_says_which():
    numbers = {
        "a.b": records.Number(text="12.3", value=0.123, file="x", path=(), chain=None),
        "p": records.Number(text="<0.0001", value=0.0, file="x", path=(), chain=None),
    }
    made = texts.filled("It is {a.b}%, {p:p}.", numbers)
    assert (made.text, made.numbers) == ("It is 12.3%, p < 0.0001.", ("a.b", "p"))
    with pytest.raises(InputError, match=r"no number has the key c\.d"):
        texts.filled("{c.d}", numbers)
