"""The archive of a commit: the same bytes each time, whole, and a bundle again where it is unpacked, without git.

They need requirements/archive.txt, which `make test-publication` installs; where it is missing they are skipped, or
fail if CI_PUBLICATION=1 says that they must run.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.record import committed

from . import scratch
from .conftest import ROOT

pytestmark = pytest.mark.long

if os.environ.get("CI_PUBLICATION") != "1":
    for name in ("zstandard", "rocrate", "cyclonedx"):
        pytest.importorskip(name, reason="make test-publication installs it")

import zstandard
from rocrate.rocrate import ROCrate

from persona_collapse.publication import archive, citation, crate, image, sbom

CITATION = "title: 'tiny: a bundle'\nversion: '1.2'\nlicense: Apache-2.0\nauthors:\n  - name: Some authors\n"
LOCK = f"""\
# by hand
above==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via -r requirements/cpu.in
below==1.0+cpu \\
    --hash=sha256:{"c" * 64}
    # via
    #   above
    #   elsewhere
"""
MORE = {
    "CITATION.cff": CITATION,
    "LICENSE": "Apache\n",
    "data/README.md": "# Data\n\n## Licence\nApache-2.0, like the code.\n",
    "requirements/cpu.txt": LOCK,
}
OLD = "remote/files/md5/00/0123456789abcdef0123456789abcd"  # of a record that is no more


@pytest.fixture(scope="module")
def made(scratch_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a few lines with what an archive is made of besides, committed."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    shutil.copytree(scratch_bundle, folder, symlinks=True)
    for path, text in {**MORE, OLD: "old\n"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "src/setup.py").chmod(0o755)
    with (folder / ".gitignore").open("a") as stream:
        stream.write("/dist/\n")
    scratch.commit(folder)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, as the working directory."""
    shutil.copytree(made, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def packed(folder: Path, **environment: str) -> Path:
    """The archive, made by the command."""
    done = command(folder, "publication.archive", **environment)
    assert done.returncode == 0, done.stderr
    digest, name = done.stdout.split()
    path = folder / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    return path


def command(folder: Path, module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", f"persona_collapse.{module}"]
    environment = {**os.environ, **environment}
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def refused(folder: Path) -> str:
    """What the command says when it refuses: one line, exit code 2, and nothing written."""
    done = command(folder, "publication.archive")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*\n", done.stderr), done.stderr
    assert not list(folder.glob("dist/*"))
    return done.stderr


def opened(path: Path) -> tarfile.TarFile:
    with path.open("rb") as stream:
        return tarfile.open(fileobj=BytesIO(zstandard.ZstdDecompressor().stream_reader(stream).read()))


def unpacked(path: Path, folder: Path) -> Path:
    with opened(path) as found:
        found.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


# ---- the file ----


def test_a_commit_gives_the_same_bytes_each_time_in_each_clone_and_whatever_the_machine_says(here, made, tmp_path):
    first = packed(here)
    scratch.git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(made), "clone")
    clone = tmp_path / "clone"
    scratch.git(clone, "config", "tar.umask", "0077")
    for path in clone.rglob("*"):
        if ".git" not in path.parts and not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
            os.utime(path, (1, 1))
    (clone / ".dvc/tmp").mkdir(exist_ok=True)
    second = packed(clone, TZ="Asia/Kolkata", SOURCE_DATE_EPOCH="1", LC_ALL="C", USER="somebody", OMP_NUM_THREADS="7")
    assert (second.name, second.read_bytes()) == (first.name, first.read_bytes())


def test_another_commit_gives_another_archive(here):
    first = packed(here)
    (here / "README.md").write_text("read me again\n")
    scratch.commit(here)
    second = packed(here)
    assert second.name != first.name
    assert second.read_bytes() != first.read_bytes()


def test_its_files_are_those_of_the_commit_and_say_nothing_of_who_made_it(here, tmp_path):
    commit = committed.commit()
    with opened(packed(here)) as found:
        members = found.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    top = f"tiny-1.2-{commit.hash[:12]}"
    assert {name.partition("/")[0] for name in names} == {top}
    made_here = {"ro-crate-metadata.json", "manifest-sha256.txt", "sbom/cpu.cdx.json"}
    assert {name.removeprefix(f"{top}/") for name in names} == {*committed.tree(), *made_here} - {OLD}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", commit.time)}
    assert abs(commit.time - time.time()) < 3600
    modes = {member.name.removeprefix(f"{top}/"): (member.mode, member.linkname) for member in members}
    assert modes["src/setup.py"] == (0o755, "")
    assert modes["README.md"] == (0o644, "")
    assert modes["link"] == (0o777, "README.md")
    assert {mode for mode, link in modes.values() if not link} == {0o644, 0o755}


def test_the_manifest_holds_every_file_and_names_one_that_was_changed(here, tmp_path):
    inside = unpacked(packed(here), tmp_path / "elsewhere")
    lines = (inside / "manifest-sha256.txt").read_text().splitlines()
    files = {str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file()}
    assert {line.split("  ", 1)[1] for line in lines} == files - {"manifest-sha256.txt"}
    check = ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"]
    assert subprocess.run(check, cwd=inside, check=False).returncode == 0
    (inside / "data/weights").write_text("other weights\n")
    found = subprocess.run(check, cwd=inside, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "data/weights: FAILED\n")


def test_unpacked_it_is_a_bundle_without_git_whose_record_is_fetched_and_holds(here, tmp_path):
    inside = unpacked(packed(here), tmp_path / "elsewhere")
    assert not (inside / ".git").exists()
    assert not (inside / "adapters").exists()
    for module in ("record.restore", "record.verify"):
        done = command(inside, module)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "all identical" in done.stdout
    assert (inside / "adapters/smollm2/42/em/adapter.bin").exists()
    (inside / "adapters/smollm2/42/em/adapter.bin").write_text("another")
    assert command(inside, "record.verify").returncode == 1


# ---- what is refused ----


def test_what_is_not_committed_is_named_and_nothing_is_packed(here):
    (here / "README.md").write_text("changed\n")
    (here / "new file.txt").write_text("new\n")
    said = refused(here)
    assert "not as committed: README.md, new file.txt" in said
    scratch.commit(here)
    packed(here)


def test_without_git_there_is_no_commit_to_pack(here):
    shutil.rmtree(here / ".git")
    assert "there is no git repository here" in refused(here)


@pytest.mark.parametrize("what", ["adapters/smollm2/42/em/adapter.bin", "model/smollm2/tokenizer.json"])
def test_a_record_whose_bytes_the_remote_lacks_is_refused(here, what):
    digest = hashlib.md5((here / what).read_bytes()).hexdigest()
    (here / "remote/files/md5" / digest[:2] / digest[2:]).unlink()
    scratch.commit(here)
    with pytest.raises(InputError, match=f"lacks what is recorded of {what}"):
        archive.contents(parameters.load())


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("CITATION.cff", None, "CITATION.cff: is not committed"),
        ("CITATION.cff", CITATION.replace("license: Apache-2.0\n", ""), "CITATION.cff: license: is missing"),
        ("data/README.md", "# Data\n", "data/README.md: states no licence"),
        ("requirements/cpu.txt", "torch==1\n", "requirements/cpu.txt: torch==1 has no hash"),
        ("requirements/cpu.txt", LOCK + "torch>=1\n", "requirements/cpu.txt, line 11: 'torch>=1'"),
    ],
)
def test_what_the_metadata_are_made_of_must_be_there_and_say_it(here, path, text, says):
    (here / path).unlink()
    if text is not None:
        (here / path).write_text(text)
    scratch.commit(here)
    with pytest.raises(InputError, match=re.escape(says)):
        archive.contents(parameters.load())


# ---- what is in it besides ----


def test_the_metadata_are_read_by_their_library_and_name_what_is_there(here, tmp_path):
    inside = unpacked(packed(here), tmp_path / "elsewhere")
    found = ROCrate(inside)
    commit = committed.commit()
    assert found.name == "tiny: a bundle"
    assert found.root_dataset["identifier"] == commit.hash
    assert found.root_dataset.datePublished.timestamp() == commit.time
    assert found.license.id == "https://spdx.org/licenses/Apache-2.0"
    assert [author["name"] for author in found.root_dataset["author"]] == ["Some authors"]
    parts = [entity.id for entity in found.data_entities]
    assert {"LICENSE", "dvc.lock", "data/", "remote/", "sbom/cpu.cdx.json", "data/README.md"} <= set(parts)
    assert "eval_results/smollm2/statistics.json" in parts
    assert [part for part in parts if not (inside / part).exists()] == []
    tops = {path.name for path in inside.iterdir()} - {"ro-crate-metadata.json"}
    assert {part.removesuffix("/") for part in parts if "/" not in part.removesuffix("/")} == tops


def test_a_licence_is_read_and_not_assumed():
    stated = "# Data\n\n## Licence\n{}, like the code.\n"
    assert crate.licence_of_data(stated.format("CC-BY-4.0")) == "CC-BY-4.0"
    assert crate.licence_of_data((ROOT / "data/README.md").read_text()) == "Apache-2.0"
    with pytest.raises(InputError, match="states no licence"):
        crate.licence_of_data("# Data\n\nApache-2.0\n")


def about() -> citation.Citation:
    return citation.read(CITATION)


def listed(text: str, time: int = 0) -> dict:
    return json.loads(sbom.listing(text, "requirements/cpu.txt", about(), time))


def test_the_list_of_a_lock_has_its_packages_their_hashes_and_who_wants_them():
    found = listed(LOCK, 86400)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["timestamp"] == "1970-01-02T00:00:00+00:00"
    assert found["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    above, below = found["components"]
    assert (above["purl"], below["purl"]) == ("pkg:pypi/above@2.0", "pkg:pypi/below@1.0%2Bcpu")
    assert [digest["content"] for digest in above["hashes"]] == ["a" * 64, "b" * 64]
    assert above["properties"] == [{"name": "marker", "value": "sys_platform == 'linux'"}]
    wants = {entry["ref"]: entry.get("dependsOn", []) for entry in found["dependencies"]}
    assert wants == {"tiny": ["above==2.0"], "above==2.0": ["below==1.0+cpu"], "below==1.0+cpu": []}


def test_equal_locks_give_equal_lists_and_other_ones_another_serial_number():
    assert sbom.listing(LOCK, "a", about(), 5) == sbom.listing(LOCK, "a", about(), 5)
    assert listed(LOCK)["serialNumber"] != listed(LOCK.replace("2.0", "2.1"))["serialNumber"]


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_lock_is_read_whole(path: Path):
    text = path.read_text()
    found = sbom.pins(text, path.name)
    assert len(found) == len(re.findall(r"^\S+==", text, re.MULTILINE)) > 0
    assert sum(len(pin.hashes) for pin in found) == text.count("--hash=sha256:")
    names = {pin.name for pin in found}
    wanted = {by for pin in found for by in pin.wanted_by if not by.startswith("-")}
    assert len(wanted - names) <= 2, wanted - names  # setuptools and torch, which have locks of their own


@pytest.mark.parametrize("lock", ["archive", "browser"])
def test_what_is_installed_beside_cpu_txt_replaces_nothing_of_it(lock: str):
    beside, cpu = (
        {pin.name.lower(): pin.version for pin in sbom.pins((ROOT / f"requirements/{name}.txt").read_text(), name)}
        for name in (lock, "cpu")
    )
    assert beside
    assert not {name for name in beside if cpu.get(name, beside[name]) != beside[name]}


# ---- what an image holds ----


def of_image(**changed) -> dict:
    held = {
        "system": {"ID": "debian", "VERSION_ID": "12"},
        "debian": [["git", "1:2.39.5-0+deb12u2", "amd64"]],
        "python": [["Above", "2.0"], ["below", "1.0+cpu"]],
        "locks": [f"{'d' * 64}  requirements/cpu.txt"],
    }
    labels = {image.BASE[0]: "debian:12", image.BASE[1]: "sha256:e", "maintainer": "nobody"}
    said = image.Image(made={"id": "sha256:f", "labels": labels}, holds={**held, **changed})
    return json.loads(image.listing(said, "cpu", sbom.pins(LOCK, "cpu.txt"), about()))


def test_the_list_of_an_image_has_what_is_in_it_and_what_it_was_made_from():
    found = of_image()
    assert {part["purl"]: len(part.get("hashes", [])) for part in found["components"]} == {
        "pkg:deb/debian/git@1:2.39.5-0%2Bdeb12u2?arch=amd64": 0,
        "pkg:pypi/above@2.0": 2,
        "pkg:pypi/below@1.0%2Bcpu": 1,
    }
    assert {said["name"]: said["value"] for said in found["metadata"]["properties"]} == {
        "target": "cpu",
        "image": "sha256:f",
        "system": "debian 12",
        image.BASE[0]: "debian:12",
        image.BASE[1]: "sha256:e",
        "requirements/cpu.txt": f"sha256:{'d' * 64}",
    }
    assert of_image() == found
    assert of_image(debian=[["git", "1:2.40", "amd64"]])["serialNumber"] != found["serialNumber"]


def test_an_image_with_a_package_of_no_lock_is_refused():
    with pytest.raises(InputError, match=r"the image holds pip 26\.0, which no lock has"):
        of_image(python=[["pip", "26.0"]])
