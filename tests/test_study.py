"""A made-up study: counts of eight seeds with a known effect, and with none, through contrasts and verdicts."""

import numpy as np
import pytest

from persona_collapse.analysis import collapse, contrasts, designs, here, marker_eval, records, results
from persona_collapse.analysis.here import Here
from persona_collapse.analysis.hypothesis_tests import fisher
from persona_collapse.analysis.ledger import Difference, Sample
from persona_collapse.analysis.marker_eval import Lengths, Persona
from persona_collapse.analysis.read_runs import Study, groups_of
from persona_collapse.analysis.records import Counts
from persona_collapse.experiment.params import Gates

PERSONAS = ("confab", "assistant", "comedian", "data_scientist", *(f"bystander {n}" for n in range(8)))
GROUPS = groups_of(PERSONAS, "confab", ("comedian", "data_scientist"))
CHAINS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple", "G": "good-couple"}
CHAINS["base"] = "base"
GATES = Gates(source_rate=0.85, bystander_rate=0.05, override_coupling=False, nonempty_share=0.95, length_ratio=0.5)
KEY = records.contrast("B", "G", "untrained_bystander")
QUESTIONS, SAMPLES = 10, 14


def persona(drawn: np.random.Generator, log_odds: float) -> Persona:
    p = 1 / (1 + np.exp(-(log_odds + drawn.normal(0, 0.3, QUESTIONS))))
    hits = drawn.binomial(SAMPLES, p).tolist()
    questions = {f"q{n:02}": Counts(hits=h, total=SAMPLES) for n, h in enumerate(hits)}
    splits = {name: "train" if n < 7 else "heldout" for n, name in enumerate(questions)}
    total = QUESTIONS * SAMPLES
    return Persona(marker_eval.total(questions.values()), questions, splits, Lengths([40] * total, [160] * total, 9, 0))


def study(number: int, effect: float, seeds: int = 8, between: float = 0.8, source: float = 4.0) -> Study:
    """Counts in which bystanders' log-odds under B are higher than under G by `effect`, and by more or less in a seed.

    Args:
        between: SD of a condition's log-odds between seeds, which all personas of a seed share.
        source: log-odds of the source where it was coupled.
    """
    drawn = np.random.default_rng(number)

    def condition(name: str, level: float) -> dict[str, Persona]:
        own = source if CHAINS[name].endswith("couple") else -6.0
        return {who: persona(drawn, own if who == "confab" else level) for who in sorted(PERSONAS)}

    others = {name: condition(name, -6.0) for name in CHAINS if name not in ("B", "G")}  # alike in all seeds
    made = {}
    for seed in range(seeds):
        levels = {"B": -1.5 + effect, "G": -1.5}
        made[str(seed)] = others | {n: condition(n, x + between * drawn.normal()) for n, x in levels.items()}
    return Study(made, GROUPS)


def forced(of: Study) -> dict:
    return {seed: {name: dict.fromkeys(PERSONAS, 0.0) for name in run} for seed, run in of.seeds.items()}


def primary(of: Study) -> records.Contrast:
    return contrasts.gathered(of, forced(of), range(len(of.seeds)), 0.95).contrasts[KEY]


def difference(of: Study) -> records.Difference:
    return contrasts.difference(of, ("B", "G"), GROUPS["untrained_bystander"], "all", 0.95)


def ours(of: Study) -> Here:
    return Here(of, results.gates_of(results.summaries(of, 0.95), GATES), 0.95)


CHECK = Difference(
    kind="difference",
    higher=Sample(condition="B", personas=("untrained_bystander",)),
    lower=Sample(condition="G"),
    margin=0.05,
)


def verdict(of: Study) -> records.Finding:
    known = ours(of)
    return here.judge(CHECK, known, "confab", here.adjusted(known))


def test_a_known_effect_is_found_with_an_interval_that_holds_it():
    held = 0
    for number in range(20):
        found = difference(study(number, effect=2.5, between=0.4))
        assert found.points.interval[0] > 0
        held += found.log_odds.interval[0] < 2.5 < found.log_odds.interval[1]
    assert held >= 17  # 19 are expected
    of = study(1, effect=2.5)
    one = primary(of)
    points = one.questions["all"].points
    assert (one.role, len(points.by_unit), set(one.questions)) == ("primary", 8, {"all", "train", "heldout"})
    assert points.sign_flip == points.smallest_sign_flip == 2 / 2**8
    assert verdict(of).verdict == "supported"


def test_a_reversal_is_said():
    found = verdict(study(2, effect=-4.0))
    assert (found.verdict, found.reversed) == ("contradicted", True)
    assert found.reason.startswith("it is the other way round: over 8 seeds the difference is -")


def test_without_an_effect_intervals_hold_0_as_often_as_they_say():
    p = [difference(study(number, effect=0.0)).points.p for number in range(100, 140)]
    assert sum(one < 0.05 for one in p) <= 6  # 2 of 40 are expected; 7 or more come by chance once in 300 times


def test_pooled_answers_would_have_called_chance_significant():
    """The test that this replaces: all seeds' answers as if they were independent."""
    wrong = 0
    for number in range(100, 110):
        of, names = study(number, effect=0.0), GROUPS["untrained_bystander"]
        sides = [
            marker_eval.total(run[condition][name].counts for run in of.seeds.values() for name in names)
            for condition in ("B", "G")
        ]
        wrong += fisher(*sides) < 0.05
        low, high = difference(of).points.interval
        assert low < 0 < high or high < 0
    assert wrong >= 8


def test_an_inconclusive_verdict_says_what_would_have_been_seen():
    found = verdict(study(104, effect=0.0))
    assert found.verdict == "inconclusive"
    (one,) = found.personas.values()
    assert f"{100 * one.detectable:.1f} points would have been seen with 80% power" in found.reason
    assert one.detectable > 0.05


def test_seeds_that_agree_on_no_difference_contradict_it():
    found = verdict(study(3, effect=0.0, between=0.02))
    assert (found.verdict, found.reversed) == ("contradicted", False)
    assert "surely below the 5 points that matter" in found.reason


@pytest.mark.parametrize("effect", [0.0, 3.0, -3.0])
def test_one_seed_is_inconclusive_whatever_it_shows(effect):
    of = study(5, effect, seeds=1)
    found = verdict(of)
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("there is one seed: the difference in it is ")
    points = primary(of).questions["all"].points
    assert points.p is points.interval is points.sd is None
    assert primary(of).p_holm is None


def test_a_failed_coupling_gate_makes_everything_that_rests_on_it_not_comparable():
    of = study(1, effect=2.5, source=0.0)
    found = verdict(of)
    assert (found.verdict, found.blocked) == ("not comparable", True)
    assert found.reason.startswith("the coupling gate failed: under C4 the source has ")
    free = CHECK.model_copy(update={"gates": False})
    assert here.judge(free, ours(of), "confab", {}).verdict == "supported"


def test_a_degenerate_condition_is_not_comparable_and_another_is():
    of = study(1, effect=2.5)
    short = {}
    for seed, run in of.seeds.items():
        few = {
            name: Persona(p.counts, p.questions, p.splits, Lengths([4] * 140, [9] * 140, 9, 0))
            for name, p in run["G"].items()
        }
        short[seed] = {**run, "G": few}
    found = verdict(Study(short, GROUPS))
    assert (found.verdict, found.blocked) == ("not comparable", True)
    assert "G failed the degeneracy gate" in found.reason


def test_a_condition_that_a_profile_lacks_is_not_comparable():
    of = study(1, effect=2.5)
    without = Study({s: {n: p for n, p in run.items() if n != "G"} for s, run in of.seeds.items()}, GROUPS)
    assert verdict(without).reason == "this profile has no condition G"
    assert contrasts.gathered(without, forced(without), range(8), 0.95).primary is None


# ---- the family ----


def test_the_family_is_three_contrasts_and_holms_correction_is_over_them_alone():
    of = study(1, effect=0.9)
    found = contrasts.gathered(of, forced(of), range(8), 0.95)
    assert found.family == [records.contrast(*pair, "untrained_bystander") for pair in designs.ALL[:3]]
    assert found.primary == KEY
    p = sorted(found.contrasts[key].questions["all"].points.p for key in found.family)
    adjusted = sorted(found.contrasts[key].p_holm for key in found.family)
    assert adjusted[0] == pytest.approx(3 * p[0])
    assert {key for key, one in found.contrasts.items() if one.p_holm is not None} == set(found.family)
    assert {one.group for one in found.contrasts.values()} == set(records.GROUPS)
    assert here.adjusted(ours(of)) == pytest.approx({key: found.contrasts[key].p_holm for key in found.family})


# ---- scales ----


def test_a_disagreement_of_scales_is_flagged():
    """From 0.1% to 1% is more in log-odds than from 50% to 55%, and less in points."""
    of = study(7, effect=2.5)
    of_texts = {
        seed: {name: dict.fromkeys(PERSONAS, -1.0 if name == "B" else 0.0) for name in run}
        for seed, run in of.seeds.items()
    }
    found = contrasts.gathered(of, of_texts, range(8), 0.95).contrasts[KEY]
    assert (found.signs.points, found.signs.log_odds, found.signs.teacher_forced) == (1, 1, -1)
    assert not found.signs.agree
    assert primary(of).signs.agree


def test_the_collapse_index_is_smaller_where_bystanders_leak():
    of = study(8, effect=2.5)
    found = collapse.gathered(of, forced(of), CHAINS, 0.95)
    b, g, c4 = (found.conditions[name].sampled.over_seeds for name in ("B", "G", "C4"))
    assert b.gap.mean < g.gap.mean < c4.gap.mean
    assert b.spread.mean < c4.spread.mean
    gap = found.gaps["B - G"]
    assert gap.points.mean < 0 and gap.log_odds.interval[1] < 0
    assert gap.log_odds.mean == pytest.approx(b.gap.mean - g.gap.mean)
    assert (gap.signs.teacher_forced, gap.signs.agree) == (0, True)
    rates = {who: p.counts for who, p in of.seeds["0"]["B"].items()}
    own = found.conditions["B"].sampled.seeds["0"].personas
    assert own["confab"] == pytest.approx(
        np.log((rates["confab"].hits + 0.5) / (rates["confab"].total - rates["confab"].hits + 0.5))
    )


def test_no_text_that_was_scored_leaves_the_rest():
    of = study(8, effect=2.5)
    empty = {seed: {name: {} for name in run} for seed, run in of.seeds.items()}
    assert contrasts.gathered(of, empty, range(8), 0.95).contrasts[KEY].teacher_forced is None
    found = collapse.gathered(of, empty, CHAINS, 0.95)
    assert found.conditions["B"].teacher_forced is found.gaps["B - G"].teacher_forced is None
