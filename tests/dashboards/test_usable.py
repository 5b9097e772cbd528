"""Every page by axe's rules, in the light and in the dark, and on a telephone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ccar.store.trial_store import TrialStore
from tests.dashboards.conftest import served, wait_until_it_fits
from tests.dashboards.made_up_store import begin, finish, put_study

PAGES = {
    "studies": "/",
    "progress": "/study?study=made-up",
    "best omega": "/omega?study=made-up",
    "compare": "/compare?study=made-up&explain=1",
    "cell": "/trial?study=made-up&cell=if15/ldam",
    "trial": "/trial?study=made-up&cell=if15/ldam&seed=1",
    "losses": "/losses",
    "plan": "/plan",
}
DRAWN = {"progress", "best omega", "compare", "cell", "trial", "losses"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages on a study of which all but two trials have finished."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    *others, failing, running = put_study(store, frequencies=["fraction", "none"], omegas=[0.5, 0.75])
    for trial in others:
        finish(store, trial)
    begin(store, failing).fail("OSError: the disk is gone")
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
def test_axe_finds_nothing_serious_in_the_light_and_in_the_dark_and_it_fits_a_telephone(page_of, name):
    page = page_of(name)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        serious = [
            f"{one['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert serious == [], scheme
    wait_until_it_fits(page, 390)
