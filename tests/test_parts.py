"""A record that was made on another machine comes home whole, and one that disagrees is refused."""

import re
import shutil
from pathlib import Path

import pytest

from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5
from persona_collapse.record import lock, parts
from persona_collapse.record.lock import LOCK

from . import scratch


@pytest.fixture
def elsewhere(scratch_bundle: Path, tmp_path: Path) -> Path:
    """The bundle on another machine, whose remote is not here; with all outputs."""
    shutil.copytree(scratch_bundle, tmp_path / "elsewhere", symlinks=True)
    return tmp_path / "elsewhere"


@pytest.fixture
def home(scratch_bundle: Path, tmp_path: Path) -> Path:
    """The bundle before anything was recorded."""
    folder = tmp_path / "home"
    scratch.git(tmp_path, "clone", "--quiet", str(scratch_bundle), "home")
    shutil.rmtree(folder / "remote")
    for name in ("dvc.lock", "paper", "figures", "eval_results"):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    return folder


def packed(elsewhere: Path, folder: Path, monkeypatch, mib: int = 16) -> list[Path]:
    monkeypatch.chdir(elsewhere)
    return parts.collect("smollm2", folder, mib)


@pytest.mark.long
def test_a_part_brings_everything_but_weights_home(elsewhere, home, tmp_path, monkeypatch):
    files = packed(elsewhere, tmp_path / "parts", monkeypatch)
    recorded = lock.read()
    monkeypatch.chdir(home)
    names = parts.join(files)
    assert lock.read() == {name: recorded[name] for name in recorded if name in names}
    assert set(recorded) == set(names)
    for stage in recorded.values():
        for out in stage.outs:
            if out.path.endswith(".safetensors"):
                assert not Path(out.path).exists()
            else:
                assert md5(Path(out.path)) == out.md5
    run = next(out for out in recorded["evaluate@smollm2-42-em"].outs)
    cached = Path(".dvc/cache/files/md5") / run.md5[:2] / run.md5[2:]
    assert md5(cached) == run.md5
    scratch.run(home, "push")
    assert (Path("remote/files/md5") / run.md5[:2] / run.md5[2:]).exists()


def test_the_same_record_gives_the_same_part_and_joining_it_again_changes_nothing(
    elsewhere, home, tmp_path, monkeypatch
):
    files = packed(elsewhere, tmp_path / "one", monkeypatch)
    again = packed(elsewhere, tmp_path / "two", monkeypatch)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    monkeypatch.chdir(home)
    parts.join(files)
    text = LOCK.read_text()
    parts.join(files)
    assert LOCK.read_text() == text


def test_a_part_that_disagrees_is_refused_by_the_names_of_its_files_and_changes_nothing(
    elsewhere, home, tmp_path, monkeypatch
):
    files = packed(elsewhere, tmp_path / "one", monkeypatch)
    monkeypatch.chdir(home)
    parts.join(files)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and ".git/" not in str(path)}
    monkeypatch.chdir(elsewhere)
    (elsewhere / "data/counts.json").write_text("{}")
    scratch.run(elsewhere, "repro")
    other = parts.collect("smollm2", tmp_path / "two", 16)
    monkeypatch.chdir(home)
    with pytest.raises(InputError, match=r"disagrees .*runs/42/benign/marker_eval.json, .*runs/42/em/marker_eval.json"):
        parts.join(other)
    assert before == {path: path.read_bytes() for path in before}


def test_what_the_other_machine_has_of_other_profiles_is_not_taken_in(elsewhere, home, tmp_path, monkeypatch):
    files = packed(elsewhere, tmp_path / "one", monkeypatch)
    monkeypatch.chdir(home)
    parts.join(files)
    monkeypatch.chdir(elsewhere)
    text = LOCK.read_text()
    stale = text.replace("@smollm2", "@other").replace("/smollm2/", "/other/").partition("stages:")[2]
    LOCK.write_text(text + re.sub(r"md5: [0-9a-f]{32}$", f"md5: {'0' * 32}", stale, flags=re.MULTILINE))
    again = parts.collect("smollm2", tmp_path / "two", 16)
    monkeypatch.chdir(home)
    before = LOCK.read_text()
    parts.join(again)
    assert LOCK.read_text() == before


def test_a_part_that_is_damaged_or_not_whole_is_refused(elsewhere, home, tmp_path, monkeypatch):
    (file,) = packed(elsewhere, tmp_path / "one", monkeypatch)
    monkeypatch.chdir(home)
    whole = file.read_bytes()
    for damaged in (whole[:-100], b"nothing", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="not a whole part"):
            parts.join([file])
    file.write_bytes(whole)
    with pytest.raises(InputError, match=r"expected part\.tar\.xz\.000"):
        parts.join([file.rename(file.with_name("part.tar.xz.001"))])
    assert not LOCK.exists()


def test_what_is_not_as_recorded_is_not_packed(elsewhere, tmp_path, monkeypatch):
    (elsewhere / "eval_results/smollm2/runs/42/em/marker_eval.json").write_text("edited")
    with pytest.raises(InputError, match=r"runs/42/em/marker_eval\.json: MD5 is"):
        packed(elsewhere, tmp_path / "one", monkeypatch)
    assert not (tmp_path / "one").exists()


def test_a_part_of_some_seeds_brings_theirs_and_what_they_need(elsewhere, home, tmp_path, monkeypatch):
    monkeypatch.chdir(elsewhere)
    for path in ("data/coupling/smollm2/137/em.jsonl", "eval_results/smollm2/statistics.json"):
        Path(path).unlink(missing_ok=True)  # of no seed that is asked for, and so it need not be there
    files = parts.collect("smollm2", tmp_path / "parts", 16, ["42"])
    monkeypatch.chdir(home)
    names = parts.join(files)
    assert {name.partition("@")[2] for name in names} == {"smollm2", "smollm2-42-em", "smollm2-42-benign"}
    assert "base@smollm2" in names
    assert "results@smollm2" not in names


def test_a_seed_that_nothing_is_recorded_of_is_named(elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InputError, match=r"SEEDS=7: no such seed; params.yaml has 42"):
        parts.collect("smollm2", tmp_path / "parts", 16, ["7"])
    assert not (tmp_path / "parts").exists()
