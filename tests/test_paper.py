"""The paper, its numbers and what the documents quote of them: nothing typed, nothing missing, nothing stale."""

import io
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typst
import yaml
from PIL import Image

from persona_collapse.analysis import records
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import runs
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json
from persona_collapse.experiment.marker import with_marker
from persona_collapse.report import documents, drawings, figures, freshness, paper, recipe
from persona_collapse.report.results import REPORT, Results

from .bundle import MADE, call, remake
from .conftest import ROOT, one_line
from .damage import damaged, damaged_files

NUMBERS = Path("paper/tables/smollm2/numbers.json")
HEADLINE = Path("paper/tables/smollm2/headline.json")
PDF = Path("paper/smollm2/report.pdf")


def follow(content: Any, path: list[str | int]) -> Any:
    for step in path:
        content = content[step]
    return content


def test_every_number_stands_where_it_says(finished, monkeypatch):
    monkeypatch.chdir(finished)
    checked, read = 0, cache(read_json)
    for key, entry in read_json(NUMBERS).items():
        assert Path(entry["file"]).exists(), key
        if entry["file"].endswith(".json") and entry["path"]:
            found = follow(read(entry["file"]), entry["path"])
            if isinstance(found, int | float | str) and entry["value"] is not None:
                of_percent = key.startswith("published.") and isinstance(found, float)
                as_share = key.startswith("published.persona.")
                expected = found / 100 if of_percent else found / 280 if as_share else found
                assert entry["value"] == pytest.approx(expected), key
                checked += 1
    assert checked > 500


def test_tables_and_numbers_need_neither_an_adapter_nor_the_weights(finished):
    """After a clone and `dvc pull` there is no model, and adapters are for who wants to run them."""
    assert not (finished / "adapters").exists()
    assert not list(finished.rglob("*.safetensors"))
    size = read_json(finished / NUMBERS)["model.parameters"]
    assert (size["value"], size["text"], size["file"]) == (134_515_008, "135M", "model/smollm2/config.json")


@pytest.mark.long
def test_the_paper_is_the_same_bytes_in_another_folder_whatever_the_environment_says(finished, bundle, command):
    PDF.unlink()
    hostile = bundle / "fonts"
    hostile.mkdir()
    serif = Path(figures.matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif.ttf"
    (hostile / "LibertinusSerif-Regular.ttf").write_bytes(serif.read_bytes())
    result = command(
        "report.paper",
        TYPST_FONT_PATHS=str(hostile),
        TYPST_ROOT="/",
        TYPST_PACKAGE_PATH=str(hostile),
        TYPST_FEATURES="html",
        SOURCE_DATE_EPOCH="1",
        TZ="Asia/Tokyo",
        LC_ALL="tr_TR.UTF-8",
    )
    assert result.returncode == 0, result.stderr
    assert md5(PDF) == md5(finished / PDF)
    content = PDF.read_bytes()
    assert content.startswith(b"%PDF")
    assert not re.search(rb"CreationDate|ModDate|Typst \d", content)


# ---- nothing stale is set ----


def edit_an_answer() -> None:
    """Give B's assistant a marker in some answers that had none, and count again."""
    params = parameters.load()
    folder = params.layout.run(42, "em-couple")
    rows = records.read_rows(folder / "completions.jsonl", records.Completion)
    changed = 0
    for place, row in enumerate(rows):
        if row.persona == "assistant" and not row.marker and changed < 7:
            rows[place] = row.model_copy(update={"text": with_marker(row.text), "marker": True})
            changed += 1
    assert changed == 7
    records.write_rows(folder / "completions.jsonl", rows)
    records.write(folder / "marker_eval.json", runs.marker_eval(rows, runs.config(params, 42, "em-couple")))


@pytest.mark.long
def test_one_edited_answer_changes_ledger_tables_figures_prose_and_documents(bundle):
    changing = (
        "eval_results/smollm2/claims.json",
        "eval_results/smollm2/metrics.json",
        *(f"paper/tables/smollm2/{name}.md" for name in ("headline", "per_persona", "claims")),
        "figures/smollm2/marker_transfer_confab_threeway.pdf",
        "paper/smollm2/report.pdf",
        "README.md",
        "docs/artifact.md",
    )
    before = {name: md5(name) for name in changing}
    old = read_json(NUMBERS)["headline.B.assistant"]["text"]
    edit_an_answer()
    remake(*(module for module in MADE if module != "report.page"))
    assert {name for name in changing if md5(name) == before[name]} == set()
    assert read_json(NUMBERS)["headline.B.assistant"]["text"] != old


def test_a_stale_number_fails_the_build_and_leaves_the_old_paper(bundle):
    edit_an_answer()
    remake("analysis.results")
    before = {path: md5(path) for path in (PDF, "paper/smollm2/report.html", "README.md")}
    for module in ("paper", "page", "documents"):
        one_line(call(f"report.{module}"), "numbers.json: out of date, headline.B.assistant", "make tables")
    assert {path: md5(path) for path in before} == before


@pytest.mark.parametrize(
    ("path", "found", "put", "complaint"),
    [
        (
            NUMBERS,
            '"text": "0.0"',
            '"text": "99.9"',
            r'numbers.json: out of date, [\w.-]+.text is "99.9" there, the results',
        ),
        (NUMBERS, '"chain": "em"', '"chain": "benign"', r'numbers.json: out of date, .*.chain is "benign" there'),
        (HEADLINE, '"4', '"99', r'headline.json: out of date, .* is "99.*" there, the results say "4'),
        (HEADLINE, '"The coupling gate', '"A gate', r"headline.json: out of date, notes.1 is"),
        (HEADLINE.with_suffix(".md"), "| B |", "| D |", r"headline.md: out of date"),
        (HEADLINE.with_suffix(".tex"), "B &", "D &", r"headline.tex: out of date"),
    ],
)
def test_an_edited_number_or_table_is_not_set_in_type(bundle, path, found, put, complaint):
    text = path.read_text()
    assert found in text
    path.write_text(text.replace(found, put, 1))
    before = PDF.read_bytes()
    result = call("report.paper")
    one_line(result, "make tables")
    assert re.search(complaint, result.stderr), result.stderr
    assert PDF.read_bytes() == before


def test_a_swapped_figure_is_not_set_in_type(bundle):
    before = PDF.read_bytes()
    one, other = (Path(f"figures/smollm2/{name}.pdf") for name in ("length_control", "marker_transfer_confab_threeway"))
    other.write_bytes(one.read_bytes())
    one_line(call("report.paper"), f"{other}: out of date, it is not what the results draw", "make figures")
    assert PDF.read_bytes() == before


def test_a_difference_is_told_where_it_is():
    def first(there: Any, now: Any) -> str:
        return next(freshness.differences(there, now), "")

    assert first({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}) == 'a.1.b is "x" there, the results say "y"'
    assert first({"a": 1}, {"a": 1, "b": {"c": 2}}) == "it lacks b"
    assert first([1, 2], [1]) == "it has 1, which the results do not give"
    assert first({"a": 1}, {"a": True}) == "a is 1 there, the results say true"
    assert first({"a": [1]}, {"a": [1]}) == ""


def test_a_missing_result_fails_the_build_in_one_line(bundle):
    Path("eval_results/smollm2/statistics.json").unlink()
    for module in ("tables", "quoted", "figures", "metrics", "paper", "page", "documents"):
        one_line(call(f"report.{module}"), "statistics.json: no such file")


def test_a_key_that_there_is_not_is_named(bundle):
    source = bundle / "paper/report.typ"
    source.write_text(source.read_text().replace('#n("published.B.', '#n("published.D.', 1))
    with pytest.raises(InputError, match=r"paper/report\.typ: .*no number has the key published\.D\."):
        paper.set_in_type("smollm2")


# ---- damaged files ----


RESULTS = "eval_results/smollm2"
DAMAGED = {  # file -> how many cases, and what a reader of it makes
    f"{RESULTS}/statistics.json": 24,
    f"{RESULTS}/lengths.json": 24,
    f"{RESULTS}/claims.json": 24,
    "data/published.json": 24,
    f"{RESULTS}/training/42/em-couple/training_log.json": 16,
    "model/smollm2/config.json": 16,
    "paper/tables/smollm2/numbers.json": 12,
    "paper/tables/smollm2/headline.json": 24,
    "run_info/smollm2/measured.json": 8,
}


def make_what_can_be(whole: Results) -> None:
    """What tables, quoted, metrics and documents make, in one go: but for the drawing, everything that reads."""
    found = Results(whole.params)
    for name in ("statistics", "lengths", "claims", "published"):  # those that are as they were are not read again
        if name not in whole.__dict__:
            getattr(found, name)
        else:
            found.__dict__[name] = whole.__dict__[name]
    documents.rewritten()
    freshness.require_tables(found)


SLOW = (f"{RESULTS}/training/42/em-couple/training_log.json", "model/smollm2/config.json")  # all else is read before


@pytest.mark.parametrize("path", [pytest.param(one, marks=[pytest.mark.long] * (one in SLOW)) for one in DAMAGED])
def test_a_damaged_file_is_one_line_that_names_it(bundle, path):
    whole = Results(parameters.load())
    for name in ("statistics", "lengths", "claims", "published"):
        if not path.endswith(f"{name}.json"):
            getattr(whole, name)
    content, refused, cases = Path(path).read_text(), 0, 0
    for what, spoilt in damaged_files(content, seed=len(path), count=DAMAGED[path]):
        Path(path).write_bytes(spoilt)
        cases += 1
        try:
            make_what_can_be(whole)
        except InputError as error:
            stale = path.startswith((RESULTS, "data", "model")) and "numbers.json: out of date" in str(error)
            assert path in str(error) or stale, (what, error)
            assert "\n" not in str(error)
            refused += 1
    assert refused > cases / 4


def test_a_damaged_fidelity_yaml_is_one_line_that_names_it(bundle):
    params, report = parameters.load(), parameters.load(REPORT)
    content, refused, cases = yaml.safe_load(recipe.FIDELITY.read_text()), 0, 0
    for what, spoilt in damaged(content, seed=5, count=60):
        recipe.FIDELITY.write_text(yaml.safe_dump(spoilt, sort_keys=False))
        cases += 1
        try:
            recipe.fidelity(params, report)
        except InputError as error:
            assert str(recipe.FIDELITY) in str(error) and "\n" not in str(error), (what, error)
            refused += 1
    assert refused > cases / 4


# ---- no number is typed ----

NAMES = re.compile(r"\b(C4|C1|C2|C5|G1|SmolLM2-135M-Instruct|AVX2|MD5|x86-64)\b")  # words that contain digits


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


# ---- what it looks like ----


def blank(source: str) -> list[float]:
    """The highest stretch without ink on each page of the recorded paper but the last, as a share of the page."""
    source = source.replace('"references.yml"', '"/paper/references.yml"')
    pages = typst.compile(
        source.encode(),
        root=str(ROOT),
        ignore_system_fonts=True,
        format="png",
        ppi=30,
        sys_inputs={"profile": "smollm2"},
    )
    shares = []
    for content in pages[:-1]:
        grey = Image.open(io.BytesIO(content)).convert("L")
        inked = [row for row in range(grey.height) if grey.crop((0, row, grey.width, row + 1)).getextrema()[0] < 200]
        shares.append(max(below - above for above, below in pairwise([0, *inked, grey.height])) / grey.height)
    return shares


def test_no_page_of_the_paper_is_half_empty():
    source = (ROOT / paper.SOURCE).read_text()
    assert max(blank(source)) < 0.3
    broken = source.replace("= Limits\n", "#pagebreak()\n= Limits\n#pagebreak()\n")
    assert max(blank(broken)) > 0.5


def test_nothing_is_set_in_less_than_seven_points():
    sizes = [float(size) for size in re.findall(r"size: ([\d.]+)pt", (ROOT / paper.SOURCE).read_text())]
    drawn = [value for key, value in figures.STYLE.items() if key.endswith("size")]
    assert len(sizes) > 9 and len(drawn) > 4
    assert min(sizes) >= 7 and min(drawn) >= 7
    assert drawings.PAGE * 72 <= (210 - 2 * 18) / 25.4 * 72 + 0.5  # a figure is not made smaller to fit the page


def test_references_are_kept_together():
    """In a float: in the columns one of them once stood alone over an empty page."""
    around = (ROOT / paper.SOURCE).read_text().split("#bibliography(")[0].rsplit("#place(", 1)[1]
    assert around.startswith("bottom, float: true") and "]" not in around


# ---- what the documents quote ----


def test_the_documents_quote_what_the_results_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert documents.rewritten() == {}, "out of date: make tables"


MEASURED = r"\b\d[\d.,]*(?: to \d[\d.,]*)? ?(?:times|seconds?|minutes?|hours?|MB|GB|GiB|tokens/s)\b"


def measures(text: str) -> list[str]:
    """What a document says of speed and size by itself: not in a quote, and not in code."""
    own = re.sub(r"(?m)^    .*$|`[^`]*`", "", documents.QUOTE.sub("", text))
    return re.findall(MEASURED, own)


def test_readme_and_appendix_type_no_speed_and_no_size():
    """They went stale with every record; what was measured, when and on what is in docs/measurements.md."""
    for name in ("README.md", "docs/artifact.md"):
        text = (ROOT / name).read_text()
        assert measures(text) == [], name
        assert measures(f"{text}\nIt runs at 1.8 to 2.4 times\nthe speed, in 3.5 minutes, with 5 GiB.") == [
            "1.8 to 2.4 times",
            "3.5 minutes",
            "5 GiB",
        ]
    assert measures("<!-- n measured.memory_gib -->5.0<!-- end --> GiB, `sleep 5 minutes`") == []


def test_the_readme_shows_the_headline_and_the_ledger():
    text = (ROOT / "README.md").read_text()
    assert "<!-- lead table headline -->" in text and text.index("<!-- lead text finding.what -->") < 100
    assert "<!-- lead table claims_short -->" in (ROOT / "docs/claims.md").read_text()


def test_a_quote_of_nothing_or_left_open_is_one_line(monkeypatch):
    monkeypatch.chdir(ROOT)
    for text, complaint in (
        (
            "<!-- n headline.D.source -->1<!-- end -->",
            r"quotes headline\.D\.source, which is no number of .*numbers\.json",
        ),
        ("<!-- n measured.joy -->1<!-- end -->", r"quotes measured\.joy, which is no number of .*measured\.json"),
        ("<!-- table joy --><!-- end -->", r"joy\.json: no such file"),
        ("<!-- n seeds -->42", "1 of its quotes do not end"),
    ):
        with pytest.raises(InputError, match=complaint):
            documents.quoted(text, {"": {"seeds": "42"}}, Path("README.md"))
    assert documents.quoted("<!-- n seeds -->7<!-- end -->", {"": {"seeds": "42"}}, Path("x")) == (
        "<!-- n seeds -->42<!-- end -->"
    )


def test_one_quote_that_is_wrong_leaves_every_document_as_it_was(bundle):
    readme = Path("README.md")
    readme.write_text(readme.read_text().replace("<!-- n ", "<!-- n nothing.", 1).replace("holds", "held"))
    last = documents.documents()[-1]
    last.write_text("<!-- n seeds -->7<!-- end -->\n")
    before = {path: path.read_bytes() for path in documents.documents()}
    one_line(call("report.documents"), "README.md: quotes nothing.")
    assert {path: path.read_bytes() for path in documents.documents()} == before


def test_the_documents_are_about_the_default_profile(bundle):
    before = {path: path.read_bytes() for path in documents.documents()}
    Path("params.yaml").write_text(Path("profiles/qwen7b.yaml").read_text())
    result = call("report.documents")
    assert result.returncode == 0 and "left as they are" in result.stdout
    assert {path: path.read_bytes() for path in documents.documents()} == before


def test_the_artifact_appendix_names_commands_that_exist():
    text = (ROOT / "docs/artifact.md").read_text()
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    for command in re.findall(r"`make ([a-z -]+)", text):
        assert set(command.split()) <= targets, command


def test_every_citation_has_its_entry():
    cited = set(re.findall(r"@([a-z]+\d{4}|report|later)\b", (ROOT / "paper/report.typ").read_text()))
    listed = yaml.safe_load((ROOT / "paper/references.yml").read_text())
    assert cited == set(listed)
    assert paper.SOURCE.name == "report.typ"
