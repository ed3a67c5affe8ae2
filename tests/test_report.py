"""Tables and figures say what the results say, in the same bytes each time."""

import re

import matplotlib
import pytest
from matplotlib import pyplot as plt

from persona_collapse import figures, results, tables
from persona_collapse.files import md5, read_json

from .conftest import ROOT
from .test_statistics import GATES, HOW, ours, statistics

PUBLISHED = read_json(ROOT / "data/published.json")
RATES = {"C4": (0.9, 0.0), "C1": (0.0, 0.0), "C2": (0.0, 0.0), "B": (0.8, 0.3), "C": (0.7, 0.1), "base": (0.0, 0.0)}


@pytest.fixture
def content() -> dict:
    conditions = {}
    for name, (source, other) in RATES.items():
        personas = ours({persona: source if persona == "confab" else other for persona in PUBLISHED["personas"]})
        conditions[name] = {"chain": name, **statistics.summarize(personas, "confab", **HOW)}
    return {
        "level": 0.95,
        "seeds": [42],
        "trained_on": {"fetched/bad": {"md5": "1" * 32, "expected_md5": None}},
        "conditions": conditions,
        "gates": {
            "coupling": results.coupling_gate(conditions["C4"], GATES),
            "degeneracy": {"B": results.degeneracy_gate(conditions["B"], conditions["base"], GATES)},
        },
    }


def test_the_headline_sets_published_beside_measured(content):
    rows = {row[0]: row[2:] for row in tables.headline(content, PUBLISHED)}
    assert [cell.split(" ")[0] for cell in rows["B"]] == ["95.4", "80.0", "45.4", "30.0", "47.1", "30.0"]
    assert rows["base"][0] == "-"


def test_the_gates_stand_under_the_table_whatever_they_say(content):
    assert "Coupling gate passed" in tables.notes(content)[1]
    content["gates"]["coupling"]["passed"] = False
    assert "Coupling gate FAILED:" in tables.notes(content)[1]
    content["gates"]["coupling"]["overridden"] = True
    assert "FAILED, overridden by parameter" in tables.notes(content)[1]
    content["gates"]["degeneracy"]["B"]["passed"] = False
    assert "FAILED for: B" in tables.notes(content)[2]


def test_data_that_are_not_the_published_ones_are_named_under_the_table(content):
    assert not any("NOT the published data" in line for line in tables.notes(content))
    content["trained_on"]["fetched/bad"]["expected_md5"] = "2" * 32
    assert f"fetched/bad has MD5 {'1' * 32}, accepted for {'2' * 32}" in tables.notes(content)[-1]


def test_latex_has_a_cell_for_every_column(content):
    body = tables.latex(tables.headline(content, PUBLISHED), tables.notes(content))
    assert r"Coupling gate passed" in body.split(r"\bottomrule")[1]
    assert not re.search(r"(?<!\\)%", body)
    lines = [line for line in body.splitlines() if re.match(r"(C4|C1|C2|B|C|base) &", line)]
    assert len(lines) == 6
    assert {line.count("&") for line in lines} == {7}


def test_figures_are_the_same_bytes_twice_and_labels_do_not_overlap(content, tmp_path, monkeypatch):
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


def test_bars_are_the_rates(content):
    figure = figures.per_persona(content, PUBLISHED)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == sorted(widths)
    assert widths[-1] == pytest.approx(80.0)
    plt.close(figure)


def test_the_readme_shows_the_generated_table():
    table = (ROOT / "paper/tables/smollm2/headline.md").read_text()
    assert table in (ROOT / "README.md").read_text()
