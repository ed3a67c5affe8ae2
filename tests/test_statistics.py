"""Statistics against published values, textbook values, SciPy's, and cases that must be refused."""

import json
import math
import random
from fractions import Fraction
from math import comb

import pytest

from persona_collapse.analysis import hypothesis_tests, marker_eval, records, results, summary
from persona_collapse.analysis.marker_eval import Lengths, Persona
from persona_collapse.analysis.records import Counts
from persona_collapse.experiment import groups
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import write_json
from persona_collapse.experiment.params import Gates

from . import made
from .conftest import ROOT, one_line
from .damage import damaged_files

PUBLISHED = json.loads((ROOT / "data/published.json").read_text())


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


GROUPS = {"source": ["confab"], "trained_negative": [], "untrained_bystander": ["villain"], "assistant": ["assistant"]}
LEVEL = 0.95


def test_no_number_depends_on_the_order_of_rows(tmp_path):
    shuffled = random.Random(3)
    seen = set()
    for _ in range(5):
        content = original({"confab": 100, "assistant": 47, "villain": 3}, questions=13)
        for persona in content["per_persona"].values():
            of = list(persona["per_question"].items())
            persona["per_question"] = dict(shuffled.sample(of, len(of)))
        people = list(content["per_persona"].items())
        content["per_persona"] = dict(shuffled.sample(people, len(people)))
        (tmp_path / "shuffled.json").write_text(json.dumps(content))
        file = marker_eval.read(tmp_path / "shuffled.json")
        seen.add(json.dumps(records.plain(summary.summarize(file.personas, GROUPS, LEVEL)), sort_keys=True))
    assert len(seen) == 1


# ---- tests ----


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
    low, high = found["groups"]["source"]["interval"]
    assert low < 0.954 < high
    assert found["completions"] is None


def test_a_file_without_counts_by_question_has_each_answer_count(tmp_path, capsys, monkeypatch):
    for form in (lambda content: content, older):
        content = form(original(PUBLISHED["B_hits_of_280"]))
        for persona in content.get("per_persona", content).values():
            del persona["per_question"]
        write_json(tmp_path / "marker_eval.json", content)
        source = summarized(capsys, monkeypatch, str(tmp_path / "marker_eval.json"))["groups"]["source"]
        assert source["effective"] == source["total"] == 280


def test_the_source_is_named_where_it_is_needed_and_not_needed_where_there_is_none(tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "marker_eval.json")
    write_json(path, original({"villain": 200, "assistant": 3, "comedian": 9, "librarian": 0}))
    line = refused(capsys, monkeypatch, path)
    assert path in line and "'confab' cannot be the source persona" in line
    assert "--source NAME names another (comedian, librarian, villain), --no-source none" in line
    found = summarized(capsys, monkeypatch, path, "--source", "villain")["groups"]
    assert [found[group]["hits"] for group in ("source", "assistant", "mean_bystander")] == [200, 3, 9]
    found = summarized(capsys, monkeypatch, path, "--no-source")["groups"]
    assert {group: rate["hits"] for group, rate in found.items()} == {
        "assistant": 3,
        "untrained_bystander": 209,
        "mean_bystander": 209,
    }
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


@pytest.mark.parametrize("level", ["0.9999999999999999", "nan", "0"])
def test_a_level_that_no_interval_can_have_is_refused(tmp_path, capsys, monkeypatch, level):
    write_json(tmp_path / "marker_eval.json", original({"confab": 3}))
    line = refused(capsys, monkeypatch, str(tmp_path / "marker_eval.json"), "--level", level)
    assert "allowed are 0.5 to 0.9999" in line


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


def file_summary(path) -> records.Summary:
    personas = marker_eval.read(path).personas
    return summary.summarize(personas, {g: groups.members(personas, g, None) for g in records.GROUPS}, LEVEL)


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
            found = file_summary(path)
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
    source = summary.summarize(personas, GROUPS, LEVEL).groups["source"]
    assert (source.train.rate, source.heldout.rate) == (0.5, 0.0)
    assert (source.train.total, source.heldout.total) == (200, 80)


# ---- all conditions ----


def bundle(tmp_path, monkeypatch, seeds: tuple[int, ...]) -> records.Statistics:
    monkeypatch.chdir(tmp_path)
    params = made.workspace(seeds)
    for number, seed in enumerate(seeds):
        made.write_training(params, seed)
        for name, chain in params.chains.items():
            source, leak = {"C4": 4, "B": 4, "C": 1}.get(name, 0), (1 + number) * (name == "B")
            made.write_run(params, seed, chain, lambda p, _, hits=source, leak=leak: hits if p == "confab" else leak)
    return results.gather(params)


def test_conditions_are_gathered_and_judged(tmp_path, monkeypatch):
    content = bundle(tmp_path, monkeypatch, (42,))
    assert set(content.conditions) == {"C4", "C1", "C2", "B", "C", "G", "G1", "C5", "base"}
    assert content.groups == {
        "source": ["confab"],
        "trained_negative": ["comedian", "data_scientist"],
        "untrained_bystander": ["villain"],
        "assistant": ["assistant"],
    }
    assert content.gates.coupling.passed
    assert set(content.gates.degeneracy) == set(content.conditions) - {"base"}
    of = content.conditions["B"].seeds["42"].groups
    assert {word: rate.hits for word, rate in of.items()} == {
        "source": 32,
        "assistant": 8,
        "trained_negative": 16,
        "untrained_bystander": 8,
        "mean_bystander": 24,
    }
    assert {"em", "good", "benign", "couple", "em-couple", "good-couple"} <= set(content.trained_on)


def test_a_condition_is_the_mean_of_its_seeds_and_answers_are_never_added_up_over_them(tmp_path, monkeypatch):
    content = bundle(tmp_path, monkeypatch, (42, 43))
    b = content.conditions["B"]
    found = b.groups["untrained_bystander"]["all"]
    assert found.by_unit == {"42": 0.25, "43": 0.5}
    assert found.mean == 0.375
    assert found.interval == (0.0, 1.0)  # of two seeds
    assert b.per_persona["villain"]["heldout"].mean == 0.375
    assert {rate.total for rate in b.seeds["43"].per_persona.values()} == {32}


def test_one_seed_has_no_interval_over_seeds_but_its_own(tmp_path, monkeypatch):
    b = bundle(tmp_path, monkeypatch, (42,)).conditions["B"]
    assert b.groups["untrained_bystander"]["all"].interval is None
    low, high = b.seeds["42"].groups["untrained_bystander"].interval
    assert low < 0.25 < high


GATES = Gates(source_rate=0.85, bystander_rate=0.05, override_coupling=False, nonempty_share=0.95, length_ratio=0.5)


def seeds_of(**of: dict) -> dict[str, records.Summary]:
    return {seed: summary.summarize(ours(**own), GROUPS, LEVEL) for seed, own in of.items()}


@pytest.mark.parametrize(
    ("source", "bystander", "passes"), [(0.9, 0.0, True), (0.8, 0.0, False), (0.9, 0.1, False), (1.0, 0.0, True)]
)
def test_the_coupling_gate(source, bystander, passes):
    c4 = seeds_of(one={"rates": {"confab": source, "assistant": 0.9, "villain": bystander}})
    assert results.coupling_gate(c4, GATES).passed is passes


def test_a_gate_is_judged_on_the_mean_and_says_what_each_seed_gave():
    c4 = seeds_of(
        a={"rates": {"confab": 1.0, "assistant": 0.0, "villain": 0.0}},
        b={"rates": {"confab": 0.8, "assistant": 0.0, "villain": 0.0}},
    )
    gate = results.coupling_gate(c4, GATES)
    assert (gate.source_rate, gate.passed, gate.seeds) == (0.9, True, {"a": True, "b": False})


@pytest.mark.parametrize(
    ("tokens", "empty", "passes"), [(20, 0, True), (19, 0, False), (40, 14, True), (40, 15, False)]
)
def test_the_degeneracy_gate(tokens, empty, passes):
    base = seeds_of(one={"rates": {"confab": 0}})
    condition = seeds_of(one={"rates": {"confab": 0}, "tokens": tokens, "empty": empty})
    assert results.degeneracy_gate(condition, base, GATES).passed is passes
