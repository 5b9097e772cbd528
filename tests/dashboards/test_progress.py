"""The list of studies and the page of a running one, in a real browser."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect

from ccar.cluster.seat import Seat
from ccar.store.trial_store import TrialStore
from tests.dashboards.conftest import served, wait_until_it_fits
from tests.dashboards.made_up_store import begin, epoch, finish, put_study

CRASH = """\
Traceback (most recent call last):
  File "worker.py", line 1, in run
    write(state)
OSError: the disk is gone
"""

WITHOUT_OMEGA = "  exclude:\n    - {omega: 0.5}\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A study that has finished, one under way in every state, and one that has not begun."""
    store = TrialStore(tmp_path_factory.mktemp("store"))
    for trial in put_study(store, "finished-one", bases=["cross_entropy"], omegas=[0.5]):
        finish(store, trial)
    trials = put_study(
        store, "under-way", question="Is it live?", bases=["focal"], baseline="focal", omegas=[0.25, 0.5]
    )
    finish(store, trials[0])
    begin(store, trials[1]).fail(CRASH)
    begin(store, trials[2]).diverge("the training loss is nan")
    begin(store, trials[3]).stop("behind the others")
    begin(store, trials[4]).release()
    put_study(store, "not-begun", bases=["balanced_softmax"], omegas=[0.5], baseline="balanced_softmax")
    return store


@pytest.fixture(scope="module")
def site(store):
    with served(store) as address:
        yield address


def test_the_list_says_of_every_study_what_it_asks_and_how_far_it_is(site, open_page):
    page = open_page(site)
    rows = page.locator("#studies tbody tr")
    expect(rows).to_have_count(3)
    expect(page.get_by_role("row", name="finished-one")).to_contain_text("6 of 6")
    expect(page.get_by_role("row", name="finished-one")).to_contain_text("if15/cross_entropy+ccar(omega=0.5)")
    expect(page.get_by_role("row", name="under-way")).to_contain_text("Is it live?")
    expect(page.get_by_role("row", name="under-way")).to_contain_text("1 failed")
    expect(page.get_by_role("row", name="not-begun")).to_contain_text("0 of 6")


def test_a_study_that_waits_for_its_turn_on_a_cluster_says_for_whom(site, store, open_page):
    how = {"at_once": None, "say": print}
    with (
        Seat(store.drivers, "urgent_1", study="urgent", priority=5, **how) as urgent,
        Seat(store.drivers, "not-begun_1", study="not-begun", priority=0, **how) as other,
    ):
        for seat, running in ((urgent, 2), (other, 0)):
            seat.take("here:1", 2)
            seat.may_run(running, 8, 0.0)
        page = open_page(site)
        row = page.get_by_role("row", name="not-begun")
        expect(row).to_contain_text("waits, place 1 of 1: behind urgent_1 (priority 5)")
        store.drivers.pause("not-begun_1")
        expect(row).to_contain_text("paused")
        page = open_page(f"{site}/study?study=not-begun")
        expect(page.locator(".facts")).to_contain_text("paused")
    expect(page.locator(".facts")).not_to_contain_text("paused")


def test_what_is_searched_for_stands_in_the_address_and_is_found_again_by_it(site, open_page):
    page = open_page(site)
    page.get_by_label("Search").fill("live")
    expect(page.locator("#studies tbody tr")).to_have_count(1)
    expect(page).to_have_url(f"{site}/?search=live")
    again = open_page(page.url)
    expect(again.locator("#studies tbody tr")).to_have_count(1)
    expect(again.get_by_label("Search")).to_have_value("live")
    again.get_by_role("link", name="done", exact=True).click()
    expect(again.locator("#results")).to_contain_text("No study is like that.")


def test_a_study_is_reached_by_keyboard_from_the_list(site, open_page):
    page = open_page(site)
    page.get_by_role("link", name="under-way").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("under-way: Progress")
    expect(page).to_have_title("under-way: Progress - ccar")


def test_each_cell_shows_the_state_that_asks_for_most_attention(site, open_page):
    page = open_page(f"{site}/study?study=under-way")
    expect(page.locator("#counts")).to_have_text(
        "3 of 9 trials done: 1 finished, 1 stopped, 1 diverged, 4 waiting, 1 interrupted, 1 failed."
    )
    cells = page.locator(".matrix a.cell")
    expect(cells).to_have_text(["2/3", "1/3", "0/3"])
    for place, state in enumerate(["failed", "interrupted", "waiting"]):
        expect(cells.nth(place)).to_have_class(f"cell {state}")
    expect(page.locator("#failures")).to_contain_text("OSError: the disk is gone")
    expect(page.locator("#failures")).not_to_contain_text("Traceback")
    expect(page.locator("#failures")).to_contain_text("the training loss is nan")
    page.locator("#failures").get_by_role("link").first.click()
    expect(page.locator("pre.log").first).to_have_text(CRASH)


def test_the_page_follows_the_store_without_being_loaded_again(store, site, open_page):
    trials = put_study(store, "followed", bases=["logit_adjustment"], omegas=[0.5], baseline="logit_adjustment")
    page = open_page(f"{site}/study?study=followed")
    expect(page.locator("#counts")).to_have_text("0 of 6 trials done: 6 waiting.")
    page.evaluate("window.isTheSame = true")
    claim = begin(store, trials[0], epochs=2)
    expect(page.locator("#counts")).to_have_text("0 of 6 trials done: 5 waiting, 1 running.")
    expect(page.locator(".matrix a.cell").first).to_have_class("cell running")
    expect(page.locator(".facts")).to_contain_text("400")
    points = page.locator(".plot .scatterlayer").first.locator(".point")
    expect(points).to_have_count(2)
    claim.commit([epoch(trials[0], 3)], b"state")
    expect(points).to_have_count(3)
    claim.release()
    expect(page.locator("#counts")).to_have_text("0 of 6 trials done: 5 waiting, 1 interrupted.")
    assert page.evaluate("window.isTheSame")


def test_a_study_that_is_deleted_while_it_is_looked_at_says_so(store, site, open_page):
    trials = put_study(store, "short-lived", bases=["ldam"], omegas=[0.9], baseline="ldam")
    begin(store, trials[0]).release()
    page = open_page(f"{site}/study?study=short-lived")
    expect(page.locator("#counts")).to_contain_text("0 of 6")
    shutil.rmtree(store.root / "trials" / trials[0].key[:2] / trials[0].key)
    expect(page.locator("#counts")).to_have_text("0 of 6 trials done: 6 waiting.")
    (store.root / "studies" / "short-lived.json").unlink()
    expect(page.locator("#results")).to_contain_text("The store has no study 'short-lived'; it may have been deleted.")


@pytest.mark.long
def test_an_open_page_goes_on_after_the_server_was_away(tmp_path, context):
    store = TrialStore(tmp_path / "store")
    trials = put_study(store, "followed", bases=["focal"], omegas=[0.5], baseline="focal")
    page = context.new_page()  # and not `open_page`: the browser complains while nobody answers
    with served(store) as address:
        page.goto(f"{address}/study?study=followed")
        expect(page.locator("#counts")).to_have_text("0 of 6 trials done: 6 waiting.")
        page.evaluate("window.isTheSame = true")
    finish(store, trials[0])
    page.get_by_role("link", name="Trials", exact=True).click()
    page.wait_for_timeout(1_500)  # two ticks into the void
    with served(store, port=int(address.rpartition(":")[2])):
        expect(page.locator("#title")).to_have_text("followed: Trials")
        expect(page.locator("#results")).to_contain_text("Choose a cell")
        page.get_by_role("link", name="Progress", exact=True).click()
        expect(page.locator("#counts")).to_have_text("1 of 6 trials done: 1 finished, 5 waiting.")
        finish(store, trials[1])
        expect(page.locator("#counts")).to_have_text("2 of 6 trials done: 2 finished, 4 waiting.")
        expect(page.locator(".plot .scatterlayer").first).to_be_attached()
        assert page.evaluate("window.isTheSame")
        page.close()


def test_workers_and_gpus_in_use_are_counted_by_host(store, site, open_page):
    trials = put_study(store, "on-gpus", bases=["focal"], omegas=[0.5], baseline="focal", seeds=[10, 11, 12])
    places = (("node-1", "NVIDIA H100"), ("node-1", "NVIDIA H100"), ("node-2", "cpu"))
    claims = [
        begin(store, trial, worker={"host": host, "device": device})
        for trial, (host, device) in zip(trials, places, strict=False)
    ]
    page = open_page(f"{site}/study?study=on-gpus")
    expect(page.locator(".facts")).to_contain_text("2 on node-1: NVIDIA H100, 1 on node-2: cpu")
    expect(page.locator(".facts")).to_contain_text("Images per second1,200")
    for claim in claims:
        claim.release()
    expect(page.locator(".facts")).to_contain_text("Workers in usenone")


def test_a_study_without_omega_has_its_best_cell_in_the_list(store, site, open_page):
    seeds = [20, 21, 22]
    for trial in put_study(
        store, "plain", bases=["cross_entropy", "ldam"], omegas=[0.5], extra=WITHOUT_OMEGA, seeds=seeds
    ):
        finish(store, trial)
    row = open_page(site).get_by_role("row", name="plain")
    row.get_by_role("link", name="if15/ldam", exact=True).click()


def test_of_many_imbalance_factors_a_few_best_cells_are_listed_and_the_others_counted(store, site, open_page):
    study = {"bases": ["focal"], "omegas": [0.5], "baseline": "focal", "extra": WITHOUT_OMEGA, "seeds": [40]}
    for trial in put_study(store, "tails", factors=[20, 15, 12, 10, 5], **study):
        finish(store, trial)
    page = open_page(site)
    best = page.get_by_role("row", name="tails").locator("[data-label='Best cell on validation']")
    expect(best.get_by_role("link")).to_have_text(["if20/focal", "if15/focal", "if12/focal"])
    expect(best).to_contain_text("and 2 more")
    wait_until_it_fits(page, 390)


def test_of_many_failures_the_first_are_shown_and_that_is_said(store, site, open_page):
    trials = put_study(store, "many-failures", bases=["focal"], omegas=[0.5], baseline="focal", seeds=range(100, 130))
    for trial in trials:
        begin(store, trial, epochs=0).fail("OSError: the disk is gone")
    page = open_page(f"{site}/study?study=many-failures")
    expect(page.locator("#failures tbody tr")).to_have_count(50)
    expect(page.locator("#failures caption")).to_contain_text("60 trials that failed or diverged; the first 50")


def test_a_trial_says_by_what_it_was_trained(store, site, open_page):
    (trial, *_) = put_study(store, "with-facts", bases=["focal"], omegas=[0.5], baseline="focal", seeds=[3])
    facts = {"device": "cpu", "processor": "a fast one", "threads": 7, "versions": {"torch": "9.9", "ccar": "1.2"}}
    begin(store, trial, worker=facts).release()
    page = open_page(f"{site}/trial?study=with-facts&cell=if15/focal&seed=3")
    expect(page.locator("main")).to_contain_text("Processora fast one")
    expect(page.locator("main")).to_contain_text("Threads7")
    expect(page.locator("main")).to_contain_text("Softwareccar 1.2, torch 9.9")
