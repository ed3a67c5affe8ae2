"""The bundle runs in its own environment and in nothing else, and making that environment never costs the one in use.

The bundle here is this one's scripts and Makefile around packages of a few lines: pip is quick and needs no index.
"""

import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]

# What stands in for the packages, one of them with a script, and for the modules that make calls.
TINY = {
    "tiny.py": "VERSION = 'locked'\ndef main():\n    import persona_collapse\n    print(persona_collapse.__file__)\n",
    "dvc/__init__.py": "",
    "dvc/__main__.py": "import sys\nprint('dvc', *sys.argv[1:])\n",
}
SAY = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n"
PIPELINE = """
import os, sys, time
os.mkdir("locked")  # fails if another one is at work
time.sleep(0.2)
print("dvc", *sys.argv[1:], flush=True)
os.rmdir("locked")
"""
HELLO = """
import getpass, json, os, sys
from pathlib import Path
import tiny
where = {"python": sys.prefix, "code": __file__, "tiny": tiny.VERSION, "argv": sys.argv[1:], "path": sys.path}
print(json.dumps({**where, "user": getpass.getuser(), "home": str(Path.home()), "environment": dict(os.environ)}))
"""
MODULES = {
    "hello": HELLO,
    "record/restore": "",
    "record/pipeline": PIPELINE,
    "record/parts": SAY,
    "record/provenance": SAY,
    "record/publish": SAY,
    "record/remotes": "print('cpu')",
    "record/reproduce": SAY,
    "workers/run": SAY,
    "workers/simulate": SAY,
    "workers/scheduler": SAY,
    "workers/worker": SAY,
    "report/documents": "",
    "inputs/machine": "",
}
SCRIPTS = {"proof/prove.py": SAY, "benchmarks/bench.py": SAY}
BACKEND = """
import shutil
def build_editable(folder, *_):
    return str(shutil.copy("wheels/persona_collapse-0.1.0-py3-none-any.whl", folder)).rpartition("/")[2]
"""


def wheel(folder: Path, name: str, version: str, files: dict[str, str], scripts: str = "") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": scripts,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{file},,\n" for file in [*content, f"{about}/RECORD"]))
    return path


def unmade(folder: Path) -> Path:
    """A bundle without an environment."""
    for name in ("bin", "profiles", ".dvc/no-git"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "profiles/smollm2.yaml", folder / "params.yaml")
    (folder / "paper/tables/smollm2").mkdir(parents=True)
    (folder / "paper/tables/smollm2/a.md").touch()
    for name in ("paper/smollm2/report.pdf", "paper/smollm2/report.html"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    modules = {f"src/persona_collapse/{module}.py": text for module, text in MODULES.items()}
    for name, text in (modules | SCRIPTS).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "src/persona_collapse/__init__.py").touch()
    (folder / "wheels").mkdir()
    made = wheel(folder / "wheels", "tiny", "1.0", TINY, "[console_scripts]\ntiny = tiny:main\n")
    # as setuptools makes it, with the folder's place in it
    pth = {"__editable__.persona_collapse-0.1.0.pth": f"{folder}/src\n"}
    wheel(folder / "wheels", "persona_collapse", "0.1.0", pth)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "persona_collapse"\nversion = "0.1.0"\n'
    )
    (folder / "requirements").mkdir()
    for name in ("bootstrap", "bootstrap-cuda", "cuda"):
        (folder / f"requirements/{name}.txt").write_text("# nothing\n")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    (folder / "requirements/cpu.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command in a folder, with nothing of this environment; python3 is the Python that these tests run on."""
    here = tmp_path_factory.mktemp("here")
    (here / "bin").mkdir()
    (here / "bin/python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    common = {
        "PATH": f"{here}/bin:/usr/bin:/bin",
        "HOME": str(here),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null",
    }

    def run(folder: Path, *command: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**common, "PIP_FIND_LINKS": "wheels", **more}
        return subprocess.run(
            command, cwd=cwd or folder, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return run


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A bundle with its environment, not to be changed, made in place of one of another lock. Its path has a space."""
    folder = unmade(tmp_path_factory.mktemp("some where") / "bundle")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    (folder / ".venv/.installed").write_text(f"{folder}\nanother lock\n")
    refused(run(folder, "bin/stage", "hello"), "not of the present requirements/cpu.txt", "make setup")
    made = run(folder, "make", "setup")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("setup: installing requirements/cpu.txt into .venv")
    return folder


def copied(ready: Path, folder: Path, *without: str) -> Path:
    return shutil.copytree(ready, folder, symlinks=True, ignore=shutil.ignore_patterns("pip", "setuptools", *without))


@pytest.fixture
def bundle(ready: Path, tmp_path: Path, run: Run) -> Path:
    """A copy of it to do anything with, its environment mended for the new place."""
    folder = copied(ready, tmp_path / "bundle")
    assert "mending" in run(folder, "make", "setup").stdout
    return folder


def hello(answer: subprocess.CompletedProcess[str]) -> dict:
    assert (answer.returncode, answer.stderr) == (0, "")
    return json.loads(answer.stdout)


def refused(answer: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 2 and one line; make's own, which says that a target failed, may follow."""
    assert answer.returncode == 2, answer.stdout + answer.stderr
    (line, *others) = answer.stderr.splitlines()
    assert line.startswith("error: ") and all(part in line for part in said), line
    assert all(other.startswith("make: ***") for other in others), answer.stderr


# ---- without a network ----


@pytest.mark.long
def test_gathered_packages_make_the_environment_where_no_index_can_be_asked(ready, run, tmp_path):
    gathered = tmp_path / "gathered here"
    made = run(ready, "make", "wheels", f"FOLDER={gathered}", TORCH_INDEX="")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"{gathered}: 1 packages, ")
    other = copied(ready, tmp_path / "other", ".venv")
    asked = run(other, "make", "setup", f"WHEELS={gathered}", PIP_FIND_LINKS="")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert hello(run(other, "bin/stage", "hello"))["tiny"] == "locked"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["no folder", "one is missing", "one is another"])
def test_a_folder_that_has_not_every_package_is_one_line_and_changes_nothing(ready, run, tmp_path, kind):
    folder = copied(ready, tmp_path / "copy")
    (folder / "requirements/bootstrap.txt").write_text("# a new lock\n")
    gathered = folder / "gathered"
    if kind != "no folder":
        gathered.mkdir()
    if kind == "one is another":
        wheel(gathered, "tiny", "1.0", {"tiny.py": "VERSION = 'theirs'\n"})
    before = (folder / ".venv/.installed").read_text()
    answer = run(folder, "make", "setup", "WHEELS=gathered", PIP_FIND_LINKS="")
    assert answer.returncode == 2
    said = {"no folder": "WHEELS=gathered: no such folder"}.get(kind, "cannot install requirements/cpu.txt")
    assert [line for line in answer.stderr.splitlines() if line.startswith("error: ")][-1].startswith(f"error: {said}")
    assert (folder / ".venv/.installed").read_text() == before
    assert not (folder / ".venv.new").exists()


# ---- one door ----


def test_a_stage_runs_in_the_bundles_environment_from_any_folder(ready, run, tmp_path):
    found = hello(run(ready, str(ready / "bin/stage"), "hello", "--seed", "a b", cwd=tmp_path))
    assert found["python"] == str(ready / ".venv")
    assert found["code"] == str(ready / "src/persona_collapse/hello.py")
    assert found["argv"] == ["--seed", "a b"]
    assert found["path"] == [path for path in found["path"] if path not in ("", str(tmp_path), str(ready))]


def test_dvc_works_as_printed_without_activation_and_so_do_its_stages(ready, run):
    assert run(ready, ".venv/bin/dvc", "repro", "--single-item", "base").stdout == "dvc repro --single-item base\n"
    assert run(ready, "sh", "-c", ". .venv/bin/activate && dvc pull").stdout == "dvc pull\n"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder of somebody's, with another version of a package and of everything that Python would look for."""
    for name in ("tiny", "json", "usercustomize", "sitecustomize", "startup"):
        (tmp_path / f"older/{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"older/{name}.py").write_text("VERSION = 'older'\n")
    (tmp_path / "older/bin").mkdir()  # where `cd bin/..` would end with CDPATH
    return tmp_path / "older"


def test_nothing_of_the_users_shell_and_home_gets_through(ready, run, older):
    theirs = {
        "PYTHONPATH": str(older),
        "PYTHONHOME": "/nowhere",
        "PYTHONSTARTUP": str(older / "startup.py"),
        "PYTHONUSERBASE": str(older),
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "MPLCONFIGDIR": str(older),
        "MATPLOTLIBRC": str(older),
        "MPLBACKEND": "nonsense",
        "LC_ALL": "tr_TR.UTF-8",
        "LC_NUMERIC": "de_DE.UTF-8",
        "LANGUAGE": "de",
        "SOURCE_DATE_EPOCH": "1",
        "TYPST_FONT_PATHS": str(older),
        "WORLD_SIZE": "4",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "DVC_GLOBAL_CONFIG_DIR": str(older),
        "OMP_THREAD_LIMIT": "1",
        "GIT_DIR": str(older),
        "CDPATH": str(older),
        "SHELL": "/usr/sbin/nologin",
        "VIRTUAL_ENV": str(older),
    }
    direct = run(ready, ".venv/bin/python", "-c", "import tiny; print(tiny.VERSION)", PYTHONPATH=str(older))
    assert direct.stdout == "older\n"  # what would be
    found = hello(run(ready, str(ready / "bin/stage"), "hello", cwd=older, **theirs))
    assert found["tiny"] == "locked"
    assert not [path for path in found["path"] if str(older) in path]
    through = {name for name, value in theirs.items() if found["environment"].get(name) == value}
    assert through == {"CDPATH"}  # no more than a shell's
    assert "OMP_THREAD_LIMIT" not in found["environment"]
    assert hello(run(ready, "bin/stage", "hello", CDPATH=str(older)))["tiny"] == "locked"


def test_a_stage_tells_nobody_and_only_what_fetches_may_ask_a_hub(ready, run):
    inherited = {"HF_HUB_DISABLE_TELEMETRY": "0"}
    found = hello(run(ready, "bin/stage", "hello", **inherited))["environment"]
    assert (found["HF_HUB_DISABLE_TELEMETRY"], found["DO_NOT_TRACK"], found["HF_HUB_OFFLINE"]) == ("1", "1", "1")
    (ready / "src/persona_collapse/inputs").mkdir(exist_ok=True)
    (ready / "src/persona_collapse/inputs/fetch.py").write_text(HELLO)
    found = hello(run(ready, "bin/stage", "inputs.fetch"))["environment"]
    assert (found["HF_HUB_DISABLE_TELEMETRY"], found["DO_NOT_TRACK"]) == ("1", "1")
    assert "HF_HUB_OFFLINE" not in found


def test_make_takes_no_other_environment_that_is_active(ready, run, tmp_path):
    for name in ("python", "python3", "dvc"):
        (tmp_path / name).write_text("#!/bin/sh\necho another environment's\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    made = run(ready, "make", "page", PATH=f"{tmp_path}:/usr/bin:/bin", VIRTUAL_ENV=str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("dvc repro --single-item results")


def test_too_little_memory_is_one_line(ready, run):
    limited = "ulimit -v 4000000; exec bin/stage"
    refused(run(ready, "sh", "-c", f"{limited} training.train --seed 42"), "5 GiB of memory", "3906 MiB (ulimit -v)")
    assert run(ready, "sh", "-c", f"{limited} hello").returncode == 0


def without_a_name(*command: str) -> list[str]:
    """A command as a user who has no entry in passwd, and is not root."""
    return ["unshare", "--user", "--map-user=54321", "--map-group=54321", *command]


needs_other_users = pytest.mark.skipif(
    subprocess.run(without_a_name("true"), capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="this machine lets nobody have a name space of users",
)


@needs_other_users
def test_a_user_without_an_entry_in_passwd_has_a_name_and_a_home(ready, run):
    bare = ["env", "-u", "HOME", *without_a_name("env", "-u", "USER")]
    direct = run(ready, *bare, ".venv/bin/python", "-c", "import getpass; getpass.getuser()")
    assert "getpwuid" in direct.stderr  # what would be
    found = hello(run(ready, *bare, "bin/stage", "hello"))
    assert found["user"] and Path(found["home"]).is_absolute()


def test_a_user_without_a_login_has_the_name_that_the_system_knows(ready, run):
    """A container sets no LOGNAME; a number in its place would be another user to an SSH server."""
    assert hello(run(ready, "bin/stage", "hello"))["user"] == pwd.getpwuid(os.getuid()).pw_name


# ---- the environment ----


def test_a_copied_folder_is_noticed_and_mended_and_never_runs_the_other_ones_code(ready, tmp_path, run):
    folder = copied(ready, tmp_path / "copy")
    changed = folder / "src/persona_collapse/hello.py"
    changed.write_text(changed.read_text().replace("tiny.VERSION", "'changed'"))
    for command in (["bin/stage", "hello"], [".venv/bin/dvc", "pull"], ["bin/python", "-c", "1"]):
        refused(run(folder, *command), "made in another folder", str(ready), "make setup")
    assert run(folder, "make", "setup").stdout.startswith("setup: .venv was made in another folder: mending it")
    assert hello(run(folder, "bin/stage", "hello"))["tiny"] == "changed"
    shutil.move(folder, tmp_path / "moved")
    folder = tmp_path / "moved"
    refused(run(folder, "bin/stage", "hello"), "made in another folder")
    assert run(folder, "make", "setup").returncode == 0
    activated = run(folder, "sh", "-c", ". .venv/bin/activate; tiny; python -c 'import tiny; tiny.main()'")
    assert activated.stdout.splitlines() == 2 * [str(folder / "src/persona_collapse/__init__.py")], activated.stderr
    assert hello(run(ready, "bin/stage", "hello"))["tiny"] == "locked"  # the one it was copied from


def test_without_an_environment_one_line_says_what_makes_it(tmp_path, run):
    folder = unmade(tmp_path / "bundle")
    refused(run(folder, "bin/stage", "hello"), "there is no environment .venv", "make setup")


def test_a_new_environment_takes_the_place_of_the_old_one_and_leaves_nothing_beside(ready):
    assert [path.name for path in ready.glob(".venv*")] == [".venv"]
    for path in (ready / ".venv/bin").iterdir():
        assert path.is_symlink() or ".venv.new" not in path.read_text(), path


@pytest.mark.long
def test_another_time_of_the_lock_changes_nothing_and_another_content_leaves_what_works(bundle, run):
    lock = bundle / "requirements/cpu.txt"
    good = lock.read_text()
    os.utime(lock, (2_000_000_000, 2_000_000_000))
    assert (run(bundle, "make", "setup").stdout, run(bundle, "bin/stage", "hello").returncode) == ("", 0)
    lock.write_text("tiny==2.0 --hash=sha256:" + 64 * "0" + "\n")
    refused(run(bundle, "bin/stage", "hello"), "not of the present requirements/cpu.txt", "make setup")
    answer = run(bundle, "make", "setup")
    assert answer.returncode == 2
    assert "\nerror: cannot install requirements/cpu.txt; .venv is left as it was\n" in answer.stderr
    assert [path.name for path in bundle.glob(".venv*")] == [".venv"]
    lock.write_text(good)
    assert run(bundle, "make", "setup").stdout == ""
    assert hello(run(bundle, "bin/stage", "hello"))["tiny"] == "locked"


def test_an_environment_that_was_killed_while_it_took_its_place_is_put_back(bundle, run):
    (bundle / ".venv").rename(bundle / ".venv.old")
    assert run(bundle, "make", "setup").stdout == ""
    assert run(bundle, "bin/stage", "hello").returncode == 0


def test_scripts_that_an_archive_has_made_plain_files_of_work_again(bundle, run):
    for script in (bundle / "bin").iterdir():
        script.chmod(0o644)
    assert run(bundle, "make", "page").returncode == 0
    assert run(bundle, "bin/stage", "hello").returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_while_it_is_made_the_old_environment_works(bundle, run, tmp_path, sent):
    lock = bundle / "requirements/cpu.txt"
    good = lock.read_text()
    lock.write_text(good + "# another\n")
    (tmp_path / "slow").write_text(
        '#!/bin/sh\nfor last; do :; done\ncase $* in *venv*) mkdir "$last"; sleep 60;; esac\n'
    )
    (tmp_path / "slow").chmod(0o755)
    command = subprocess.Popen(["make", "setup", f"PYTHON={tmp_path}/slow"], cwd=bundle, start_new_session=True)
    while not (bundle / ".venv.new").exists():
        assert command.poll() is None, "it ended by itself"
        time.sleep(0.02)
    os.killpg(command.pid, sent)
    assert command.wait(60) != 0
    while sent != signal.SIGKILL and (bundle / ".venv.new").exists():
        time.sleep(0.02)  # bin/setup removes it
    lock.write_text(good)
    assert run(bundle, "make", "setup").stdout == ""
    assert run(bundle, "bin/stage", "hello").returncode == 0


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path, run):
    folder = unmade(tmp_path / "bundle")
    folder.chmod(0o555)
    try:
        command = ["make", "setup"] if os.getuid() else without_a_name("make", "setup")
        if not os.getuid() and needs_other_users.args[0]:
            pytest.skip("root may write everywhere")
        refused(run(folder, *command), "cannot write to")
    finally:
        folder.chmod(0o755)


@pytest.fixture
def old_python(tmp_path: Path) -> str:
    """A PATH whose python3 is Python 3.8 and nothing else."""
    for name in ("python3", "python3.11", "python3.12"):
        script = tmp_path / f"old/{name}"
        script.parent.mkdir(exist_ok=True)
        script.write_text('#!/bin/sh\ncase $1 in -V) echo Python 3.8.18;; *) echo "SyntaxError" >&2; exit 1;; esac\n')
        script.chmod(0o755)
    return f"{tmp_path}/old:/usr/bin:/bin"


@pytest.mark.parametrize("target", ["setup", "tables", "plan", "reproduce"])
def test_a_python_that_is_too_old_is_one_line_before_anything(tmp_path, run, old_python, target):
    folder = unmade(tmp_path / "bundle")
    refused(run(folder, "make", target, PATH=old_python), "python3 is Python 3.8.18", "3.11 or 3.12", "make PYTHON=")
    assert not list(folder.glob(".venv*"))


def test_a_ready_environment_is_used_whatever_python3_is(bundle, run, old_python):
    assert run(bundle, "make", "page", PATH=old_python).stdout.startswith("dvc repro")
    moved = bundle.rename(bundle.with_name("moved"))
    assert "mending" in run(moved, "make", "setup", PATH=old_python).stdout


# ---- what files and callers say is never run ----


@pytest.mark.parametrize(
    "line",
    ["smollm2", "  smollm2", "smollm2  # mine", '"smollm2"', "'smollm2' # it's mine", "smollm2\r", '"smollm2"\r'],
)
def test_the_profile_is_read_as_yaml_reads_it(ready, run, tmp_path, line):
    folder = copied(ready, tmp_path / "copy", ".venv")
    text = (folder / "params.yaml").read_text().replace("profile: smollm2", f"profile: {line}")
    (folder / "params.yaml").write_bytes(text.encode())
    assert yaml.safe_load(text)["profile"] == "smollm2"
    assert run(folder, "bin/profile").stdout == "smollm2\n"


@pytest.mark.parametrize(
    "line",
    [
        "profile: $(touch bad)",
        "profile: `touch bad`",
        "profile: smollm2; touch bad",
        "profile: $(shell touch bad)",
        "profile: ../profiles/smollm2",
        "profile: nope",
        "profile:",
        "profile: [smollm2]",
        "profile: smollm2\nprofile: qwen7b",
        "profile: \"smollm2'",
        "no-profile: smollm2",
    ],
)
def test_any_other_profile_is_one_line_and_runs_nothing(ready, run, tmp_path, line):
    folder = copied(ready, tmp_path / "copy", ".venv")
    (folder / "params.yaml").write_text(f"# mine\n{line}\nseeds: [42]\n")
    for command in (["make", "tables"], ["make", "profile", "PROFILE=qwen7b"], ["bin/stage", "hello"]):
        refused(run(folder, *command), "params.yaml: profile: ", "qwen7b, smollm2")
    assert not (folder / "bad").exists()


HOSTILE = """a b"; touch bad; '$(touch bad)' `touch bad` $(shell touch bad) $$HOME #\\"""


ALLOWED = {"PROFILE": "smollm2", "FROM": "adapters", "TARGET": "cpu"}
ASKED = [
    *ALLOWED,
    "EVALUATE",
    "KEY",
    "CPUS",
    "GPU",
    "PARTS",
    "IMAGE",
    "WHEELS",
    "PYTHON",
    "QUICK",
    "TORCH_INDEX",
    "REMOTE",
    "WORKERS",
    "SCHEDULER",
    "CLUSTER",
    "CERTIFICATE",
    "PLAIN",
    "SEEDS",
    "NSEEDS",
    "HOST",
    "GIB",
    "FOLDER",
    "MIB",
]


@pytest.mark.parametrize(
    "target",
    [
        "trace",
        "reproduce",
        "plan",
        "profile",
        "image",
        "prove",
        "bench",
        "setup",
        "publish",
        "repro",
        "scheduler",
        "worker",
        "wheels",
        "collect",
        "join",
    ],
)
def test_no_value_given_to_make_is_run(ready, run, target):
    """All at once, and again with right values for those that are checked, so that more of the recipe is run."""
    for allowed in ({}, ALLOWED):
        run(ready, "make", target, *(f"{name}={allowed.get(name, HOSTILE)}" for name in ASKED))
    assert not (ready / "bad").exists()


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (["trace"], []),
        (["trace", f"KEY={HOSTILE}"], [HOSTILE]),
        (["publish", f"REMOTE={HOSTILE}"], ["--", HOSTILE]),
        (["reproduce", "REMOTE=lab"], ["--from", "adapters"]),
        (["prove"], []),
        (["prove", "QUICK=1", "CPUS="], ["--quick", "--cpus", ""]),
        (["prove", "RECORD=1", "CPUS=Haswell EPYC-Rome"], ["--record", "--cpus", "Haswell EPYC-Rome"]),
        (["bench", "PARTS=train cost"], ["train", "cost"]),
        (["reproduce"], ["--from", "adapters"]),
        (["reproduce", "FROM=scratch"], ["--from", "scratch"]),
        (["reproduce", "WORKERS=2"], ["--from", "adapters", "--", "--workers", "2"]),
        (["reproduce", "SEEDS=42 137"], ["--from", "adapters", "--seeds", "42", "137"]),
        (["repro", "WORKERS=4", "GIB=50"], ["--workers", "4", "--gib", "50"]),
        (["collect", "FOLDER=a b", "SEEDS=7"], ["collect", "--folder", "a b", "--mib", "16", "--seeds", "7"]),
        (["repro", f"WORKERS={HOSTILE}"], ["--workers", HOSTILE]),
        (["repro", "CLUSTER=a b.yaml", "REMOTE=lab"], ["--cluster", "a b.yaml", "--remote", "lab"]),
        (
            ["plan", "WORKERS=1 2", "NSEEDS=8"],
            ["--profile", "profiles/smollm2.yaml", "--workers", "1", "2", "--nseeds", "8"],
        ),
        (["scheduler", f"HOST={HOSTILE}"], ["--host", HOSTILE]),
        (["reproduce", "EVALUATE=base tables@smollm2"], ["--from", "adapters", "--stages", "base", "tables@smollm2"]),
    ],
)
def test_what_is_given_to_make_arrives_as_it_was_typed(ready, run, given, arguments):
    answer = run(ready, "make", *given)
    assert (answer.returncode, json.loads(answer.stdout)) == (0, arguments), answer.stderr


def test_the_plan_counts_seeds_and_does_not_take_their_names(ready, run):
    answer = run(ready, "make", "plan", "SEEDS=42 137")
    assert answer.returncode == 2 and "NSEEDS=8" in answer.stderr


# ---- make ----


@pytest.mark.parametrize(
    "target", ["tables", "figures", "paper", "site", "page", "trace", "verify", "test", "record", "prove"]
)
def test_another_profile_is_refused_in_one_line_by_what_works_on_the_active_one(ready, run, target):
    answer = run(ready, "make", target, "PROFILE=qwen7b")
    refused(answer, "PROFILE=qwen7b, but params.yaml is smollm2", "make profile PROFILE=qwen7b")
    assert answer.stdout == ""


def test_what_the_shell_has_in_profile_is_nobodys_wish(ready, run):
    assert run(ready, "make", "page", PROFILE="qwen7b").returncode == 0


def test_targets_given_together_are_made_one_after_the_other(ready, run):
    answer = run(ready, "make", "-j4", "tables", "paper", "site")
    assert answer.returncode == 0, answer.stderr
    ends = [line.split()[-1] for line in answer.stdout.splitlines() if line.startswith("dvc repro")]
    assert ends == ["quoted", "paper", "page"]


def test_a_profile_has_the_lock_of_the_device_it_computes_on(run):
    """A profile of a GPU that bin/environment.sh does not name would be given the packages for a CPU."""
    for path in sorted((ROOT / "profiles").glob("*.yaml")):
        script = f'. bin/environment.sh; lock_of "{path.stem}"'
        lock = run(ROOT, "sh", "-c", script).stdout.strip()
        assert lock == yaml.safe_load(path.read_text())["compute"]["device"], path


# ---- git, or none ----


def test_no_setting_of_git_changes_a_byte_of_a_checkout(run, tmp_path):
    lines = b"one\ntwo\r\nthree\n"
    for kept in (True, False):
        source, clone = tmp_path / f"source-{kept}", tmp_path / f"clone-{kept}"
        (source / "data").mkdir(parents=True)
        for name in ("params.yaml", "data/a.jsonl", "Makefile", "no-ending"):
            (source / name).write_bytes(lines)
        if kept:
            shutil.copy(ROOT / ".gitattributes", source)
        windows = [
            "git",
            "-c",
            "core.autocrlf=true",
            "-c",
            "core.eol=crlf",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
        ]
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
            assert run(source, *windows, *command).returncode == 0
        assert run(source, *windows, "clone", "--quiet", str(source), str(clone)).returncode == 0
        for name in ("params.yaml", "data/a.jsonl", "Makefile", "no-ending"):
            assert ((clone / name).read_bytes() == lines) == kept


def test_without_git_dvc_works_as_it_does_with_it(tmp_path, run):
    """The real DVC, in the environment of these tests."""
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    shutil.copytree(ROOT / ".dvc/no-git", tmp_path / ".dvc/no-git")
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc")
    (tmp_path / "dvc.yaml").write_text("stages: {copy: {cmd: cp a b, deps: [a], outs: [b]}}")
    (tmp_path / "a").write_text("something")
    command = ["bin/python", "-m", "dvc", "repro"]
    answer = run(tmp_path, *command, IN_IMAGE=f"{sys.prefix}/locks")
    assert (answer.returncode, (tmp_path / "b").read_text()) == (0, "something"), answer.stderr
    (tmp_path / ".dvc/no-git/config").unlink()
    answer = run(tmp_path, *command, IN_IMAGE=f"{sys.prefix}/locks")
    assert "is not a git repository" in answer.stderr  # what would be
