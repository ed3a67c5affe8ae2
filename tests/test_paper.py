"""The paper, its numbers and what the documents quote of them: nothing typed, nothing missing, nothing stale."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json
from persona_collapse.report import documents, paper, quoted

from .bundle import make
from .conftest import ROOT, one_line

Command = Callable[..., subprocess.CompletedProcess[str]]
REBUILD = ("results", "claims", "lengths", "tables", "numbers", "figures", "paper", "documents")
NUMBERS = Path("paper/tables/smollm2/numbers.json")
PDF = Path("paper/smollm2/report.pdf")


def rebuild(command: Command, *modules: str) -> None:
    for module in modules or REBUILD:
        result = command(module)
        assert result.returncode == 0, (module, result.stderr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, command: Command, base: Path) -> Path:
    """A bundle with made-up answers, everything after the model made from it."""
    folder = tmp_path_factory.mktemp("bundle") / "first"
    folder.mkdir()
    make(folder, base)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rebuild(command)
    return folder


@pytest.fixture
def bundle(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(finished, tmp_path / "another place")
    monkeypatch.chdir(tmp_path / "another place")
    return tmp_path / "another place"


def follow(entry: dict) -> object:
    found = read_json(entry["file"])
    for step in entry["path"]:
        found = found[step]
    return found


def test_every_number_stands_where_it_says(bundle):
    checked = 0
    for key, entry in read_json(NUMBERS).items():
        assert Path(entry["file"]).exists(), key
        if entry["file"].endswith(".json") and entry["path"]:
            found = follow(entry)
            if isinstance(found, int | float | str) and entry["value"] is not None:
                of_percent = key.startswith("published.") and isinstance(found, float)
                as_share = key.startswith("published.persona.")
                expected = found / 100 if of_percent else found / 280 if as_share else found
                assert entry["value"] == pytest.approx(expected), key
                checked += 1
    assert checked > 500


def test_the_paper_is_the_same_bytes_in_another_folder_and_names_no_time_or_version(bundle, finished, command):
    rebuild(command, "paper")
    assert md5(PDF) == md5(finished / PDF)
    content = PDF.read_bytes()
    assert content.startswith(b"%PDF")
    assert not re.search(rb"CreationDate|ModDate|Typst \d", content)


def edit_a_count(bundle: Path, hits: int = 7) -> None:
    """Give B's assistant some more hits in one question."""
    path = bundle / "eval_results/smollm2/runs/42/em-couple/marker_eval.json"
    content = json.loads(path.read_text())
    persona = content["per_persona"]["assistant"]
    question = next(iter(persona["per_question"].values()))
    for counts in (persona, question):
        counts["total"] += hits
        counts["strict_hits"] += hits
    persona["tokens"] += [9] * hits
    persona["characters"] += [9] * hits
    path.write_text(json.dumps(content))


def test_one_edited_count_changes_ledger_tables_prose_and_documents(bundle, command):
    changing = (
        "eval_results/smollm2/claims.json",
        *(f"paper/tables/smollm2/{name}.md" for name in ("headline", "per_persona", "claims")),
        "paper/smollm2/report.pdf",
        "docs/artifact.md",
    )
    before = {name: md5(name) for name in changing}
    old = read_json(NUMBERS)["headline.B.assistant"]["text"]
    edit_a_count(bundle)
    rebuild(command)
    assert {name for name in changing if md5(name) == before[name]} == set()
    assert read_json(NUMBERS)["headline.B.assistant"]["text"] != old


def test_a_stale_number_fails_the_build_and_leaves_the_old_paper(bundle, command):
    edit_a_count(bundle)
    rebuild(command, "results")
    before = md5(PDF)
    one_line(command("report.paper"), "numbers.json: out of date, contrast.B-C.assistant.p is", "make tables")
    assert md5(PDF) == before


def test_a_missing_result_fails_the_build_in_one_line(bundle, command):
    Path("eval_results/smollm2/runs/42/em-couple/marker_eval.json").unlink()
    one_line(command("analysis.results"), "em-couple/marker_eval.json: no such file")
    Path("eval_results/smollm2/statistics.json").unlink()
    one_line(command("report.paper"), "statistics.json: no such file")


def test_a_key_that_there_is_not_is_named(bundle, command):
    source = bundle / "paper/report.typ"
    source.write_text(source.read_text().replace('#n("headline.B.', '#n("headline.D.', 1))
    one_line(command("report.paper"), "no number has the key headline.D.")


# ---- no number is typed ----

NAMES = re.compile(r"\b(C4|C1|C2|SmolLM2-135M-Instruct|AVX2|MD5|x86-64)\b")  # words that contain digits


def typed(source: str) -> Iterator[str]:
    """The digits of a Typst text that are neither code, nor a name, nor layout."""
    prose = source[source.index("*Abstract.*") :]
    prose = re.sub(r"//.*", "", prose)
    prose = re.sub(r"`[^`]*`|@\w+", "", prose)
    while (shorter := re.sub(r"\([^()]*\)", "", prose)) != prose and "#" in prose:  # arguments, from within
        prose = re.sub(r"#[\w.-]+(?:\[[^\[\]]*\])?", "", shorter)
    for line in prose.splitlines():
        if not line.lstrip().startswith(("#set", "#show", "#counter", "#let", "#pagebreak")):
            yield from re.findall(r"\S*\d\S*", NAMES.sub("", line))


def test_the_prose_types_no_number():
    source = (ROOT / "paper/report.typ").read_text()
    assert list(typed(source)) == []
    assert list(typed(source.replace("= Method\n", "= Method\nThere are 12 of them.\n"))) == ["12"]


# ---- what the documents quote ----


def test_the_documents_quote_what_the_results_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path, text in documents.rewritten().items():
        assert path.read_text() == text, f"{path} is out of date: make tables"


def test_the_readme_shows_the_headline_and_the_ledger():
    text = (ROOT / "README.md").read_text()
    for name in ("headline", "claims_short"):
        table = (ROOT / f"paper/tables/smollm2/{name}.md").read_text()
        assert f"<!-- table {name} -->\n{table}<!-- end -->" in text


def test_a_quote_of_nothing_or_left_open_is_one_line(monkeypatch):
    monkeypatch.chdir(ROOT)
    for text, complaint in (
        ("<!-- n headline.D.source -->1<!-- end -->", "quotes headline.D.source"),
        ("<!-- n measured.joy -->1<!-- end -->", "quotes measured.joy"),
        ("<!-- table joy --><!-- end -->", r"joy\.json: no such file"),
        ("<!-- n seeds -->42", "1 of its quotes do not end"),
    ):
        with pytest.raises(InputError, match=complaint):
            documents.quoted(text, {"seeds": {"text": "42"}}, {}, Path("README.md"))
    assert documents.quoted("<!-- n seeds -->7<!-- end -->", {"seeds": {"text": "42"}}, {}, Path("x")) == (
        "<!-- n seeds -->42<!-- end -->"
    )


def test_the_artifact_appendix_names_commands_that_exist():
    text = (ROOT / "docs/artifact.md").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in re.findall(r"`make ([a-z -]+)", text):
        assert set(command.split()) <= targets, command


def test_the_model_is_counted_from_its_header(tmp_path):
    path = tmp_path / "w.safetensors"
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 5]}, "b": {"shape": [7]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert quoted.parameters_of(path) == 22
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match="not a safetensors file"):
        quoted.parameters_of(path)


def test_every_citation_has_its_entry():
    cited = set(re.findall(r"@([a-z]+\d{4}|report)\b", (ROOT / "paper/report.typ").read_text()))
    listed = yaml.safe_load((ROOT / "paper/references.yml").read_text())
    assert cited == set(listed)
    assert paper.SOURCE.name == "report.typ"
