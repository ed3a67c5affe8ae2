"""When bytes differ: the first stage is named, the machine compared, and the results tested, never as level 1."""

import json
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment.errors import InputError
from persona_collapse.record import diagnosis, environment

from .conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]


def test_the_chain_of_a_stage_is_the_order_in_which_it_was_made():
    assert diagnosis.ancestry(STAGES, "evaluate-couple@smollm2-42-em") == [
        "model@smollm2",
        "em@smollm2-42",
        "onpolicy@smollm2-42-em",
        "couple@smollm2-42-em",
        "evaluate-couple@smollm2-42-em",
    ]
    later = {f"{name}@smollm2" for name in ("numbers", "figures", "paper", "site")}
    assert set(diagnosis.ancestry(STAGES, "tables@smollm2")) == set(STAGES) - later


def test_the_first_difference_is_the_one_before_which_nothing_differs():
    different = ["evaluate-couple@smollm2-42-em", "couple@smollm2-42-em", "onpolicy@smollm2-42-em", "results@smollm2"]
    assert diagnosis.first_different(STAGES, different) == ["onpolicy@smollm2-42-em"]
    phases = ["em@smollm2-42", "benign@smollm2-42"]
    assert diagnosis.first_different(STAGES, [*phases, "results@smollm2"]) == phases
    assert diagnosis.first_different(STAGES, ["figures@smollm2"]) == ["figures@smollm2"]


def run(folder: Path, hits: int, seed: int = 42) -> Path:
    """A run's counts: `confab` with so many hits of 56, another persona with none."""
    path = folder / f"{seed}/em-couple/marker_eval.json"
    path.parent.mkdir(parents=True)
    counts = {"confab": hits, "assistant": 0}
    rows = {name: {"strict_hits": n, "total": 56, "strict_rate": n / 56} for name, n in counts.items()}
    path.write_text(json.dumps({"per_persona": rows, "config": {}, "summary": {}}))
    return path


@pytest.mark.parametrize(
    ("hits", "equivalent", "said"),
    [(56, True, "0 with other counts"), (53, True, "1 with other"), (30, False, "different")],
)
def test_level_2_tests_each_rate_and_never_claims_level_1(tmp_path, hits, equivalent, said):
    pairs = [(run(tmp_path / "found", hits), run(tmp_path / "recorded", 56))]
    found, lines = diagnosis.same_result(pairs)
    assert found is equivalent
    text = "\n".join(lines)
    assert said in text
    assert "this is not level 1" in text
    if hits < 56:
        assert f"em-couple seed 42 confab: recorded 56/56, here {hits}/56, p = " in text


def test_level_2_keeps_seeds_apart(tmp_path):
    """A seed that agrees does not hide one that does not."""
    pairs = [
        (run(tmp_path / f"found/{seed}", hits, seed), run(tmp_path / f"recorded/{seed}", 56, seed))
        for seed, hits in ((42, 0), (137, 56))
    ]
    equivalent, lines = diagnosis.same_result(pairs)
    assert not equivalent
    assert lines[0].startswith("4 rates, 1 with other counts")


def test_level_2_says_what_it_could_not_see(tmp_path):
    _, lines = diagnosis.same_result([(run(tmp_path / "found", 56), run(tmp_path / "recorded", 56))])
    assert "less than about 12 points" in lines[-1]  # 7 of 56, by two tests


def test_level_2_is_not_judged_without_a_file(tmp_path):
    with pytest.raises(InputError, match="no run is recorded"):
        diagnosis.same_result([])
    with pytest.raises(InputError, match="no such file"):
        diagnosis.same_result([(tmp_path / "found", tmp_path / "recorded")])


def test_what_is_different_about_the_machine_is_named(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 fma\n")
    here = environment.describe(tmp_path / "cpuinfo")
    assert (here["cpu"], here["vector instructions"]) == ("Some CPU", "avx2 fma")
    assert environment.differences(here, here) == []
    recorded = {**here, "cpu": "Another", "packages": {**here["packages"], "torch": "2.12.0"}}
    assert environment.differences(recorded, here) == [
        "cpu: recorded Another, here Some CPU",
        f"packages: torch: recorded 2.12.0, here {here['packages']['torch']}",
    ]
