"""The thread that reads the store: what it costs when nobody looks or nothing can be read, and what it says then."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from ccar.store.trial_store import TrialStore
from dashboards import library as looking
from dashboards import routes
from dashboards.app import build_app
from dashboards.desk import Desk
from dashboards.library import Library
from tests.dashboards.conftest import served
from tests.dashboards.made_up_store import begin, finish, put_study
from tests.small_disk import made_read_only
from tests.waiting import SECONDS, wait_until


@contextlib.contextmanager
def started(library):
    """A library that looks at its store."""
    library.start()
    try:
        yield library
    finally:
        library.close()
        library._thread.join()


def seconds_of_cpu(library, seconds):
    """What its thread takes in a while."""
    clock = time.pthread_getcpuclockid(library._thread.ident)
    before = time.clock_gettime(clock)
    time.sleep(seconds)
    return time.clock_gettime(clock) - before


@contextlib.contextmanager
def unreadable(store):
    """A store of which nothing can be read for a while: a file stands where its folder was."""
    away = store.root.with_name("away")
    store.root.rename(away)
    store.root.write_text("not a store")
    try:
        yield
    finally:
        store.root.unlink()
        away.rename(store.root)


def test_a_store_that_was_not_read_to_its_end_costs_nothing_once_nobody_looks(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    begin(store, put_study(store, seeds=range(60), omegas=[0.25, 0.5, 0.75])[0]).release()
    monkeypatch.setattr(looking, "READ_SECONDS", 0.0)
    library = Library(store)
    library.refresh()
    assert not library.states[0].is_whole
    monkeypatch.setattr(looking, "ASLEEP_AFTER_SECONDS", 0.0)
    with started(library):
        assert seconds_of_cpu(library, 0.5) < 0.1
    assert not library.states[0].is_whole


def test_a_store_that_cannot_be_read_is_looked_at_now_and_then_and_logged_once(tmp_path, monkeypatch, caplog):
    store = TrialStore(tmp_path / "store")
    put_study(store, seeds=range(60), omegas=[0.25, 0.5, 0.75])
    monkeypatch.setattr(looking, "READ_SECONDS", 0.0)
    library = Library(store)
    library.refresh()
    assert not library.states[0].is_whole
    version = library.version
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.05)
    with unreadable(store), caplog.at_level(logging.ERROR), started(library):
        wait_until(lambda: library.problem)
        assert seconds_of_cpu(library, 1.0) < 0.3
        assert [record.message for record in caplog.records] == ["the store cannot be read"]
    assert "Not a directory" in library.problem
    assert library.version == version + 1


def test_an_open_page_says_that_the_store_has_become_unreadable_and_that_it_is_readable_again(tmp_path, open_page):
    store = TrialStore(tmp_path / "store")
    finish(store, put_study(store)[0])
    with served(store) as address:
        pages = [open_page(f"{address}{path}") for path in ("/", "/study?study=made-up")]
        for page in pages:
            expect(page.locator("#results")).to_contain_text("1 of ")
        with unreadable(store):
            for page in pages:
                expect(page.locator("#results")).to_contain_text("Not a directory")
        for page in pages:
            expect(page.locator("#results")).not_to_contain_text("Not a directory")
            page.close()


def test_a_study_with_a_folder_of_a_user_who_is_not_here_hides_no_other_study(tmp_path):
    store = TrialStore(tmp_path / "store")
    finish(store, put_study(store)[0])
    record = store.study("made-up")
    theirs = record.definition.replace("{name: digits,", "{name: image_folder, root: ~no-such-user-here/images,")
    store.put_study(replace(record, name="theirs", definition=theirs))
    library = Library(store)
    library.refresh()
    assert library.has_looked
    one, other = library.states
    assert (one.validation["status"] == "finished").sum() == 1
    assert "data.root begins with an unknown user" in other.problems[0]
    library.close()


def rest_until_told(monkeypatch):
    """However long reading and writing take here, the sums of a study are made again when `end_rest` says so."""
    monkeypatch.setattr(looking, "READ_SECONDS", 1e9)
    monkeypatch.setattr(looking, "REST", 1e9)
    monkeypatch.setattr(looking, "MOST_REST_SECONDS", 1e9)


def end_rest(library):
    library._sums["made-up"].rests_until = 0.0


def test_newer_numbers_are_summed_up_after_a_rest_and_without_being_asked_for_again(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    former, newer = put_study(store)[:2]
    finish(store, former)
    rest_until_told(monkeypatch)
    library = Library(store)
    library.refresh()
    first = library.results("made-up", seconds=300)
    finish(store, newer)
    library.refresh()
    assert library.results("made-up") is first
    end_rest(library)
    library.refresh()
    wait_until(lambda: library._done["made-up"] is not first)
    assert (library._done["made-up"].trials["status"] == "finished").sum() == 2
    library.close()


def test_a_study_that_is_replaced_while_a_trial_of_its_former_text_runs_is_read_on(tmp_path):
    store = TrialStore(tmp_path / "store")
    claim = begin(store, put_study(store, bases=["focal"], omegas=[0.25], baseline="focal")[-1])
    library = Library(store)
    library.refresh()
    assert len(library.states[0].running) == 1
    first = put_study(store, bases=["focal"], omegas=[0.75], baseline="focal")[0]
    library.refresh()
    assert library.states[0].running == frozenset()
    claim.release()
    finish(store, first)
    library.refresh()
    assert (library.states[0].validation["status"] == "finished").sum() == 1
    library.close()


def test_numbers_that_could_not_be_summed_up_are_summed_up_once_they_can(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    trial = put_study(store)[0]
    finish(store, trial)
    monkeypatch.setattr(looking, "READ_SECONDS", 1e9)
    monkeypatch.setattr(looking, "MOST_REST_SECONDS", 0.1)
    (file,) = (store.root / "trials" / trial.key[:2] / trial.key).glob("test-*")
    content = file.read_text()
    file.write_text("{}")
    library = Library(store)
    library.refresh()
    assert library.results("made-up", seconds=300) is None
    assert library.unsummed
    file.write_text(content)

    def is_summed_up():
        library.refresh()
        return library.results("made-up")

    wait_until(is_summed_up)
    assert library.unsummed == {}
    library.close()


def test_who_asks_after_a_long_time_gets_what_is_in_the_store_now(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    one, other = put_study(store)[:2]
    finish(store, one)
    library = Library(store)
    library.refresh()
    finish(store, other)
    monkeypatch.setattr(library, "_asked_at", time.monotonic() - 2 * looking.ASLEEP_AFTER_SECONDS)
    monkeypatch.setattr(looking, "AWAKE_SECONDS", SECONDS)  # for the look, on a busy machine
    with started(library):
        library.wake_up()
        assert (library.states[0].validation["status"] == "finished").sum() == 2


def test_a_trial_that_was_begun_anew_while_nobody_looked_is_not_shown_as_it_was(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    one = put_study(store)[0]
    finish(store, one)
    library = Library(store)
    library.refresh()
    shutil.rmtree(store.root / "trials" / one.key[:2] / one.key)
    begin(store, one).release()
    monkeypatch.setattr(library, "_asked_at", time.monotonic() - 2 * looking.ASLEEP_AFTER_SECONDS)
    monkeypatch.setattr(looking, "AWAKE_SECONDS", SECONDS)  # for the look, on a busy machine
    with started(library):
        library.wake_up()
        assert library.states[0].validation["status"].iloc[0] == "unfinished"


def test_a_file_that_is_asked_for_before_the_store_was_read_is_refused_for_now(tmp_path):
    store = TrialStore(tmp_path / "store")
    put_study(store)
    library = Library(store)
    client = build_app(Desk.on(library, store.root, "")).server.test_client()
    answer = client.get("/csv/trials?study=made-up")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(routes.RETRY_SECONDS))
    assert client.get("/csv/nothing?study=made-up").status_code == 404
    library.refresh()
    assert client.get("/csv/trials?study=another").status_code == 404
    assert until_summed_up(lambda: client.get("/csv/trials?study=made-up")).status_code == 200
    library.close()


def test_a_file_of_numbers_has_all_that_the_store_has_or_is_refused_for_now(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    one, other = put_study(store)[:2]
    finish(store, one)
    rest_until_told(monkeypatch)
    monkeypatch.setattr(routes, "WAIT_SECONDS", 0.1)
    library = Library(store)
    client = build_app(Desk.on(library, store.root, "")).server.test_client()

    def asked():
        library.refresh()
        return client.get("/csv/trials?study=made-up")

    answer = until_summed_up(asked)
    assert answer.text.count(",finished,") == 1
    finish(store, other)
    answer = asked()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(routes.RETRY_SECONDS))
    end_rest(library)
    assert until_summed_up(asked).text.count(",finished,") == 2
    library.close()


def until_summed_up(asked):
    """What is answered once it is not to try again."""
    answers = []
    wait_until(lambda: answers.append(asked()) or answers[-1].status_code != 503)
    return answers[-1]


@pytest.mark.parametrize("path", ["/omega", "/compare"])
def test_numbers_that_cannot_be_summed_up_say_why(tmp_path, open_page, path):
    store = TrialStore(tmp_path / "store")
    trial = put_study(store)[0]
    finish(store, trial)
    (results,) = (store.root / "trials" / trial.key[:2] / trial.key).glob("test-*")
    results.write_text("{}")
    with served(store) as address:
        page = open_page(f"{address}{path}?study=made-up")
        expect(page.locator("#results")).to_contain_text("cannot be summed up")
        expect(page.locator("#results")).to_contain_text(f"{results.name} is damaged")
        expect(page.locator("#results")).not_to_contain_text("being summed up")
        page.close()


def test_a_store_that_may_only_be_read_is_followed_and_nothing_is_written_into_it(tmp_path):
    store = TrialStore(tmp_path / "store")
    begin(store, put_study(store)[0]).release()
    note = {"study": "made-up", "paused": False, "waits_for": "its turn"}
    store.drivers.note("made-up_1", note)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    library = Library(store)
    with made_read_only(store.root):
        library.refresh()
    assert library.waiting == {"made-up": "waits, its turn"}
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
