"""Tables and figures say what the results say, in the same bytes each time."""

import copy
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from persona_collapse.analysis import records
from persona_collapse.experiment import chains
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.chains import CONDITIONS, CONTRASTS
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json, write_json, write_text
from persona_collapse.report import figures, lengths, metrics, rates, recipe, table
from persona_collapse.report.results import Results

from .bundle import STEPS, call
from .conftest import ROOT, one_line

PUBLISHED = records.read(ROOT / "data/published.json", records.Published)
ANSWERS = 50  # a persona
HITS = {"C4": (45, 0), "C1": (0, 0), "C2": (0, 0), "B": (40, 15), "C": (35, 5), "base": (0, 0)}  # source, others
GROUPS = ("source", "assistant", "mean_bystander")


def rate(hits: int, total: int) -> dict[str, Any]:
    ends = [max(0.0, hits / total - 0.05), min(1.0, hits / total + 0.05)]
    return {"hits": hits, "total": total, "rate": hits / total, "wilson": ends, "by_question": None, "interval": ends}


def summary(source: int, other: int) -> dict[str, Any]:
    names = PUBLISHED.personas
    shape = {"median_tokens": 40.0, "median_characters": 160.0, "ended_share": 1.0, "empty_share": 0.0}
    bystanders = len(names) - 2
    groups = {"source": (source, 1), "assistant": (other, 1), "mean_bystander": (other * bystanders, bystanders)}
    return {
        "per_persona": {
            name: {**rate(source if name == "confab" else other, ANSWERS), "completions": shape} for name in names
        },
        "groups": {group: rate(hits, ANSWERS * size) for group, (hits, size) in groups.items()},
        "tests": {f"{a} - {b}": {"p": 0.01, "p_holm": 0.5} for a, b in combinations(sorted(names), 2)},
        "completions": shape,
    }


def statistics() -> dict[str, Any]:
    """What a statistics.json with the rates of `HITS` holds."""
    chain_of = {**CONDITIONS, "base": "base"}
    degeneracy = {"nonempty_share": 1.0, "nonempty_share_required": 0.95, "length_ratio": 1.0}
    degeneracy |= {"length_ratio_required": 0.5, "passed": True}
    return {
        "level": 0.95,
        "seeds": [42],
        "trained_on": {"fetched/bad": {"md5": "1" * 32, "expected_md5": None}},
        "conditions": {
            name: {"chain": chain_of[name], "seeds": {"42": summary(*hits)}, **summary(*hits)}
            for name, hits in HITS.items()
        },
        "contrasts": {
            f"{a} - {b}, {group}": {"p": 1.23e-5, "p_holm": 0.0004} for a, b in CONTRASTS for group in GROUPS
        },
        "gates": {
            "coupling": {
                "source_rate": 0.9,
                "source_rate_required": 0.85,
                "bystander_rate": 0.0,
                "bystander_rate_allowed": 0.05,
                "assistant_rate": 0.0,
                "passed": True,
                "overridden": False,
            },
            "degeneracy": {name: dict(degeneracy) for name in CONDITIONS},
        },
    }


CONTENT = statistics()


def with_change(*steps: str, value: Any) -> records.Statistics:
    """The statistics with one value changed."""
    content = copy.deepcopy(CONTENT)
    *before, last = steps
    inside = content
    for step in before:
        inside = inside[step]
    inside[last] = value
    return records.checked(content, records.Statistics, "statistics")


@pytest.fixture
def content() -> records.Statistics:
    return records.checked(CONTENT, records.Statistics, "statistics")


# ---- rates ----


def test_the_headline_sets_published_beside_measured(content):
    rows = {row[0]: row[2:] for row in rates.headline(content, PUBLISHED).rows}
    assert [cell.split(" ")[0] for cell in rows["B"]] == ["95.4", "80.0", "45.4", "30.0", "47.1", "30.0"]
    assert rows["B"][1] == "80.0 [75.0, 85.0]"
    assert rows["base"][0] == "-"


def test_the_gates_stand_under_the_table_whatever_they_say(content):
    def notes(found: records.Statistics) -> list[str]:
        return rates.notes(found, PUBLISHED)

    assert "Coupling gate passed" in notes(content)[1]
    coupling = {**CONTENT["gates"]["coupling"], "source_rate": 0.5, "passed": False}
    assert "Coupling gate FAILED:" in notes(with_change("gates", "coupling", value=coupling))[1]
    overridden = with_change("gates", "coupling", value={**coupling, "overridden": True})
    assert "FAILED, overridden by parameter" in notes(overridden)[1]
    assert rates.gates(overridden).notes == ["The coupling gate was overridden by parameter."]
    short = {**CONTENT["gates"]["degeneracy"]["B"], "length_ratio": 0.4, "passed": False}
    assert "FAILED for: B" in notes(with_change("gates", "degeneracy", "B", value=short))[2]


def test_data_that_are_not_the_published_ones_are_named_under_the_table(content):
    assert not any("NOT the published data" in line for line in rates.notes(content, PUBLISHED))
    other = with_change("trained_on", "fetched/bad", "expected_md5", value="2" * 32)
    assert f"fetched/bad has MD5 {'1' * 32}, accepted for {'2' * 32}" in rates.notes(other, PUBLISHED)[-1]


def test_each_gate_is_judged_by_itself():
    coupling = {**CONTENT["gates"]["coupling"], "bystander_rate": 0.2, "passed": False}
    found = rates.gates(with_change("gates", "coupling", value=coupling))
    verdicts = {row[0]: row[-1] for row in found.rows if row[1] == "C4"}
    assert verdicts == {
        "coupling: source rate (%)": "passed",
        "coupling: mean bystander (%)": "FAILED",
        "not empty (%)": "passed",
        "median length over base's": "passed",
    }


def test_a_contrast_has_both_rates_their_difference_and_its_test(content):
    rows = {(row[0], row[1]): row[2:] for row in rates.pairwise(content).rows}
    assert rows["B - C4", "mean bystander"] == ["30.0", "0.0", "+30.0", "1.2e-05", "0.0004"]


def test_every_persona_has_a_row_sorted_by_its_rate(content):
    rows = rates.per_persona(content, PUBLISHED).rows
    assert sorted(row[0] for row in rows) == sorted(PUBLISHED.personas)
    assert rows[0][:2] == ["confab", "95.4"]


# ---- the length control ----


def test_what_there_is_nothing_to_measure_on_is_a_dash(finished):
    content = read_json(finished / "eval_results/smollm2/lengths.json")
    group = content["conditions"]["B"]["groups"]["assistant"]
    nothing = dict.fromkeys(("rate", "wilson", "by_question", "interval"))
    group["rate_of_ended"] = {"hits": 0, "total": 0, **nothing}
    content["contrasts"]["B - C, assistant"]["standardised"] |= {"rates": None, "difference": None, "interval": None}
    found = records.checked(content, records.Lengths, "lengths")
    shown = {tuple(row[:2]): row for row in lengths.lengths(found).rows}
    assert shown["B", "assistant"][5] == "-" and shown["B", "source"][5] != "-"
    contrasts = {tuple(row[:2]): row for row in lengths.length_contrasts(found).rows}
    assert contrasts["B - C", "assistant"][3] == "-" and contrasts["B - C", "assistant"][2] != "-"


# ---- the forms of a table ----


def test_the_three_forms_of_a_table_hold_the_same_cells(tmp_path):
    made = table.Table(
        name="t",
        caption="Caption.",
        columns=[*table.left("what"), *table.right("value")],
        rows=[["a|b_c", "<5%"], ["-", "1"]],
        notes=["N & M."],
    )
    texts = {path.suffix: text for path, text in table.forms(made, tmp_path).items()}
    write_text(tmp_path / "t.json", texts[".json"])
    assert table.read(tmp_path / "t.json") == made
    assert texts[".md"] == "| what | value |\n| --- | ---: |\n| a\\|b_c | <5% |\n| - | 1 |\n\nN & M.\n"
    assert r"a|b\_c & $<$5\% \\" in texts[".tex"]
    assert r"-- & 1 \\" in texts[".tex"]
    assert r"\footnotesize N \& M." in texts[".tex"].split(r"\bottomrule")[1]


def test_latex_has_a_cell_for_every_column(content):
    body = table.latex(rates.headline(content, PUBLISHED))
    assert r"Coupling gate passed" in body.split(r"\bottomrule")[1]
    assert not re.search(r"(?<!\\)%", body)
    lines = [line for line in body.splitlines() if re.match(r"(C4|C1|C2|B|C|base) &", line)]
    assert len(lines) == 6
    assert {line.count("&") for line in lines} == {7}


def test_all_tables_of_a_run_are_written_or_none(bundle, monkeypatch):
    folder = bundle / "paper/tables/smollm2"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for path in before:
        path.write_bytes(b"old")
    write = Path.write_bytes

    def full_at_the_last(self: Path, content: bytes) -> int:
        if self.name.endswith("claims_short.json"):
            raise OSError(28, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_at_the_last)
    one_line(call("report.tables"), "No space left on device")
    assert {path.read_bytes() for path in folder.iterdir()} == {b"old"}
    assert set(folder.iterdir()) == set(before)


# ---- the recipe as it was used ----


@pytest.fixture
def trained(tmp_path, monkeypatch, params) -> parameters.Params:
    """A folder in which every training has left its log."""
    monkeypatch.chdir(tmp_path)
    for chain in params.trained:
        peak = params.recipe(chains.last_phase(chain)).learning_rate
        step = {"loss": 1.0, "grad_norm": 1.0}
        log = [{**step, "step": n, "learning_rate": r} for n, r in enumerate((0.0, peak, peak / 2), 1)]
        write_json(params.layout.training(42, chain) / "training_log.json", log)
    return params


def test_the_recipe_is_what_the_adapters_were_trained_with(trained):
    report = parameters.load(ROOT / recipe.REPORT)
    rows = {row[0]: row[1:] for row in recipe.hyperparameters(trained, report).rows}
    assert rows["steps"][0] == "3"
    assert rows["learning rate"] == ["0.0005", "0.0005", "0.0007", "0.0001", "0.0001", "5e-06"]
    assert rows["loss on"][2] == "last 16 tokens"
    assert rows["rank-stabilised"] == ["no", "no", "no", "no", "no", "yes"]


def test_a_training_of_another_recipe_is_not_described_by_this_one(trained):
    path = trained.layout.training(42, "em-couple") / "training_log.json"
    path.write_text(path.read_text().replace("0.0007", "0.0006"))
    with pytest.raises(
        InputError, match=r"em-couple/training_log\.json: trained with learning_rate = 0\.0006, .*`dvc repro`"
    ):
        recipe.used(trained, "couple")
    assert recipe.used(trained, "em")["steps"] == "3"


def test_a_phase_that_the_report_does_not_have_has_no_column_of_the_reports(trained):
    added = trained.phases.model_copy(update={"sft": {**trained.phases.sft, "good": trained.phases.sft["em"]}})
    params = trained.model_copy(update={"phases": added})
    made = recipe.hyperparameters(params, parameters.load(ROOT / recipe.REPORT))
    heads = [column.heading for column in made.columns]
    assert "good, here" in heads and "good, report's code" not in heads and "em, report's code" in heads


def test_a_point_of_fidelity_names_parameters_that_exist(monkeypatch, params, tmp_path):
    monkeypatch.chdir(ROOT)
    report = parameters.load(recipe.REPORT)
    rows = {row[0]: row[1:] for row in recipe.fidelity(params, report).rows}
    assert rows["coupling LoRA"][2:4] == ["yes, 32, 64", "no, 8, 16"]
    with pytest.raises(InputError, match=r"no parameter 'phases\.couple\.optimizer'"):
        recipe.look_up(params, "phases.couple.optimizer")
    monkeypatch.setattr(recipe, "FIDELITY", tmp_path / "fidelity.yaml")
    for text, complaint in (
        ("points: [{point: a, code: b, report: c}]", r"fidelity\.yaml: points\.0\.parameters: is missing"),
        ("points: [{point: a, code: 7, report: c, parameters: []}]", r"fidelity\.yaml: points\.0\.code"),
        ("points: []", r"fidelity\.yaml: points"),
    ):
        recipe.FIDELITY.write_text(text)
        with pytest.raises(InputError, match=complaint):
            recipe.fidelity(params, report)


# ---- results that are not those of the parameters ----


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("level: 0.95", "level: 0.9"), "statistics.json: made with results.level = 0.95, params.yaml says 0.9"),
        (("source_rate: 0.85", "source_rate: 0.8"), "made with gates.source_rate = 0.85, params.yaml says 0.8"),
        (("length_ratio: 0.5", "length_ratio: 0.4"), "made with gates.length_ratio = 0.5, params.yaml says 0.4"),
        (("override_coupling: false", "override_coupling: true"), "gates.override_coupling = False, params.yaml says"),
        (("seeds: [42]", "seeds: [42, 43]"), "made with seeds = [42], params.yaml says [42, 43]"),
    ],
)
def test_results_made_with_other_parameters_are_refused(bundle, change, named):
    path = Path("params.yaml")
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    for module in ("tables", "quoted", "figures", "metrics", "paper", "page", "documents"):
        one_line(call(f"report.{module}"), named)


# ---- metrics ----


def test_metrics_are_few_numbers_under_short_keys(finished):
    found = read_json(finished / "eval_results/smollm2/metrics.json")
    made = read_json(finished / "eval_results/smollm2/statistics.json")
    assert all(type(value) in (int, float) for value in found.values())
    for name, condition in made["conditions"].items():
        for group, of_group in condition["groups"].items():
            assert found[f"{name}.{group}"] == pytest.approx(100 * of_group["rate"], abs=0.005)
    assert found["gates.coupling"] == made["gates"]["coupling"]["passed"]
    assert found["loss.em-couple.42"] == 1.0
    assert len(found) == 6 * 3 + 1 + 5 + 6


def test_the_loss_is_that_of_the_last_steps(finished, monkeypatch):
    monkeypatch.chdir(finished)
    results = Results(parameters.load())
    path, log = recipe.log_of(results.params, 42, "em")
    falling = [step.model_copy(update={"loss": 100.0 - n}) for n, step in enumerate(log * 3)]
    assert len(falling) == 3 * STEPS
    monkeypatch.setattr(recipe, "log_of", lambda params, seed, chain: (path, falling))
    last = range(len(falling) - metrics.LAST, len(falling))
    assert metrics.metrics(results)["loss.em.42"] == round(sum(100.0 - n for n in last) / metrics.LAST, 4)


# ---- figures ----


def labels_overlap(figure: Figure) -> bool:
    FigureCanvasAgg(figure).draw()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
        if any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]):
            return True
    return False


def test_labels_do_not_overlap(content):
    with figures.bare():
        assert not labels_overlap(figures.threeway(content, PUBLISHED))
        assert not labels_overlap(figures.per_persona(content, PUBLISHED, "confab"))
    with figures.bare(), matplotlib.rc_context({"xtick.labelsize": 20}):
        assert labels_overlap(figures.threeway(content, PUBLISHED))


def test_marks_are_the_rates(content):
    figure = figures.per_persona(content, PUBLISHED, "confab")
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_color() != figures.GREY]
    shown = [float(line.get_xdata()[0]) for line in marks]
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(80.0)
    published = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert max(published) == pytest.approx(100 * 267 / 280)


HOSTILE = """
font.size: 30
font.sans-serif: DejaVu Serif
axes.facecolor: red
lines.linewidth: 9
savefig.bbox: tight
figure.dpi: 20
pdf.fonttype: 3
path.sketch: 9, 100, 2
axes.formatter.use_locale: True
no.such.key: 1
"""  # with a locale that is not installed, the last but one stops matplotlib's import


def test_figures_depend_on_nothing_of_the_users(finished, bundle, command, tmp_path):
    """A matplotlibrc in every place where matplotlib looks, a notebook's backend and a date of someone's choice."""
    home = tmp_path / "home"
    for path in (bundle / "matplotlibrc", home / ".config/matplotlib/matplotlibrc", tmp_path / "rc"):
        write_text(path, HOSTILE)
    recorded = {path.name: md5(path) for path in (finished / "figures/smollm2").iterdir()}
    drawn = bundle / "figures/smollm2"
    for path in drawn.iterdir():
        path.unlink()
    result = command(
        "report.figures",
        HOME=str(home),
        MPLCONFIGDIR=str(home / ".config/matplotlib"),
        MATPLOTLIBRC=str(tmp_path / "rc"),
        MPLBACKEND="module://nothing_that_can_be_imported",
        SOURCE_DATE_EPOCH="1",
        PYTHONHASHSEED="3",
        LC_ALL="de_DE.UTF-8",
        TZ="Asia/Tokyo",
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name: md5(path) for path in drawn.iterdir()} == recorded
    assert len(recorded) == 6
    for path in drawn.iterdir():
        assert not re.search(rb"Matplotlib v|CreationDate|Software", path.read_bytes())


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_the_hostile_matplotlibrc_is_one(content, tmp_path):
    """The control of the test before: without `bare` it changes a figure."""
    write_text(tmp_path / "matplotlibrc", HOSTILE.replace("no.such.key: 1", ""))
    drawn = []
    for settings in (figures.STYLE, matplotlib.rc_params_from_file(tmp_path / "matplotlibrc")):
        with matplotlib.rc_context(settings):
            figures.threeway(content, PUBLISHED).savefig(tmp_path / "a.png")
        drawn.append(md5(tmp_path / "a.png"))
    assert drawn[0] != drawn[1]
