"""When bytes differ: the first stage is named, the machine compared, and the results tested, never as level 1."""

import json
import sys
from pathlib import Path

import pytest

from persona_collapse.experiment.errors import InputError
from persona_collapse.record import diagnosis, environment

from . import damage


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


# ---- what is imported need not be what was installed ----


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder that Python looks in first, as a PYTHONPATH would have it, with an older package and a module more."""
    for name, version in (("yaml", "3.1"), ("colorsys", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        if version:
            about = tmp_path / f"PyYAML-{version}.dist-info/METADATA"
            about.parent.mkdir()
            about.write_text(f"Name: PyYAML\nVersion: {version}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    environment.foreign.cache_clear()
    yield tmp_path
    environment.foreign.cache_clear()


def test_the_description_has_the_version_that_is_imported_and_not_the_one_that_is_installed(elsewhere):
    assert environment.foreign() == {name: str(elsewhere / name / "__init__.py") for name in ("colorsys", "yaml")}
    packages = environment.describe()["packages"]
    assert packages["PyYAML"] == "3.1, not from the bundle's environment"
    assert packages["colorsys"] == "unknown version, not from the bundle's environment"


def test_what_is_imported_from_elsewhere_is_named_in_a_diagnosis_and_refused_for_a_record(elsewhere, tmp_path):
    lines = diagnosis.explain({}, {}, tmp_path / "recorded.json", None)
    assert f"  yaml is imported from {elsewhere}/yaml/__init__.py" in lines
    with pytest.raises(InputError, match=r"colorsys is imported from .*, not from the bundle's environment"):
        environment.require_own()


def test_nothing_is_imported_from_elsewhere_here():
    assert environment.foreign() == {}


def test_another_folders_code_is_refused(tmp_path, monkeypatch):
    environment.require_own_code()
    (tmp_path / "src/persona_collapse").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the code that runs is .*, not this folder's src/persona_collapse"):
        environment.require_own_code()


def test_a_damaged_description_is_one_line(tmp_path):
    path = tmp_path / "recorded.json"
    text = json.dumps(environment.describe())
    here = environment.describe()
    for what, content in damage.damaged_files(text, seed=1, count=200):
        path.write_bytes(content)
        try:
            environment.differences(environment.read(path), here)
        except InputError as error:
            assert str(error).startswith(str(path)), what
            assert "\n" not in str(error), what
