"""The container image's promises that need no builder; `make test-image` builds it."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("IN_IMAGE", "MAKEFLAGS", "MAKELEVEL", "WHEELS")  # with MAKELEVEL a make below `make test` says where it is
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=60)


def test_both_bases_are_pinned_by_digest():
    defaults = dict(re.findall(r"^ARG (\w+_(?:BASE|DIGEST))=(.+)$", DOCKERFILE, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    outside = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages
    assert outside == {"${CPU_BASE}", "${CUDA_BASE}"}
    for kind in ("CPU", "CUDA"):
        assert defaults[f"{kind}_BASE"].endswith(f"@${{{kind}_DIGEST}}")
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", defaults[f"{kind}_DIGEST"])


def test_the_image_names_no_host_to_fetch_from():
    for path in (ROOT / "Dockerfile", *(ROOT / "image").glob("*.sh")):
        assert "://" not in path.read_text(), path


def test_the_snapshot_and_the_date_of_the_files_are_the_same_moment():
    (snapshot,) = set(re.findall(r"^ARG APT_SNAPSHOT=(\S+)$", DOCKERFILE, re.MULTILINE))
    (epoch,) = set(re.findall(r"^ARG SOURCE_DATE_EPOCH=(\d+)$", DOCKERFILE, re.MULTILINE))
    assert datetime.fromtimestamp(int(epoch), UTC).strftime("%Y%m%dT%H%M%SZ") == snapshot


def test_the_image_has_the_packages_version():
    assert set(re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)) == {VERSION}


def test_what_runs_inside_the_image_are_tests_that_exist():
    lists = re.findall(r"^(?:quick|slow)=\((.+)\)$", (ROOT / "image/inside.sh").read_text(), re.MULTILINE)
    assert len(lists) == 2
    for name in " ".join(lists).split():
        assert (ROOT / f"tests/test_{name}.py").exists(), name


def test_without_a_builder_one_line_says_so(tmp_path: Path):
    for name in ("bash", "dirname", "head", "sed"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    result = run("image/build.sh", "cpu", "some-name", PATH=str(tmp_path))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("error: no image builder")


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (("gpu", "some-name"), {}, "error: TARGET=gpu: allowed are cpu and cuda"),
        (("cpu", ""), {}, "error: IMAGE is empty"),
        (("cpu", "some-name"), {"BUILDER": "kaniko"}, "error: BUILDER=kaniko: allowed are docker and buildah"),
        (("cpu", "some-name"), {"WHEELS": "requirements"}, "error: WHEELS=requirements: no *.whl in it"),
    ],
)
def test_a_wrong_request_is_one_line(arguments: tuple[str, ...], environment: dict[str, str], complaint: str):
    result = run("image/build.sh", *arguments, **environment)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(complaint)


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        (("gpu", "some-name"), {}, "error: TARGET=gpu: allowed are cpu and cuda"),
        (("cpu", "some-name"), {"ENGINE": "crun"}, "error: ENGINE=crun: allowed are docker and podman"),
        (("cpu", "some-name"), {"ENGINE": "podman", "PATH": "."}, "error: ENGINE=podman: it is not here"),
        (("cpu", "some-name"), {"PATH": "."}, "error: nothing to run an image with"),
    ],
)
@pytest.mark.parametrize("script", ["image/run.sh", "image/sbom.sh"])
def test_a_wrong_request_to_run_an_image_is_one_line(tmp_path: Path, script, arguments, environment, complaint):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    if "PATH" in environment:
        environment = {**environment, "PATH": str(tmp_path)}
    result = run("bash", script, *arguments, **environment)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith(complaint)


def locks_of(folder: Path, *names: str, change: str = "") -> str:
    """The record that an image keeps of its locks, as image/packages.sh writes it; returns its path."""
    lines = []
    for name in names:
        content = (ROOT / f"requirements/{name}.txt").read_bytes() + change.encode()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  requirements/{name}.txt\n")
    (folder / "locks.sha256").write_text("".join(lines))
    return str(folder / "locks.sha256")


def test_inside_an_image_setup_makes_nothing(tmp_path: Path):
    result = run("make", "setup", "PROFILE=smollm2", IN_IMAGE=locks_of(tmp_path, "bootstrap", "cpu"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_image_of_other_locks_or_of_the_other_profile_is_refused(tmp_path: Path):
    result = run("make", "setup", "PROFILE=smollm2", IN_IMAGE=locks_of(tmp_path, "bootstrap", "cpu", change="#"))
    assert result.returncode == 2
    assert "error: this image was made from other requirements/" in result.stderr
    result = run("make", "setup", "PROFILE=qwen7b", IN_IMAGE=locks_of(tmp_path, "bootstrap", "cpu"))
    assert result.returncode == 2
    assert "error: PROFILE=qwen7b needs the image made with TARGET=cuda" in result.stderr


def image(folder: Path, *contents: dict[str, str]) -> Path:
    """An image with a layer for each of the contents, as `buildah push` writes it."""
    folder.mkdir()
    described = []
    for content in contents:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, text in content.items():
                about = tarfile.TarInfo(name)
                about.size = len(text)
                archive.addfile(about, io.BytesIO(text.encode()))
        digest = hashlib.sha256(packed.getvalue()).hexdigest()
        (folder / digest).write_bytes(packed.getvalue())
        described.append({"digest": f"sha256:{digest}"})
    (folder / "manifest.json").write_text(json.dumps({"layers": described}))
    return folder


CLEAN = {"opt/venv/bin/python": "", "opt/venv/lib/python3.12/site-packages/torch/__init__.py": "", "usr/bin/git": ""}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("var/lib/apt/lists/archive_dists_noble_main_binary-amd64_Packages", "a package list"),
        ("var/cache/apt/archives/git_1_amd64.deb", "a cache"),
        ("root/.cache/pip/http/1", "a cache"),
        ("var/log/dpkg.log", "a log"),
        ("context/wheels/torch-1.whl", "what only building it takes"),
        ("tmp/.netrc", "credentials"),
        ("etc/pip.conf", "credentials"),
    ],
)
def test_what_nobody_should_be_sent_is_found_in_any_layer_but_the_bases(tmp_path: Path, name: str, kind: str):
    base = image(tmp_path / "base", {"var/log/dpkg.log": "of the base", "etc/passwd": ""})
    removed = {f"{Path(name).parent}/.wh.{Path(name).name}": ""}
    of_base = {"var/log/dpkg.log": "of the base", "etc/passwd": ""}

    def said(*contents: dict[str, str]) -> subprocess.CompletedProcess[str]:
        folder = image(tmp_path / f"{len(contents)} layers", of_base, *contents)
        return run(sys.executable, "image/layers.py", str(folder), str(base))

    clean = said(CLEAN)
    assert (clean.returncode, clean.stderr, clean.stdout.count("\n")) == (0, "", 1)
    spoilt = said({**CLEAN, name: "x"}, removed)
    assert spoilt.returncode == 1
    assert f"holds {kind}: /{name}" in spoilt.stderr
