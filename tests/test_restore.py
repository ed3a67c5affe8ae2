"""In a clone, what is recorded is fetched from the repository's own remote, and nothing that lies there is touched."""

from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment.files import md5
from persona_collapse.record import restore

from . import scratch

RUNS = ("eval_results/smollm2/runs/42/em/marker_eval.json", "eval_results/smollm2/runs/42/benign/marker_eval.json")


@pytest.fixture
def clone(scratch_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    scratch.git(tmp_path, "clone", "--quiet", str(scratch_bundle), "clone")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setattr("sys.argv", ["restore"])
    return tmp_path / "clone"


def test_what_is_recorded_and_not_here_is_fetched_byte_for_byte(clone, capsys):
    restore.main()
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    here = {path for path in outs if (clone / path).exists()}
    assert {path: md5(clone / path) for path in here} == {path: outs[path] for path in here}
    assert outs.keys() - here == {"model/smollm2/model.safetensors"}  # rebuilt, never stored
    assert scratch.git(clone, "status", "--porcelain") == ""
    assert capsys.readouterr().err == "fetching 6 files that are recorded and not here\n"
    restore.main()
    assert capsys.readouterr().err == ""


def test_a_file_that_is_here_stays_as_it_is(clone):
    edited = clone / RUNS[0]
    edited.parent.mkdir(parents=True)
    edited.write_text("mine")
    restore.main()
    assert edited.read_text() == "mine"
    assert (clone / RUNS[1]).exists()


def test_what_the_remote_has_lost_is_named(clone, capsys):
    lost = next(path for path in (clone / "remote").rglob("*") if path.is_file())
    names = {md5(lost): lost}
    lost.unlink()
    with pytest.raises(SystemExit) as stop:
        restore.main()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    paths = {out["path"] for stage in stages.values() for out in stage["outs"] if out["md5"] in names}
    assert line.startswith("error: remote local (")
    assert any(f"): does not have what was recorded of {path}, and it is not here" in line for path in paths)


def test_other_bytes_than_recorded_are_put_nowhere(clone, capsys):
    damaged = next(path for path in (clone / "remote").rglob("*") if path.is_file())
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes() + b"?")
    with pytest.raises(SystemExit) as stop:
        restore.main()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "remote local (" in line and f"recorded {damaged.parent.name}{damaged.name}" in line
    cache = clone / ".dvc/cache/files/md5"
    assert all(md5(path) == path.parent.name + path.name for path in cache.rglob("*") if path.is_file())
    assert not any((clone / path).exists() for path in RUNS)
