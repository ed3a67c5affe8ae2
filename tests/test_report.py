"""Tables and figures say what the results say, in the same bytes each time."""

import json
import re

import matplotlib
import pytest
from matplotlib import pyplot as plt

from persona_collapse.analysis import results
from persona_collapse.experiment import chains
from persona_collapse.experiment import params as parameters
from persona_collapse.experiment.errors import InputError
from persona_collapse.experiment.files import md5, read_json
from persona_collapse.report import figures, recipe, table, tables

from .conftest import ROOT
from .test_statistics import GATES, HOW, ours, summary_of

PUBLISHED = read_json(ROOT / "data/published.json")
RATES = {"C4": (0.9, 0.0), "C1": (0.0, 0.0), "C2": (0.0, 0.0), "B": (0.8, 0.3), "C": (0.7, 0.1), "base": (0.0, 0.0)}


@pytest.fixture
def content() -> dict:
    conditions = {}
    for name, (source, other) in RATES.items():
        personas = ours({persona: source if persona == "confab" else other for persona in PUBLISHED["personas"]})
        conditions[name] = {"chain": name, **summary_of.summarize(personas, "confab", **HOW)}
    return {
        "level": 0.95,
        "seeds": [42],
        "trained_on": {"fetched/bad": {"md5": "1" * 32, "expected_md5": None}},
        "conditions": conditions,
        "contrasts": results.contrasts(conditions),
        "gates": {
            "coupling": results.coupling_gate(conditions["C4"], GATES),
            "degeneracy": {"B": results.degeneracy_gate(conditions["B"], conditions["base"], GATES)},
        },
    }


def notes(content: dict) -> list[str]:
    return tables.notes(content, PUBLISHED)


def test_the_headline_sets_published_beside_measured(content):
    rows = {row[0]: row[2:] for row in tables.headline(content, PUBLISHED).rows}
    assert [cell.split(" ")[0] for cell in rows["B"]] == ["95.4", "80.0", "45.4", "30.0", "47.1", "30.0"]
    assert rows["base"][0] == "-"


def test_the_gates_stand_under_the_table_whatever_they_say(content):
    assert "Coupling gate passed" in notes(content)[1]
    content["gates"]["coupling"]["passed"] = False
    assert "Coupling gate FAILED:" in notes(content)[1]
    content["gates"]["coupling"]["overridden"] = True
    assert "FAILED, overridden by parameter" in notes(content)[1]
    content["gates"]["degeneracy"]["B"]["passed"] = False
    assert "FAILED for: B" in notes(content)[2]


def test_data_that_are_not_the_published_ones_are_named_under_the_table(content):
    assert not any("NOT the published data" in line for line in notes(content))
    content["trained_on"]["fetched/bad"]["expected_md5"] = "2" * 32
    assert f"fetched/bad has MD5 {'1' * 32}, accepted for {'2' * 32}" in notes(content)[-1]


def test_each_gate_is_judged_by_itself(content):
    content["gates"]["coupling"]["bystander_rate"] = 0.2
    verdicts = {row[0]: row[-1] for row in tables.gates(content).rows if row[1] == "C4"}
    assert verdicts == {"coupling: source rate (%)": "passed", "coupling: mean bystander (%)": "FAILED"}


def test_a_contrast_has_both_rates_their_difference_and_its_test(content):
    rows = {(row[0], row[1]): row[2:] for row in tables.pairwise(content).rows}
    p = content["contrasts"]["B - C4, mean_bystander"]
    assert rows["B - C4", "mean bystander"] == ["30.0", "0.0", "+30.0", f"{p['p']:.2g}", f"{p['p_holm']:.2g}"]


def test_every_persona_has_a_row_sorted_by_its_rate(content):
    rows = tables.per_persona(content, PUBLISHED).rows
    assert sorted(row[0] for row in rows) == sorted(PUBLISHED["personas"])
    assert rows[0][:2] == ["confab", "95.4"]


def test_the_three_forms_of_a_table_hold_the_same_cells(tmp_path):
    made = table.Table(
        "t", "Caption.", [*table.left("what"), *table.right("value")], [["a|b_c", "<5%"], ["-", "1"]], ["N & M."]
    )
    table.write(made, tmp_path)
    assert table.read(tmp_path / "t.json") == table.Table(
        "t", "Caption.", list(made.columns), [["a|b_c", "<5%"], ["-", "1"]], ["N & M."]
    )
    assert (
        tmp_path / "t.md"
    ).read_text() == "| what | value |\n| --- | ---: |\n| a\\|b_c | <5% |\n| - | 1 |\n\nN & M.\n"
    latex = (tmp_path / "t.tex").read_text()
    assert r"a|b\_c & $<$5\% \\" in latex
    assert r"-- & 1 \\" in latex
    assert r"\footnotesize N \& M." in latex.split(r"\bottomrule")[1]
    (tmp_path / "t.json").write_text('{"name": "t"}')
    with pytest.raises(InputError, match=r"t\.json: not a table"):
        table.read(tmp_path / "t.json")
    with pytest.raises(ValueError, match="not 2 cells"):
        table.Table("t", "", table.left("a", "b"), [["1"]])


def test_latex_has_a_cell_for_every_column(content):
    body = table.latex(tables.headline(content, PUBLISHED))
    assert r"Coupling gate passed" in body.split(r"\bottomrule")[1]
    assert not re.search(r"(?<!\\)%", body)
    lines = [line for line in body.splitlines() if re.match(r"(C4|C1|C2|B|C|base) &", line)]
    assert len(lines) == 6
    assert {line.count("&") for line in lines} == {7}


# ---- the recipe as it was used ----


@pytest.fixture
def trained(tmp_path, monkeypatch, params) -> parameters.Params:
    """A folder in which every adapter has the records that training leaves."""
    monkeypatch.chdir(tmp_path)
    for chain in params.trained:
        of_phase = params.recipe(chains.last_phase(chain))
        folder = params.layout.adapter(42, chain)
        folder.mkdir(parents=True)
        lora = of_phase.lora
        config = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout}
        (folder / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": lora.rank_stabilised}))
        log = [{"learning_rate": rate} for rate in (0.0, of_phase.learning_rate, of_phase.learning_rate / 2)]
        (folder / "training_log.json").write_text(json.dumps(log))
    return params


def test_the_recipe_is_what_the_adapters_were_trained_with(trained):
    report = parameters.load(ROOT / recipe.REPORT)
    rows = {row[0]: row[1:] for row in tables.hyperparameters(trained, report).rows}
    assert rows["steps"][0] == "3"
    assert rows["learning rate"] == ["0.0005", "0.0005", "0.0007", "0.0001", "0.0001", "5e-06"]
    assert rows["loss on"][2] == "last 16 tokens"
    assert rows["rank-stabilised"] == ["no", "no", "no", "no", "no", "yes"]


@pytest.mark.parametrize(
    ("file", "change"),
    [("adapter_config.json", ('"r": 8', '"r": 16')), ("training_log.json", ("0.0007", "0.0006"))],
)
def test_an_adapter_of_another_recipe_is_not_described_by_this_one(trained, file, change):
    path = trained.layout.adapter(42, "em-couple") / file
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=r"em-couple: trained with .* `dvc repro` trains it"):
        recipe.used(trained, "couple")


def test_a_point_of_fidelity_names_parameters_that_exist(monkeypatch, params, tmp_path):
    monkeypatch.chdir(ROOT)
    report = parameters.load(recipe.REPORT)
    rows = {row[0]: row[1:] for row in tables.fidelity(params, report).rows}
    assert rows["coupling LoRA"][2:4] == ["yes, 32, 64", "no, 8, 16"]
    with pytest.raises(InputError, match=r"no parameter 'phases\.couple\.optimizer'"):
        recipe.value(params, "phases.couple.optimizer")
    monkeypatch.setattr(recipe, "FIDELITY", tmp_path / "fidelity.yaml")
    recipe.FIDELITY.write_text("points: [{point: a, code: b, report: c}]")
    with pytest.raises(InputError, match="every point needs code, parameters, point, report"):
        recipe.points()


# ---- figures ----


def test_figures_are_the_same_bytes_twice_and_labels_do_not_overlap(content, tmp_path):
    seen = set()
    for _ in range(2):
        with matplotlib.rc_context(figures.STYLE):
            for number, draw in enumerate((figures.threeway, figures.per_persona)):
                figure = draw(content, PUBLISHED)
                figure.canvas.draw()
                for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
                    boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
                    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
                figures.save(figure, tmp_path / str(number))
        seen.add(tuple(md5(path) for path in sorted(tmp_path.iterdir())))
    assert len(seen) == 1
    assert b"Matplotlib v" not in (tmp_path / "0.pdf").read_bytes() + (tmp_path / "0.png").read_bytes()
    assert not plt.get_fignums()


def test_marks_are_the_rates(content):
    figure = figures.per_persona(content, PUBLISHED)
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_color() != figures.GREY]
    rates = [float(line.get_xdata()[0]) for line in marks]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(80.0)
    published = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert max(published) == pytest.approx(100 * 267 / 280)
    plt.close(figure)
