"""The DVC remotes that are configured here: what is asked of their settings, and what went wrong with one, in a line.

    python -m persona_collapse.record.remotes NAME      the environment that reaches it: cpu or remotes

Credentials belong in `.dvc/config.local`, which git ignores. No message of ours has one in it, and nobody is asked for
one.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ..experiment.errors import InputError, one_line_errors
from . import committed, repository
from .repository import CONFIG

LOCAL = Path(".dvc/config.local")
REACHES = {"": "cpu", "http": "cpu", "https": "cpu", "ssh": "remotes", "s3": "remotes"} | dict.fromkeys(
    ("webdav", "webdavs"), "remotes"
)  # the lock in requirements/ that has a protocol; the first is that of folders
CREDENTIALS = (
    *("password", "passphrase", "token", "session_token", "bearer_token_command"),
    *("access_key_id", "secret_access_key", "sse_customer_key"),
)
ASKING = ("ask_password", "ask_passphrase")
REFUSED = ("PermissionDenied", "PermissionError", "NoCredentialsError", "PartialCredentialsError")  # of their libraries


class Remote(NamedTuple):
    """Where objects lie, each named by its MD5."""

    name: str
    where: str  # its address without the credentials that may be in it
    fs: Any  # DVC's file system of its protocol; it connects when it is first used
    root: str
    secrets: tuple[str, ...]

    def path(self, md5: str) -> str:
        """The object of that hash."""
        return self.fs.join(self.root, md5[:2], md5[2:])

    def trouble(self, what: str) -> InputError:
        """An error that names the remote."""
        return InputError(f"remote {self.name} ({self.where}): {what}")


def names(repo: Any) -> str:
    """Those that are configured."""
    return ", ".join(sorted(repo.config["remote"])) or "none: `dvc remote add NAME URL` makes one"


def settings(repo: Any, name: str) -> dict[str, Any]:
    """How a remote is configured; without a name, the one that DVC takes by default.

    Raises:
        InputError: there is no such remote, or its credentials lie where they would be published or asked for.
    """
    configured: Mapping[str, dict[str, Any]] = repo.config["remote"]
    asked = name or repo.config["core"].get("remote", "")
    if asked not in configured:
        raise InputError(f"REMOTE={asked}: no such remote; configured are {names(repo)}")
    found = dict(configured[asked])
    public = repo.config.load_one("repo").get("remote", {}).get(asked, {})
    for key in [
        *(key for key in public if key in CREDENTIALS),
        *(["the password in url"] if _password(public) else []),
    ]:
        raise InputError(
            f"{CONFIG}: remote {asked}: {key} is a credential and this file is committed; it belongs in {LOCAL}"
            " (`dvc remote modify --local`)"
        )
    if LOCAL.exists() and not committed.ignored(LOCAL):
        raise InputError(
            f"{LOCAL}: git does not ignore it, and credentials belong in it; .dvc/.gitignore should name it"
        )
    for key in ASKING:
        if found.get(key) in (True, "true"):
            raise InputError(f"remote {asked}: {key} is set, and nobody is asked here; {_advice(key)}")
    return {"name": asked, **found}


def _advice(key: str = "password") -> str:
    return f"a {key.removeprefix('ask_')} is set by `dvc remote modify --local`, in {LOCAL}"


def _password(of: Mapping[str, Any]) -> str:
    return urlsplit(str(of.get("url", ""))).password or ""


def protocol(of: Mapping[str, Any]) -> str:
    """The protocol of a remote's address; empty for a folder.

    Raises:
        InputError: none that is reached from here.
    """
    parts = urlsplit(str(of["url"]))
    scheme = parts.scheme if parts.netloc else ""
    if scheme not in REACHES:
        allowed = ", ".join(f"{one}://" for one in REACHES if one)
        raise InputError(f"remote {of['name']}: {scheme}:// is not reached from here; allowed are a folder, {allowed}")
    return scheme


def find(repo: Any, name: str) -> Remote:
    """A configured remote; nothing is connected yet.

    Args:
        repo: as of `repository.opened`.
        name: empty for the one that DVC takes by default.

    Raises:
        InputError: as of `settings`, or a setting is none of its protocol's.
    """
    from dvc.fs import get_cloud_fs

    own = settings(repo, name)
    scheme = protocol(own)
    name = own.pop("name")
    secrets = {str(own[key]) for key in CREDENTIALS if own.get(key)} | ({_password(own)} - {""})
    secrets |= {quote(secret, safe="") for secret in secrets}
    parts = urlsplit(str(own["url"]))
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else str(own["url"])
    if own.get("worktree") or own.get("version_aware"):
        raise InputError(f"remote {name}: objects are named by their hash here; worktree and version_aware are not")
    try:
        cls, config, root = get_cloud_fs(repo.config, name=name)
        fs = cls(**config)
        if scheme == "ssh":
            _as_ssh_does(fs.fs_args)
    except Exception as error:  # whatever a library makes of a setting
        raise complaint(Remote(name, where, None, "", tuple(secrets)), error) from None
    return Remote(name, where, fs, fs.join(root, "files", "md5"), tuple(secrets))


def _as_ssh_does(options: dict[str, Any]) -> None:
    """Have a host's key be a known one, which DVC does not ask for, and nobody be asked for a password."""
    from asyncssh import SSHClient  # type: ignore[import-not-found, unused-ignore]

    options.update(known_hosts=(), client_factory=SSHClient)


def complaint(remote: Remote, error: BaseException) -> InputError:
    """What a library raised, as an error of one line without a credential in it."""
    if isinstance(error, InputError):
        return error
    kind = type(error).__name__
    status = getattr(error, "status", getattr(error, "status_code", None))
    if kind in REFUSED or status in (401, 403):
        return remote.trouble(f"asks for a password or a key, or refuses the one it is given; {_advice()}")
    said = " ".join(str(error).split())
    shown = f"{kind}: {said}" if said and not any(secret in said for secret in remote.secrets) else kind
    return remote.trouble(f"cannot be used ({shown:.300})")


@one_line_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    own = settings(repository.opened(), parser.parse_args().name)
    reached = REACHES[protocol(own)]
    if reached != "cpu" and "IN_IMAGE" in os.environ:
        raise InputError(f"remote {own['name']}: an image reaches folders and HTTP; fetch outside of it")
    print(reached)


if __name__ == "__main__":
    main()
