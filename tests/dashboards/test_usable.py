"""Every page by axe's rules, in the light and in the dark, on a screen and on a telephone."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ccar.store.trial_store import TrialStore
from tests.dashboards.conftest import served, wait_until_it_fits
from tests.dashboards.made_up_store import begin, finish, put_study
from tests.waiting import wait_until

PAGES = {
    "studies": "/",
    "progress": "/study?study=made-up",
    "best omega": "/omega?study=made-up",
    "compare": "/compare?study=made-up&explain=1",
    "cell": "/trial?study=made-up&cell=if15/ldam",
    "trial": "/trial?study=made-up&cell=if15/ldam&seed=1",
    "failed trial": f"/trial?study=made-up&cell={quote('if15/ldam+ccar(omega=0.75, frequency=none)')}&seed=1",
    "losses": "/losses",
    "plan": "/plan",
}
TRACEBACK = f"""Traceback (most recent call last):
  File "/a/rather/long/way/to/{"the/" * 30}code.py", line 1, in <module>
OSError: {"the disk is gone " * 20}
"""
DRAWN = {"progress", "best omega", "compare", "cell", "trial", "failed trial", "losses"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages on a study of which all but two trials have finished."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    *others, failing, running = put_study(store, frequencies=["fraction", "none"], omegas=[0.5, 0.75])
    for trial in others:
        finish(store, trial)
    begin(store, failing).fail(TRACEBACK)
    claim = begin(store, running)
    with served(store) as address:
        yield address
    claim.release()


@pytest.fixture
def page_of(site, open_page):
    def opened(name):
        page = open_page(f"{site}{PAGES[name]}")
        expect(page.locator("#title")).not_to_be_empty()
        if name in DRAWN:
            page.wait_for_selector(".js-plotly-plot .main-svg")
        elif name == "studies":
            expect(page.locator("#studies")).to_be_visible()
        return page

    return opened


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_on_a_screen_and_on_a_telephone_in_the_dark_and_it_fits_both(page_of, name):
    page = page_of(name)
    for scheme, width in (("light", 1440), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        wait_until_it_fits(page, width)
        found = Axe().run(page).response["violations"]
        serious = [
            f"{one['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert serious == [], scheme
    wait_until_it_fits(page, 390)


FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body || one.dataset.reached) return null;
  one.dataset.reached = "yes";
  const style = getComputedStyle(one.closest(".dash-input-container:has(input:focus)") || one);
  return {what: one.outerHTML.slice(0, 200), ring: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth)};
}"""
LEFT_OUT = """() => [...document.querySelectorAll('a[href], button, input, textarea, summary, [tabindex="0"]')]
  .filter(one => !one.dataset.reached && !one.disabled && one.checkVisibility())
  .map(one => one.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("name", ["studies", "progress", "best omega", "compare", "trial", "losses", "plan"])
def test_every_control_is_reached_with_the_tabulator_and_shows_it_by_a_ring(page_of, name):
    page = page_of(name)
    wait_until(lambda: page.evaluate(UNDRAWN) == 0)
    reached = []
    while True:
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None:
            break
        reached.append(found)
    assert [one["what"] for one in reached if one["ring"] < 2] == []
    assert page.evaluate(LEFT_OUT) == []
    assert len(reached) > 5


def luminance(colour):
    """Relative luminance of an opaque CSS colour, by WCAG 2."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


COLOURS_OF_MARKS = """() => {
  const marks = document.querySelectorAll(
    '.js-plotly-plot :is(.scatterlayer, .barlayer, .shapelayer, .legend .layers) path:not(.legendundefined)');
  return [...marks].map(mark => {
    const style = getComputedStyle(mark);
    const fill = style.fill !== 'none' && style.fillOpacity > 0 ? [style.fill] : [];
    const edge = style.stroke !== 'none' && style.strokeOpacity > 0 && parseFloat(style.strokeWidth) > 0;
    return edge ? [...fill, style.stroke] : fill;
  }).filter(colours => colours.length);
}"""
UNDRAWN = "document.querySelectorAll('figure.plot:not(:has(.main-svg))').length"
SEVEN_CELLS = (
    [f"if15/{base}" for base in ("cross_entropy", "ldam")]
    + [f"if15/{base}+ccar(omega={omega:g})" for base in ("cross_entropy", "ldam") for omega in (0.5, 0.75)]
    + ["if15/ldam+ccar(omega=0.5, frequency=none)"]
)


@pytest.mark.parametrize(
    ("path", "drawn"),
    [
        (f"{PAGES['compare']}&cells={quote(chr(10).join(SEVEN_CELLS))}", "Head against tail"),
        (PAGES["best omega"], "Gain at IF 15"),
        (PAGES["cell"], "Learning curves"),
    ],
)
def test_every_mark_of_a_plot_stands_out_from_the_page_in_the_dark(site, open_page, path, drawn):
    page = open_page(f"{site}{path}")
    page.emulate_media(color_scheme="dark")
    page.locator("section", has_text=drawn).locator(".scatterlayer path").first.wait_for()
    wait_until(lambda: page.evaluate(UNDRAWN) == 0)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    marks = page.evaluate(COLOURS_OF_MARKS)
    assert len(marks) > 10
    faint = [colours for colours in marks if max(contrast(colour, background) for colour in colours) < 3]
    assert faint == []


def test_on_a_telephone_every_value_of_a_row_stands_beside_its_heading(site, open_page):
    page = open_page(f"{site}{PAGES['studies']}")
    wait_until_it_fits(page, 390)
    row = page.get_by_role("row", name="made-up")
    for words in ("State", "Progress", "Last activity"):
        value = row.locator(f"td[data-label='{words}']")
        expect(value).to_be_visible()
        box = value.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert words in value.evaluate("value => getComputedStyle(value, '::before').content")
