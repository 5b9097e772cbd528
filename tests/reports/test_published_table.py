"""Published beside measured: marked, never ranked, and the same numbers in every format."""

from __future__ import annotations

import pytest

from ccar.reports.content import content_of
from ccar.reports.formats.html import render_html
from ccar.reports.formats.latex import render_latex
from ccar.reports.formats.markdown import render_markdown
from ccar.reports.published_table import published_table
from ccar.reports.results import summarise
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of

METHODS = {"bases": ["cross_entropy", "balanced_softmax"], "reweighting": {"omega": [0.75]}}


@pytest.fixture(scope="module")
def results():
    """Two base losses on CIFAR-100 at an imbalance factor that papers report, and one that none does."""
    return summarise(input_of(made_up_study(methods=METHODS, imbalance_factors=(100, 20))))


@pytest.fixture(scope="module")
def table(results):
    return published_table(results)


def row_of(table, method, where):
    """The texts of one row by the headings of their columns."""
    headings = [f"{column.group} {column.heading}".strip() for column in table.columns]
    rows = [dict(zip(headings, [entry.text for entry in row.entries], strict=True)) for row in table.rows]
    (row,) = [row for row in rows if (row["published method"], row["published in"]) == (method, where)]
    return row


def note(table, mark):
    (text,) = [text for text in table.notes if text.startswith(mark)]
    return text


def test_the_gap_is_measured_minus_published(results, table):
    cells = results.cells.set_index(["method", "imbalance_factor"])
    cell = cells.loc["cross_entropy+ccar(omega=0.75)", "100"]
    mean, sd = 100 * cell["test_accuracy_mean"], 100 * cell["test_accuracy_sd"]
    row = row_of(table, "Ours + CE (ω = 0.75)", "CCAR, Table II")
    assert row["measured accuracy"] == f"{mean:.2f} ± {sd:.2f}"
    assert float(row["gap points"].replace("−", "-")) == pytest.approx(mean - 39.86, abs=0.005)
    assert float(row["gap sd"].replace("−", "-")) == pytest.approx((mean - 39.86) / sd, abs=0.05)


def test_every_published_number_has_its_dagger_and_its_recipe(table):
    for row in table.rows:
        published = row.entries[3].text
        letter = published.split("†")[1].split()[0]
        assert note(table, f"†{letter} recipe: ").endswith(".")
    plain = row_of(table, "Cross-Entropy", "Class-Balanced")["published accuracy"]
    assert plain.startswith("38.32 †")
    assert "200 epochs; crop, flip." in note(table, f"†{plain.split('†')[1]} recipe")


def test_a_recipe_that_was_changed_is_not_called_by_its_name_alone():
    study = made_up_study(methods=METHODS, recipe={"name": "ldam_drw_cifar", "epochs": 190})
    table = published_table(summarise(input_of(study)))
    assert "not by that of this study (ldam_drw_cifar (changed: epochs)), so" in table.caption


def test_disputed_and_unverified_numbers_say_why_below_the_table(table):
    disputed = row_of(table, "Ours + BS (ω = 0.75)", "CCAR, Table II")["published accuracy"]
    number = disputed.split("[")[1].rstrip("]")
    assert "disputed: below the 50.3" in note(table, f"[{number}]")
    remembered = row_of(table, "Cross-Entropy", "GCL")["published accuracy"]
    number = remembered.split("[")[1].rstrip("]")
    assert "not verified in its source (from memory)" in note(table, f"[{number}]")
    assert "[" not in row_of(table, "Ours + CE (ω = 0.75)", "CCAR, Table II")["published accuracy"]


def test_nothing_is_ranked(table):
    assert not any(entry.bold for row in table.rows for entry in row.entries)
    order = [row.entries[2].text for row in table.rows]
    assert order[0] == "CCAR, Table II"  # the order of the published rows, not of their values


def test_a_study_that_nobody_reports_has_no_such_table():
    assert published_table(summarise(input_of(made_up_study(imbalance_factors=(20,))))) is None


def test_a_study_that_never_ran_has_no_such_table():
    study = made_up_study(methods=METHODS)
    assert published_table(summarise(input_of(study.never_ran))) is None


def test_one_seed_has_a_gap_without_a_spread():
    table = published_table(summarise(input_of(made_up_study(methods=METHODS, seeds=(0,)))))
    row = row_of(table, "Cross-Entropy", "CCAR, Table II")
    assert row["gap points"] != "–"
    assert row["gap sd"] == "–"


def test_a_cell_that_lost_a_seed_says_how_many_it_has():
    study = made_up_study(methods=METHODS)
    broken = study.ended(study.keys("cross_entropy")[0], "diverged", "nan")
    row = row_of(published_table(summarise(input_of(broken))), "Cross-Entropy", "CCAR, Table II")
    assert row["measured accuracy"].endswith("(n = 2)")


def test_zero_spread_gives_no_gap_in_its_units():
    study = made_up_study(methods=METHODS)
    tests = study.test_results.assign(test_accuracy=0.4)
    row = row_of(published_table(summarise(input_of(study, tests=tests))), "Cross-Entropy", "CCAR, Table II")
    assert (row["gap points"], row["gap sd"]) == ("+1.57", "–")


@pytest.mark.parametrize("render", [render_markdown, lambda content: render_html(content, {}), render_latex])
def test_every_format_has_the_table_with_its_notes(results, render):
    text = render(content_of(results, []))
    assert "Published beside measured" in text
    assert "39.86" in text
    assert "200 epochs; crop, flip" in text
    assert "U+" not in text
