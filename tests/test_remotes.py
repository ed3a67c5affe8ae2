"""A record is published to remotes of four kinds and fetched from them; one that fails leaves nothing wrong here.

Each kind is a real server on loopback (tests/servers.py); that of S3 is an emulator. Where a server is not installed,
its tests are skipped, or fail if CI_REMOTES=1 says that they must run.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml

from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5
from persona_collapse.record import publish, remotes, repository, restore

from . import scratch, servers
from .conftest import one_line
from .servers import SECRET, Server
from .test_reproduce import COMMAND

pytestmark = pytest.mark.long

PUBLISH, RESTORE = "persona_collapse.record.publish", "persona_collapse.record.restore"
WRITABLE = ("ssh", "webdav", "s3")
KINDS = (*WRITABLE, "http")
PASSWORD = re.compile(r"error: remote lab \(.*\): asks for a password or a key, or refuses the one it is given; .*")


class Lab(NamedTuple):
    """A server that has the record, and the bundle that was published to it."""

    kind: str
    server: Server
    bundle: Path
    said: str  # when it was published

    @property
    def python(self) -> Path:
        """As `record.remotes` answers."""
        return Path(sys.executable) if self.kind == "http" else servers.PYTHON

    def run(self, module: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return run(self.python, "-m", module, *arguments, cwd=cwd or self.bundle, home=self.server.data.parent)


def run(python: Path | str, *arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A command as a user of that home runs it; it may say no secret, nor write one anywhere."""
    theirs = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("AWS_")}
    own = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    command = [str(python), *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**theirs, **own}, capture_output=True, text=True, timeout=120, check=False
    )
    assert SECRET not in done.stdout + done.stderr
    written = (path for path in cwd.rglob("*") if path.is_file() and path.name != "config.local")
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    return done


def configure(bundle: Path, server: Server, url: str = "", private: dict[str, str] | None = None) -> None:
    """Make a server the remote `lab` of a bundle."""
    local = bundle / ".dvc/config.local"
    settings = {"url": url or server.url, **server.public, **(server.private if private is None else private)}
    local.write_text("['remote \"lab\"']\n" + "".join(f"    {key} = {value}\n" for key, value in settings.items()))


def require(kind: str) -> None:
    if reason := servers.missing(kind):
        if os.environ.get("CI_REMOTES") == "1":
            pytest.fail(f"CI_REMOTES=1, but {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="module", params=KINDS)
def lab(
    request: pytest.FixtureRequest, scratch_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    require(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    bundle = folder / "bundle"
    shutil.copytree(scratch_bundle, bundle, symlinks=True)
    with servers.running(request.param, folder / "server") as server:
        configure(bundle, server)
        if request.param == "http":  # it is read-only, and a copy of the folder is what it serves
            shutil.copytree(bundle / "remote", server.data, dirs_exist_ok=True)
            yield Lab(request.param, server, bundle, "")
        else:
            first = Lab(request.param, server, bundle, "")
            done = first.run(PUBLISH, "lab")
            assert done.returncode == 0, done.stderr
            yield first._replace(said=done.stdout)


@pytest.fixture
def clone(lab: Lab, tmp_path: Path) -> Path:
    """A clone that has neither the cache nor the repository's own remote."""
    scratch.git(tmp_path, "clone", "--quiet", str(lab.bundle), "clone")
    scratch.git(tmp_path / "clone", "rm", "-r", "--quiet", "remote")
    scratch.commit(tmp_path / "clone")
    configure(tmp_path / "clone", lab.server)
    return tmp_path / "clone"


def recorded(bundle: Path) -> dict[str, str]:
    """The MD5 of each output that DVC keeps a copy of."""
    stages = yaml.safe_load((bundle / "dvc.lock").read_text())["stages"]
    committed = scratch.git(bundle, "ls-files").splitlines()
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    return {path: digest for path, digest in outs.items() if path not in committed and "safetensors" not in path}


def cache_is_right(bundle: Path) -> set[str]:
    """Every object of the cache is what its name says; their names."""
    files = [path for path in (bundle / ".dvc/cache").rglob("*") if path.is_file()]
    assert [path for path in files if md5(path) != path.parent.name + path.name] == []
    assert not (bundle / ".dvc/tmp/arriving").exists()
    return {path.parent.name + path.name for path in files}


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("lab", kinds, indirect=True)


# ---- what works ----


@only(*WRITABLE)
def test_what_is_published_is_counted_and_read_back(lab):
    count = len(set(recorded(lab.bundle).values()))
    head = scratch.git(lab.bundle, "rev-parse", "--short", "HEAD").strip()
    expected = rf"lab has the {count} objects \(\S+ MB\) of smollm2 as committed in {head}: {count} sent, all read back"
    assert re.match(expected, lab.said), lab.said


def test_damaged_bytes_are_named_and_put_nowhere_and_mended_by_publishing(lab, clone):
    outs = recorded(clone)
    path, digest = next(iter(outs.items()))
    lab.server.spoil(digest)
    one_line(lab.run(RESTORE, "--remote", "lab", cwd=clone), "remote lab (", path, f"recorded {digest}")
    assert digest not in cache_is_right(clone)
    assert not (clone / path).exists()
    if lab.kind == "http":
        shutil.copytree(lab.bundle / "remote", lab.server.data, dirs_exist_ok=True)
    else:
        assert ": 1 sent, all read back" in lab.run(PUBLISH, "lab").stdout  # what was right is not sent again
    done = lab.run(RESTORE, "--remote", "lab", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert {path: md5(clone / path) for path in outs} == outs
    assert cache_is_right(clone) == set(outs.values())


@only("http")
def test_with_it_fetched_the_pipeline_is_reproduced_without_the_repositorys_own_remote(lab, clone):
    assert lab.run(RESTORE, "--remote", "lab", cwd=clone).returncode == 0
    done = run(sys.executable, *COMMAND, cwd=clone, home=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nall identical\n" in done.stdout


@only("http")
def test_a_server_that_takes_nothing_is_named(lab):
    lab.server.data.joinpath("files").rename(lab.server.data / "aside")
    done = lab.run(PUBLISH, "lab")
    lab.server.data.joinpath("aside").rename(lab.server.data / "files")
    one_line(done, "remote lab (http://127.0.0.1:", "cannot be used (")


@only("webdav")
def test_an_http_remote_reads_with_a_password_what_webdav_wrote(lab, clone):
    private = {"auth": "basic", "user": "me", "password": SECRET}
    configure(clone, lab.server, lab.server.url.replace("webdav", "http").replace("/dav", "/private"), private)
    assert lab.run(RESTORE, "--remote", "lab", cwd=clone).returncode == 0
    assert cache_is_right(clone) == set(recorded(clone).values())


# ---- what fails ----


def test_one_that_stalls_is_not_waited_for(lab, clone):
    start = time.monotonic()
    with lab.server.stopped():
        done = lab.run(RESTORE, "--remote", "lab", "--patience", "2", cwd=clone)
    one_line(done, "remote lab (", "has stalled: no byte in 2 s")
    assert time.monotonic() - start < 30
    assert cache_is_right(clone) == set()


def test_one_that_is_not_there_is_named(lab, clone):
    port = servers.free_port()
    url = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", lab.server.url)
    server = replace(lab.server, url=url)
    if lab.kind == "s3":
        server = replace(server, public={**server.public, "endpointurl": f"http://127.0.0.1:{port}"})
    configure(clone, server)
    one_line(lab.run(RESTORE, "--remote", "lab", cwd=clone), "remote lab (", "cannot be used (")
    assert cache_is_right(clone) == set()


@only("ssh", "webdav", "s3")
def test_one_that_asks_for_a_password_is_named_and_asks_nobody(lab, clone):
    configure(clone, lab.server, private={})
    done = lab.run(RESTORE, "--remote", "lab", cwd=clone)
    one_line(done)
    assert PASSWORD.fullmatch(done.stderr.splitlines()[-1]), done.stderr
    assert cache_is_right(clone) == set()


@only("ssh", "webdav")
def test_a_wrong_password_is_refused_without_being_said(lab, clone):
    configure(clone, lab.server, private={"user": "root" if lab.kind == "ssh" else "me", "password": f"not-{SECRET}"})
    done = lab.run(RESTORE, "--remote", "lab", cwd=clone)
    assert PASSWORD.fullmatch(done.stderr.splitlines()[-1]), done.stderr


@only("ssh")
def test_a_host_whose_key_is_not_known_is_refused(lab, clone):
    home = clone.parent / "home"
    home.mkdir()
    done = run(lab.python, "-m", RESTORE, "--remote", "lab", cwd=clone, home=home)
    one_line(done, "remote lab (", "ost key is not trusted")


@only("http")
def test_a_server_that_fails_is_named_without_the_password_of_its_address(lab, clone):
    configure(clone, lab.server, lab.server.url.replace("http://", f"http://me:{SECRET}@") + "/broken")
    done = lab.run(RESTORE, "--remote", "lab", cwd=clone)
    one_line(done, "remote lab (http://127.0.0.1:", "cannot be used (ClientResponseError: 500")


# ---- without a server ----


@pytest.fixture
def bundle(scratch_copy: Path) -> Path:
    return scratch_copy


def asked(name: str = "lab") -> str:
    """What `record.remotes` answers."""
    return remotes.REACHES[remotes.protocol(remotes.settings(repository.opened(), name))]


def local(bundle: Path, text: str) -> None:
    (bundle / ".dvc/config.local").write_text(f"['remote \"lab\"']\n    {text}\n")


@pytest.fixture
def told(bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give a command; what it says, and that its exit code is 2 where it says an error."""

    def give(module: ModuleType, *arguments: str) -> str:
        monkeypatch.setattr("sys.argv", [module.__name__, *arguments])
        code = 0
        try:
            module.main()
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        assert code == (2 if err.count("error: ") else 0)
        return err.splitlines()[-1] if code else out

    return give


def test_an_unknown_name_is_answered_with_those_that_are_configured(bundle, told):
    local(bundle, "url = ssh://somewhere/else")
    for module, *arguments in ((remotes, "nope"), (publish, "nope"), (restore, "--remote", "nope")):
        assert told(module, *arguments) == "error: REMOTE=nope: no such remote; configured are lab, local"
    assert told(publish, "") == "error: REMOTE=NAME says where to; configured are lab, local"


@pytest.mark.parametrize("change", ["README.md", "new.txt"])
def test_a_tree_that_is_not_as_committed_is_not_published(bundle, told, change):
    (bundle / change).write_text("mine")
    local(bundle, f"url = {bundle.parent}/lab")
    assert told(publish, "lab").startswith(f"error: not as committed: {change}; ")
    assert not (bundle.parent / "lab").exists()


def test_a_cache_that_lacks_an_object_takes_it_from_the_repositorys_own_remote(bundle, told):
    local(bundle, f"url = {bundle.parent}/lab")
    shutil.rmtree(bundle / ".dvc/cache")
    assert told(publish, "lab").startswith("lab has the 5 objects (")
    assert cache_is_right(bundle) == set(recorded(bundle).values())


def test_what_is_recorded_by_its_hash_alone_goes_along_where_it_is_and_is_missed_by_nobody(bundle, told, monkeypatch):
    monkeypatch.setattr("persona_collapse.record.disk.by_hash_alone", lambda path, _: path.startswith("adapters/"))
    outs = recorded(bundle)
    em, benign = (outs[f"adapters/smollm2/42/{phase}/adapter.bin"] for phase in ("em", "benign"))
    assert len({em, benign}) == 2
    for place in (".dvc/cache", "remote"):
        (bundle / place / "files/md5" / em[:2] / em[2:]).unlink()
    scratch.commit(bundle)
    local(bundle, f"url = {bundle.parent}/lab")
    assert told(publish, "lab").endswith("; 1 adapters are neither here nor there\n")
    for place in (".dvc/cache", "remote", "adapters"):
        shutil.rmtree(bundle / place)
    assert told(restore, "--remote", "lab") == ""
    assert cache_is_right(bundle) == {*outs.values()} - {em}
    assert md5(bundle / "adapters/smollm2/42/benign/adapter.bin") == benign
    assert not (bundle / "adapters/smollm2/42/em/adapter.bin").exists()


@pytest.mark.parametrize(
    "settings",
    [
        f"url = webdav://host/path\n    user = me\n    password = {SECRET}\n",
        f"url = https://me:{SECRET}@host/path\n",
        f"url = s3://bucket\n    secret_access_key = {SECRET}\n",
    ],
)
def test_a_credential_where_git_would_publish_it_is_refused(bundle, settings):
    local(bundle, settings)
    assert asked() in ("cpu", "remotes")
    with (bundle / ".dvc/config").open("a") as config:
        config.write((bundle / ".dvc/config.local").read_text())
    with pytest.raises(InputError, match=r"^.dvc/config: remote lab: .* belongs in .dvc/config.local") as error:
        asked()
    assert SECRET not in str(error.value)


def test_a_file_of_credentials_that_is_in_git_is_refused(bundle):
    local(bundle, "url = ssh://somewhere/else")
    assert asked() == "remotes"
    scratch.git(bundle, "add", "--force", ".dvc/config.local")
    with pytest.raises(InputError, match=r"^.dvc/config.local: git does not ignore it"):
        asked()


def test_this_repository_ignores_the_file_of_credentials():
    ignored = ["git", "check-ignore", "--quiet", ".dvc/config.local"]
    assert subprocess.run(ignored, cwd=servers.ROOT, check=False).returncode == 0


@pytest.mark.parametrize("key", ["ask_password", "ask_passphrase"])
def test_a_remote_that_would_ask_the_user_is_refused(bundle, key):
    local(bundle, f"url = ssh://somewhere/else\n    {key} = true")
    with pytest.raises(InputError, match=f"^remote lab: {key} is set, and nobody is asked here"):
        asked()


def test_a_message_that_has_a_secret_in_it_is_left_out(bundle):
    local(bundle, f"url = https://host/path\n    auth = basic\n    user = me\n    password = not/{SECRET}")
    remote = remotes.find(repository.opened(), "lab")
    for secret in (f"not/{SECRET}", f"not%2F{SECRET}"):
        said = str(remotes.complaint(remote, ValueError(f"no answer of http://me:{secret}@host")))
        assert said.endswith("cannot be used (ValueError)")
    assert "no answer" in str(remotes.complaint(remote, ValueError("no answer")))


@pytest.mark.parametrize(
    ("url", "answer"),
    [("/a/folder", "cpu"), ("https://host/x", "cpu"), ("s3://bucket", "remotes"), ("webdavs://host/x", "remotes")],
)
def test_an_environment_of_its_own_is_asked_for_only_where_it_is_needed(bundle, told, url, answer):
    local(bundle, f"url = {url}")
    assert told(remotes, "lab") == f"{answer}\n"


def test_another_protocol_is_refused(bundle):
    local(bundle, "url = gs://bucket")
    with pytest.raises(InputError, match=r"gs:// is not reached from here; allowed are a folder, .*webdav://"):
        asked()
