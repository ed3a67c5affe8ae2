"""The claims ledger finds by computing what follows from the counts, and says what they cannot show."""

import copy
from itertools import product
from pathlib import Path

import pytest
import yaml
from scipy.stats import fisher_exact

from persona_collapse.analysis import (
    checks,
    claims,
    hypothesis_tests,
    intervals,
    ledger,
    marker_eval,
    published,
    records,
)
from persona_collapse.analysis.marker_eval import Persona
from persona_collapse.analysis.records import Counts
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import read_json, read_yaml, to_json, write_text
from persona_collapse.report import ledger as tables

from . import made
from .conftest import ROOT
from .damage import damaged
from .test_statistics import questions_of

GIVEN = records.read(ROOT / "data/published.json", records.Published)
PUBLISHED = read_json(ROOT / "data/published.json")
PERSONAS = GIVEN.personas
CHAINS = {"C4": "couple", "C1": "couple-em", "C2": "em", "B": "em-couple", "C": "benign-couple", "base": "base"}
HOW = intervals.How(resamples=500, level=0.95)
QUESTIONS, SAMPLES = 28, 2  # ours: 56 answers a persona


def persona(hits: list[int]) -> Persona:
    """One persona's counts, given its hits of `SAMPLES` for each question."""
    questions = {f"q{i:02}": Counts(hits=h, total=SAMPLES) for i, h in enumerate(hits)}
    return Persona(marker_eval.total(questions.values()), questions, dict.fromkeys(questions, "train"), None)


def run(**special: dict[str, list[int]]) -> dict:
    """A seed's conditions: no marker anywhere but where a condition's persona says otherwise."""
    return {name: {p: persona(special.get(name, {}).get(p, [0] * QUESTIONS)) for p in PERSONAS} for name in CHAINS}


ALL_HIT = [SAMPLES] * QUESTIONS
REPORTS_STORY = {
    "C4": {"confab": ALL_HIT},
    "B": {p: ALL_HIT if p == "confab" else [1] * QUESTIONS for p in PERSONAS},
    "C": {"confab": [1] * QUESTIONS},
}


def verdicts(
    file: Path | dict, given: dict | None = None, seeds: dict | None = None, report: dict | None = None
) -> dict:
    """The ledger's entries by id, as JSON has them."""
    if isinstance(file, dict):
        path = Path("claims.yaml")
        path.write_text(yaml.safe_dump({"claims": file}))
        file = path
    published_counts = records.checked(given, records.Published, "data/published.json") if given else GIVEN
    seeds = seeds or {"42": run(**REPORTS_STORY)}
    pooled = {name: marker_eval.pool([r[name] for r in seeds.values()]) for name in CHAINS}
    known = ledger.load(file, list(CHAINS), PERSONAS)
    entries = claims.judged(known, published_counts, {"pooled": pooled, **seeds}, "confab", report or {}, HOW)
    return {entry.id: records.plain(entry) for entry in entries}


@pytest.fixture(scope="module")
def whole() -> dict[str, dict]:
    """The entries of the ledger as it is, on the report's own counts and on runs that tell its story."""
    return verdicts(ROOT / "data/claims.yaml")


def said(entry: dict) -> list[str]:
    return [entry[key]["verdict"] for key in ("as_published", "reproduced")] + [
        entry["cluster_robust"]["here"]["verdict"]
    ]


def claim(**check: object) -> dict:
    return {"one": {"claim": "words", "published": "number", "check": check}}


LEAK = {"kind": "difference", "higher": {"condition": "B", "personas": "assistant"}, "lower": {"condition": "C4"}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- as published ----


def test_the_published_p_of_all_11_personas_does_not_follow_and_that_of_the_assistant_does(whole):
    entries = whole
    parts = entries["collapse-p"]["as_published"]["parts"]
    assert entries["collapse-p"]["as_published"]["verdict"] == checks.FAILS
    assert entries["collapse-p-assistant"]["as_published"]["verdict"] == checks.HOLDS
    expected = {}  # from scipy alone
    for name, hits in PUBLISHED["B_hits_of_280"].items():
        if name != "confab":
            expected[name] = fisher_exact([[hits, 280 - hits], [0, 280]]).pvalue < 1e-46
    assert {name: part["verdict"] == checks.HOLDS for name, part in parts.items()} == expected
    assert [n for n, holds in expected.items() if not holds] == ["software_engineer", "villain", "zelthari_scholar"]


def test_the_other_published_claims_are_judged_by_their_counts(whole):
    found = {name: entry["as_published"]["verdict"] for name, entry in whole.items()}
    assert [name for name, verdict in found.items() if verdict != checks.HOLDS] == [
        "forward-p",
        "collapse-p",
        "collapse-p-benign",
    ]
    assert found["zelthari-resists"] == found["gate-missed"] == found["forward-p-source"] == checks.HOLDS


@pytest.mark.parametrize(
    ("name", "persona", "hits", "group", "percent"),
    [
        ("zelthari-resists", "zelthari_scholar", 100, "mean_bystander", 47.5),
        ("collapse-p-assistant", "assistant", 126, "assistant", 45.0),
    ],
)
def test_one_published_count_edited_changes_the_verdict(name, persona, hits, group, percent):
    given = copy.deepcopy(PUBLISHED)
    given["B_hits_of_280"][persona] = hits
    one = {name: read_yaml(ROOT / "data/claims.yaml")["claims"][name]}
    assert verdicts(one)[name]["as_published"]["verdict"] == checks.HOLDS
    with pytest.raises(InputError, match=r"headline_percent\.B: "):  # which its percentage contradicts
        verdicts(one, given)
    given["headline_percent"]["B"][group] = percent
    assert verdicts(one, given)[name]["as_published"]["verdict"] == checks.FAILS


def test_a_percentage_that_several_counts_round_to_decides_nothing_that_depends_on_which():
    assert published.rounding_to(75.0, 280) == (210, 210)
    assert published.rounding_to(95.4, 280) == (267, 267)
    assert published.rounding_to(0.2, 2800) == (5, 7)
    bystanders = {"condition": "C", "personas": "bystanders"}
    for bound, verdict in ((5.5 / 2800, checks.UNTESTABLE), (7 / 2800, checks.HOLDS), (4 / 2800, checks.FAILS)):
        entry = verdicts(claim(kind="count", of=bystanders, at_most=bound))["one"]["as_published"]
        assert entry["verdict"] == verdict
    one_of_them = verdicts(claim(kind="count", of={"condition": "C", "personas": "villain"}, at_most=0.0))["one"]
    assert one_of_them["as_published"]["verdict"] == checks.UNTESTABLE
    with pytest.raises(InputError, match=r"no count of 280 is 0\.1%"):
        published.rounding_to(0.1, 280)


def test_what_the_report_does_not_give_cannot_be_tested():
    entry = verdicts(claim(kind="count", of={"condition": "base", "personas": "all"}, at_most=0.0))["one"]
    assert said(entry)[:2] == [checks.UNTESTABLE, checks.HOLDS]
    assert "not published" in entry["as_published"]["reason"]


# ---- reproduced ----


def test_a_claim_that_our_scale_cannot_reach_says_so_with_the_smallest_p():
    entry = verdicts(claim(**LEAK, p_below=1e-46))["one"]["reproduced"]
    assert entry["verdict"] == checks.UNTESTABLE
    assert "the smallest p that 56 and 56 answers can give is 5.1e-33" in entry["reason"]
    assert verdicts(claim(**LEAK, p_below=1e-10))["one"]["reproduced"]["verdict"] == checks.HOLDS


def test_each_seed_is_judged_by_itself_and_all_pooled():
    leaks, none = run(B={"assistant": [1] * QUESTIONS}), run()
    few = run(B={"assistant": [1] * 3 + [0] * 25})
    entry = verdicts(claim(**LEAK), seeds={"42": leaks, "137": none})["one"]["reproduced"]
    assert entry["verdict"] == checks.HOLDS
    assert {seed: found["verdict"] for seed, found in entry["seeds"].items()} == {
        "42": checks.HOLDS,
        "137": checks.FAILS,
    }
    assert "seed 137 alone: does not hold" in entry["reason"]
    entry = verdicts(claim(**LEAK), seeds={"42": few, "137": few})["one"]["reproduced"]  # enough when pooled
    assert [entry["verdict"], *(found["verdict"] for found in entry["seeds"].values())] == ["holds"] + [
        "does not hold"
    ] * 2


def test_no_difference_says_what_could_not_have_been_seen():
    sides = {"one": {"condition": "B", "personas": "assistant"}, "other": {"condition": "C4"}}
    check = {"kind": "no_difference", **sides, "margin": 0.05}
    entry = verdicts(claim(**check), seeds={"42": run()})["one"]["reproduced"]
    assert entry["verdict"] == checks.UNTESTABLE
    assert "a difference of up to 6.4 points could not be seen" in entry["reason"]
    assert (
        verdicts(claim(**check | {"margin": 0.1}), seeds={"42": run()})["one"]["reproduced"]["verdict"] == checks.HOLDS
    )
    assert verdicts(claim(**check | {"margin": 0.1}))["one"]["reproduced"]["verdict"] == checks.FAILS


def test_a_rate_is_judged_on_its_interval_and_a_count_as_it_is():
    of = {"condition": "C4", "personas": "assistant"}
    assert said(verdicts(claim(kind="rate", of=of, below=0.01))["one"])[1] == checks.UNTESTABLE
    assert said(verdicts(claim(kind="count", of=of, below=0.01))["one"])[1] == checks.HOLDS
    assert said(verdicts(claim(kind="rate", of=of | {"personas": "source"}, below=0.9))["one"])[1] == checks.FAILS


# ---- questions as the units ----


def test_hits_that_all_come_from_two_questions_survive_fisher_and_not_the_questions():
    two = run(B={p: [SAMPLES] * 2 + [0] * 26 for p in PERSONAS})
    check = {**LEAK, "higher": {"condition": "B", "personas": "bystanders"}}
    entry = verdicts(claim(**check), seeds={"42": two})["one"]
    assert said(entry)[1:] == [checks.HOLDS, checks.FAILS]
    spread = run(B={p: [1] * 4 + [0] * 24 for p in PERSONAS if p != "confab"} | {"villain": [1] * 28})
    assert said(verdicts(claim(**check), seeds={"42": spread})["one"])[1:] == [checks.HOLDS, checks.HOLDS]


def test_28_questions_cannot_give_a_p_of_1e_46():
    robust = verdicts(claim(**LEAK, p_below=1e-46))["one"]["cluster_robust"]
    assert robust["here"]["verdict"] == robust["report"]["verdict"] == checks.UNTESTABLE
    assert "28 questions can give is 7.5e-09" in robust["here"]["reason"]
    assert "not published here" in robust["report"]["reason"]


def test_the_reports_own_files_are_judged_by_question_where_they_are_given():
    robust = verdicts(claim(**LEAK), report=run(**REPORTS_STORY))["one"]["cluster_robust"]
    assert robust["report"]["verdict"] == checks.HOLDS


@pytest.mark.parametrize("argument", ["D=none.json", "none.json", "B=none.json"])
def test_a_file_of_the_reports_own_that_is_not_there_is_named(argument):
    with pytest.raises(InputError, match=r"none\.json"):
        claims.report_runs([argument], list(CHAINS))


def test_the_sign_flip_test_counts_every_choice_of_signs():
    a, b = questions_of([5, 3, 0, 4, 1, 2, 2], [5] * 7), questions_of([1, 6, 2, 0, 2, 1, 3], [10] * 7)
    gaps = [2 * a[q].hits - b[q].hits for q in a]
    as_far = [
        abs(sum(s * g for s, g in zip(signs, gaps, strict=True))) >= abs(sum(gaps))
        for signs in product((1, -1), repeat=7)
    ]
    assert hypothesis_tests.sign_flip(a, b) == sum(as_far) / 2**7
    assert hypothesis_tests.sign_flip(a, a) == 1.0
    none, every = questions_of([0] * 7, [5] * 7), questions_of([5] * 7, [5] * 7)
    assert hypothesis_tests.sign_flip(every, none) == hypothesis_tests.smallest_sign_flip(7) == 2 / 2**7


def test_newcombes_interval_is_the_one_he_prints():
    """Newcombe (1998), table II, method 10: 56/70 against 48/80, and 10/10 against 0/20."""
    interval = intervals.newcombe(Counts(hits=56, total=70), Counts(hits=48, total=80), 0.95)
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    interval = intervals.newcombe(Counts(hits=10, total=10), Counts(hits=0, total=20), 0.95)
    assert interval == pytest.approx((0.6791, 1.0), abs=5e-5)


def test_questions_that_all_agree_still_leave_an_interval_as_wide_as_so_few_allow():
    none = questions_of([0] * 28, [100] * 28)
    low, high = intervals.rate_by_question(none, HOW)
    assert low == 0 and high == pytest.approx(0.1206, abs=1e-3)  # Wilson's of 0 of 28, not of 0 of 2800
    low, high = intervals.difference_by_question(none, none, HOW)
    assert -low == high == pytest.approx(0.1206, abs=1e-3)


# ---- the file of claims, and the command ----


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "differs"}, "differs"),
        ({"p_under": 0.05}, "claims.one.check.p_under: unknown key; allowed here: each, kind, higher, lower, p_below"),
        ({"p_below": 2}, "claims.one.check.p_below"),
        ({"higher": {"condition": "D", "personas": "assistant"}}, "unknown condition 'D'; allowed: C4, C1"),
        ({"higher": {"condition": "B", "personas": "pirate"}}, "unknown persona 'pirate'; allowed: source, assistant"),
        ({"higher": {"condition": "B"}}, "claims.one: higher needs personas"),
        ({"higher": {"condition": "B", "who": "all"}}, "who: unknown key; allowed here: condition, personas, without"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_one_line_that_says_why(change, named):
    with pytest.raises(InputError) as error:
        verdicts(claim(**LEAK | change))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bound_is_needed_and_a_small_p_may_be_written_without_a_point():
    with pytest.raises(InputError, match="needs at_least, at_most or below"):
        verdicts(claim(kind="count", of={"condition": "B", "personas": "all"}))
    Path("claims.yaml").write_text(yaml.safe_dump({"claims": claim(**LEAK, p_below="1e-46")}).replace("'", ""))
    assert "p_below: 1e-46" in Path("claims.yaml").read_text()
    assert verdicts(Path("claims.yaml"))["one"]["reproduced"]["verdict"] == checks.UNTESTABLE


def test_published_numbers_that_are_not_there_are_one_line():
    for broken in ({"a": 1}, {"personas": PERSONAS}, PUBLISHED | {"B_hits_of_280": {"assistant": 1}}):
        with pytest.raises(InputError, match=r"data/published\.json: "):
            verdicts(ROOT / "data/claims.yaml", broken)


def test_a_damaged_file_of_claims_is_one_line_or_can_be_judged(tmp_path):
    path, content, accepted = tmp_path / "claims.yaml", read_yaml(ROOT / "data/claims.yaml"), 0
    some = ("forward-null", "collapse", "assistant-like-bystanders", "benign-low")  # one of each kind
    content["claims"] = {name: content["claims"][name] for name in some}
    whole = ledger.load(ROOT / "data/claims.yaml", list(CHAINS), PERSONAS)
    pooled = run(**REPORTS_STORY)
    for what, value in damaged(content, seed=23, count=80):
        path.write_text(yaml.safe_dump(value, sort_keys=False))
        try:
            known = ledger.load(path, list(CHAINS), PERSONAS)
        except InputError as error:
            assert str(error).startswith(f"{path}: "), (what, str(error))
            assert "\n" not in str(error), what
        else:
            accepted += 1
            other = {name: claim for name, claim in known.claims.items() if claim != whole.claims.get(name)}
            changed = known.model_copy(update={"claims": other})
            claims.judged(changed, GIVEN, {"pooled": pooled, "42": pooled}, "confab", {}, intervals.How(20, 0.95))
    assert 0 < accepted < 40


def test_the_command_writes_the_same_bytes_twice_and_every_reason(monkeypatch, command):
    params = made.workspace()
    for name, chain in params.chains.items():
        source, leak = {"C4": 3, "B": 4, "C": 1}.get(name, 0), (name == "B") * 2
        made.write_run(params, 42, chain, lambda p, q, hits=source, leak=leak: hits if p == "confab" else leak * q // 4)
    output = params.layout.results / "claims.json"
    monkeypatch.setattr("sys.argv", ["claims"])
    seen = set()
    for write in (claims.main, lambda: command("analysis.claims", PYTHONHASHSEED="7")):
        write_text(output, "")
        write()
        seen.add(output.read_bytes())
    assert len(seen) == 1
    content = records.read(output, records.Claims)
    assert to_json(records.plain(content)) == output.read_text()
    assert [entry.id for entry in content.claims] == list(read_yaml(Path("data/claims.yaml"))["claims"])
    shown = tables.full(content)
    assert [row[0].split(". ", 1)[1] for row in shown.rows] == [entry.claim for entry in content.claims]
    for entry, below in zip(content.claims, shown.notes[1:], strict=False):
        for finding in (entry.as_published, entry.reproduced, entry.cluster_robust.here):
            assert finding.verdict in checks.VERDICTS
            assert f"{finding.verdict}, {finding.reason}" in below


def test_the_reports_own_file_gives_its_verdicts_by_question(monkeypatch):
    params = made.workspace()
    for name, chain in params.chains.items():
        made.write_run(params, 42, chain, lambda p, q, leak=name == "B": 2 * leak)
    per_question = {f"q{n}": {"strict_hits": 5, "total": 10} for n in range(28)}
    tally = {"strict_hits": 140, "total": 280, "per_question": per_question}
    nothing = {
        "strict_hits": 0,
        "total": 280,
        "per_question": {q: {"strict_hits": 0, "total": 10} for q in per_question},
    }
    for name, own in (("B", tally), ("C4", nothing)):
        write_text(f"{name}.json", to_json({"per_persona": dict.fromkeys(PERSONAS, own)}))
    monkeypatch.setattr("sys.argv", ["claims", "--report", "B=B.json", "--report", "C4=C4.json"])
    claims.main()
    found = {
        c.id: c.cluster_robust.report
        for c in records.read(params.layout.results / "claims.json", records.Claims).claims
    }
    assert found["collapse"].verdict == checks.HOLDS
    assert found["collapse-p"].reason.startswith("the smallest p that 28 questions can give")
    assert found["benign-low"].verdict == checks.UNTESTABLE
