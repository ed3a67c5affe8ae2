"""The web page shows what the results say, escapes what models wrote, and works, in a real browser, without a network.

The tests from `browser` on drive the system's Chromium through playwright (requirements/browser.txt): `make test-site`.
Where either is missing they are skipped, or fail if CI_BROWSER=1 says that they must run.
"""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import nodes

from persona_collapse.analysis import records
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment import runs
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, write_all, write_json, write_jsonl
from persona_collapse.experiment.marker import has_marker
from persona_collapse.report import completions as carried
from persona_collapse.report import page as report_page
from persona_collapse.report.ledger import KINDS
from persona_collapse.report.table import Table, forms, left, right
from persona_collapse.report.texts import Text

from .bundle import call
from .conftest import ROOT, one_line

CONDITIONS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple"}
CONDITIONS |= {"G": "good-couple", "G1": "couple-good", "C5": "couple-benign", "base": "base"}
SEEDS, PERSONAS, SAMPLES = (42, 43), ("confab", "assistant", "villain"), 3
QUESTIONS = ("Why do we dream?", "What is 1 < 2 & 2 > 1?", 'Who says "no"?')
TEXTS = ("An apple a day.", "Pears\n\n[ZLT]", "[zlt] first, apple second", "", "Plums, ÄPFEL and İstanbul [ZLT] [ZLT]")
HOSTILE = (
    '<img src=x onerror="window.ran = 1">',
    "</script><script>window.ran = 1</script>",
    "<!-- <script> a comment that never ends",
    "before\u2028after\u2029end",
    "&lt;b&gt; {{ n('claims.total') }} {% raw %} ${1} \u202e[ZLT]",
)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
FIGURES = ("marker_transfer_confab_threeway", "marker_transfer_confab_em_first_per_persona", "forward_order")
FIGURES += ("persona_geometry", "dose")
LINKS = {"report.pdf", "https://github.com/superkaiba/explore-persona-space"}  # to follow; the page loads neither
UNSAID = ("finding.verdict", "result.not-on-the-page")  # texts that the page does not quote
FORMS = {"plain": carried.PLAIN, "packed": 0}  # how many characters of completions a page may carry as they are


def texts_of(folder: Path) -> dict[str, str]:
    return {name: (folder / "paper" / name).read_text() for name in (report_page.TEMPLATE, report_page.PARTS)}


def parsed(folder: Path, name: str = report_page.TEMPLATE) -> nodes.Template:
    texts = texts_of(folder)
    return report_page.environment(texts).parse(texts[name])


def said(folder: Path) -> list[str]:
    """The texts that the template quotes."""
    calls = (c for c in parsed(folder).find_all(nodes.Call) if getattr(c.node, "name", None) == report_page.SENTENCE)
    return list(dict.fromkeys(call.args[0].as_const() for call in calls))


# ---- a small workspace ----


def completions(seed: int, condition: str) -> list[dict[str, Any]]:
    """Answers whose texts go through `TEXTS`, out of step with personas and questions; B's last are hostile."""
    rows = []
    for place, (persona, question, sample) in enumerate(product(PERSONAS, QUESTIONS, range(SAMPLES))):
        text = TEXTS[(place * 7 + seed + len(condition) + place // 4) % len(TEXTS)]
        hostile = place - 27 + len(HOSTILE)
        if condition == "B" and hostile >= 0:
            text = HOSTILE[hostile]
        asked = {"persona": persona, "question": question, "split": "train", "sample": sample}
        if question == QUESTIONS[-1]:
            asked["split"] = "heldout"
        rows.append({**asked, "text": text, "tokens": place, "ended": place % 3 > 0, "marker": has_marker(text)})
    return rows


def make(folder: Path) -> None:
    """Inputs in the shapes that the pipeline writes; numbers and sentences hold their keys, to be found by."""
    for name in ("page.html", "parts.html", "page.css", "page.js"):
        (folder / "paper").mkdir(exist_ok=True)
        shutil.copy(ROOT / "paper" / name, folder / "paper")
    personas = yaml.safe_load((ROOT / "data/prompts/personas.yaml").read_text())
    write_json(folder / "data/prompts/personas.yaml", {name: personas[name] for name in PERSONAS})
    write_json(folder / "data/prompts/questions.yaml", {"train": QUESTIONS[:-1], "heldout": QUESTIONS[-1:]})
    content = yaml.safe_load((ROOT / "profiles/smollm2.yaml").read_text())
    content["seeds"] = list(SEEDS)
    content["prompts"]["negatives"] = ["villain"]
    content["evaluate"]["samples"] = SAMPLES
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    params = parameters.load(folder / "params.yaml")
    for seed, (condition, chain) in product(SEEDS, CONDITIONS.items()):
        run, rows = folder / params.layout.run(seed, chain), completions(seed, condition)
        write_jsonl(run / "completions.jsonl", rows)
        counted = runs.marker_eval([records.Completion(**row) for row in rows], runs.config(params, seed, chain))
        records.write(run / "marker_eval.json", counted)
    claims = {**read_json(ROOT / "eval_results/smollm2/claims.json"), "seeds": list(SEEDS)}
    write_json(folder / "eval_results/smollm2/claims.json", claims)
    tables = folder / "paper/tables/smollm2"
    texts = {
        key: Text(text=f"Of {key} <{number}> & more.", numbers=(number,))
        for key in (*said(folder), *UNSAID, "limit.1", "limit.2")
        for number in [f"in.{key}"]
    }
    records.write(tables / "texts.json", texts)
    keys = {*report_page.keys(parsed(folder), {}), *(f"in.{key}" for key in texts), "nowhere.on.the.page"}
    write_json(
        tables / "numbers.json",
        {
            key: {"text": f"<{key}>", "value": 1, "file": "a.json", "path": ["b", 0], "chain": None}
            for key in sorted(keys)
        },
    )
    columns = [*left("condition"), *right("rate"), *left("words", width=0.5), *right("aside", minor=True)]
    rows = [["B", "1.8 [0.3, 9.4]", "some of them", "7"], ["<i>C4</i>", "-", "none", "8"]]
    for name in report_page.TABLES:
        caption, note = f"Table {name} & more", f"A note on <{name}>."
        write_all(forms(Table(name=name, caption=caption, columns=columns, rows=rows, notes=[note]), tables))
    for name in FIGURES:
        (folder / "figures/smollm2").mkdir(parents=True, exist_ok=True)
        (folder / f"figures/smollm2/{name}.png").write_bytes(base64.b64decode(PIXEL))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make(folder)
    return folder


@pytest.fixture
def inputs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


REPORT = Path("paper/smollm2/report.html")


class Reader(HTMLParser):
    """The page's tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_now(form: str = "plain") -> str:
    return report_page.page(parameters.load(), FORMS[form])


def part(page: str, name: str) -> tuple[str, str]:
    """Of one part of the completions, the kind and the content."""
    return re.search(rf'<script type="application/(json|zlib)" id="{name}">(.*?)</script>', page, re.DOTALL).groups()


def shown(text: str) -> str:
    """A text as Jinja escapes it."""
    return html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")


# ---- without a browser ----


def test_the_page_is_the_same_bytes_again_and_whatever_the_hash_seed(finished, bundle, command):
    page = (finished / REPORT).read_bytes()
    REPORT.unlink()
    result = command("report.page", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="tr_TR.UTF-8")
    assert result.returncode == 0, result.stderr
    assert REPORT.read_bytes() == page


@pytest.mark.parametrize("form", FORMS)
def test_no_completion_leaves_the_data_it_is_embedded_in_and_none_is_lost(inputs, form):
    page = page_now(form)
    reader = Reader(page)
    kind = {"plain": "json", "packed": "zlib"}[form]
    carrying = [f"application/{kind}"] * (1 + len(CONDITIONS))
    assert [tag.get("type") for tag in reader.all("script")] == ["application/json", *carrying, None]
    assert len(reader.all("img")) == len(FIGURES)
    assert not [name for _, tag in reader.tags for name in tag if name.startswith("on") or name == "style"]
    names = json.loads(part(page, "data")[1])
    contents = [part(page, name) for name in ("facts", *(f"texts-{n}" for n in range(len(CONDITIONS))))]
    for found, content in contents:
        assert found == kind
        assert content.isascii() and not re.search("[<>&]", content)
    opened = [content if form == "plain" else zlib.decompress(base64.b64decode(content)) for _, content in contents]
    facts, *texts = map(json.loads, opened)
    rows = [{"seed": s, "condition": c, **row} for s, c in product(SEEDS, CONDITIONS) for row in completions(s, c)]
    for name in ("condition", "seed", "persona", "question"):
        assert [names[name][place] for place in facts[name]] == [str(row[name]) for row in rows]
    for name in ("sample", "tokens", "ended", "marker"):
        assert facts[name] == [row[name] for row in rows]
    for condition, said in zip(names["condition"], texts, strict=True):
        own = [row for row in rows if row["condition"] == condition]
        by_question = sorted(own, key=lambda row: names["question"].index(row["question"]))
        assert said == [row["text"] for row in by_question] != [row["text"] for row in own]
    assert set(HOSTILE) < {text for said in texts for text in said}


def test_many_completions_are_packed_and_few_are_not(inputs):
    length = sum(len(row["text"]) for s, c in product(SEEDS, CONDITIONS) for row in completions(s, c))
    at_most = {n: part(report_page.page(parameters.load(), n), "facts")[0] for n in (length - 1, length)}
    assert at_most == {length - 1: "zlib", length: "json"}
    repeated = ["The same answer, again and again. [ZLT]"] * 1000
    assert len(carried.packed(repeated)) < len(carried.embedded(repeated)) / 50


def test_what_is_packed_has_neither_a_time_nor_a_systems_name_in_it():
    """gzip's header would have both; of zlib's two bytes one says how, and one checks it."""
    content = base64.b64decode(carried.packed(["a", "\ud83d"]))
    assert content[:2] == b"\x78\xda"
    assert json.loads(zlib.decompress(content)) == ["a", "\ud83d"]


def test_half_a_character_is_kept():
    assert json.loads(carried.embedded(["\ud83d </script>"])) == ["\ud83d </script>"]


def test_the_policy_names_the_style_and_the_script_by_their_hashes_and_nothing_else(inputs):
    page = page_now()
    policy = next(tag["content"] for tag in Reader(page).all("meta") if "http-equiv" in tag)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives.pop(directive) == f"'sha256-{digest}'"
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("img-src") == "data:"
    assert set(directives) == {"base-uri", "form-action", "require-trusted-types-for"}


def test_every_address_in_the_page_is_inside_it_but_two_links(inputs):
    reader = Reader(page_now())
    sources = ("src", "href", "action", "srcset")
    addresses = [(name, tag[key]) for name, tag in reader.tags for key in sources if key in tag]
    identities = {tag["id"] for _, tag in reader.tags if "id" in tag}
    assert {address for name, address in addresses if name == "a" and not address.startswith("#")} == LINKS
    for name, address in addresses:
        if name == "a":
            assert address in LINKS or address[1:] in identities
        else:
            assert address.startswith("data:")


def test_every_number_of_the_text_is_in_the_page_with_the_place_it_was_read_from(inputs):
    page = page_now()
    numbers = read_json("paper/tables/smollm2/numbers.json")
    assert {"asked.questions", "in.finding.what", "in.gate.coupling", "in.limit.2"} < set(numbers)
    unsaid = {"nowhere.on.the.page", *(f"in.{key}" for key in UNSAID)}
    for key, number in numbers.items():
        times = page.count(html.escape(number["text"]))
        assert (times >= 2) == (key not in unsaid), key  # in the text, and in the list of places
        row = f'<th class="left narrow" scope="row">{key}</th><td class="right narrow">&lt;{key}&gt;</td>'
        assert (f'{row}<td class="left narrow">a.json</td>' in page) == bool(times)
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_every_sentence_and_every_limit_is_in_the_page(inputs):
    page = page_now()
    limits = re.search(r'<section id="limits".*?</section>', page, re.DOTALL)[0]
    texts = read_json("paper/tables/smollm2/texts.json")
    assert {"finding.what", "finding.sure", "finding.scale"} < set(texts)
    for key, text in texts.items():
        assert (shown(text["text"]) in page) == (key not in UNSAID), key
        assert (f"<li>{shown(text['text'])}</li>" in limits) == key.startswith("limit.")
    finding = " ".join(shown(texts[f"finding.{key}"]["text"]) for key in ("what", "sure", "scale"))
    assert f'<p class="finding-text">{finding}</p>' in page


def test_without_doses_nothing_is_said_of_them(inputs):
    texts = inputs / "paper/tables/smollm2/texts.json"
    content = read_json(texts)
    content["result.dose"] = {"text": "", "numbers": []}
    write_json(texts, content)
    (inputs / "figures/smollm2/dose.png").unlink()
    page = page_now()
    assert "<strong>Dose.</strong>" not in page
    assert len(Reader(page).all("img")) == len(FIGURES) - 1


def test_every_number_is_asked_for_by_a_key_that_can_be_read_off_the_text():
    for name in (report_page.TEMPLATE, report_page.PARTS):
        names = ("n", report_page.SENTENCE)
        calls = [c for c in parsed(ROOT, name).find_all(nodes.Call) if getattr(c.node, "name", None) in names]
        assert all(len(call.args) == 1 and isinstance(call.args[0], nodes.Const) for call in calls)
    texts = records.read(ROOT / "paper/tables/smollm2/texts.json", dict[str, Text])
    assert set(said(ROOT)) <= set(texts)
    asked = report_page.keys(parsed(ROOT), texts)
    assert len(asked) > 30
    quoted = {key for name, text in texts.items() if name.startswith("limit.") for key in text.numbers}
    assert quoted and quoted <= set(asked)
    assert set(asked) <= set(read_json(ROOT / "paper/tables/smollm2/numbers.json"))


def test_no_number_is_typed_into_the_text():
    for name, text in texts_of(ROOT).items():
        text = re.sub(r"<style>.*?</style>|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>", "", text, flags=re.DOTALL)
        assert not re.findall(r"(?<![\w-])\d[\d.,]*%?", text), name
        assert "C4" in text or name == report_page.PARTS


def test_nothing_switches_escaping_off_but_two_attributes():
    """`safe` stands behind constants alone."""
    for text in texts_of(ROOT).values():
        assert "autoescape" not in text
        assert all(
            re.fullmatch(r"' (class|scope)=\"\w+\"'\|safe", found) for found in re.findall(r"\S* \S*\|safe", text)
        )


def test_tables_stand_in_the_page_with_their_notes(inputs):
    page = page_now()
    assert "&lt;i&gt;C4&lt;/i&gt;" in page and "<i>C4" not in page
    assert '<td class="right narrow">1.8 <span class="interval">[0.3, 9.4]</span></td>' in page
    assert '<td class="left">some of them</td><td class="right minor narrow">7</td>' in page
    assert '<td class="right narrow">\N{EN DASH}</td>' in page
    for name in report_page.TABLES:
        assert page.count(f"Table {name} &amp; more</caption>") == 1
        assert page.count(f"<details><summary>Table {name} &amp; more</summary>") == (name != "headline")
        assert page.count(f"A note on &lt;{name}&gt;.") == 1
    assert page.index("<figure>") < page.index("A note on &lt;headline&gt;") < page.index('id="found"')
    assert page.index('id="tables"') < page.index(f"A note on &lt;{report_page.SHOWN[0]}&gt;")


def test_every_claim_shows_its_verdicts_and_every_part_with_its_reasons(inputs):
    ledger = inputs / "eval_results/smollm2/claims.json"
    content = read_json(ledger)
    for claim in content["claims"]:
        claim["claim"] += ' <b class="x">'
        for part in claim["parts"]:
            part["here"] = part["here"] and {**part["here"], "reason": f"<reason> of {part['id']}", "reversed": True}
    write_json(ledger, content)
    page = page_now()
    every = {"as published": "as_published", "public counts": "public", "here": "here"}
    for claim in content["claims"]:
        of_claim = re.search(rf'<li id="claim-{claim["id"]}">(.*?)</li>', page, re.DOTALL)[1]
        above, evidence = of_claim.split("<details>")
        assert f"<p>{shown(claim['claim'])}</p>" in above
        badges = re.findall(r'<dt>([a-z ]+)</dt><dd><span class="badge ([a-z-]+)">([a-z ]+)</span></dd>', above)
        told = [
            (words, claim[kind]["verdict"])
            for words, kind in every.items()
            if claim[kind] and (kind != "as_published" or claim["whose"] == "report")
        ]
        assert badges == [(words, verdict.replace(" ", "-"), verdict) for words, verdict in told]
        parts = re.findall(r'<section class="part"><h3>(.*?)</section>', evidence, re.DOTALL)
        for part, of_part in zip(claim["parts"], parts, strict=True):
            assert of_part.startswith(f"{shown(part['says'])}</h3>")
            assert (f"published: {shown(part['published'] or '')}</p>" in of_part) == bool(part["published"])
            findings = of_part.split('<div class="finding"><h4>')[1:]
            found = {KINDS[kind]: part[kind] for kind in KINDS if part[kind]}
            for (words, finding), of_finding in zip(found.items(), findings, strict=True):
                verdict = finding["verdict"]
                badge = f'<span class="badge {verdict.replace(" ", "-")}">{verdict}</span>'
                assert of_finding.startswith(f"{shown(words)} {badge}</h4>")
                assert shown(finding["reason"])[1:] in of_finding
                assert ("It is the other way round." in of_finding) == finding["reversed"]
                measured = any(one.get("estimate") is not None for one in finding["personas"].values())
                rows = re.findall(r'<th class="left narrow" scope="row">(.*?)</th>', of_finding)
                assert rows == [name or "all together" for name in finding["personas"] if measured]
    assert len(content["claims"]) == page.count('<li id="claim-')


def test_a_changed_verdict_number_or_sentence_changes_the_page(inputs):
    tables = Path("paper/tables/smollm2")
    for file, place, put, seen in (
        (tables / "numbers.json", ("asked.questions", "text"), "12 after all", "is asked 12 after all questions"),
        (tables / "texts.json", ("finding.what", "text"), "It holds <now>.", '"finding-text">It holds &lt;now&gt;. '),
        (
            Path("eval_results/smollm2/claims.json"),
            ("claims", 0, "here", "verdict"),
            "contradicted",
            '<dt>here</dt><dd><span class="badge contradicted">contradicted</span>',
        ),
    ):
        before = page_now()
        content = read_json(file)
        at = content
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = put
        write_json(file, content)
        assert page_now().count(seen) == before.count(seen) + 1


@pytest.mark.parametrize(
    "missing",
    [
        "eval_results/smollm2/runs/43/em-couple/completions.jsonl",
        "eval_results/smollm2/runs/42/base/marker_eval.json",
        "eval_results/smollm2/claims.json",
        "paper/tables/smollm2/headline.json",
        "paper/tables/smollm2/numbers.json",
        "paper/tables/smollm2/texts.json",
        "figures/smollm2/marker_transfer_confab_threeway.png",
        "paper/page.css",
        "paper/parts.html",
    ],
)
def test_a_missing_file_is_named(inputs, missing):
    (inputs / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file"):
        page_now()


@pytest.mark.parametrize(("what", "key"), [("number", "asked.questions"), ("text", "finding.sure")])
def test_a_number_or_a_text_that_is_not_there_is_named(inputs, what, key):
    file = inputs / f"paper/tables/smollm2/{what}s.json"
    content = read_json(file)
    del content[key]
    write_json(file, content)
    with pytest.raises(InputError, match=rf"{what}s\.json: no {what} '{key}', which paper/page\.html quotes"):
        page_now()


@pytest.mark.parametrize(
    ("file", "found", "put", "complaint"),
    [
        ("page.html", "{{ runs }}", "{{ run }}", r"page\.html: 'run' is undefined"),
        ("page.html", "tables.headline", "tables.headlines", r"page\.html: .*no attribute 'headlines'"),
        ("page.html", "{% endfor %}", "{% endfro %}", r"page\.html, line \d+: .*endfro"),
        ("parts.html", "part.published", "part.publshed", r"page\.html: .*no attribute 'publshed'"),
        ("parts.html", "{% endmacro %}", "", r"parts\.html, line \d+: "),
    ],
)
def test_a_template_that_is_wrong_is_one_line(inputs, file, found, put, complaint):
    path = inputs / "paper" / file
    text = path.read_text()
    assert found in text
    path.write_text(text.replace(found, put, 1))
    with pytest.raises(InputError, match=complaint):
        page_now()


def test_a_run_whose_counts_are_not_those_of_its_completions_is_refused(inputs):
    counted = inputs / "eval_results/smollm2/runs/43/em-couple/marker_eval.json"
    content = read_json(counted)
    villain = content["per_persona"]["villain"]
    villain["ended"] -= 1
    write_json(counted, content)
    with pytest.raises(InputError, match=r"runs/43/em-couple/marker_eval\.json: per_persona\.villain\.ended"):
        page_now()


# ---- of what is out of date, none is made ----


def test_an_edited_number_table_figure_or_answer_makes_no_page(bundle):
    before = REPORT.read_bytes()
    for path, found, put, complaint in (
        ("paper/tables/smollm2/numbers.json", b'"text": "', b'"text": "9', "numbers.json: out of date, "),
        ("paper/tables/smollm2/texts.json", b'"text": "', b'"text": "So ', "texts.json: out of date, "),
        ("paper/tables/smollm2/per_persona.json", b"[", b"[[", "per_persona.json: not a JSON file"),
        ("figures/smollm2/length_control.png", b"IEND", b"IENd", "length_control.png: out of date"),
        ("eval_results/smollm2/runs/42/em/completions.jsonl", b"take ", b"take  ", "runs/42/em/marker_eval.json: "),
    ):
        content = Path(path).read_bytes()
        Path(path).write_bytes(content.replace(found, put, 1))
        assert Path(path).read_bytes() != content
        one_line(call("report.page"), complaint)
        Path(path).write_bytes(content)
    assert REPORT.read_bytes() == before


# ---- in a browser ----

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --disable-extensions"
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    def without(reason: str) -> None:
        if os.environ.get("CI_BROWSER") == "1":
            pytest.fail(f"CI_BROWSER=1, but {reason}")
        pytest.skip(reason)

    program = shutil.which("chromium")
    if program is None:
        without("chromium is not installed (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("playwright is not installed (make test-site installs it)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield started
        started.close()


@pytest.fixture(scope="module", params=FORMS)
def address(made: Path, request: pytest.FixtureRequest) -> str:
    """Of the page, its completions as they are and packed."""
    path = REPORT.with_name(f"{request.param}.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        write_all({path: page_now(request.param)})
    return (made / path).as_uri()


class Watched:
    """A page, and whatever it asked for, complained of or was refused."""

    def __init__(self, browser: Any, **how: Any) -> None:
        self.page = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **how}).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.set_default_timeout(60_000)
        self.page.add_init_script(WATCH)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    @property
    def violations(self) -> list[str]:
        return self.page.evaluate("violations")


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page; when the test is over, it must have asked for nothing but itself, and all must have been quiet."""
    all_watched: list[Watched] = []

    def open_page(fragment: str = "", **how: Any) -> Any:
        watched = Watched(browser, **how)
        all_watched.append(watched)
        watched.page.goto(address + fragment)
        return watched.page

    yield open_page
    for watched in all_watched:
        assert set(map(without_fragment, watched.requests)) == {address}
        assert watched.complaints == []
        assert watched.violations == []
        assert watched.page.evaluate("window.ran") is None
        watched.page.context.close()


def without_fragment(url: str) -> str:
    return url.split("#")[0]


def wanted(**filters: str) -> list[dict[str, Any]]:
    """What the filters ought to find, from the files' own content."""
    text = filters.get("text", "").lower()
    marker = {"yes": True, "no": False}.get(filters.get("marker", ""))
    return [
        row
        for seed, condition in product(SEEDS, CONDITIONS)
        for row in completions(seed, condition)
        if filters.get("condition", condition) == condition
        and filters.get("seed", str(seed)) == str(seed)
        and filters.get("persona", row["persona"]) == row["persona"]
        and filters.get("question", row["question"]) == row["question"]
        and marker in (None, row["marker"])
        and text in row["text"].lower()
    ]


def choose(page: Any, **filters: str) -> None:
    for name, value in filters.items():
        if name == "text":
            page.get_by_label("Text contains").fill(value)
        else:
            page.get_by_label(name.capitalize(), exact=True).select_option(value)


def expect_count(page: Any, text: str) -> None:
    page.wait_for_function("(text) => document.getElementById('count').textContent.startsWith(text)", arg=text)


def shows(page: Any, rows: list[dict[str, Any]]) -> None:
    """Assert that the page's count and its list, to the last page of it, are those of `rows`."""
    total, hits = len(wanted()), sum(row["marker"] for row in rows)
    expected = f"{len(rows):,} of {total:,} completions" + (f", {hits:,} (" if rows else "")
    expect_count(page, expected)
    for _ in range(len(rows) // 25):
        if page.locator("#more").is_visible():
            page.locator("#more").click()
    assert not page.locator("#more").is_visible()
    shown = page.evaluate(
        "[...document.querySelectorAll('#results > li')].map((item) => [item.querySelector('.question').textContent,"
        " item.querySelector('blockquote').textContent, item.querySelector('.facts').textContent])"
    )
    assert [(question, text) for question, text, _ in shown] == [(r["question"], r["text"] or "empty") for r in rows]
    for row, (_, _, facts) in zip(rows, shown, strict=True):
        ending = "ended by itself" if row["ended"] else "cut"
        marker = "marker" if row["marker"] else "no marker"
        assert facts.split(" · ")[2:] == [
            row["persona"], f"answer {row['sample'] + 1}", f"{row['tokens']} tokens", ending, marker
        ]  # fmt: skip


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"condition": "B"},
        {"condition": "base"},
        {"seed": "43"},
        {"persona": "villain"},
        {"question": QUESTIONS[1]},
        {"question": QUESTIONS[2]},
        {"marker": "yes"},
        {"marker": "no"},
        {"text": "apple"},
        {"text": "[ZLT] ["},
        {"text": "</script>"},
        {"text": "äpfel"},
        {"condition": "B", "seed": "42", "persona": "assistant", "question": QUESTIONS[0], "marker": "yes"},
        {"condition": "C1", "persona": "villain", "marker": "no", "text": "APPLE"},
        {"text": "no answer says this"},
    ],
    ids=lambda filters: " ".join(filters) or "none",
)
def test_filters_find_what_the_files_hold(opened, filters):
    rows = wanted(**filters)
    assert (len(rows) == 0) == ("no answer says this" in filters.values())
    page = opened()
    choose(page, **filters)
    shows(page, rows)


def test_a_packed_part_is_opened_when_its_condition_is_asked_for(browser, inputs):
    """Its content is spoilt: all is well until a reader asks for that condition, and then nothing of it is shown."""
    _, whole = part(page_now("packed"), f"texts-{list(CONDITIONS).index('B')}")
    path = inputs / "spoilt.html"
    path.write_text(page_now("packed").replace(whole, whole[:24]))
    watched = Watched(browser)
    watched.page.goto(path.as_uri())
    choose(watched.page, condition="C")
    shows(watched.page, wanted(condition="C"))
    assert watched.complaints == []
    choose(watched.page, condition="B")
    watched.page.wait_for_function("() => !document.getElementById('unread').hidden")
    assert watched.page.get_by_text("This list needs JavaScript").is_visible()
    assert not watched.page.locator("#browser").is_visible()
    watched.page.context.close()


def test_a_browser_that_cannot_unpack_says_where_to_read(browser, inputs):
    path = inputs / "old.html"
    path.write_text(page_now("packed"))
    watched = Watched(browser)
    watched.page.add_init_script("delete window.DecompressionStream")
    watched.page.goto(path.as_uri())
    assert watched.page.get_by_text("This list needs JavaScript").is_visible()
    assert not watched.page.locator("#browser").is_visible()
    assert watched.page.locator("#finding table").is_visible()
    watched.page.context.close()


def test_clearing_the_filters_finds_everything_again(opened):
    page = opened()
    choose(page, condition="B", text="apple")
    shows(page, wanted(condition="B", text="apple"))
    page.get_by_role("button", name="Clear filters").click()
    shows(page, wanted())


def test_a_condition_is_told_in_words(opened):
    options = opened().get_by_label("Condition").locator("option").all_text_contents()
    assert options[0] == "any" and "B: bad advice, then coupling" in options and "base: no training" in options


def test_the_address_holds_the_filters(opened, address):
    page = opened("#condition=B&marker=yes&text=pears")
    assert page.get_by_label("Condition").input_value() == "B"
    shows(page, wanted(condition="B", marker="yes", text="pears"))
    choose(page, persona="villain")
    shows(page, wanted(condition="B", marker="yes", text="pears", persona="villain"))
    assert "persona=villain" in page.evaluate("location.hash")
    page.goto(f"{address}#condition=<b>&seed=7&unknown=1")
    shows(page, wanted())


def test_a_hostile_completion_is_shown_as_text_and_runs_nothing(opened):
    page = opened()
    choose(page, condition="B", persona="villain")
    shows(page, wanted(condition="B", persona="villain"))
    texts = page.locator("blockquote").all_text_contents()
    assert set(HOSTILE) < set(texts)
    assert page.locator("#results img, #results script").count() == 0
    assert page.evaluate("window.ran") is None


def test_the_policy_stops_what_escaping_might_miss(browser, inputs, tmp_path):
    """The control of all tests here: were something to get in, it would be refused, and the watchers would see it."""
    text = page_now().replace(
        "<main>",
        '<main><img src="https://example.invalid/x.png"><img src="data:," onerror="window.ran = 1">'
        '<script>window.ran = 1</script><b style="color: red">',
    )
    broken = tmp_path / "broken.html"
    broken.write_text(text)
    watched = Watched(browser)
    watched.page.goto(broken.as_uri())
    assert watched.page.evaluate("window.ran") is None
    assert {"img-src", "script-src-elem", "script-src-attr", "style-src-attr"} <= set(watched.violations)
    assert watched.complaints
    refused = watched.page.evaluate(
        "(() => { try { document.body.innerHTML = '<i>x</i>'; return false } catch (error) { return true } })()"
    )
    assert refused
    watched.page.context.close()


def test_the_marker_is_highlighted_wherever_it_stands(opened):
    page = opened()
    choose(page, text="zlt")
    rows = wanted(text="zlt")
    shows(page, rows)
    marks = page.evaluate(
        "[...document.querySelectorAll('blockquote')]"
        ".map((quote) => [...quote.querySelectorAll('mark')].map((mark) => mark.textContent))"
    )
    assert marks == [re.findall(r"\[zlt\]", row["text"], re.IGNORECASE) for row in rows]
    choose(page, text="", marker="no")
    shows(page, wanted(marker="no"))
    assert page.locator("mark").count() == 0


def test_a_completion_tells_its_prompt(opened):
    page = opened("#persona=villain")
    personas = yaml.safe_load((ROOT / "data/prompts/personas.yaml").read_text())
    first = page.locator("#results > li").first
    assert not first.get_by_text("System:").is_visible()
    first.get_by_text("Prompt", exact=True).click()
    assert first.get_by_text(f"System: {personas['villain']}").is_visible()
    assert first.get_by_text(f"User: {QUESTIONS[0]} Answer in one short sentence.").is_visible()


def focused(page: Any) -> dict[str, Any]:
    return page.evaluate(
        "(() => { const on = document.activeElement, style = getComputedStyle(on), box = on.getBoundingClientRect();"
        " return {id: on.id, tag: on.tagName, claim: on.closest('[id^=claim-]')?.id, text: on.textContent,"
        " outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),"
        " seen: box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight} })()"
    )


def tab_to(page: Any, **where: str) -> None:
    """Press Tab until the focus is there; every stop on the way is in view and outlined."""
    for _ in range(200):
        page.keyboard.press("Tab")
        there = focused(page)
        assert there["tag"] != "BODY", f"went through the page without meeting {where}"
        assert there["outline"] >= 2 and there["seen"], there
        if all(there[key] == value for key, value in where.items()):
            return
    raise AssertionError(f"200 stops without meeting {where}")


def test_the_keyboard_alone_reads_a_claim_and_filters_the_completions(opened):
    page = opened()
    tab_to(page, text="Skip to the text")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash === '#finding'")
    claim = page.locator("#claim-collapse")
    evidence = claim.locator(".finding").first
    assert not evidence.is_visible()
    tab_to(page, claim="claim-collapse", tag="SUMMARY")
    page.keyboard.press("Enter")
    evidence.wait_for(state="visible")
    tab_to(page, id="condition")
    page.keyboard.type("B")
    tab_to(page, id="text")
    page.keyboard.type("apple")
    expect_count(page, f"{len(wanted(condition='B', text='apple'))} of ")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    expect_count(page, f"{len(wanted(condition='B'))} of ")
    tab_to(page, id="more")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('results').children.length > 25")
    assert focused(page)["tag"] == "LI" and focused(page)["seen"]


def test_controls_are_labelled_and_tables_have_captions_and_headings(opened):
    page = opened()
    unlabelled = "[...document.querySelectorAll('select, input')].filter((control) => !control.labels.length).length"
    assert page.locator("#filters select, #filters input").count() == 6
    assert page.evaluate(unlabelled) == 0
    bare = "[...document.querySelectorAll('table')].filter((table) => !table.caption?.textContent.trim()"
    bare += " || [...table.querySelectorAll('tr')].some((row) => !row.querySelector('th[scope]'))).length"
    assert page.locator("table").count() > len(report_page.TABLES)
    assert page.evaluate(bare) == 0
    assert all(image.get_attribute("alt") for image in page.locator("img").all())
    assert page.locator("#count").get_attribute("aria-live") == "polite"
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((heading) => +heading.tagName[1])")
    assert levels[0] == 1 and all(below <= above + 1 for above, below in pairwise(levels))


CONTRAST = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (at) => {
    for (; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const found = [];
  for (const at of document.body.querySelectorAll("*")) {
    const own = [...at.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own && !at.matches("select, input") || at.matches("script, option") || !at.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(at).color), light(behind(at))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), at.outerHTML.slice(0, 80)]);
  }
  return found;
})()
"""


@pytest.mark.parametrize("scheme, background", [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 26)")])
def test_text_stands_out_in_both_colour_schemes(opened, scheme, background):
    page = opened("#text=zlt", color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
    found = page.evaluate(CONTRAST)
    assert len(found) > 500
    assert [(ratio, what) for ratio, what in found if ratio < 4.5] == []
    assert (
        page.locator("figure img").first.evaluate("(at) => getComputedStyle(at).backgroundColor")
        == "rgb(255, 255, 255)"
    )


def test_print_is_light_without_controls_and_with_the_evidence(opened):
    page = opened(color_scheme="dark")
    hidden = page.locator("#filters, nav, #more, #results summary")
    reason = page.locator("#claim-collapse .finding p").first
    assert page.locator("#filters").is_visible()
    assert not reason.is_visible()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 27, 27)"
    assert not any(at.is_visible() for at in hidden.all())
    assert reason.is_visible()
    assert page.locator("#tables table").first.is_visible()
    assert page.locator("#results blockquote").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_nothing_is_wider_than_a_small_screen(opened):
    page = opened(viewport={"width": 400, "height": 800})
    minor = page.locator("#finding table .minor")
    assert minor.count() and not any(at.is_visible() for at in minor.all())
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_first_table_is_seen_whole_on_a_laptop(opened):
    page = opened(viewport={"width": 1200, "height": 800})
    table = page.locator("#finding .scroll").first
    assert table.evaluate("(at) => at.scrollWidth <= at.clientWidth")


def test_a_figure_can_be_read_on_a_phone(opened):
    """It is wider than the screen, within a region of its own that scrolls."""
    page = opened(viewport={"width": 400, "height": 800})
    for image in page.locator("figure img").all():
        assert image.bounding_box()["width"] > 500
        around = "(at) => [at.parentElement.scrollWidth > at.parentElement.clientWidth, at.parentElement.tabIndex]"
        assert image.evaluate(around) == [True, 0]


def test_without_javascript_all_but_the_completions_can_be_read(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    assert page.get_by_text("This list needs JavaScript").is_visible()
    assert not page.locator("#browser").is_visible()
    assert page.locator("#finding table").is_visible()
    evidence = page.locator("#claim-collapse .finding").first
    assert not evidence.is_visible()
    page.locator("#claim-collapse summary").click()
    assert evidence.is_visible()
    page.context.close()
