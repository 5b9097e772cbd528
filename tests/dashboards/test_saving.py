"""What the buttons save is what is shown: tables and plots as numbers, plots as vectors and pixels."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import expect

from ccar.store.trial_store import TrialStore
from tests.dashboards.conftest import served, traces
from tests.dashboards.made_up_store import begin, finish, put_study

FORMULA = "=1+1"
OPEN = "table => { for (let at = table; at = at.parentElement.closest('details');) at.open = true; }"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A study whose question a spreadsheet would execute, and one trial that failed."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    *others, failing = put_study(store, question=FORMULA, frequencies=["fraction", "none"], omegas=[0.5, 0.75])
    for trial in others:
        finish(store, trial)
    begin(store, failing).fail("OSError: the disk is gone, with a comma")
    return store


@pytest.fixture(scope="module")
def site(store):
    with served(store) as address:
        yield address


def saved(page, button):
    """The file that a click on a button makes."""
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == button.get_attribute("data-file")
    return Path(download.value.path())


def rows_of_csv(path):
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def squeezed(text):
    """Without blanks, and without the apostrophe that keeps a spreadsheet from executing a text."""
    return re.sub(r"\s", "", text).removeprefix("'")


def wait_until_nothing_is_added(page):
    """Tables come one after the other where there is still something to read, to sum up or to draw."""
    expect(page.locator("table").first).to_be_visible()
    before = ""
    while (now := page.locator("main").inner_html()) != before or "being summed up" in now:
        before = now
        page.wait_for_timeout(1500)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/study?study=made-up",
        "/omega?study=made-up&beside=baseline",
        "/compare?study=made-up",
        "/trial?study=made-up&cell=if15/ldam",
        "/trial?study=made-up&cell=if15/ldam&seed=1",
        "/plan",
    ],
)
def test_every_table_is_saved_as_it_is_shown(site, open_page, path):
    page = open_page(f"{site}{path}")
    wait_until_nothing_is_added(page)
    for table in page.locator("table").all():
        table.evaluate(OPEN)
        shown = [
            [squeezed(cell) for cell in row.locator("th, td").all_text_contents()]
            for row in table.locator("tr").all()
            if row.locator("[colspan]").count() == 0
        ]
        found = rows_of_csv(saved(page, table.get_by_role("button", name="Save as CSV")))
        assert [[squeezed(cell) for cell in row] for row in found][-len(shown) :] == shown


def test_no_saved_text_is_executed_by_a_spreadsheet(site, open_page):
    page = open_page(site)
    button = page.locator("#studies").get_by_role("button", name="Save as CSV")
    _, row = rows_of_csv(saved(page, button))
    assert row[1] == f"'{FORMULA}"


def test_signed_numbers_with_their_interval_are_saved_as_they_are(site, open_page):
    page = open_page(f"{site}/omega?study=made-up")
    button = page.locator("#best_omega").get_by_role("button", name="Save as CSV")
    fields = [field for row in rows_of_csv(saved(page, button)) for field in row]
    assert any(re.fullmatch(r"\+\d+\.\d\d \(.* to .*\).*", field) for field in fields)
    assert not any(field.startswith("'") for field in fields)


def test_the_gains_of_a_plot_are_saved_as_they_are_drawn(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    head, *rows = rows_of_csv(saved(page, page.locator("button[data-file='response-IF 15.csv']")))
    assert head == ["series", "point", "pivot ω", "gain (points)", "±"]
    plot = page.locator(".js-plotly-plot").first
    drawn = traces(plot, "traces.flatMap(one => Array.from(one.x, (x, i) => [x, one.y[i]]))")
    drawn = [point for point in drawn if point != [None, None]]  # those are for the legend alone
    assert [[float(row[2]), float(row[3])] for row in rows] == drawn
    assert len(rows) == 4
    assert rows[0][1].startswith("if15/ldam+ccar(omega=0.5) ")
    assert [row[4] != "" for row in rows] == [True, True, True, False]  # of two seeds there is no interval


def test_the_curves_of_a_trial_are_saved_with_the_names_of_their_panels(site, store, open_page):
    page = open_page(f"{site}/trial?study=made-up&cell=if15/ldam&seed=1")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    head, *rows = rows_of_csv(saved(page, page.locator("button[data-file='curves.csv']")))
    assert head[:3] == ["series", "panel", "epoch"]
    losses = [(float(row[2]), float(row[3])) for row in rows if row[1] == "training loss"]
    assert losses == [(number, 2.0 / number) for number in (1, 2, 3)]
    (trial,) = [one for one in store.study("made-up").trials if (one.cell, one.seed) == ("if15/ldam", 1)]
    few = [epoch.validation.few for epoch in store.read(trial.key).epochs]
    assert [float(row[3]) for row in rows if row[1] == "few (%)"] == pytest.approx([100 * share for share in few])


def test_a_map_is_saved_field_by_field(site, open_page):
    page = open_page(f"{site}/omega?study=made-up&base=ldam")
    expect(page.locator(".heatmaplayer").first).to_be_visible()
    head, *rows = rows_of_csv(saved(page, page.locator("button[data-file='frequency-IF 15-0.csv']")))
    assert head[-3:] == ["pivot ω", "y", "points"]
    assert [tuple(row[-3:-1]) for row in rows] == [
        ("0.5", "fraction"),
        ("0.75", "fraction"),
        ("0.5", "none"),
        ("0.75", "none"),
    ]


def test_a_plot_is_saved_as_vectors_and_as_pixels(site, open_page):
    page = open_page(f"{site}/losses")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    vectors = saved(page, page.get_by_role("button", name="Save as SVG").first)
    assert ElementTree.parse(vectors).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    expect(page.locator(".modebar-btn[data-title*='Share' i]")).to_have_count(0)  # with another host
    with page.expect_download() as download:
        page.locator(".js-plotly-plot").first.hover()
        page.locator(".modebar-btn[data-title*='PNG' i]").first.click()
    assert download.value.suggested_filename == "gradient.png"
    with Image.open(download.value.path()) as pixels:
        assert pixels.format == "PNG"
