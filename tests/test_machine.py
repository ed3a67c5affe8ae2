"""The question about the GPU is asked with whatever Python there is, before there is an environment."""

import ast
import subprocess
import sys

import pytest

from persona_collapse.inputs import machine

from .conftest import ROOT

SCRIPT = ROOT / "src/persona_collapse/inputs/machine.py"


def test_it_is_python_3_6_and_imports_the_standard_library_alone():
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in imported for name in [getattr(node, "module", None), *(a.name for a in node.names)]}
    assert names <= {None, "Path", "pathlib", "re", "subprocess", "sys"}
    for node in ast.walk(tree):  # `X | None` and `list[str]` were errors once, unless they are text
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            assert annotation is None or isinstance(annotation, ast.Name | ast.Constant), ast.dump(annotation)


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ((ROOT / "profiles/qwen7b.yaml").read_text(), 75),
        ((ROOT / "profiles/smollm2.yaml").read_text(), 0),
        ("compute:\r\n    gpu_memory_gib: 40 # GiB\r\n", 40),
        ('compute: {device: cuda, "gpu_memory_gib": 40}', 40),
        ("# gpu_memory_gib: 40", 0),
    ],
)
def test_the_memory_is_read_as_the_profile_writes_it(text, gib):
    assert machine.needed_gib(text) == gib


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("NVIDIA H200, 143771, 580.95.05", None),
        ("NVIDIA H200, 143771, 580.95.05\nNVIDIA T4, 15360, 580.95.05", None),
        ("NVIDIA T4, 15360, 580.95.05", "too little GPU memory: NVIDIA T4 has 15 GiB"),
        ("NVIDIA H200, 143771, 550.54.15", "GPU driver 550.54.15 is too old"),
        ("", "answers ''"),
        ("NVIDIA H200, [N/A], 580.95.05", "answers 'NVIDIA H200, [N/A]"),
        ("NVIDIA H200, 143771, unknown", "answers 'NVIDIA H200, 143771, unknown'"),
    ],
)
def test_what_is_wrong_with_the_gpu_is_one_line(answer, says):
    problem = machine.gpu_problem(40, ["printf", "%s", answer])
    assert problem is None if says is None else says in problem and "\n" not in problem


def test_no_program_and_no_profile_are_one_line_each():
    assert "`/nonexistent` finds none" in machine.gpu_problem(40, ["/nonexistent"])
    result = subprocess.run(
        [sys.executable, "-I", SCRIPT, "/nonexistent.yaml"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (2, "error: /nonexistent.yaml: No such file or directory\n")
