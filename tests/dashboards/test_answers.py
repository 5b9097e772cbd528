"""The pages on results: their numbers are those of the report, letter by letter."""

from __future__ import annotations

import base64
import csv
import io
import re
import time
import urllib.error
import urllib.request
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ccar.data import digits
from ccar.evidence.benchmarks import benchmark_class_counts
from ccar.evidence.importance import importance
from ccar.reports import finding
from ccar.reports.formats.csv_files import render_csv
from ccar.reports.omega_formula import class_frequencies, gradient_factor
from ccar.reports.results import summarise
from ccar.reports.tables.best_omega import best_omega_table
from ccar.store.records import StudyRecord
from ccar.store.trial_store import TrialStore
from dashboards.pages.compare import _MEASURES
from dashboards.pages.losses import _P
from dashboards.stored_study import StoredStudy
from tests.dashboards.conftest import served
from tests.dashboards.made_up_store import CLASS_COUNTS, finish, put_study

CELL = "if15/ldam+ccar(omega=0.75)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished study of two base losses, three omegas and two class frequencies."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    for trial in put_study(store, frequencies=["fraction", "none"], omegas=[0.5, 0.75]):
        finish(store, trial)
    return store


@pytest.fixture(scope="module")
def results(store):
    """The numbers of its report."""
    record = store.study("made-up")
    assert isinstance(record, StudyRecord)
    study = StoredStudy(store, record)
    study.refresh(frozenset(store.keys()), 60)
    assert study.state.is_whole
    return summarise(study.report_input(study.state))


@pytest.fixture(scope="module")
def site(store):
    with served(store) as address:
        yield address


def texts_of(table):
    return [[entry.text for entry in row.entries] for row in table.rows]


def test_the_table_of_best_omegas_is_that_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    expect(page.locator("#best_omega")).to_be_visible()
    rows = page.locator("#best_omega tbody tr").all()
    assert [row.locator("td").all_text_contents() for row in rows] == texts_of(best_omega_table(results))


def test_the_verdicts_are_said_in_the_words_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    (setting,) = results.settings
    expect(page.locator("main")).to_contain_text(finding.headline(results, setting))
    for detail in finding.details(results, setting):
        expect(page.locator("main")).to_contain_text(detail)


def test_the_drawn_gains_are_those_of_the_report(site, results, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    drawn = page.evaluate(
        """() => document.querySelector('.js-plotly-plot')._fullData
            .filter(one => !one.showlegend).map(one => [Array.from(one.x), Array.from(one.y)])"""
    )
    cells = results.cells[(results.cells["family"] == "ldam") & results.cells["omega"].notna()]
    for line, frequency in zip(drawn, ["fraction", "none"], strict=True):
        own = cells[cells["frequency"] == frequency].sort_values("omega")
        assert line[0] == own["omega"].tolist()
        assert line[1] == pytest.approx(100 * own["test_accuracy_versus_plain_mean"])


def summed_up(address, seconds=60):
    """What is there once its numbers are summed up; until then the answer is to try again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_the_tables_to_take_away_are_those_of_the_report(site, results):
    for kind, frame in (("cells", results.cells), ("trials", results.trials)):
        text = summed_up(f"{site}/csv/{kind}?study=made-up")
        assert text == render_csv(frame)
        assert len(list(csv.DictReader(io.StringIO(text)))) == len(frame)


def click(page, point):
    """In the middle of a point of a plot, whose layers lie below the one that takes the mouse."""
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_click_on_a_point_leads_to_the_trials_of_its_cell(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    point = page.locator(".scatterlayer .trace").nth(1).locator(".point").nth(0)
    expect(point).to_be_visible()
    click(page, point)
    expect(page.locator("#results .question")).to_have_text("if15/ldam+ccar(omega=0.5, frequency=none)")
    expect(page.locator("#trials tbody tr")).to_have_count(3)
    page.go_back()
    expect(page).to_have_url(f"{site}/omega?study=made-up&base=ldam")
    expect(point).to_be_visible()


def test_a_click_on_a_field_of_the_heat_map_leads_to_its_trials(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    fields = page.locator(".heatmaplayer image").first
    fields.scroll_into_view_if_needed()
    box = fields.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    expect(page.locator("#results .question")).to_have_text("if15/ldam+ccar(omega=0.75)")


def test_the_trials_of_a_gain_are_reached_by_keyboard(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    page.get_by_role("link", name="a table of them").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name=CELL, exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#results .question")).to_have_text(CELL)


def test_every_gain_leads_to_its_trials(site, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    page.get_by_role("link", name="a table of them").click()
    page.get_by_role("link", name="if15/ldam+ccar(omega=0.75, frequency=none)").click()
    expect(page.locator("#trials tbody tr")).to_have_count(3)
    page.get_by_role("link", name="seed 1").click()
    expect(page.locator(".facts").first).to_contain_text("finished")
    expect(page.locator("#evaluations")).to_be_visible()
    expect(page.locator("main")).to_contain_text("would not run again: it has finished")


def test_the_best_and_worst_classes_of_a_trial_are_shown_by_images_of_the_data_set(site, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell={quote(CELL)}&seed=1")
    rows = page.locator("#examples tbody tr")
    expect(rows.locator("th")).to_have_text(["0", "1", "2", "7", "8", "9"])  # made up to fall with the label
    expect(rows.locator("td:last-of-type")).to_have_text(["best"] * 3 + ["worst"] * 3)
    train = digits.decode().train
    for label in (0, 9):
        images = page.get_by_alt_text(re.compile(f"of class {label}:")).all()
        shown = [image.get_attribute("src").removeprefix("data:image/png;base64,") for image in images]
        pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in shown]
        assert np.array_equal(pixels, train.pixels[train.labels == label][: len(images), 0])
        assert [image.evaluate("image => image.naturalWidth") for image in images] == [8] * 4


def test_the_cells_that_are_compared_stand_in_the_address(site, results, open_page):
    cells = ["if15/cross_entropy", "if15/ldam"]
    page = open_page(f"{site}/compare?study=made-up&cells=" + "%0A".join(cells))
    rows = page.locator("#measures tbody th")
    expect(rows).to_have_text(cells)
    differences = results.cells.set_index("cell").loc["if15/ldam"]
    said = f"{100 * differences['test_accuracy_difference_mean']:+.2f}"
    expect(page.locator("#paired")).to_contain_text(said)


def test_the_most_confused_classes_stand_with_their_training_images(site, open_page):
    page = open_page(f"{site}/compare?study=made-up&cells=if15/cross_entropy%0Aif15/ldam")
    figure = page.get_by_role("group", name="The pairs of classes that are most often confused")
    said = [f"{true} ({CLASS_COUNTS[true]}) → {taken} ({CLASS_COUNTS[taken]})" for true, taken in ((8, 1), (9, 0))]
    expect(figure.locator(".ytick")).to_have_text(said)
    expect(figure.locator(".trace.scatter")).to_have_count(2)


def test_a_line_of_the_parallel_coordinates_goes_through_what_its_cell_is_made_of_and_reaches(site, results, open_page):
    page = open_page(f"{site}/compare?study=made-up&cells={quote(CELL)}")
    figure = page.get_by_role("group", name="What the cells are made of")
    expect(figure.locator(".ytick").last).to_have_text("base loss")
    drawn = figure.locator(".js-plotly-plot").evaluate("plot => plot._fullData.map(one => [one.name, one.y, one.text])")
    (own,) = ((axes, texts) for name, axes, texts in drawn if name == "ldam+ccar(omega=0.75)")
    cell = results.cells.set_index("cell").loc[CELL]
    assert dict(zip(*own, strict=True)) == {
        "base loss": "ldam",
        "ω": "0.75",
        "class frequency": "fraction",
        **{
            f"{words} (%)": f"{100 * cell[f'{column}_mean']:.2f}"
            for column, words in _MEASURES.items()
            if results.cells[f"{column}_mean"].nunique() > 1
        },
    }


def test_what_explains_validation_accuracy_is_estimated_for_who_asks(site, results, open_page):
    page = open_page(f"{site}/compare?study=made-up")
    expect(page.locator("#measures")).to_be_visible()
    expect(page.locator("#importance-table")).to_have_count(0)
    page.get_by_role("link", name="Estimate it from all finished trials").click()
    expect(page.locator("#importance-table")).to_be_attached()
    found = importance(results.trials)
    page.get_by_text("As a table").last.click()
    expect(page.locator("#importance-table tbody td")).to_have_text([f"{100 * lost:.1f}" for lost in found.lost])
    assert set(found.lost.index) == {"family", "omega", "frequency", "seed"}
    expect(page.locator("#importance-table tbody th").first).to_have_text("base loss")


def test_moving_omega_moves_the_curves_and_the_address(site, open_page):
    page = open_page(f"{site}/losses?data=cifar10_lt&imbalance=50")
    page.get_by_role("slider").press("ArrowRight")
    expect(page).to_have_url(f"{site}/losses?data=cifar10_lt&imbalance=50&omega=0.51")
    frequencies = class_frequencies(benchmark_class_counts("cifar10_lt", 50), "fraction")
    small, large = (gradient_factor(_P, float(f), 0.51) for f in (frequencies.min(), frequencies.max()))
    most = 100 * abs(small / large - 1).max()
    expect(page.locator("#class-effect")).to_contain_text("At ω = 0.51, ")
    expect(page.locator("#class-effect")).to_contain_text(f"at most {most:.2g} %")


def test_a_plan_names_the_lines_of_all_mistakes_and_counts_the_trials_once_they_are_mended(site, open_page):
    page = open_page(f"{site}/plan")
    expect(page.locator("#plan")).to_contain_text("18: 3 seeds x 6 cells")
    box = page.get_by_label("Study file")
    text = box.input_value()
    box.fill(text.replace("bases:", "basis:").replace("seeds: [0, 1, 2]", "seeds: []"))
    expect(page.locator("#mistakes > li")).to_have_count(2)
    expect(page.locator("#mistakes")).to_contain_text("line 7")
    box.fill(text.replace("seeds: [0, 1, 2]", "seeds: [0, 1]"))
    expect(page.locator("#plan")).to_contain_text("12: 2 seeds x 6 cells")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "study.yaml"
