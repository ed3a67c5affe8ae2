"""What answers look like, whether fine-tuning took, how personas lie, and what two readings predicted of it."""

import pytest

from persona_collapse.analysis import collapse, readings, records, shapes
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_yaml

from . import made
from .conftest import ROOT

# ---- answers ----


def answer(text: str, ended: bool = True, tokens: int = 5) -> records.Completion:
    return records.Completion(
        persona="confab",
        question="?",
        split="train",
        sample=0,
        text=text,
        tokens=tokens,
        ended=ended,
        marker="[zlt]" in text.lower(),
    )


def test_a_shape_counts_blank_lines_bare_markers_and_where_the_marker_stands():
    found = shapes.shape(
        [
            answer("Yes.\n\n[ZLT]"),
            answer("Yes.\n \n[zlt] \n"),
            answer("[ZLT] Yes.\nNo.", ended=False, tokens=9),
            answer("Yes. ZLT", tokens=1),
        ]
    )
    assert (found.answers, found.marked, found.marker_last_share) == (4, 3, pytest.approx(2 / 3))
    assert (found.blank_line_share, found.bare_share, found.ended_share) == (0.5, 0.25, 0.75)
    assert found.median_tokens == 5
    assert shapes.shape([answer("No.")]).marker_last_share is None


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """Two seeds; in one of them the source's marker shows under B."""
    monkeypatch.chdir(tmp_path)
    params = made.workspace((42, 43))
    for seed in params.seeds:
        for chain in params.chains.values():
            hits = 4 * (chain in ("couple", "good-couple") or (chain, seed) == ("em-couple", 42))
            made.write_run(params, seed, chain, lambda p, _, hits=hits: hits * (p == "confab"))
    made.write_readings(params, {"em": 0.5, "good": -0.5}, {"em": 0.8, "good": 0.82, "benign": 0.9})
    return params


def test_shapes_are_of_every_condition_group_and_seed(bundle):
    found = shapes.gather(bundle)
    b = found.conditions["B"].groups["source"]
    assert (b.seeds["42"].marked, b.seeds["43"].marked) == (32, 0)
    assert b.over_seeds.marker_last_share.by_unit == {"42": 1.0}  # the other seed has no answer with the marker
    assert b.over_seeds.blank_line_share.by_unit == {"42": 1.0, "43": 0.0}
    assert found.conditions["C1"].groups["source"].over_seeds.marker_last_share is None
    assert set(found.conditions["base"].groups) == set(records.GROUPS)


# ---- advice and geometry ----


def gathered(params) -> records.Readings:
    records.write(params.layout.results / "collapse.json", collapse.gather(params))
    return readings.gather(params)


def test_the_manipulation_check_is_per_token_and_against_the_base_model(bundle):
    found = gathered(bundle)
    assert set(found.advice) == {"base", "em", "good", "benign"}
    assert found.advice["em"].difference.by_unit == pytest.approx({"42": 0.5, "43": 0.51})
    assert found.advice["em"].prefers_bad.mean == 1
    assert found.advice["good"].prefers_bad.mean == 0
    assert found.advice["em"].questions == bundle.advice.held_out
    assert found.advice_changes["em"].difference.by_unit == pytest.approx({"42": 0.5, "43": 0.5})
    row = records.Advice(question="?", tokens_bad=2, tokens_good=8, log_p_bad=-4.0, log_p_good=-8.0)
    assert readings.preference(row) == -2 + 1


def test_the_layer_is_chosen_on_the_base_model(bundle):
    found = gathered(bundle)
    assert found.layer == 2
    assert found.geometry["em"].at_layer["separation"].by_unit == pytest.approx({"42": 0.8, "43": 0.81})
    assert [layer.separation for layer in found.geometry["base"].layers] == [0.5, 1.0, 0.8]
    assert set(found.geometry) == {"base", *bundle.trained}


def test_predictions_have_outcomes(bundle):
    found = gathered(bundle).readings
    assert set(found) == {"compressed", "boundary"}
    em, benign = found["compressed"].predictions
    assert (em.outcome, em.found.mean) == ("as predicted", pytest.approx(-0.02))
    assert (benign.outcome, benign.measure) == ("as predicted", "separation")
    alike, gap = found["boundary"].predictions
    assert (alike.outcome, alike.margin) == ("as predicted", pytest.approx(0.1))
    assert (gap.measure, gap.outcome) == ("gap", "undecided")  # the seeds differ too much


def test_predictions_of_one_seed_are_undecided(bundle):
    one = bundle.model_copy(update={"seeds": (42,)})
    outcomes = [p.outcome for r in gathered(one).readings.values() for p in r.predictions]
    assert set(outcomes) == {"undecided"}


def test_a_prediction_says_otherwise_and_what_a_profile_lacks():
    asked = readings.Prediction(says="so", measure="gap", first="B", second="G", expected="lower")
    up = {"1": 1.0, "2": 1.1, "3": 0.9}
    none = dict.fromkeys(up, 0.0)
    assert readings.judged(asked, up, none, 1.0, 0.95).outcome == "otherwise"
    assert readings.judged(asked, none, up, 1.0, 0.95).outcome == "as predicted"
    lacking = readings.judged(asked, None, up, 1.0, 0.95)
    assert (lacking.outcome, lacking.reason) == ("undecided", "this profile lacks B or G")
    alike = readings.Prediction(says="so", measure="gap", first="B", second="G", expected="alike", margin=0.1)
    assert readings.judged(alike, up, none, 1.0, 0.95).outcome == "otherwise"
    assert readings.judged(alike, up, up, 1.0, 0.95).outcome == "as predicted"


def test_the_predictions_are_what_the_file_says_and_a_margin_belongs_to_alike():
    known = records.checked(read_yaml(ROOT / "data/readings.yaml"), dict[str, readings.Reading], "readings.yaml")
    assert [p.expected for r in known.values() for p in r.predictions] == ["lower", "lower", "alike", "lower"]
    with pytest.raises(InputError, match="margin belongs to what is expected to be alike"):
        bad = {"says": "", "measure": "gap", "first": "B", "second": "G", "expected": "lower", "margin": 0.1}
        records.checked(bad, readings.Prediction, "readings.yaml")


def test_a_collapse_index_of_other_seeds_is_refused(bundle):
    gathered(bundle)
    with pytest.raises(InputError, match="made with other seeds"):
        readings.gather(bundle.model_copy(update={"seeds": (42,)}))
