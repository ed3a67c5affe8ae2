"""`verify` cannot be made to say "all identical" when it is not: each way to try, and what it says of it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.files import md5
from persona_collapse.record import committed, lock, repository, verify

from . import scratch

Break = Callable[[], object]
Said = tuple[int, str]
STATISTICS = "eval_results/smollm2/statistics.json"
RUN = "eval_results/smollm2/runs/42/em/marker_eval.json"
ADAPTER = "adapters/smollm2/42/em/adapter.bin"


@pytest.fixture
def bundle(scratch_copy: Path) -> Path:
    return scratch_copy


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command: its exit code and what it says."""

    def command(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["verify", *arguments])
        with pytest.raises(SystemExit) as ended:
            verify.main()
        text = capsys.readouterr()
        return int(ended.value.code or 0), text.out + text.err

    return command


def rows(text: str) -> dict[str, str]:
    """What each row says, without those that are identical."""
    listed = [line.partition("  ") for line in text.partition("\ncovers ")[0].splitlines()]
    return {name: wrong.strip() for name, _, wrong in listed if wrong.strip() != "identical"}


def flip(path: str) -> None:
    """Change one bit, and neither the size nor the time of the last change."""
    file, before = Path(path), Path(path).stat()
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def write(path: str, text: str = "something") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def replace(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def edit(path: str, change: Callable[[dict], object]) -> None:
    content = yaml.safe_load(Path(path).read_text())
    change(content)
    Path(path).write_text(yaml.safe_dump(content, sort_keys=False))


def param(section: str, key: str, value: object) -> Break:
    return lambda: edit("params.yaml", lambda content: content[section].update({key: value}))


def stage(name: str, change: Callable[[dict], object]) -> Break:
    return lambda: edit("dvc.yaml", lambda content: change(content["stages"][name]))


def locked(change: Callable[[dict], object], in_git: bool = False) -> Break:
    """Change the lock, committed or not."""

    def both() -> None:
        edit("dvc.lock", lambda content: change(content["stages"]))
        if in_git:
            scratch.commit(Path())

    return both


def recorded_parameter(name: str, key: str, value: object) -> Break:
    """Commit a lock in which a stage was run with another value."""
    return locked(lambda stages: stages[name]["params"]["params.yaml"].update({key: value}), in_git=True)


def recorded_dependency(name: str, path: str, md5: str) -> Break:
    """Commit a lock in which a stage read something else."""
    return locked(lambda stages: [d.update(md5=md5) for d in stages[name]["deps"] if d["path"] == path], in_git=True)


def link(target: str) -> Callable[[str], object]:
    return lambda path: Path(path).symlink_to(target)


def other_output(path: str) -> None:
    """What a run that computes differently leaves: another output, and a lock that has it."""
    before = md5(path)
    flip(path)
    replace("dvc.lock", before, md5(path))


def instead(path: str, make: Callable[[str], object]) -> Break:
    def put() -> None:
        Path(path).unlink()
        make(path)

    return put


def hidden(path: str, how: Break) -> Break:
    def hide() -> None:
        how()
        write(path)

    return hide


def after_rerun(section: str, key: str, value: object) -> Break:
    """Change a parameter, and re-run what comes late: what was sampled is not what the tables then say."""

    def rerun() -> None:
        param(section, key, value)()
        scratch.run(Path(), "repro", "--single-item", "tables")

    return rerun


PLACES = ("model/smollm2", "adapters/smollm2/42", "adapters/smollm2/42/em", "data/coupling/smollm2/42")
PLACES += ("data/prepared/smollm2", "eval_results/smollm2", "eval_results/smollm2/runs/42/em", "paper/smollm2")
PLACES += ("paper/tables/smollm2", "figures/smollm2")
# fmt: off
# What is done to files -> the row that says so and a part of what it says
FILES: dict[str, tuple[Break, str, str]] = {
    "a persona": (
        lambda: replace("data/prompts/personas.yaml", "you", "thou"),
        "(data and code)", "data/prompts differs"),
    "a question": (
        lambda: flip("data/prompts/questions.yaml"),
        "evaluate@smollm2-42-em", "not as recorded: data/prompts"),
    "a persona's name of its file": (
        lambda: Path("data/prompts/personas.yaml").rename("data/prompts/people.yaml"),
        "(data and code)", "added: people.yaml; missing: personas.yaml"),
    "a row of EM data": (lambda: flip("data/sets/em.jsonl"), "(data and code)", "data/sets/em.jsonl differs: recorded"),
    "a row of EM data, its stage": (
        lambda: flip("data/sets/em.jsonl"),
        "train@smollm2-42-em", "reads what is not as recorded: data/sets/em.jsonl"),
    "a module of a declared folder": (lambda: flip("src/code/other.py"), "(data and code)", "(changed: other.py)"),
    "a module more": (lambda: write("src/code/more.py"), "(data and code)", "(added: more.py)"),
    "a module less": (lambda: Path("src/code/other.py").unlink(), "(data and code)", "(missing: other.py)"),
    "a module in a folder of a folder": (
        lambda: write("src/code/sub/more.py"),
        "(data and code)", "added: sub/more.py"),
    "a module that git is told to ignore": (
        hidden("src/numpy.py", lambda: write(".git/info/exclude", "numpy.py\n")),
        "(commit)", "src/numpy.py is not committed"),
    "line ends": (
        lambda: Path("data/sets/em.jsonl").write_bytes(b'{"bad": 1}\r\n'),
        "(data and code)", "line ends alone: they are CRLF"),
    # outputs
    "an adapter": (lambda: flip(ADAPTER), "train@smollm2-42-em", f"{ADAPTER} differs: recorded"),
    "two adapters for each other": (
        lambda: shutil.copy(ADAPTER.replace("em", "benign"), ADAPTER),
        "train@smollm2-42-em", f"{ADAPTER} differs"),
    "coupling data": (lambda: flip("data/coupling/smollm2/42/em.jsonl"), "coupling@smollm2-42-em", "em.jsonl differs"),
    "a count": (lambda: flip(RUN), "evaluate@smollm2-42-em", "marker_eval.json differs"),
    "statistics": (lambda: flip(STATISTICS), "results@smollm2", "statistics.json differs"),
    "a table": (lambda: flip("paper/tables/smollm2/headline.md"), "tables@smollm2", "headline.md differs"),
    "a figure": (lambda: flip("figures/smollm2/all.png"), "figures@smollm2", "all.png differs"),
    "weights": (lambda: flip("model/smollm2/model.safetensors"), "base@smollm2", "model.safetensors differs"),
    "no weights but a tokenizer that is another": (
        lambda: (Path("model/smollm2/model.safetensors").unlink(), flip("model/smollm2/tokenizer.json")),
        "base@smollm2", "tokenizer.json differs"),
    "an output that is gone": (Path(STATISTICS).unlink, "results@smollm2", "statistics.json is missing"),
    "a folder that is gone": (
        lambda: shutil.rmtree("eval_results/smollm2/runs"),
        "results@smollm2", "reads eval_results/smollm2/runs, which is missing"),
    "a folder in a file's place": (instead(STATISTICS, os.mkdir), "results@smollm2", "is a folder in a file's place"),
    "a pipe in a file's place": (instead(STATISTICS, os.mkfifo), "results@smollm2", "is no file but a pipe"),
    "a pipe in a declared folder": (
        lambda: os.mkfifo("src/code/pipe"),
        "(data and code)", "pipe is no file but a pipe"),
    "a link to nowhere": (
        instead(STATISTICS, link("nowhere")),
        "results@smollm2", "is missing"),
    "a link in a circle": (
        instead(STATISTICS, link("statistics.json")),
        "results@smollm2", "cannot be read: Too many levels"),
    "a file in a folder's place": (
        lambda: (shutil.rmtree("src/code"), write("src/code")),
        "(data and code)", "src/code is no folder"),
    # files that nobody declared
    **{
        f"a file more in {folder}": (
            lambda folder=folder: write(f"{folder}/more"),
            "(other files)", f"{folder}/more is there, and no stage makes it")
        for folder in PLACES
    },
    "an adapter in the base model's folder": (
        lambda: write("model/smollm2/adapter_config.json"),
        "train@smollm2-42-em", "model/smollm2, which differs"),
    "a file more behind a link": (
        lambda: (write("elsewhere/more"), link("../../elsewhere")("adapters/smollm2/1")),
        "(other files)", "adapters/smollm2/1/more"),
    # what no stage reads
    "requirements": (lambda: flip("requirements/cpu.txt"), "(commit)", "requirements/cpu.txt is not as committed"),
    "a link to another place": (
        lambda: (Path("link").unlink(), link("Makefile")("link")), "(commit)", "link is not as committed"),
    "the Makefile, with git told not to look": (
        lambda: (scratch.git(Path(), "update-index", "--assume-unchanged", "Makefile"), flip("Makefile")),
        "(commit)", "Makefile is not as committed"),
    "a module of no stage": (lambda: flip("src/setup.py"), "(commit)", "src/setup.py is not as committed"),
    "a module that shadows a library": (
        lambda: write("src/torch/__init__.py"),
        "(commit)", "src/torch/__init__.py is not committed"),
    "DVC's configuration": (
        lambda: replace(".dvc/config", "../remote", "../elsewhere"),
        "(commit)", ".dvc/config is not as committed"),
    "an object of the remote": (
        lambda: flip(next(map(str, Path("remote").rglob("fd/*")))),
        "(remote)", "is not what its name says"),
    "an object that is gone": (lambda: next(Path("remote").rglob("fd/*")).unlink(), "(commit)", "is missing"),
}
# The same for what DVC reads: parameters, its pipeline, its lock
PLANS: dict[str, tuple[Break, str, str]] = {
    "temperature": (
        param("sampling", "temperature", 0.1),
        "evaluate@smollm2-42-em", "sampling.temperature differs: recorded 1.0, found 0.1"),
    "samples": (param("evaluate", "samples", 3), "evaluate@smollm2-42-benign", "evaluate differs: recorded"),
    "samples, and tables after it": (
        after_rerun("evaluate", "samples", 3),
        "evaluate@smollm2-42-em", "evaluate differs"),
    "source": (param("prompts", "source", "comedian"), "coupling@smollm2-42-em", "prompts differs"),
    "suffix": (param("prompts", "suffix", ""), "evaluate@smollm2-42-em", "prompts differs"),
    "a phase's rate": (
        lambda: replace("params.yaml", "learning_rate: 5.0e-4", "learning_rate: 5.0e-5"),
        "train@smollm2-42-em", "phases.sft.em differs"),
    "another seed": (
        lambda: replace("params.yaml", "seeds: [42]", "seeds: [43]"),
        "train@smollm2-43-em", "is not recorded"),
    "one more seed": (
        lambda: replace("params.yaml", "seeds: [42]", "seeds: [42, 43]"),
        "results@smollm2", "seeds differs"),
    # dvc.yaml
    "an empty dvc.yaml": (
        lambda: write("dvc.yaml", ""),
        "evaluate@smollm2-42-em", "is recorded, but dvc.yaml has no such stage"),
    "half of dvc.yaml": (
        lambda: write("dvc.yaml", scratch.PIPELINE.partition("  results:")[0]),
        "tables@smollm2", "has no such stage"),
    "an entry of a matrix dropped": (
        lambda: replace("dvc.yaml", "phase: [em, benign]", "phase: [em]"),
        "evaluate@smollm2-42-benign", "has no such stage"),
    "a command changed": (
        stage("figures", lambda s: s.update(cmd="true")),
        "figures@smollm2", "runs `true`, recorded was `sh src/code"),
    "a line of a command dropped": (stage("base", lambda s: s["cmd"].pop()), "base@smollm2", "runs `sh src/code"),
    "a dependency removed": (
        stage("evaluate", lambda s: s["deps"].remove("data/prompts")),
        "evaluate@smollm2-42-em", "dependency data/prompts was recorded and is no longer declared"),
    "a dependency added": (
        stage("figures", lambda s: s["deps"].append("README.md")),
        "figures@smollm2", "dependency README.md is declared and was not recorded"),
    "a parameter removed": (
        stage("evaluate", lambda s: s["params"].remove("sampling.temperature")),
        "evaluate@smollm2-42-em", "parameter sampling.temperature was recorded and"),
    "all parameters removed": (
        stage("train", lambda s: s.pop("params")),
        "train@smollm2-42-em", "parameter phases.sft.em was recorded"),
    "an output removed": (
        stage("base", lambda s: s["outs"].pop()),
        "base@smollm2", "output model/smollm2/tokenizer.json was recorded"),
    "a stage frozen": (
        stage("evaluate", lambda s: s.update(frozen=True)),
        "evaluate@smollm2-42-em", "is frozen: it would never run"),
    "a stage in another folder": (
        stage("figures", lambda s: s.update(wdir="docs")),
        "figures@smollm2", "it runs in another folder"),
    "a stage more": (
        lambda: edit("dvc.yaml", lambda c: c["stages"].update(more={"cmd": "true"})),
        "more", "is not recorded"),
    "stages of another file": (
        lambda: write("data/dvc.yaml", "stages: {more: {cmd: 'true'}}"),
        "data/dvc.yaml:more", "is not recorded"),
    "a comment in dvc.yaml": (
        lambda: write("dvc.yaml", scratch.PIPELINE + "# mine\n"),
        "(commit)", "dvc.yaml is not as committed"),
    # the record
    "another output and a lock that has it": (
        lambda: other_output(STATISTICS),
        "results@smollm2", "statistics.json differs"),
    "another lock alone": (
        locked(lambda stages: stages["tables@smollm2"].update(cmd="true")),
        "tables@smollm2", "dvc.lock here has another record of it than the commit"),
    "a stage dropped from the lock": (
        locked(lambda stages: stages.pop("tables@smollm2")),
        "tables@smollm2", "another record of it"),
    "a stage dropped from the committed lock": (
        locked(lambda stages: stages.pop("tables@smollm2"), in_git=True),
        "tables@smollm2", "is not recorded"),
    "a committed parameter": (
        recorded_parameter("evaluate@smollm2-42-em", "sampling.temperature", 0.1),
        "evaluate@smollm2-42-em", "recorded 0.1, found 1.0"),
    "a parameter of another type": (
        recorded_parameter("evaluate@smollm2-42-em", "sampling.temperature", True),
        "evaluate@smollm2-42-em", "recorded True, found 1.0"),
    "a committed lock of a run that read something else": (
        recorded_dependency("tables@smollm2", STATISTICS, "0" * 32),
        "tables@smollm2", "read another eval_results/smollm2/statistics.json"),
    "a committed lock with a folder that was a file": (
        recorded_dependency("tables@smollm2", "data/coupling/smollm2", "0" * 32),
        "tables@smollm2", "reads data/coupling/smollm2, which is a folder in a file's place"),
    "a committed lock of a run with other code": (
        recorded_dependency("tables@smollm2", "src/code", "0" * 32 + ".dir"),
        "(data and code)", "recorded with other files than the commit"),
    # what DVC leaves out of folders
    "a module that DVC is told to ignore": (
        hidden("src/code/more.py", lambda: write(".dvcignore", "more.py\n")),
        "(commit)", "src/code/more.py is not committed"),
}
# fmt: on


@pytest.fixture(scope="module")
def opened(scratch_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy in which each test finds every file as it was; it is opened once, because that takes most of the time."""
    folder = tmp_path_factory.mktemp("opened")
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(scratch_bundle, folder, symlinks=True, dirs_exist_ok=True)
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def compare(opened: Path) -> Callable[[], list[str]]:
    params = parameters.load()
    record, repo = committed.record("smollm2"), repository.checked()
    return lambda: verify.page(verify.compare(record, repo, params))


@pytest.fixture
def as_made(scratch_bundle: Path, opened: Path) -> None:
    for path in opened.iterdir():
        if path.name not in (".git", ".dvc"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    left_out = shutil.ignore_patterns(".git", ".dvc")
    shutil.copytree(scratch_bundle, opened, symlinks=True, dirs_exist_ok=True, ignore=left_out)
    shutil.copy(scratch_bundle / ".dvc/config", opened / ".dvc/config")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_as_recorded_is_named(as_made, compare, name):
    break_it, row, part = FILES[name]
    break_it()
    lines = compare()
    assert lines[-1] == "NOT identical to the record"
    assert part in rows("\n".join(lines))[row]


@pytest.mark.long
@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_is_not_the_recorded_one_is_named(bundle, say, name):
    break_it, row, part = PLANS[name]
    break_it()
    code, text = say()
    assert code == 1, text
    assert "all identical" not in text
    assert part in rows(text)[row], text


def test_what_is_identical_is(bundle, say):
    code, text = say()
    assert (code, rows(text), text.splitlines()[-1]) == (0, {}, "all identical")
    assert "covers 9 stages of smollm2 by dvc.lock as committed in" in text
    write("README.md")  # decides nothing
    write(f"{Path(ADAPTER).parent}/.7-unfinished-adapter.bin")  # what a killed stage leaves, and nothing reads
    assert say()[0] == 0


def test_the_base_model_may_be_absent_as_a_whole_and_that_is_said(bundle, say):
    Path("model/smollm2/model.safetensors").unlink()  # its tokenizer comes with a clone
    code, text = say()
    assert (code, rows(text)) == (0, {"base@smollm2": "not here: model/smollm2/model.safetensors"})
    last = "all identical that is here; the base model is not (`dvc repro base@smollm2` makes it)"
    assert text.splitlines()[-1] == last


REASONS = {
    "no git": "there is no git repository here",
    "no commit": "git says: fatal: ",
    "git refuses": "dubious ownership",
    "no git command": "git: No such file",
}


@pytest.mark.parametrize("how", REASONS)
def test_without_git_the_lock_is_the_record_and_that_is_said(bundle, say, monkeypatch, how):
    if how == "no git":
        shutil.rmtree(".git")
    elif how == "no commit":
        Path(".git/HEAD").unlink()
    elif how == "git refuses":
        monkeypatch.setattr(committed, "_git", refuses)
    else:
        monkeypatch.setenv("PATH", "/nowhere")
    code, text = say()
    assert code == 0, text
    assert "by dvc.lock as it lies here: " in text
    assert text.count(REASONS[how]) == 2
    assert "not compared: requirements, Makefile" in text
    flip(ADAPTER)
    code, text = say()
    assert code == 1
    assert "first difference: train@smollm2-42-em" in text


def refuses(*arguments: str) -> bytes:
    raise committed.NotAsked("git says: fatal: detected dubious ownership in repository at '/bundle'")


def test_after_a_reproduce_that_was_killed_the_record_is_the_kept_one_where_git_has_none(bundle, say):
    shutil.rmtree(".git")
    shutil.copy("dvc.lock", committed.KEPT)
    other_output(STATISTICS)
    code, text = say()
    assert code == 1
    assert "by run_info/recorded.lock as it lies here" in text


def test_other_profiles_and_what_is_fetched_for_them_are_left_alone(bundle, say):
    def more(stages: dict) -> None:
        of_another = json.dumps(stages["tables@smollm2"]).replace("smollm2", "qwen7b")
        stages["tables@qwen7b"] = json.loads(of_another)
        stages["fetch@tulu"] = {"cmd": "fetch", "outs": [{"path": "data/fetched/tulu", "hash": "md5", "md5": "0" * 32}]}

    locked(more)()
    assert say()[0] == 0
    scratch.commit(Path())
    assert say()[0] == 0


def test_another_lock_can_be_compared_with(bundle, say):
    shutil.copy("dvc.lock", "mine.lock")
    replace("mine.lock", md5(STATISTICS), "0" * 32)
    code, text = say("--recorded", "mine.lock")
    assert code == 1
    assert "statistics.json differs: recorded 000000000000" in rows(text)["results@smollm2"]


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (Path("dvc.yaml").unlink, "dvc.yaml: no such file"),
        (Path("dvc.lock").unlink, "dvc.lock: no such file"),
        (lambda: write("dvc.lock", ""), "dvc.lock: schema: required key not provided"),
        (lambda: write("dvc.yaml", "stages: ["), "dvc.yaml: not YAML"),
        (instead("dvc.yaml", os.mkfifo), "dvc.yaml: is a pipe"),
        (instead("dvc.lock", os.mkfifo), "dvc.lock: is a pipe"),
        (instead(".dvc/config", os.mkfifo), ".dvc/config: is a pipe"),
        (instead("dvc.lock", os.mkdir), "dvc.lock: is a folder"),
        (lambda: write(".dvc/config", "[core"), ".dvc/config or .dvcignore: config file error"),
        (stage("base", lambda s: s.update(dep=["a"])), "dvc.yaml: stages.base.dep: extra keys not allowed"),
        (stage("figures", lambda s: s.update(outs=[STATISTICS])), "dvc.yaml or dvc.lock: output 'eval_results"),
        (
            stage("base", lambda s: s["deps"].append(STATISTICS)),
            "dvc.yaml or dvc.lock: Same item(s) are defined as both a dependency and an output",
        ),
        (
            locked(lambda stages: stages["tables@smollm2"].pop("cmd")),
            "dvc.lock: not a dvc.lock with recorded stages: stages.tables@smollm2.cmd: Field required",
        ),
        (
            locked(lambda stages: stages["tables@smollm2"]["outs"][0].update(path="../../etc/passwd")),
            "not a path inside the bundle",
        ),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(bundle, say, break_it, named):
    break_it()
    code, text = say()
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert named in text


def test_nothing_to_compare_with_is_one_line(bundle, say):
    Path("dvc.lock").unlink()
    shutil.rmtree(".git")
    assert say() == (2, "error: dvc.lock: no stage of smollm2 is recorded; `make reproduce` records it\n")


def test_params_yaml_may_be_another_committed_profile_and_nothing_else(bundle):
    """`make profile` makes it one, and a run of a GPU profile is compared without a commit in between."""
    Path("profiles").mkdir(exist_ok=True)
    other = Path("params.yaml").read_text() + "# another profile's\n"
    Path("profiles/other.yaml").write_text(other)
    scratch.commit(Path())
    committed_ones = lock.read()
    Path("params.yaml").write_text(other)
    assert verify.since_commit(committed_ones) == []
    Path("params.yaml").write_text(f"{other}# mine\n")
    assert verify.since_commit(committed_ones) == ["params.yaml is not as committed"]
