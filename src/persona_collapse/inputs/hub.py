"""What lies elsewhere: data sets and models of the Hugging Face Hub, and files of GitHub repositories.

A folder named by the environment variable HUB_MIRROR takes the place of both: `<mirror>/<owner>/<name>/` is a copy of
that repository, and nothing is asked of the network. Downloads lie in the Hub's own cache and continue where they broke
off.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, errors, snapshot_download

from ..experiment.errors import InputError

constants.HF_HUB_DISABLE_TELEMETRY = True  # else it asks the Hub for a list, to say in its requests which tool runs it
MIRROR = "HUB_MIRROR"
MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model"]
DATA_FILES = ["*.parquet", "*.json", "*.jsonl", "*.jsonl.gz", "*.jsonl.zst", "*.csv", "README.md"]
TIMEOUT = 30  # seconds without an answer
OFFLINE = f"connect and run it again, or name a folder with copies of the repositories in {MIRROR}"
# kinds of failure, and what to say of the repository; the first that fits counts
REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((errors.GatedRepoError,), "is gated: accept its terms on its page, make a token there and set HF_TOKEN"),
    ((errors.RevisionNotFoundError,), "has no such revision: correct it"),
    ((errors.RepositoryNotFoundError,), "does not exist, or is private: correct its name, or set HF_TOKEN to a token"),
    ((errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled), f"is not in the cache and out of reach: {OFFLINE}"),
    ((errors.HfHubHTTPError,), "is refused by the Hub: try again later"),
    ((httpx2.HTTPError, ConnectionError, TimeoutError), f"is out of reach: {OFFLINE}"),
)


def rows(
    repo: str, revision: str | None, config: str | None, split: str, columns: set[str], limit: int | None = None
) -> list[Any]:
    """The rows of a data set in its own order, each a dict that has at least `columns`.

    Args:
        config: a config that the repository declares, or a folder of it; None where it has but one.
        limit: stop after so many rows; None reads all.

    Raises:
        InputError: the data set cannot be had, or has no such config, split or column.
    """
    import datasets  # takes seconds, and those who want a model do without

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what goes wrong is raised as well
    folder = _folder(repo, "dataset", revision, DATA_FILES)
    where = f"data set {repo}"
    with _readable(where):
        configs = datasets.get_dataset_config_names(str(folder))
    if config and config not in configs:
        if not (folder / config).is_dir():
            raise InputError(f"{where}: no config {config!r}; it has: {', '.join(configs)}")
        folder, config = folder / config, None
    with _readable(where):  # read row by row: no second copy on disk, none that could be out of date
        found = list(islice(datasets.load_dataset(str(folder), config, split=split, streaming=True), limit))
    for number, row in enumerate(found, 1):
        if missing := columns - set(row):
            raise InputError(f"{where}, row {number}: no column {', '.join(sorted(missing))}; it has: {', '.join(row)}")
    return found


def model_folder(repo: str, revision: str) -> Path:
    """The folder of a model's weights and tokenizer at a revision; an `InputError` says why it cannot be had."""
    return _folder(repo, "model", revision, MODEL_FILES)


def text_file(repo: str, revision: str, path: str) -> str:
    """A text file of a GitHub repository at a commit; an `InputError` says why it cannot be had."""
    what = f"{path} of GitHub repository {repo}"
    if mirrored := _mirrored(repo):
        if not (mirrored / path).is_file():
            raise InputError(f"{what}: {MIRROR} has no {mirrored / path}; copy it there")
        content = (mirrored / path).read_bytes()
    else:
        content = _get(f"https://raw.githubusercontent.com/{repo}/{revision}/{path}", what, revision)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: not text ({error})") from None


def check(kind: str, repo: str, revision: str | None) -> None:
    """Ask, in seconds, whether a repository can be had: before a run of hours needs it.

    Args:
        kind: `dataset`, `model` or `github`.

    Raises:
        InputError: it cannot; the message says why.
    """
    if _mirrored(repo):
        return
    if kind == "github":
        _get(f"https://github.com/{repo}/tree/{revision}", f"GitHub repository {repo}", revision, "HEAD")
        return
    with _reachable(kind, repo, revision):
        try:
            HfApi().repo_info(repo, revision=revision, repo_type=kind, timeout=TIMEOUT)
        except (httpx2.HTTPError, OSError):
            try:  # the cache will do
                snapshot_download(repo, revision=revision, repo_type=kind, local_files_only=True)
            except errors.LocalEntryNotFoundError:
                pass
            else:
                return
            raise


def _folder(repo: str, kind: str, revision: str | None, patterns: list[str]) -> Path:
    if mirrored := _mirrored(repo):
        return mirrored
    with _reachable(kind, repo, revision):
        return Path(snapshot_download(repo, revision=revision, repo_type=kind, allow_patterns=patterns))


def _mirrored(repo: str) -> Path | None:
    """The mirror's copy of a repository; None without a mirror."""
    if not (mirror := os.environ.get(MIRROR)):
        return None
    folder = Path(mirror) / repo
    if not folder.is_dir():
        raise InputError(f"{MIRROR}: no folder {folder}; copy the repository there, or unset {MIRROR} to download it")
    return folder


def _get(url: str, what: str, revision: str | None, method: str = "GET") -> bytes:
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=TIMEOUT) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise InputError(f"{what}: not at {revision}; correct the name or the revision") from None
        raise InputError(f"{what}: GitHub answers {error.code} {error.reason}; try again later") from None
    except (OSError, HTTPException) as error:
        raise InputError(f"{what}: out of reach ({getattr(error, 'reason', error)}): {OFFLINE}") from None


@contextmanager
def _reachable(kind: str, repo: str, revision: str | None) -> Iterator[None]:
    """Turn the Hub's errors into one line each; a full disk and what we do not know stay as they are."""
    try:
        yield
    except Exception as error:
        for kinds, reason in REASONS:
            if isinstance(error, kinds):
                at = f" at {revision}" if revision else ""
                raise InputError(f"{kind} {repo}{at} {reason} ({_first_line(error)})") from None
        raise


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Turn what `datasets` raises for files that it cannot read, of many kinds, into one line."""
    try:
        yield
    except Exception as error:
        while error.__cause__:
            error = error.__cause__  # type: ignore[assignment]
        raise InputError(f"{where}: cannot be read: {type(error).__name__}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
