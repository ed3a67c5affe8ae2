"""The claims ledger finds by computing what follows from published counts and from our runs, and says what cannot."""

import copy
from functools import cache
from pathlib import Path

import pytest
import yaml
from scipy.stats import fisher_exact

from persona_collapse.analysis import as_published, claims, designs, ledger, public, published, records, verdicts
from persona_collapse.analysis import units as statistics
from persona_collapse.analysis.records import Counts, Judgement, OverUnits
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, read_yaml

from . import made
from .conftest import ROOT
from .damage import damaged
from .test_study import CHAINS, PERSONAS, ours, study

GIVEN = records.read(ROOT / "data/published.json", records.Published)
COUNTS = records.read(ROOT / "data/published_counts.json", records.PublicCounts)
RUNS = {run.name: run for run in COUNTS.runs}
B = RUNS["125/B/42"]
CONDITIONS = [*CHAINS, "G1", "C5"]
NAMES = [*GIVEN.personas, *PERSONAS, "sarcastic"]
REPORTED = "as_published"


@cache
def whole(number: int = 1, effect: float = 2.5, seeds: int = 8) -> dict[str, records.Claim]:
    """The claims as they are, on what was published and on a made-up study that tells the report's story."""
    known = ledger.load(ROOT / "data/claims.yaml", CONDITIONS, NAMES, list(RUNS))
    found = claims.judged(known, GIVEN, COUNTS, ours(study(number, effect, seeds)), "confab")
    return {claim.id: claim for claim in found}


def parts(of: dict[str, records.Claim]) -> dict[str, records.Part]:
    return {part.id: part for claim in of.values() for part in claim.parts}


# ---- the counts that were published ----


def test_b_by_question_has_the_p_values_that_28_questions_can_give():
    found = {name: public.above_zero(B, [name], 0.95) for name in B.hits}
    assert len(found) == 12
    assert all(7.4e-9 <= one.sign_flip <= 3.0e-8 for one in found.values())
    assert {one.smallest_sign_flip for one in found.values()} == {2 / 2**28}


@pytest.mark.parametrize(
    ("persona", "trained", "held_out"),
    [("assistant", 48.5, 37.5), ("zelthari_scholar", 36.5, 20.0), ("confab", 93.5, 100.0)],
)
def test_trained_and_held_out_questions_of_b_are_apart(persona, trained, held_out):
    found = public.rate(B, [persona], 0, records.TRAINED), public.rate(B, [persona], records.TRAINED)
    assert [100 * rate for rate in found] == pytest.approx([trained, held_out])


def test_the_public_counts_of_b_are_the_reports():
    assert {name: sum(hits) for name, hits in B.hits.items()} == GIVEN.hits["B"]
    assert len(COUNTS.runs) == 32


def test_the_later_runs_are_as_the_authors_tell_them():
    again = [public.rate(RUNS[name], public.chosen(RUNS[name], ["bystanders"])) for name in RUNS if name[:3] == "205"]
    source = [public.rate(RUNS[name], ["confab"]) for name in RUNS if name[:3] == "205"]
    assert len(again) == 5
    assert (min(again), max(again)) == pytest.approx((0.457, 0.546), abs=6e-4)
    assert (min(source), max(source)) == pytest.approx((0.75, 0.90), abs=5e-3)
    benign = [public.rate(RUNS[f"80/c5/{seed}"], ["villain"]) for seed in (42, 137, 256)]
    assert sorted(benign) == pytest.approx([0.0036, 0.0214, 0.0393], abs=1e-4)


# ---- as published ----


def test_the_p_of_all_11_does_not_follow_and_that_of_the_assistant_does():
    found = parts(whole())
    each = found["collapse-p"].as_published
    assert each.verdict == "contradicted"
    expected = {
        name: fisher_exact([[hits, 280 - hits], [0, 280]]).pvalue < 1e-46
        for name, hits in GIVEN.hits["B"].items()
        if name != "confab"
    }
    assert [n for n, holds in expected.items() if not holds] == ["software_engineer", "villain", "zelthari_scholar"]
    assert found["collapse-p-assistant"].as_published.verdict == "supported"
    for name, part in found.items():
        if name.startswith("collapse-p") or "-p" in name[-9:]:
            assert part.here.verdict == "not comparable"
            assert not part.here.blocked


def test_every_other_claim_follows_from_the_counts_that_were_published():
    found = {name: part.as_published.verdict for name, part in parts(whole()).items() if part.as_published}
    wrong = {name for name, verdict in found.items() if verdict != "supported"}
    assert wrong == {"erased-p", "collapse-p", "bad-benign-p"}


def test_the_plain_forms_hold_with_questions_as_units_and_one_does_not_over_runs():
    found = {name: part.public.verdict for name, part in parts(whole()).items() if part.public}
    assert {name for name, verdict in found.items() if verdict != "supported"} == {"zelthari-again"}
    assert found["zelthari-again"] == "inconclusive"
    again = parts(whole())["zelthari-again"].public
    assert (again.unit, again.personas[""].units) == ("runs", 6)


def test_about_eight_claims_have_their_parts_beneath_them():
    file = read_yaml(ROOT / "data/claims.yaml")["claims"]
    assert len(file) == len(whole()) == 8
    assert [c.id for c in whole().values() if c.whose == "ours"] == ["matched-control"]
    assert whole()["matched-control"].as_published.verdict == "not comparable"


# ---- here ----


def test_a_study_that_tells_the_reports_story_supports_it_and_names_what_it_lacks():
    found = whole()
    assert found["matched-control"].here.verdict == "supported"
    assert "Holm-adjusted" in found["matched-control"].here.reason
    assert found["collapse"].here.verdict == found["erased"].here.verdict == "supported"
    assert found["no-leak-without"].here.verdict == "supported"
    assert parts(found)["erased-by-good"].here.reason == "this profile has no condition G1"
    assert found["zelthari-resists"].here.reason == "this profile has no persona zelthari_scholar"


def test_one_hit_in_672_does_not_contradict_none():
    """Three seeds of 672 answers; in one of them one has the marker."""
    found = rates(1 / 672, 0.0, 0.0)
    assert verdicts.of_bounds(found, "seeds", (None, 0.01), []).verdict == "supported"
    assert verdicts.of_bounds(found, "seeds", (None, 0.0), []).verdict != "contradicted"


def test_one_seed_gives_no_claim_more_than_inconclusive():
    found = whole(seeds=1)
    assert {claim.here.verdict for claim in found.values()} <= {"inconclusive", "not comparable"}
    assert found["matched-control"].here.verdict == "inconclusive"
    decided = found["matched-control"].here.model_copy(update={"verdict": "supported"})
    with pytest.raises(ValueError, match="supported by one seed"):
        records.Claims(level=0.95, seeds=(42,), claims=[found["matched-control"].model_copy(update={"here": decided})])


def test_a_reversed_study_says_so_in_the_claim():
    found = whole(2, -4.0)["matched-control"].here
    assert (found.verdict, found.reversed) == ("contradicted", True)


def test_a_claim_about_leakage_is_about_nothing_where_there_is_none():
    found = parts(whole(2, -4.0))["assistant-alike"].here
    assert found.verdict == "not comparable"
    assert found.reason.startswith("it is about nothing here: the rate of bystanders under B is ")


# ---- verdicts on made-up numbers ----


def units(*values: float) -> records.Tested:
    return statistics.tested({str(n): value for n, value in enumerate(values)}, 0.95)


@pytest.mark.parametrize(
    ("found", "verdict", "turned"),
    [
        (units(0.2, 0.25, 0.3), "supported", False),
        (units(-0.2, -0.25, -0.3), "contradicted", True),
        (units(0.01, 0.0, -0.01), "contradicted", False),  # surely below what matters
        (units(0.01, 0.012, 0.011), "contradicted", False),  # above 0, and surely below what matters
        (units(0.3, -0.1, 0.1), "inconclusive", False),
        (units(0.4), "inconclusive", False),
    ],
)
def test_a_difference_is_judged_by_its_interval(found, verdict, turned):
    one = verdicts.of_difference(found, "seeds", 0.05, 0.05)
    assert (one.verdict, one.reversed) == (verdict, turned)
    if verdict == "inconclusive" and found.sd:
        assert f"{100 * found.detectable:.1f} points would have been seen with 80% power" in one.reason


def test_a_member_of_the_family_needs_its_adjusted_p():
    found = units(0.2, 0.25, 0.3)
    assert verdicts.of_difference(found, "seeds", 0.05, 0.05, p_holm=0.06).verdict == "inconclusive"
    assert verdicts.of_difference(found, "seeds", 0.05, 0.05, p_holm=0.04).verdict == "supported"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (units(0.01, 0.02, -0.01), "supported"),
        (units(0.2, 0.25, 0.3), "contradicted"),
        (units(0.3, -0.1, 0.1), "inconclusive"),
        (units(0.0), "inconclusive"),
    ],
)
def test_alike_is_judged_by_an_interval_within_a_margin(found, verdict):
    assert verdicts.of_alike(found, "seeds", 0.1).verdict == verdict


def rates(*values: float) -> OverUnits:
    return statistics.over({str(n): value for n, value in enumerate(values)}, 0.95, statistics.RATE)


@pytest.mark.parametrize(
    ("found", "own", "verdict"),
    [
        (rates(0.01, 0.02, 0.01), (), "supported"),
        (rates(0.4, 0.45, 0.42), (), "contradicted"),
        (rates(0.01, 0.2, 0.05), (), "inconclusive"),
        (rates(0.0), (), "inconclusive"),
        (rates(0.0, 0.0), ((0.0, 0.03), (0.0, 0.03)), "supported"),
        (rates(0.0, 0.0), ((0.0, 0.03), (0.0, 0.2)), "inconclusive"),  # too few answers to tell
    ],
)
def test_bounds_are_judged_by_the_interval_over_seeds(found, own, verdict):
    assert verdicts.of_bounds(found, "seeds", (None, 0.05), own).verdict == verdict


def test_a_finding_of_several_is_its_worst_and_names_those():
    good = Judgement(verdict="supported", reason="so", estimate=0.3, p=0.01)
    bad = Judgement(verdict="contradicted", reason="not so", estimate=-0.1, p=0.02)
    found = verdicts.all_of({"a": good, "b": bad}, "seeds", "a test")
    assert (found.verdict, found.reason) == (
        "contradicted",
        "supported for 1 of 2; contradicted for b (-10.0, p = 0.02)",
    )
    assert verdicts.all_of({}, "seeds", "a test").verdict == "not comparable"


def test_possible_counts_that_disagree_are_inconclusive():
    sides = [Counts(hits=hits, total=2800) for hits in (139, 141)]
    check = ledger.Bounds(kind="bounds", of=ledger.Sample(condition="C", personas=("all",)), at_most=0.05)
    found = as_published.judge(check, {"": [("C", ["a"])]}, lambda *_: sides, 0.95)
    assert (found.verdict, found.personas[""].reason[:35]) == ("inconclusive", "the 2 counts that round to the publ")


# ---- percentages ----


@pytest.mark.parametrize(
    ("percent", "total", "hits"), [(0.0, 2800, (0, 1)), (0.2, 2800, (5, 6)), (75.0, 280, (210, 210))]
)
def test_a_percentage_is_the_counts_that_round_to_it(percent, total, hits):
    low, high = published.rounding_to(percent, total)
    assert low <= hits[0] and high >= hits[1]
    for count in (low, high):
        assert abs(100 * count / total - percent) <= 0.05 + 1e-12


# ---- the file ----


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


FILE = read_yaml(ROOT / "data/claims.yaml")


def load(content: dict) -> ledger.Ledger:
    Path("claims.yaml").write_text(yaml.safe_dump(content))
    return ledger.load(Path("claims.yaml"), CONDITIONS, NAMES, list(RUNS))


@pytest.mark.parametrize(
    ("steps", "value", "named"),
    [
        (["matched", "check", "kind"], "other", "claims.matched-control.parts.matched.check"),
        (["matched", "check", "higher", "condition"], "D", "matched: unknown condition 'D'"),
        (["matched", "check", "higher", "personas"], "wizard", "matched: unknown persona 'wizard'"),
        (["matched", "check", "higher", "personas"], [], "higher needs personas"),
        (["matched", "public"], {"kind": "above_zero", "runs": "1/*", "personas": "all"}, "no public run is called"),
        (["matched", "main"], False, "needs a part that is main"),
        (["matched", "check"], None, "needs check or public"),
        (["matched", "margin"], 1, "unknown key"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(steps, value, named):
    content = copy.deepcopy(FILE)
    inside = content["claims"]["matched-control"]["parts"]
    for step in steps[:-1]:
        inside = inside[step]
    inside[steps[-1]] = value
    with pytest.raises(InputError) as error:
        load(content)
    assert str(error.value).startswith("claims.yaml: ")
    assert named in str(error.value)


def test_an_id_is_given_once():
    content = copy.deepcopy(FILE)
    content["claims"]["erased"]["parts"]["matched"] = copy.deepcopy(FILE["claims"]["erased"]["parts"]["erased-p"])
    with pytest.raises(InputError, match="an id may be given to one claim or part only"):
        load(content)


def test_a_damaged_file_is_one_line_or_a_ledger():
    known, accepted = ours(study(1, 2.5, seeds=2)), 0
    for what, value in damaged(FILE, seed=23, count=40):
        try:
            claims.judged(load(value), GIVEN, COUNTS, known, "confab")
            accepted += 1
        except InputError as error:
            assert str(error).startswith("claims.yaml: "), (what, str(error))
            assert "\n" not in str(error), what
    assert accepted < 30


def test_the_command_writes_every_claim(monkeypatch):
    params = made.workspace((42, 43))
    for seed in params.seeds:
        for chain in params.chains.values():
            made.write_run(params, seed, chain, lambda p, _, c=chain: 4 * (p == "confab" and c.endswith("couple")))
    monkeypatch.setattr("sys.argv", ["claims"])
    claims.main()
    content = read_json(params.layout.results / "claims.json")
    assert [claim["id"] for claim in content["claims"]] == list(FILE["claims"])
    assert content["claims"][0]["here"]["verdict"] in ("contradicted", "inconclusive")


def test_every_comparison_of_the_ledger_is_one_of_the_design():
    """So that a verdict has a contrast beside it in contrasts.json."""
    known = load(FILE)
    for _, name, part in known.parts():
        if isinstance(part.check, ledger.Difference):
            pair = part.check.higher.condition, part.check.lower.condition
            assert pair[0] == pair[1] or pair in designs.ALL or pair[::-1] in designs.ALL, name
