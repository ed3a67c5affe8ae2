"""Statistics against published values, textbook values, SciPy's, and cases that must be refused."""

import json
import math
import random
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from persona_collapse.analysis import hypothesis_tests, intervals, marker_eval, records, results, summary
from persona_collapse.analysis.intervals import How
from persona_collapse.analysis.marker_eval import Lengths, Persona
from persona_collapse.analysis.records import Counts
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import write_json
from persona_collapse.experiment.params import Gates

from . import made
from .conftest import ROOT, one_line
from .damage import damaged_files

PUBLISHED = json.loads((ROOT / "data/published.json").read_text())
HOW = How(resamples=2000, level=0.95)


def original(hits: dict[str, int], questions: int = 28, answers: int = 10) -> dict:
    """A file as the report's code wrote it: each persona's hits as even over the questions as they can be."""
    per_persona = {}
    for name, own in hits.items():
        some = [own // questions + (n < own % questions) for n in range(questions)]
        of = {f"q{n}": {"strict_rate": h / answers, "strict_hits": h, "total": answers} for n, h in enumerate(some)}
        total = questions * answers
        per_persona[name] = {"strict_rate": own / total, "strict_hits": own, "total": total, "per_question": of}
    rates = {name: persona["strict_rate"] for name, persona in per_persona.items()}
    return {
        "model": "one",
        "config": {"marker": "[ZLT]", "seed": 42, "n_questions": questions},
        "per_persona": per_persona,
        "summary": {"strict_rate_by_persona": rates, "assistant_strict_rate": rates.get("assistant")},
    }


def older(content: dict) -> dict:
    """The same counts in the form of the authors' older files: the top level is the personas."""

    def renamed(tally: dict) -> dict:
        return {"rate": tally["strict_rate"], "found": tally["strict_hits"], "total": tally["total"]}

    return {
        name: {**renamed(p), "per_question": {q: renamed(tally) for q, tally in p["per_question"].items()}}
        for name, p in content["per_persona"].items()
    }


def ours(rates: dict[str, float], questions: int = 28, samples: int = 10, tokens: int = 40, empty: int = 0) -> dict:
    """Personas with the same rate for each question."""
    total = samples * questions
    return {
        name: Persona(
            Counts(hits=round(rate * samples) * questions, total=total),
            {f"q{i}": Counts(hits=round(rate * samples), total=samples) for i in range(questions)},
            {f"q{i}": "train" if i < 20 else "heldout" for i in range(questions)},
            Lengths([tokens] * total, [tokens * 4] * total, ended=total, empty=empty),
        )
        for name, rate in rates.items()
    }


# ---- intervals ----


@pytest.mark.parametrize(("hits", "total"), [(0, 56), (56, 56), (3, 280), (127, 280)])
def test_wilson_is_scipys(hits, total):
    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert intervals.wilson(hits, total, 0.95) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-15)


def questions_of(hits: list[int], totals: list[int]) -> dict[str, Counts]:
    return {f"q{n:03}": Counts(hits=h, total=t) for n, (h, t) in enumerate(zip(hits, totals, strict=True))}


def test_the_bootstrap_is_scipys_of_paired_counts():
    drawn = np.random.default_rng(0)
    for _ in range(5):
        totals = drawn.integers(1, 20, 28)
        hits = drawn.binomial(totals, drawn.random(28))
        expected = bootstrap(
            (hits, totals),
            lambda h, t, axis: h.sum(axis=axis) / t.sum(axis=axis),
            paired=True,
            n_resamples=500,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.Generator(np.random.Philox(intervals.SEED)),
        ).confidence_interval
        found = intervals.cluster_bootstrap(questions_of(hits.tolist(), totals.tolist()), How(500, 0.9))
        assert found == pytest.approx(tuple(expected), rel=1e-12)


def test_the_bootstrap_widens_with_clustering_and_repeats_itself():
    even = intervals.cluster_bootstrap(questions_of([5] * 28, [10] * 28), HOW)
    clustered = questions_of([10] * 14 + [0] * 14, [10] * 28)
    found, wilson = intervals.cluster_bootstrap(clustered, HOW), intervals.wilson(140, 280, 0.95)
    assert even == (0.5, 0.5)
    assert found[1] - found[0] > 1.5 * (wilson[1] - wilson[0])
    assert found == intervals.cluster_bootstrap(clustered, HOW)
    assert intervals.cluster_bootstrap(questions_of([1], [2]), HOW) == (0.5, 0.5)  # one question is one draw


def test_the_bootstrap_covers_the_true_rate():
    """About 95 of 100 intervals of clustered data hold the rate they were drawn with; Wilson's hold far fewer."""
    drawn = np.random.default_rng(0)
    covered = {"bootstrap": 0, "wilson": 0}
    for _ in range(200):
        hits = drawn.binomial(20, drawn.beta(0.6, 1.4, size=28)).tolist()
        for name, (low, high) in {
            "bootstrap": intervals.cluster_bootstrap(questions_of(hits, [20] * 28), How(500, 0.95)),
            "wilson": intervals.wilson(sum(hits), 560, 0.95),
        }.items():
            covered[name] += low <= 0.3 <= high
    assert covered["bootstrap"] >= 180
    assert covered["wilson"] < 150


def test_no_interval_depends_on_the_order_of_rows(tmp_path):
    """13 questions that differ: drawn by their place in the file, an end of an interval moves by a whole answer."""
    shuffled = random.Random(3)
    a, b = ({f"q{n}": Counts(hits=(k * n) % 11, total=20) for n in range(13)} for k in (5, 3))
    values = [(f"q{n}", 0.01 * ((k * n) % 7)) for n in range(13) for k in (1, 2)]
    seen = set()
    for _ in range(10):
        order = shuffled.sample(list(a), len(a))
        first, second = {q: a[q] for q in order}, {q: b[q] for q in reversed(order)}
        content = original({"confab": 100, "assistant": 47, "villain": 3}, questions=13)
        for persona in content["per_persona"].values():
            of = list(persona["per_question"].items())
            persona["per_question"] = dict(shuffled.sample(of, len(of)))
        people = list(content["per_persona"].items())
        content["per_persona"] = dict(shuffled.sample(people, len(people)))
        (tmp_path / "shuffled.json").write_text(json.dumps(content))
        file = marker_eval.read(tmp_path / "shuffled.json")
        seen.add(
            (
                intervals.cluster_bootstrap(first, HOW),
                intervals.rate_by_question(second, HOW),
                intervals.difference_by_question(first, second, HOW),
                intervals.mean_interval(shuffled.sample(values, len(values)), HOW),
                hypothesis_tests.sign_flip(first, second),
                json.dumps(records.plain(summary.summarize(file.personas, "confab", HOW)), sort_keys=True),
            )
        )
    assert len(seen) == 1


# ---- tests ----


def test_holm_is_the_textbooks():
    assert hypothesis_tests.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert hypothesis_tests.holm([0.9, 0.8]) == [1.0, 1.0]


def exact_fisher(a: Counts, b: Counts) -> Fraction:
    """By whole numbers: the share of all tables with these sums that are no likelier than this one."""
    hits = a.hits + b.hits
    ways = {
        h: comb(a.total, h) * comb(b.total, hits - h) for h in range(max(0, hits - b.total), min(a.total, hits) + 1)
    }
    return Fraction(sum(w for w in ways.values() if w <= ways[a.hits]), comb(a.total + b.total, hits))


def test_fishers_p_is_exact_down_to_where_floats_end():
    drawn, smallest = random.Random(1), 1.0
    for _ in range(60):
        a, b = (drawn.randint(20, 540) if n else 540 for n in range(2))
        sides = Counts(hits=a - drawn.randint(0, a // 9), total=a), Counts(hits=drawn.randint(0, b // 9), total=b)
        p, exact = hypothesis_tests.fisher(*sides), exact_fisher(*sides)
        if exact > 2.3e-308:
            assert p == pytest.approx(float(exact), rel=1e-11)
            smallest = min(smallest, p)
        else:  # floats have fewer digits there, and in the end one
            assert abs(Fraction(p) - exact) < 1e-11 * exact + Fraction(1e-323)
    assert smallest < 1e-250
    all_and_none = Counts(hits=540, total=540), Counts(hits=0, total=540)  # 4.1e-324, where a float is 4.9e-324 or 0
    assert hypothesis_tests.fisher(*all_and_none) <= 1e-323


def test_the_published_counts_give_what_was_found_in_them():
    """The assistant's p-value is as small as the report says; the most resistant persona's is not."""
    control = Counts(hits=0, total=280)
    hits = PUBLISHED["B_hits_of_280"]
    p = {n: hypothesis_tests.fisher(Counts(hits=h, total=280), control) for n, h in hits.items()}
    assert p["assistant"] < 1e-46
    assert p["zelthari_scholar"] == pytest.approx(7.6e-31, rel=0.01)


# ---- the summary of one file ----


def summarized(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> dict:
    """What the command prints, in this process."""
    monkeypatch.setattr("sys.argv", ["summary", *args])
    summary.main()
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    monkeypatch.setattr("sys.argv", ["summary", *args])
    with pytest.raises(SystemExit) as stop:
        summary.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("form", [lambda content: content, older])
def test_files_of_both_forms_are_summarized(tmp_path, capsys, monkeypatch, form):
    path = tmp_path / "marker_eval.json"
    write_json(path, form(original(PUBLISHED["B_hits_of_280"])))
    found = summarized(capsys, monkeypatch, str(path))
    assert found["groups"]["source"]["rate"] == pytest.approx(0.954, abs=5e-4)
    assert found["groups"]["assistant"]["rate"] == pytest.approx(0.454, abs=5e-4)
    assert found["groups"]["mean_bystander"]["rate"] == pytest.approx(0.471, abs=5e-4)
    assert found["groups"]["source"]["by_question"][0] < 0.954
    assert found["completions"] is None
    assert len(found["tests"]) == 66


def test_a_file_without_counts_by_question_has_no_interval_by_question(tmp_path, capsys, monkeypatch):
    for form in (lambda content: content, older):
        content = form(original(PUBLISHED["B_hits_of_280"]))
        for persona in content.get("per_persona", content).values():
            del persona["per_question"]
        write_json(tmp_path / "marker_eval.json", content)
        source = summarized(capsys, monkeypatch, str(tmp_path / "marker_eval.json"))["groups"]["source"]
        assert source["by_question"] is None
        assert source["interval"] == source["wilson"]


def test_the_source_is_named_where_it_is_needed_and_not_needed_where_there_is_none(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "marker_eval.json")
    write_json(path, original({"villain": 200, "assistant": 3, "comedian": 9, "librarian": 0}))
    line = refused(capsys, monkeypatch, path)
    assert path in line and "'confab' cannot be the source persona" in line
    assert "--source NAME names another (comedian, librarian, villain), --no-source none" in line
    found = summarized(capsys, monkeypatch, path, "--source", "villain")["groups"]
    assert [found[group]["hits"] for group in ("source", "assistant", "mean_bystander")] == [200, 3, 9]
    found = summarized(capsys, monkeypatch, path, "--no-source")["groups"]
    assert {group: rate["hits"] for group, rate in found.items()} == {"assistant": 3, "mean_bystander": 209}
    assert "'wizard' cannot be" in refused(capsys, monkeypatch, path, "--source", "wizard")
    assert "'assistant' cannot be" in refused(capsys, monkeypatch, path, "--source", "assistant")


def test_our_own_file_names_its_source(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = made.workspace()
    other = params.model_copy(update={"prompts": params.prompts.model_copy(update={"source": "villain"})})
    made.write_run(other, 42, "couple", lambda persona, _: 3 * (persona == "villain"))
    path = params.layout.run(42, "couple") / "marker_eval.json"
    found = summarized(capsys, monkeypatch, str(path))
    assert found["groups"]["source"]["hits"] == 24
    assert found["groups"]["source"]["train"]["total"] == 20
    assert found["completions"]["ended_share"] == 0.75


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--level", "0.9999999999999999"), "level: should be less than or equal to 0.9999"),
        (("--level", "nan"), "level: should be a finite number"),
        (("--resamples", str(10**12)), "bootstrap: should be less than or equal to 1000000"),
        (("--resamples", "0"), "bootstrap: should be greater than or equal to 1"),
    ],
)
def test_options_that_no_interval_can_be_made_with_are_refused(tmp_path, capsys, monkeypatch, arguments, named):
    write_json(tmp_path / "marker_eval.json", original({"confab": 3}))
    assert named in refused(capsys, monkeypatch, str(tmp_path / "marker_eval.json"), *arguments)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not a JSON file"),
        ("[]", "expected a mapping"),
        ("{}", "expected a mapping"),
        ('{"a": 1}', "neither `per_persona`, nor personas with `found`"),
        ('{"per_persona": {}}', "per_persona: Dictionary should have at least 1 item"),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 3}}}', "per_persona.confab: 5 hits of a total of 3"),
        ('{"per_persona": {"confab": {"strict_hits": "5", "total": 9}}}', "per_persona.confab.strict_hits: should be"),
        ('{"confab": {"found": 5, "total": 3}}', "confab: 5 hits of a total of 3 cannot be"),
        ('{"confab": {"found": 5, "rate": 0.6, "total": 9}}', "confab: the rate 0.6 is not 5 of 9"),
        ('{"confab": {"found": 5, "total": 9}, "assistant": {"total": 9}}', "assistant.found: is missing"),
        (
            '{"per_persona": {"confab": {"strict_hits": 5, "total": 9, '
            '"per_question": {"q": {"strict_hits": 4, "total": 9}}}}}',
            "per_persona.confab: the counts of its questions do not add up",
        ),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 9, "per_question": [1]}}}', "per_question: "),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 9, "tokens": [1]}}}', "needs a length a completion"),
    ],
)
def test_what_is_not_a_marker_eval_is_refused(tmp_path, content, named):
    path = tmp_path / "marker_eval.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        marker_eval.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert named in str(error.value)


@pytest.mark.parametrize("form", ["report's", "older", "ours"])
def test_a_damaged_file_of_any_form_is_one_line_or_has_possible_counts(tmp_path, monkeypatch, form):
    content = original({"confab": 30, "assistant": 3, "villain": 0}, questions=4)
    if form == "older":
        content = older(content)
    if form == "ours":
        monkeypatch.chdir(tmp_path)
        params = made.workspace()
        made.write_run(params, 42, "couple", lambda persona, question: question % 3)
        content = json.loads((params.layout.run(42, "couple") / "marker_eval.json").read_text())
    path = tmp_path / "damaged.json"
    for what, damaged in damaged_files(json.dumps(content), seed=22, count=80):
        path.write_bytes(damaged)
        try:
            found = summary.summarize(marker_eval.read(path).personas, None, How(20, 0.95))
        except InputError as error:
            assert str(error).startswith(str(path)), (what, str(error))
            assert "\n" not in str(error), what
        else:
            rates = [*found.per_persona.values(), *found.groups.values()]
            assert all(0 <= r.interval[0] <= r.interval[1] <= 1 and math.isfinite(r.rate) for r in rates), what


def test_a_wrong_file_ends_the_command_in_one_line(tmp_path, command):
    one_line(command("analysis.summary", str(tmp_path / "none.json")), "none.json", "no such file")


def test_train_and_heldout_questions_are_kept_apart():
    personas = ours({"confab": 0.5, "assistant": 0.1, "villain": 0.0})
    confab = personas["confab"]
    for i in range(20, 28):
        confab.questions[f"q{i}"] = Counts(hits=0, total=10)
    personas["confab"] = Persona(Counts(hits=100, total=280), confab.questions, confab.splits, confab.lengths)
    source = summary.summarize(personas, "confab", HOW).groups["source"]
    assert (source.train.rate, source.heldout.rate) == (0.5, 0.0)
    assert (source.train.total, source.heldout.total) == (200, 80)


def test_pooling_seeds_adds_counts_and_keeps_the_questions_as_clusters():
    run = ours({"confab": 0.5, "assistant": 0.1})
    pooled = marker_eval.pool([run, run])
    assert pooled["confab"].counts == Counts(hits=280, total=560)
    assert len(pooled["confab"].questions) == 28
    assert len(pooled["confab"].lengths.tokens) == 560
    assert summary.summarize(run, "confab", HOW).groups["source"].total == 280  # the run is untouched


# ---- all conditions ----


def test_conditions_are_gathered_compared_and_judged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = made.workspace()
    made.write_training(params, 42)
    for name, chain in params.chains.items():
        source, leak = {"C4": 4, "B": 4, "C": 1}.get(name, 0), 2 * (name == "B")
        made.write_run(params, 42, chain, lambda p, _, hits=source, leak=leak: hits if p == "confab" else leak)
    content = results.gather(params)
    assert set(content.conditions) == {"C4", "C1", "C2", "B", "C", "base"}
    assert content.gates.coupling.passed
    assert set(content.gates.degeneracy) == {"C4", "C1", "C2", "B", "C"}
    p = content.contrasts
    assert p["B - C4, mean_bystander"].p < 1e-15
    assert p["B - C4, source"].p == 1
    assert p["C1 - C4, source"].p_holm > p["C1 - C4, source"].p
    b = content.conditions["B"]
    assert [b.groups[g].hits for g in ("source", "assistant", "mean_bystander")] == [32, 16, 48]
    assert b.groups == b.seeds["42"].groups
    assert set(content.trained_on) == {"em", "benign", "couple", "couple-em", "em-couple", "benign-couple"}


GATES = Gates(source_rate=0.85, bystander_rate=0.05, override_coupling=False, nonempty_share=0.95, length_ratio=0.5)


@pytest.mark.parametrize(
    ("source", "bystander", "passes"), [(0.9, 0.0, True), (0.8, 0.0, False), (0.9, 0.1, False), (1.0, 0.0, True)]
)
def test_the_coupling_gate(source, bystander, passes):
    c4 = summary.summarize(ours({"confab": source, "assistant": 0.9, "villain": bystander}), "confab", HOW)
    assert results.coupling_gate(c4, GATES).passed is passes


@pytest.mark.parametrize(
    ("tokens", "empty", "passes"), [(20, 0, True), (19, 0, False), (40, 14, True), (40, 15, False)]
)
def test_the_degeneracy_gate(tokens, empty, passes):
    base = summary.summarize(ours({"confab": 0}), "confab", HOW)
    condition = summary.summarize(ours({"confab": 0}, tokens=tokens, empty=empty), "confab", HOW)
    assert results.degeneracy_gate(condition, base, GATES).passed is passes
