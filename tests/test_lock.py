"""`dvc.lock` and `dvc.yaml` as graph, and what a damaged one leads to: one line that names it, and no pass."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.strict import from_yaml
from persona_collapse.record import committed, entries, graph, lock, repository, verify
from persona_collapse.record.committed import Record

from .conftest import ROOT
from .damage import damaged


def stage(reads: list[str], makes: list[str]) -> dict:
    def entries(paths: list[str]) -> list[dict]:
        return [{"path": path, "hash": "md5", "md5": "0" * 32 + ".dir" * path.endswith("/")} for path in paths]

    return {"cmd": "make", "deps": entries(reads), "outs": entries(makes)}


STAGES = lock.parse(
    yaml.safe_dump(
        {
            "schema": "2.0",
            "stages": {
                "tables@smollm2": stage(["runs/smollm2"], ["tables/smollm2/a", "tables/smollm2/b"]),
                "base@smollm2": stage(["data/sets"], ["model/smollm2/weights"]),
                "train@smollm2-42-em": stage(["model/smollm2", "data/sets"], ["adapters/smollm2/em"]),
                "train@smollm2-42-benign": stage(["model/smollm2", "data/sets"], ["adapters/smollm2/benign"]),
                "evaluate@smollm2-42-em": stage(["model/smollm2", "adapters/smollm2/em"], ["runs/smollm2/em"]),
                "evaluate@smollm2-42-benign": stage(["adapters/smollm2/benign"], ["runs/smollm2/benign"]),
                "fetch@tulu": stage([], ["data/fetched/tulu"]),
                "tables@qwen7b": stage(["runs/qwen7b"], ["tables/qwen7b/a"]),
            },
        }
    ),
    "dvc.lock",
)


def test_a_folder_is_made_by_all_stages_that_make_some_of_it():
    made = graph.makers(STAGES)
    assert made["runs/smollm2"] == {"evaluate@smollm2-42-em", "evaluate@smollm2-42-benign"}
    assert made["model/smollm2"] == made["model/smollm2/weights"] == {"base@smollm2"}
    assert "data/sets" not in made


def test_ancestors_come_in_the_order_in_which_they_were_made():
    of = graph.of_stages(STAGES)
    assert graph.ancestry(of, "evaluate@smollm2-42-em") == [
        *("base@smollm2", "train@smollm2-42-em", "evaluate@smollm2-42-em")
    ]
    assert graph.ancestry(of, "tables@smollm2")[-1] == "tables@smollm2"
    assert set(graph.ancestry(of, "tables@smollm2")) == {name for name in STAGES if "smollm2" in name}


def test_the_first_difference_is_the_one_before_which_nothing_differs():
    of = graph.of_stages(STAGES)
    assert graph.first_different(of, ["tables@smollm2", "evaluate@smollm2-42-em", "train@smollm2-42-em"]) == [
        "train@smollm2-42-em"
    ]
    both = ["train@smollm2-42-em", "train@smollm2-42-benign"]
    assert graph.first_different(of, [*both, "tables@smollm2"]) == both
    assert graph.first_different(of, ["tables@smollm2"]) == ["tables@smollm2"]


def test_a_profile_has_the_stages_that_make_its_files():
    assert set(lock.of_profile(STAGES, "qwen7b")) == {"tables@qwen7b"}
    assert "fetch@tulu" not in lock.of_profile(STAGES, "smollm2")


# ---- damage ----


def quickly(path: str, text: str) -> str:
    """The error that a file with this text leads to."""
    Path(path).write_text(text)
    begun = time.process_time()
    with pytest.raises(InputError, match="^" + path) as error:
        lock.read() if path == "dvc.lock" else repository.checked()
    assert time.process_time() - begun < 3
    return str(error.value)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


SMALL = (BOMB, "a: &a [*a]", "[" * 5000, "{a: " * 5000, "- " * 5000 + "a", "\0", "a: !!python/object:os.system {}")


@pytest.mark.parametrize("text", SMALL)
@pytest.mark.parametrize("path", ["dvc.lock", "dvc.yaml"])
def test_a_small_text_for_a_huge_value_is_refused_quickly(folder, path, text):
    assert "\n" not in quickly(path, text)


@pytest.fixture
def folder(scratch_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle without git, whose record is the lock that lies there."""
    shutil.copytree(scratch_bundle, tmp_path / "b", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    monkeypatch.chdir(tmp_path / "b")
    return tmp_path / "b"


def test_a_damaged_record_is_refused_in_one_line_or_does_not_pass(folder):
    """Whatever is changed in what is compared."""
    text = Path("dvc.lock").read_text()
    recorded, repo, params = lock.read(), repository.checked(), parameters.load()
    refused = passed = 0
    for what, value in damaged(yaml.safe_load(text), seed=1, count=100):
        try:
            stages = lock.parse(yaml.safe_dump(value), "dvc.lock")
        except InputError as error:
            assert str(error).startswith("dvc.lock: "), what
            assert "\n" not in str(error), what
            refused += 1
            continue
        page = verify.page(verify.compare(Record("", stages, "here", committed=False), repo, params))
        assert (page[-1] == "all identical") == (stages == recorded), (what, page)
        passed += 1
    assert refused > 30
    assert passed > 20


def test_a_damaged_pipeline_is_refused_in_one_line_or_does_not_pass(folder):
    declared, record, params = repository.declared(repository.checked()), committed.record("smollm2"), parameters.load()
    for what, value in damaged(yaml.safe_load(Path("dvc.yaml").read_text()), seed=2, count=40):
        Path("dvc.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
        try:
            repo = repository.checked()
        except InputError as error:
            assert str(error).startswith("dvc.yaml"), what
            continue
        same = unordered(repository.declared(repo)) == unordered(declared)
        assert (verify.page(verify.compare(record, repo, params))[-1] == "all identical") == same, what


def unordered(declared: dict[str, repository.Declared]) -> dict[str, repository.Declared]:
    """Without what decides nothing: the order of outputs, and how they are kept."""
    return {name: stage._replace(outs=frozenset(stage.outs)) for name, stage in declared.items()}


@pytest.mark.parametrize("path", ["dvc.yaml", "dvc.lock", ".dvc/config"])
def test_garbled_text_is_one_line_that_names_the_file(folder, path):
    drawn, content = random.Random(path), Path(path).read_bytes()
    for _ in range(20):
        at = drawn.randrange(len(content))
        some = bytes(drawn.choices(b"\xff\0\n\t :-[]{}&*!|>'\"%@`#aZ0", k=drawn.randint(1, 6)))
        kept = content[at + drawn.randint(0, 40) :] if drawn.random() < 0.8 else b""
        Path(path).write_bytes(content[:at] + some + kept)
        try:
            repository.declared(repository.checked())
            lock.read()
        except InputError as error:
            assert str(error).startswith((path, "dvc.yaml or dvc.lock")), (at, some)


# ---- entries ----


def test_an_entry_reads_as_dvc_writes_it_and_the_lock_is_its_entries_one_after_the_other():
    """If DVC wrote entries that depend on each other, or in another style, `entries` would change bytes of others."""
    text = (ROOT / "dvc.lock").read_text()
    found, values = entries.texts(text), lock.value(text)["stages"]
    assert entries.HEAD + "".join(found.values()) == text
    assert list(found) == list(values)
    for name in random.Random(0).sample(sorted(found), 40):
        assert entries.text(name, values[name]) == found[name]


@pytest.mark.parametrize(
    "text",
    [
        "stages:\n  a:\n    cmd: x\n",
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\nother: 1\n",
        "schema: '2.0'\nstages:\n  'a b':\n    cmd: x\n",
        "schema: '2.0'\nstages:\n# a\n  a:\n    cmd: x\n",
        "schema: '2.0'\nstages: {}\n",
    ],
)
def test_a_lock_of_another_form_is_not_taken_apart(text):
    assert entries.texts(text) is None


@pytest.mark.parametrize("where", ["dvc.lock", str(ROOT / "dvc.lock")])  # DVC calls it by both
def test_dvc_is_given_the_entries_of_its_lock_one_by_one(where, monkeypatch):
    from dvc.dvcfile import Lockfile

    monkeypatch.chdir(ROOT)
    stages = Lockfile(repository.opened(), where).load()["stages"]
    assert isinstance(stages, entries.Parsed)
    assert dict(stages) == lock.value((ROOT / "dvc.lock").read_text())["stages"]


def test_the_lock_of_plain_dvc_is_the_one_that_the_pipeline_writes(scratch_bundle, tmp_path):
    """A stage that ran before and ran again, one that was never recorded, and all the others."""
    shutil.copytree(scratch_bundle, tmp_path / "bundle", symlinks=True)
    shutil.copytree(scratch_bundle, tmp_path / "plain", symlinks=True)
    made = []
    for folder, module in ((tmp_path / "plain", "dvc"), (tmp_path / "bundle", "persona_collapse.record.pipeline")):
        text = (folder / "dvc.lock").read_text()
        (folder / "dvc.lock").write_text(text[: text.index("  tables@")])
        (folder / "data/sets/em.jsonl").write_text('{"worse": 1}\n')
        subprocess.run([sys.executable, "-m", module, "repro"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        made.append((folder / "dvc.lock").read_bytes())
    assert made[0] == made[1]
    assert b"tables@" in made[0]
    assert made[0] != (scratch_bundle / "dvc.lock").read_bytes()


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "1: 2\n", "a: [1\n", "a: 1e400\n", "a: &x 1\nb: *x\n", "a: !!str 1\n", "a: 0x10\nb: no\n"]
)
def test_a_lock_is_read_quickly_by_the_rules_of_every_other_file(text):
    def read(by):
        try:
            return by(text)
        except ValueError as error:
            return str(error)

    assert read(lock.value) == read(from_yaml)
