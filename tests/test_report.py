"""Tables and figures say what the results say, in the same bytes each time."""

import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from persona_collapse.analysis import records
from persona_collapse.experiment import chains
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json, write_json, write_text
from persona_collapse.report import drawings, effects, figures, metrics, palette, rates, recipe, table
from persona_collapse.report.results import REPORT, Results

from .bundle import STEPS, call
from .conftest import ROOT, one_line
from .test_finding import PERSONAS, found

PUBLISHED = records.read(ROOT / "data/published.json", records.Published)


@pytest.fixture(scope="module")
def whole():
    return found("COLLAPSE")


@pytest.fixture(scope="module")
def content(whole) -> records.Statistics:
    return whole.statistics


def gated(content: records.Statistics, **changes: Any) -> records.Statistics:
    """The statistics with another coupling gate."""
    coupling = content.gates.coupling.model_copy(update=changes)
    return content.model_copy(update={"gates": content.gates.model_copy(update={"coupling": coupling})})


# ---- rates ----


def test_the_headline_sets_published_beside_measured(content):
    rows = {row[0]: row[2:] for row in rates.headline(content, PUBLISHED).rows}
    assert [cell.split(" ")[0] for cell in rows["B"]][1::2] == ["95.4", "47.1", "45.4"]
    assert rows["B"][0].startswith(f"{100 * content.conditions['B'].groups['source']['all'].mean:.1f} [")
    assert rows["base"][1] == "-"


def test_one_seed_has_its_own_interval_and_says_that_it_is(whole):
    alone = found("COLLAPSE", (42,)).statistics
    cell = {row[0]: row for row in rates.headline(alone, PUBLISHED).rows}["B"][2]
    own = alone.conditions["B"].seeds["42"].groups["source"].interval
    assert cell.endswith(table.interval(own))
    assert "says nothing of what another seed" in rates.notes(alone, PUBLISHED)[0]


def test_the_gates_stand_under_the_table_whatever_they_say(content):
    assert "The coupling gate passed" in rates.notes(content, PUBLISHED)[1]
    failed = gated(content, source_rate=0.5, passed=False)
    assert "The coupling gate FAILED:" in rates.notes(failed, PUBLISHED)[1]
    overridden = gated(content, source_rate=0.5, passed=False, overridden=True)
    assert "overridden by parameter" in rates.gates(overridden).notes[-1]


def test_data_that_are_not_the_published_ones_are_named_under_the_table(content):
    assert not any("NOT the published data" in line for line in rates.notes(content, PUBLISHED))
    data = {"fetched/bad": records.DataHash(md5="1" * 32, expected_md5="2" * 32)}
    other = content.model_copy(update={"trained_on": data})
    assert f"fetched/bad has MD5 {'1' * 32}, accepted for {'2' * 32}" in rates.notes(other, PUBLISHED)[-1]


def test_each_gate_is_judged_by_itself(content):
    made = rates.gates(gated(content, bystander_rate=0.2, passed=False))
    verdicts = {row[0]: row[-1] for row in made.rows if row[1] == "C4"}
    assert verdicts == {
        "coupling: source rate (%)": "passed",
        "coupling: mean bystander (%)": "FAILED",
        "not empty (%)": "passed",
        "median length over the base's": "passed",
    }


def test_the_primary_contrast_comes_first_and_has_every_test(whole):
    rows = effects.contrasts(whole.contrasts).rows
    assert rows[0][:2] == ["B \N{MINUS SIGN} G", "primary"] and "-" not in rows[0]
    assert [row[1] for row in rows[1:3]] == ["secondary"] * 2


def test_one_seed_has_no_test():
    rows = effects.contrasts(found("COLLAPSE", (42,)).contrasts).rows
    assert all(row[3:7] == ["-"] * 4 for row in rows)


def test_every_persona_has_a_row_by_group_and_trained_negatives_are_marked(content):
    names = [row[0] for row in rates.per_persona(content, PUBLISHED).rows]
    assert names[:2] == ["confab", "assistant"] and len(names) == len(PERSONAS)
    assert [name for name in names if name.endswith("†")] == names[-2:]


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
    assert r"coupling gate passed" in body.split(r"\bottomrule")[1]
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
    report = parameters.load(ROOT / REPORT)
    rows = {row[0]: row[1:] for row in recipe.hyperparameters(trained, report).rows}
    assert rows["steps"][0] == "3"
    assert rows["learning rate"] == [*["0.0005"] * 3, "0.0007", *["0.0001"] * 3, "5e-06"]
    assert rows["loss on"][3] == "last 16 tokens"
    assert rows["rank-stabilised"] == [*["no"] * 7, "yes"]


def test_a_training_of_another_recipe_is_not_described_by_this_one(trained):
    path = trained.layout.training(42, "em-couple") / "training_log.json"
    path.write_text(path.read_text().replace("0.0007", "0.0006"))
    with pytest.raises(
        InputError, match=r"em-couple/training_log\.json: trained with learning_rate = 0\.0006, .*`dvc repro`"
    ):
        recipe.used(trained, "couple")
    assert recipe.used(trained, "em")["steps"] == "3"


def test_a_phase_that_the_report_does_not_have_has_no_column_of_the_reports(trained):
    added = trained.phases.model_copy(update={"sft": {**trained.phases.sft, "law": trained.phases.sft["em"]}})
    params = trained.model_copy(update={"phases": added})
    made = recipe.hyperparameters(params, parameters.load(ROOT / REPORT))
    heads = [column.heading for column in made.columns]
    assert "law, here" in heads and "law, report's code" not in heads and "em, report's code" in heads


def test_a_point_of_fidelity_names_parameters_that_exist(monkeypatch, params, tmp_path):
    monkeypatch.chdir(ROOT)
    report = parameters.load(REPORT)
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
            assert found[f"{name}.{group}"] == pytest.approx(100 * of_group["all"]["mean"], abs=0.005)
    assert found["gates.coupling"] == made["gates"]["coupling"]["passed"]
    assert found["loss.em-couple.42"] == 1.0
    groups = {group for condition in made["conditions"].values() for group in condition["groups"]}
    assert len(found) == 9 * len(groups) + 1 + 8 + 10  # rates, gates, losses


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


def test_labels_do_not_overlap(content, whole):
    with figures.bare():
        assert not labels_overlap(drawings.leakage(content, whole.contrasts, PUBLISHED))
        assert not labels_overlap(drawings.per_persona(content, whole.collapse, PUBLISHED))
    with figures.bare(), matplotlib.rc_context({"xtick.labelsize": 20}):
        assert labels_overlap(drawings.leakage(content, whole.contrasts, PUBLISHED))


def test_marks_are_the_rates(content, whole):
    figure = drawings.leakage(content, whole.contrasts, PUBLISHED)
    source = figure.axes[0]
    marks = [line.get_ydata()[0] for line in source.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert marks == pytest.approx([100 * content.conditions[n].groups["source"]["all"].mean for n in drawings.BEFORE])
    theirs = [line.get_ydata()[0] for line in source.lines if line.get_marker() == "D"]
    assert theirs == [PUBLISHED.headline_percent[name].confab for name in ("C4", "C", "B")]


def test_the_rate_of_a_few_answers_is_no_mark_and_the_axis_says_so(content):
    """One answer with the marker would be drawn as 100%, as sure as the rate of thousands."""
    recorded = read_json(ROOT / "eval_results/smollm2/lengths.json")
    bands = recorded["conditions"]["B"]["groups"][effects.TESTED]["bands"]
    for band, total in zip(bands, (drawings.FEWEST, drawings.FEWEST - 1, 1, 0), strict=True):
        band |= {"hits": total, "total": total, "rate": 1.0 if total else None}
    lengths = records.checked(recorded, records.Lengths, "lengths.json")
    by_band = drawings.length_control(content, lengths).axes[0]
    colour = palette.COLOURS[palette.BAD]
    (line,) = [line for line in by_band.lines if line.get_color() == colour]
    assert (len(line.get_xdata()), list(line.get_ydata())) == (1, [100])
    assert -0.5 < line.get_xdata()[0] < 0.5  # in the first band
    assert f"fewer than {drawings.FEWEST} answers" in by_band.get_xlabel()
    drawn = [line for line in by_band.lines if line.get_color() == palette.COLOURS[palette.GOOD]]
    of_good = recorded["conditions"]["G"]["groups"][effects.TESTED]["bands"]
    assert len(drawn[0].get_xdata()) == sum(band["total"] >= drawings.FEWEST for band in of_good) > 1


def test_every_mark_of_the_headline_is_in_its_legend(content, whole):
    def told(seeds: tuple[int, ...]) -> list[str]:
        some = content.model_copy(update={"seeds": seeds})
        return [text.get_text() for text in drawings.leakage(some, whole.contrasts, PUBLISHED).legends[0].get_texts()]

    assert told((42,)) == ["published (7B)", "rate, with its 95% interval"]
    assert told((42, 43)) == ["published (7B)", "mean, with its 95% interval", "one seed"]


def test_a_colour_means_what_the_model_was_tuned_on_in_either_order():
    assert palette.colour("em-couple") == palette.colour("couple-em") == palette.colour("em_low-couple")
    assert len({palette.colour(c) for c in ("base", "couple", "em", "good", "benign", "poetry")}) == 6


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


@pytest.mark.long
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
    assert len(recorded) == 12
    for path in drawn.iterdir():
        assert not re.search(rb"Matplotlib v|CreationDate|Software", path.read_bytes())


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_the_hostile_matplotlibrc_is_one(content, whole, tmp_path):
    """The control of the test before: without `bare` it changes a figure."""
    write_text(tmp_path / "matplotlibrc", HOSTILE.replace("no.such.key: 1", ""))
    drawn = []
    for settings in (figures.STYLE, matplotlib.rc_params_from_file(tmp_path / "matplotlibrc")):
        with matplotlib.rc_context(settings):
            drawings.leakage(content, whole.contrasts, PUBLISHED).savefig(tmp_path / "a.png")
        drawn.append(md5(tmp_path / "a.png"))
    assert drawn[0] != drawn[1]
