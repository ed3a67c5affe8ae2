"""What the pipeline changes in DVC: an input that is missing, and merged weights that a stage leaves."""

import shutil
from pathlib import Path

import pytest
import yaml

from persona_collapse.record import patches

from . import scratch
from .test_reproduce import PIPELINE, run, stages_run

MERGED = Path("model/smollm2-merged/42/em")
MERGING = f"""#!/bin/sh
# as a stage whose engine reads weights from files: merges a chain, and makes its output of it
mkdir -p {MERGED} {MERGED}-couple
echo weights | tee {MERGED}/model.safetensors > {MERGED}-couple/model.safetensors
sh src/code/make.sh "eval_results/smollm2/runs/42/em/marker_eval.json" {MERGED}/model.safetensors
exit ${{ENDS:-0}}
"""


@pytest.fixture
def bundle(scratch_copy: Path) -> Path:
    return scratch_copy


@pytest.mark.parametrize(
    ("path", "stage", "back"),
    [
        ("data/counts.json", "evaluate@smollm2-42-em", "`git checkout -- data/counts.json` brings it back"),
        ("src/code", "figures@smollm2", "it belongs to what you have changed"),  # git has files of it, and no such file
        ("eval_results/smollm2/statistics.json", "tables@smollm2", "`dvc pull` fetches it"),
        ("eval_results/smollm2/runs", "results@smollm2", "`dvc pull` fetches it"),  # a folder of what many stages make
    ],
)
@pytest.mark.long
def test_a_stage_of_which_an_input_is_missing_names_it_and_does_not_run(bundle, path, stage, back):
    shutil.move(path, bundle.parent / "elsewhere")
    code, text = run(*PIPELINE, "repro", "--force", "--single-item", stage)
    assert code == 2
    assert text.splitlines()[-1].startswith(f"error: {path}: no such file, and {stage} reads it; {back}")
    assert stages_run(text) == set()
    assert "ERROR" not in text
    assert str(bundle) not in text
    shutil.move(bundle.parent / "elsewhere", path)
    assert run(*PIPELINE, "repro", "--force", "--single-item", stage)[0] == 0
    assert scratch.git(Path(), "status", "--porcelain") == ""


@pytest.mark.parametrize("ends", ["0", "1", "2"])
@pytest.mark.parametrize(
    ("command", "removed"),
    [
        ("sampling.evaluate --seed 42 --chain em", True),
        ("sampling.coupling --seed 42 --parent em", True),
        ("sampling.likelihood --seed 42 --chain em", False),  # merges in memory, and another may be sampling
    ],
)
@pytest.mark.long
def test_what_a_stage_merged_goes_when_it_ends_and_another_chains_stays(bundle, command, removed, ends):
    Path("bin").mkdir()
    Path("bin/stage").write_text(MERGING)
    Path("bin/stage").chmod(0o755)
    stages = yaml.safe_load(Path("dvc.yaml").read_text())
    stages["stages"]["evaluate"]["cmd"] = f"bin/stage {command}"
    stages["stages"]["evaluate"]["matrix"]["phase"] = ["em"]
    Path("dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False))
    code, text = run(*PIPELINE, "repro", "--single-item", "evaluate@smollm2-42-em", ENDS=ends)
    assert (code == 0) == (ends == "0"), text
    assert MERGED.exists() != removed
    assert Path(f"{MERGED}-couple").exists()


def test_what_is_parsed_once_is_each_readers_own():
    from dvc.utils.serialize import _yaml

    patches.reading()
    _yaml.parse_yaml("a: [1]\n", "params.yaml")["a"].append(2)
    assert _yaml.parse_yaml("a: [1]\n", "params.yaml") == {"a": [1]}
    assert _yaml.parse_yaml("a: [3]\n", "params.yaml") == {"a": [3]}
