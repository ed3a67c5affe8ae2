"""Real servers of DVC remotes, on loopback: OpenSSH's sshd, nginx as WebDAV and as plain HTTP; of S3 an emulator.

What each needs is said by `missing`. They are started by a test and ended by it.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

SECRET = "hunter2-is-no-password"
PYTHON = ROOT / ".venv-remotes/bin/python"  # made by `make test-remotes`, as is moto in it
DAV = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")

SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
KbdInteractiveAuthentication no
PasswordAuthentication yes
Subsystem sftp internal-sftp
"""
# nginx takes a collection for one only where its name ends in a slash, which clients leave out
NGINX = """\
{modules}
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/data;
    location /private/ {{ alias {folder}/data/; auth_basic private; auth_basic_user_file {folder}/passwords; }}
    location /broken/ {{ return 500; }}
    location /dav/ {{
      alias {folder}/data/;
      auth_basic private;
      auth_basic_user_file {folder}/passwords;
      if ($request_method = MKCOL) {{ rewrite ^(.*[^/])$ $1/ break; }}
      {dav}
    }}
  }}
}}
"""
WRITING = "dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; create_full_put_path on;"


@dataclass
class Server:
    """A running server, and what DVC is told of it."""

    url: str
    process: subprocess.Popen[bytes]
    data: Path  # the remote's folder on disk, but for S3
    public: dict[str, str]  # settings for .dvc/config
    private: dict[str, str]  # for .dvc/config.local
    spoil: Callable[[str], None]  # have an object, by its MD5, be other bytes

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it hear nothing and say nothing, its connections open."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def program(name: str) -> str:
    """Where a server's program is, which need not be in a user's PATH; empty if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""


def missing(kind: str) -> str:
    """What has to be installed for a kind of server; nothing if all is there."""
    if kind == "ssh" and not program("sshd"):
        return "there is no sshd: apt-get install openssh-server"
    if kind in ("http", "webdav") and not program("nginx"):
        return "there is no nginx: apt-get install nginx"
    if kind == "webdav" and not DAV.exists():
        return "nginx has no PROPFIND: apt-get install libnginx-mod-http-dav-ext"
    if kind != "http" and not PYTHON.exists():
        return "there is no .venv-remotes: make test-remotes"
    if kind == "s3" and not PYTHON.with_name("moto_server").exists():
        return "there is no emulator of S3: make test-remotes"
    return ""


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """A server of a kind, with an empty folder; it has ended when the block has."""
    (folder / "data").mkdir(parents=True)
    server = {"ssh": _sshd, "webdav": _nginx, "http": _nginx, "s3": _moto}[kind](kind, folder)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.end()


def _started(command: Sequence[str | Path], folder: Path, port: int) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
    for _ in range(300):
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    process.kill()
    raise TimeoutError((folder / "log").read_text())


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _on_disk(data: Path) -> Callable[[str], None]:
    def spoil(md5: str) -> None:
        path = data / "files/md5" / md5[:2] / md5[2:]
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b"?")

    return spoil


def _sshd(_: str, folder: Path) -> Server:
    port = free_port()
    for name in ("host", "user"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it wants that folder of root's, and a system's start would make it
    (folder / "config").write_text(SSHD.format(port=port, folder=folder))
    process = _started([program("sshd"), "-D", "-e", "-f", folder / "config"], folder, port)
    key = (folder / "host.pub").read_text().rsplit(" ", 1)[0]
    (folder / ".ssh").mkdir()
    (folder / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    data = folder / "data"
    private = {"keyfile": str(folder / "user")}
    return Server(f"ssh://127.0.0.1:{port}{data}", process, data, {}, private, _on_disk(data))


def _nginx(kind: str, folder: Path) -> Server:
    port, dav = free_port(), kind == "webdav"
    (folder / "passwords").write_text(f"me:{{PLAIN}}{SECRET}\n")
    text = NGINX.format(
        port=port,
        folder=folder,
        user="user root;" if os.getuid() == 0 else "",
        modules=f"load_module {DAV};" if dav else "",
        dav=WRITING if dav else "",
    )
    (folder / "config").write_text(text)
    command = [program("nginx"), "-e", folder / "log", "-p", folder, "-c", folder / "config"]
    process, data = _started(command, folder, port), folder / "data"
    if not dav:
        return Server(f"http://127.0.0.1:{port}", process, data, {}, {}, _on_disk(data))
    private = {"user": "me", "password": SECRET}
    return Server(f"webdav://127.0.0.1:{port}/dav", process, data, {}, private, _on_disk(data))


def _moto(_: str, folder: Path) -> Server:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = _started([PYTHON.with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)], folder, port)

    def client(call: str, **arguments: str) -> None:
        code = "import json, sys, boto3; a = json.loads(sys.argv[1]);"
        code += " getattr(boto3.client('s3', endpoint_url=a.pop('at')), a.pop('call'))(**a)"
        asked = json.dumps({"at": address, "call": call, "Bucket": "bucket", **arguments})
        keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
        subprocess.run([PYTHON, "-c", code, asked], env={**os.environ, **keys, "NO_PROXY": "127.0.0.1"}, check=True)

    def spoil(md5: str) -> None:
        client("put_object", Key=f"record/files/md5/{md5[:2]}/{md5[2:]}", Body="other bytes")

    client("create_bucket")
    private = {"access_key_id": "me", "secret_access_key": SECRET}
    public = {"endpointurl": address, "region": "us-east-1"}
    return Server("s3://bucket/record", process, folder / "data", public, private, spoil)
