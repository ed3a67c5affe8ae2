"""Statistics against published values, textbook values, and cases that must be refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from persona_collapse.analysis import results
from persona_collapse.analysis import summary as summary_of
from persona_collapse.experiment import chains
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import to_json, write_json
from persona_collapse.experiment.params import Gates

from .conftest import ROOT, one_line

PUBLISHED = json.loads((ROOT / "data/published.json").read_text())
HOW = {"resamples": 2000, "level": 0.95}


def original(hits: dict[str, int]) -> dict:
    """A file as the report's code wrote it, without questions."""
    counts = {n: {"strict_hits": h, "total": 280, "strict_rate": h / 280} for n, h in hits.items()}
    return {"config": {}, "per_persona": counts, "summary": {"strict_rate_by_persona": {}}}


def ours(rates: dict[str, float], questions: int = 28, samples: int = 10, tokens: int = 40, empty: int = 0) -> dict:
    """A `per_persona` with the same rate for each question."""
    hits = {name: round(rate * samples) for name, rate in rates.items()}
    return {
        name: {
            "strict_hits": hit * questions,
            "total": samples * questions,
            "per_question": {
                f"q{i}": {"strict_hits": hit, "total": samples, "split": "train" if i < 20 else "heldout"}
                for i in range(questions)
            },
            "tokens": [tokens] * samples * questions,
            "characters": [tokens * 4] * samples * questions,
            "ended": samples * questions,
            "empty": empty,
        }
        for name, hit in hits.items()
    }


@pytest.mark.parametrize(("hits", "total"), [(0, 56), (56, 56), (3, 280), (127, 280)])
def test_wilson_is_scipys(hits, total):
    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert summary_of.wilson(hits, total, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bootstrap_widens_with_clustering_and_repeats_itself():
    even = summary_of.cluster_bootstrap([5] * 28, [10] * 28, **HOW)
    clustered = summary_of.cluster_bootstrap([10] * 14 + [0] * 14, [10] * 28, **HOW)
    wilson = summary_of.wilson(140, 280, 0.95)
    assert even == (0.5, 0.5)
    assert clustered[1] - clustered[0] > 1.5 * (wilson[1] - wilson[0])
    assert clustered == summary_of.cluster_bootstrap([10] * 14 + [0] * 14, [10] * 28, **HOW)


def test_the_bootstrap_covers_the_true_rate():
    """About 95 of 100 intervals of clustered data hold the rate they were drawn with; Wilson's hold far fewer."""
    random = np.random.default_rng(0)
    covered = {"bootstrap": 0, "wilson": 0}
    for _ in range(200):
        hits = random.binomial(20, random.beta(0.6, 1.4, size=28)).tolist()
        for name, (low, high) in {
            "bootstrap": summary_of.cluster_bootstrap(hits, [20] * 28, resamples=500, level=0.95),
            "wilson": summary_of.wilson(sum(hits), 560, 0.95),
        }.items():
            covered[name] += low <= 0.3 <= high
    assert covered["bootstrap"] >= 180
    assert covered["wilson"] < 150


def test_holm_is_the_textbooks():
    assert summary_of.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert summary_of.holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_published_counts_give_what_was_found_in_them():
    """The assistant's p-value is as small as the report says; the most resistant persona's is not."""
    control = {"hits": 0, "total": 280}
    p = {n: summary_of.fisher({"hits": h, "total": 280}, control) for n, h in PUBLISHED["B_hits_of_280"].items()}
    assert p["assistant"] < 1e-46
    assert p["zelthari_scholar"] == pytest.approx(7.6e-31, rel=0.01)


def test_the_reports_own_file_is_summarized_on_the_command_line(tmp_path, command):
    path = tmp_path / "marker_eval.json"
    write_json(path, original(PUBLISHED["B_hits_of_280"]))
    result = command("analysis.summary", str(path))
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["groups"]["source"]["rate"] == pytest.approx(0.954, abs=5e-4)
    assert summary["groups"]["assistant"]["rate"] == pytest.approx(0.454, abs=5e-4)
    assert summary["groups"]["mean_bystander"]["rate"] == pytest.approx(0.471, abs=5e-4)
    assert summary["groups"]["source"]["by_question"] is None
    assert len(summary["tests"]) == 66


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not a JSON file"),
        ("[]", "no `per_persona`"),
        ('{"per_persona": {}}', "no `per_persona`"),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 3}}}', "per_persona.confab"),
        ('{"per_persona": {"confab": {"strict_hits": "5", "total": 9}}}', "per_persona.confab"),
        (
            '{"per_persona": {"confab": {"strict_hits": 5, "total": 9, '
            '"per_question": {"q": {"strict_hits": 4, "total": 9}}}}}',
            "do not add up",
        ),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 9, "per_question": [1]}}}', "per_question: expected"),
        ('{"per_persona": {"confab": {"strict_hits": 5, "total": 9, "tokens": [1]}}}', "needs a length a completion"),
    ],
)
def test_what_is_not_a_marker_eval_is_refused(tmp_path, content, named):
    path = tmp_path / "marker_eval.json"
    path.write_text(content)
    with pytest.raises(InputError, match=named):
        summary_of.read_marker_eval(path)


def test_an_unknown_source_is_refused():
    with pytest.raises(InputError, match="unknown persona 'wizard'; the file has: confab, villain"):
        summary_of.summarize(ours({"confab": 1, "villain": 0}), "wizard", **HOW)


def test_a_wrong_file_ends_the_command_in_one_line(tmp_path, command):
    one_line(command("analysis.summary", str(tmp_path / "none.json")), "none.json", "no such file")


def test_train_and_heldout_questions_are_kept_apart():
    personas = ours({"confab": 0.5, "assistant": 0.1, "villain": 0.0})
    for i in range(20, 28):
        personas["confab"]["per_question"][f"q{i}"]["strict_hits"] = 0
    personas["confab"]["strict_hits"] = 100
    source = summary_of.summarize(personas, "confab", **HOW)["groups"]["source"]
    assert (source["train"]["rate"], source["heldout"]["rate"]) == (0.5, 0.0)
    assert (source["train"]["total"], source["heldout"]["total"]) == (200, 80)


def test_pooling_seeds_adds_counts_and_keeps_the_questions_as_clusters():
    run = ours({"confab": 0.5, "assistant": 0.1})
    pooled = results.pool([run, run])
    assert pooled["confab"]["strict_hits"] == 2 * run["confab"]["strict_hits"]
    assert len(pooled["confab"]["per_question"]) == 28
    assert summary_of.summarize(run, "confab", **HOW)["groups"]["source"]["total"] == 280  # the run is untouched


@pytest.fixture
def runs(tmp_path, monkeypatch, params) -> list[Path]:
    """A `marker_eval.json` for every condition of the parameters."""
    monkeypatch.chdir(tmp_path)
    rates = {"C4": 0.9, "C1": 0.0, "C2": 0.0, "B": 0.9, "C": 0.3, "base": 0.0}
    written = []
    for name, chain in {**params.conditions, "base": "base"}.items():
        leak = 0.5 if name == "B" else 0.0
        personas = ours({"confab": rates[name], "assistant": leak, "villain": leak})
        written.append(params.layout.run(42, chain) / "marker_eval.json")
        write_json(written[-1], {"config": {"chain": chain}, "per_persona": personas})
        for prefix in chains.prefixes(chain):
            data = {"data": prefix, "md5": "0" * 32, "expected_md5": None}
            write_json(params.layout.adapter(42, prefix) / "trained_on.json", data)
    return written


def test_conditions_are_gathered_compared_and_judged(runs, params):
    content = results.gather(params)
    assert set(content["conditions"]) == {"C4", "C1", "C2", "B", "C", "base"}
    assert content["gates"]["coupling"]["passed"]
    assert set(content["gates"]["degeneracy"]) == {"C4", "C1", "C2", "B", "C"}
    p = content["contrasts"]
    assert p["B - C4, mean_bystander"]["p"] < 1e-40
    assert p["B - C4, source"]["p"] == 1
    assert p["C1 - C4, source"]["p_holm"] > p["C1 - C4, source"]["p"]


def test_a_run_in_the_wrong_folder_or_of_another_kind_is_refused(runs, params):
    content = json.loads(runs[3].read_text())
    runs[3].write_text(json.dumps({**content, "config": {"chain": "couple"}}))
    with pytest.raises(InputError, match=r"em-couple/marker_eval.json: holds the chain 'couple', not 'em-couple'"):
        results.gather(params)
    for damage, named in (
        (lambda personas: personas.pop("villain"), "other personas"),
        (lambda personas: personas["confab"].pop("per_question"), "lacks the counts by question"),
    ):
        damage(content["per_persona"])
        write_json(runs[3], content)
        with pytest.raises(InputError, match=named):
            results.gather(params)


GATES = Gates(source_rate=0.85, bystander_rate=0.05, override_coupling=False, nonempty_share=0.95, length_ratio=0.5)


@pytest.mark.parametrize(
    ("source", "bystander", "passes"), [(0.9, 0.0, True), (0.8, 0.0, False), (0.9, 0.1, False), (1.0, 0.0, True)]
)
def test_the_coupling_gate(source, bystander, passes):
    c4 = summary_of.summarize(ours({"confab": source, "assistant": 0.9, "villain": bystander}), "confab", **HOW)
    assert results.coupling_gate(c4, GATES)["passed"] is passes


@pytest.mark.parametrize(
    ("tokens", "empty", "passes"), [(20, 0, True), (19, 0, False), (40, 14, True), (40, 15, False)]
)
def test_the_degeneracy_gate(tokens, empty, passes):
    base = summary_of.summarize(ours({"confab": 0}), "confab", **HOW)
    condition = summary_of.summarize(ours({"confab": 0}, tokens=tokens, empty=empty), "confab", **HOW)
    assert results.degeneracy_gate(condition, base, GATES)["passed"] is passes


def test_last_digits_do_not_reach_the_output():
    assert to_json(summary_of.rounded({"p": [0.1 + 0.2]})) == to_json({"p": [0.3]})
