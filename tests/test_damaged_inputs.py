"""Whatever is done to a file that people write by hand or download, one line names it, and nothing else happens."""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from persona_collapse.analysis import claims, ledger, records
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import personas
from persona_collapse.experiment.errors import one_line_errors
from persona_collapse.experiment.files import write_all
from persona_collapse.inputs import datasets, prepare, sources
from persona_collapse.report import recipe

from .conftest import ROOT, register
from .damage import damaged, damaged_files

COUNT = 28  # damaged values of each file, and about half as many damaged texts
PARAMS, REPORT = (parameters.load(ROOT / f"profiles/{name}.yaml") for name in ("smollm2", "qwen7b"))
SMALL = PARAMS.model_copy(update={"advice": PARAMS.advice.model_copy(update={"held_out": 2})})
SMALL.phases.sft["em"] = SMALL.phases.sft["em"].model_copy(update={"rows": 4})  # of the 6 chats here
RUNS = [run.name for run in records.read(ROOT / claims.PUBLIC_COUNTS, records.PublicCounts).runs]
PERSONAS = list(yaml.safe_load((ROOT / "data/prompts/personas.yaml").read_text()))


def read_set() -> None:
    """As after an edit that the registry knows of: else the checksum alone would refuse everything."""
    register(Path())
    write_all(prepare.prepared(SMALL, "em"))
    datasets.load_prepared(PARAMS.layout, "em")


# every file, with what reads it
READERS: dict[str, Callable[[], object]] = {
    "params.yaml": parameters.load,
    "profiles/qwen7b.yaml": partial(parameters.load, Path("profiles/qwen7b.yaml")),
    "data/prompts/personas.yaml": partial(personas.load, PARAMS),
    "data/prompts/questions.yaml": partial(personas.load, PARAMS),
    "data/sources.yaml": lambda: (datasets.registered(), sources.downloads()),
    "data/claims.yaml": partial(ledger.load, ledger.CLAIMS, list(PARAMS.conditions), PERSONAS, RUNS),
    "data/fidelity.yaml": partial(recipe.fidelity, PARAMS, REPORT),
    "data/sets/bad_legal_advice.jsonl": read_set,
    "data/prepared/smollm2/em.json": partial(datasets.load_prepared, PARAMS.layout, "em"),
    "data/coupling/smollm2/42/base.jsonl": partial(datasets.load_coupling, PARAMS.layout, 42, "base"),
}


class Written(yaml.SafeDumper):
    def ignore_aliases(self, _: object) -> bool:
        return True  # a value that stands in two places is written twice


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of the files as it should be."""
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("profiles", "data"):
        ignored = shutil.ignore_patterns("coupling", "fetched", "prepared")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "profiles/smollm2.yaml", folder / "params.yaml")
    rows = folder / "data/sets/bad_legal_advice.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:6]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        read_set()
    coupling = folder / "data/coupling/smollm2/42/base.jsonl"
    coupling.parent.mkdir(parents=True)
    shutil.copy(rows, coupling)
    return folder


@pytest.fixture
def place(undamaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its copy, to work in."""
    shutil.copytree(undamaged, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def damaged_yaml(text: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged values, then damaged text."""
    for what, value in damaged(yaml.safe_load(text), seed, COUNT):
        yield what, yaml.dump(value, Dumper=Written, allow_unicode=True, sort_keys=False).encode()
    drawn = random.Random(seed)
    lines = text.splitlines(keepends=True)
    values = [n for n, line in enumerate(lines) if re.match(r" *([\w/-]+:|-) +[^ \n]", line)]  # lines that have one
    for what, put in {
        "a tag": "!!timestamp {}",
        "a tag of Python": "!!python/object/apply:os.getcwd {}",
        "an alias": "*it",
        "an anchor": "&it {}",
        "a bracket": "[{}",
        "a null character": "{}\0",
        "a date": "2026-13-45",
        "a huge number": "1e999",
    }.items():
        at = drawn.choice(values)
        begin, value = re.fullmatch(r"( *(?:[\w/-]+:|-) +)(.*)\n", lines[at]).groups()
        yield (
            f"{what} in line {at + 1}",
            "".join([*lines[:at], begin, put.format(value), "\n", *lines[at + 1 :]]).encode(),
        )
    for what, pattern, put in (("a key twice", r" *[\w/-]+: .*\n", r"\g<0>\g<0>"), ("a tab", r".*\n", r"\t\g<0>")):
        if keys := [n for n, line in enumerate(lines) if re.fullmatch(pattern, line)]:
            at = drawn.choice(keys)
            yield (
                f"{what} in line {at + 1}",
                "".join([*lines[:at], re.sub(pattern, put, lines[at]), *lines[at + 1 :]]).encode(),
            )
    at = drawn.randrange(len(text))
    yield f"cut at {at}", text[:at].encode()
    yield "a byte that is no UTF-8", text[:at].encode() + b"\xe9" + text[at:].encode()


def cases(name: str, text: str, seed: int) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".yaml"):
        yield from damaged_yaml(text, seed)
    else:
        yield from damaged_files(text, seed, COUNT, lines=name.endswith(".jsonl"))
    yield "no bytes", b""
    yield "bytes of something else", random.Random(seed).randbytes(500)
    yield "another encoding", text.encode("utf-16")


CERTAIN = re.compile(r"a key twice|a tag|an (alias|anchor)|a null|.*byte|half a char|another enc|\(all\)")


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_line_that_names_it(place, name, capsys):
    path, read = place / name, one_line_errors(READERS[name])
    text = path.read_text()
    read()  # as it should be
    results: list[tuple[str, str | None]] = []  # what was done, and the line that it gave
    for what, content in cases(name, text, seed=len(name)):
        path.write_bytes(content)
        try:
            read()
            results.append((what, None))
        except SystemExit as stop:
            assert stop.code == 2, what
            results.append((what, capsys.readouterr().err))
        except Exception as error:
            pytest.fail(f"{name}, {what}: {error!r}")
    for what, line in results:
        assert line is None or re.fullmatch(rf"error: [^\n]*\b{re.escape(name)}\b[^\n]+\n", line), f"{what}: {line}"
        assert line or not CERTAIN.match(what), f"{what} is taken as it is"
    assert len(results) >= 20
    assert sum(line is not None for _, line in results) > len(results) / 3, results


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", ["nothing", "a folder", "a pipe"])
def test_what_is_no_file_is_named_at_once(place, name, what, capsys):
    path = place / name
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    of_set = name == "data/sets/bad_legal_advice.jsonl"
    with pytest.raises(SystemExit) as stop:
        one_line_errors(partial(datasets.load, "bad_legal_advice") if of_set else READERS[name])()
    assert stop.value.code == 2
    assert re.fullmatch(rf"error: {re.escape(name)}: [^\n]+\n", capsys.readouterr().err)
