"""What a store may hold that no page was hoping for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from ccar.store.seal import sealed
from ccar.store.trial_store import TrialStore
from ccar.training.result import TestResult
from tests.dashboards.conftest import served, wait_until_it_fits
from tests.dashboards.made_up_store import begin, epoch, finish, put_study

LONG = "m" * 100  # the longest label that a study file may have
LONGER = "q" * 200
DIVERGED = "epoch 1: the training loss is nan at learning rate 0.1"


def finish_bare(store, trial):
    """End a trial with what every version has measured, and no more."""
    made = epoch(trial, 1)
    assert made.validation is not None
    test = replace(made.validation, many=None, few=None, per_class=(), ece=None, reliability=None)
    begin(store, trial, epochs=0).finish(
        TestResult(last_epoch=test, best_epoch=None, best_epoch_index=None),
        b"weights",
        [replace(epoch(trial, number), validation=None) for number in (1, 2, 3)],
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of studies that are hard to show."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    begin(store, put_study(store, "no-epoch", bases=["focal"], omegas=[0.5], baseline="focal")[0], epochs=0).release()
    extra = f"  extra:\n    - {{label: {LONG}, base: cross_entropy, reweighting: {{omega: 0.7}}}}\n"
    named = put_study(store, "long-names", question=LONGER, bases=["cross_entropy"], omegas=[0.6], extra=extra)
    for trial in named:
        finish(store, trial)
    finish(store, put_study(store, "no-images", data="cifar10", bases=["focal"], omegas=[0.5], baseline="focal")[0])
    *bare, diverging = put_study(
        store, "no-numbers", bases=["focal"], omegas=[0.5], baseline="focal", validation_per_class=0
    )
    for trial in bare:
        finish_bare(store, trial)
    begin(store, diverging, epochs=0).diverge(DIVERGED, [])
    many = [round(0.002 * step, 3) for step in range(1, 251)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # only the time of writing them differs
        for trial in put_study(store, "five-hundred-cells", omegas=many, seeds=[0], epochs=2):
            finish(store, trial, epochs=2)
    newer = put_study(store, "newer-trial", bases=["ldam"], omegas=[0.1], baseline="ldam")
    begin(store, newer[0]).release()
    path = store.root / "trials" / newer[0].key[:2] / newer[0].key / "trial.json"
    path.write_bytes(sealed({"config": {"of": "the future"}, "parts": {}, "class_counts": []}))
    (store.root / "studies" / "newer-study.json").write_text(json.dumps({"name": "newer-study", "shape": "unknown"}))
    record = json.loads((store.root / "studies" / "no-epoch.json").read_text())
    (store.root / "studies" / "newer-file.json").write_text(
        json.dumps({**record, "name": "newer-file", "definition": record["definition"] + "invention: 1\n"})
    )
    return store


@pytest.fixture(scope="module")
def site(store):
    with served(store) as address:
        yield address


def test_an_empty_store_says_what_to_type(tmp_path, open_page):
    with served(TrialStore(tmp_path / "nowhere")) as address:
        page = open_page(address)
        expect(page.locator("main")).to_contain_text("No study was run against")
        expect(page.locator("main")).to_contain_text("ccar run FILE")
        page.close()


def test_studies_of_a_newer_version_are_told_beside_the_others(site, open_page):
    page = open_page(site)
    expect(page.locator("main")).to_contain_text("the study newer-study was stored by another version of ccar")
    expect(page.get_by_role("row", name="newer-file")).to_contain_text("invention")
    page.get_by_role("link", name="newer-trial").click()
    expect(page.locator("main")).to_contain_text("was stored by another version of ccar")
    expect(page.locator("#counts")).to_contain_text("0 of 6")


@pytest.mark.parametrize("study", ["no-epoch", "newer-trial", "newer-file"])
def test_every_page_of_a_study_without_results_says_something(site, open_page, study):
    page = open_page(f"{site}/study?study={study}")
    for title in ("Progress", "Best omega", "Compare", "Trials"):
        page.get_by_role("link", name=title, exact=True).click()
        expect(page.locator("#title")).to_have_text(f"{study}: {title}")
        expect(page.locator("#results")).not_to_be_empty()


def test_a_trial_without_an_epoch_has_a_page(site, open_page):
    page = open_page(f"{site}/trial?study=no-epoch&cell=if15/focal&seed=0")
    expect(page.locator(".facts").first).to_contain_text("interrupted")
    expect(page.locator("main")).to_contain_text("would go on after epoch 0")


def test_a_long_name_widens_no_page(site, open_page):
    one = f"/trial?study=long-names&cell=if15/{LONG}&seed=0"  # with the line of its key
    for path in ("/", "/study", "/omega", "/compare", "/trial", one):
        page = open_page(f"{site}{path}" if path is one else f"{site}{path}?study=long-names")
        expect(page.locator("main")).to_contain_text(LONGER if path in ("/", "/study", "/omega") else LONG)
        wait_until_it_fits(page, 390)


def test_of_too_few_trials_nothing_is_explained(site, open_page):
    page = open_page(f"{site}/compare?study=long-names&explain=1")
    expect(page.locator("main")).to_contain_text("Nothing can be said: 9 trials finished at IF 15; it takes 20")


def test_images_that_are_not_at_hand_are_said_to_be_absent(site, store, open_page):
    page = open_page(f"{site}/trial?study=no-images&cell=if15/focal&seed=0")
    expect(page.locator("main")).to_contain_text("No images to show: those of cifar10 are not decoded here.")
    expect(page.locator("#classes-table")).to_be_attached()
    expect(page.locator("main img")).to_have_count(0)
    assert not list(store.root.glob("*downloads*"))


def test_five_hundred_cells_are_all_there(site, open_page):
    page = open_page(f"{site}/study?study=five-hundred-cells")
    expect(page.locator(".matrix a.cell")).to_have_count(502)
    page.get_by_role("link", name="ldam", exact=True).click()
    expect(page.locator(".matrix a.cell")).to_have_count(251)


def test_of_five_hundred_cells_each_page_shows_as_many_as_it_says(site, open_page):
    page = open_page(f"{site}/omega?study=five-hundred-cells&beside=table")
    expect(page.get_by_text("440 more in cells.csv")).to_be_attached()
    wait_until_it_fits(page, 390)
    page = open_page(f"{site}/compare?study=five-hundred-cells")
    expect(page.locator("#measures")).to_be_visible()
    expect(page.locator("#choices .cells a")).to_have_count(400)
    wait_until_it_fits(page, 390)
    page = open_page(f"{site}/trial?study=five-hundred-cells")
    expect(page.locator("#results li a")).to_have_count(502)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/study?study=no-numbers", "5 finished"),
        ("/omega?study=no-numbers", "All numbers"),
        ("/compare?study=no-numbers", "Test set after the last epoch"),
        ("/compare?study=no-numbers&explain=1", "Nothing can be said"),
        ("/trial?study=no-numbers&cell=if15/focal", "Trials of if15/focal"),
        ("/trial?study=no-numbers&cell=if15/focal&seed=0", "What the trial reached"),
    ],
)
def test_numbers_that_are_none_are_shown_as_missing(site, open_page, path, there):
    """Neither validation images, nor classes with many images, nor calibration; and a trial that diverged at once."""
    page = open_page(f"{site}{path}")
    expect(page.locator("main")).to_contain_text(there)
    shown = page.locator("main").inner_text().replace(DIVERGED, "")
    assert re.findall(r"\b(nan|None|inf)\b", shown) == []


def test_a_trial_that_diverged_before_its_first_epoch_says_why(site, open_page):
    page = open_page(f"{site}/study?study=no-numbers")
    page.locator("#failures").get_by_role("link").click()
    expect(page.locator("main")).to_contain_text(DIVERGED)
