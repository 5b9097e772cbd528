"""Notes of drivers: who lives is read without writing, and leaving never fails. More in cluster/test_fair_share.py."""

from __future__ import annotations

import time

import pytest

from ccar.store import liveness
from ccar.store.disk_folder import DiskFolder
from ccar.store.drivers import Drivers
from tests.small_disk import made_read_only


@pytest.fixture
def folder(tmp_path):
    """With the notes of three drivers."""
    made = DiskFolder(tmp_path / "drivers")
    for name in ("one_1", "two_1", "three_1"):
        Drivers(made).note(name, {"study": name})
    return made


@pytest.fixture
def touched(monkeypatch):
    """The names of the files that are touched, in their order."""
    names, touch = [], DiskFolder.touch

    def noted(self, name):
        names.append(name)
        touch(self, name)

    monkeypatch.setattr(DiskFolder, "touch", noted)
    return names


def test_who_lives_is_read_where_nothing_can_be_written_and_nothing_is(folder):
    before = folder.path.stat().st_mtime_ns
    with made_read_only(folder.path):
        alive = Drivers(folder).alive(now=time.time())
    assert alive == {name: {"study": name} for name in ("one_1", "two_1", "three_1")}
    assert folder.path.stat().st_mtime_ns == before


def test_a_driver_that_has_just_noted_something_knows_what_time_it_is(folder, touched):
    drivers = Drivers(folder)
    now = drivers.note("one_1", {"study": "another"})
    assert drivers.alive(now=now).keys() == {"one_1", "two_1", "three_1"}
    assert drivers.alive(now=now + 1e6) == {}
    assert touched == []


def test_of_any_number_of_drivers_the_clock_is_asked_once(folder, touched):
    assert len(Drivers(folder).alive()) == 3
    assert len(touched) == 1
    assert len(folder.names()) == 3


def test_a_driver_leaves_even_where_its_note_cannot_be_removed(folder):
    with made_read_only(folder.path):
        Drivers(folder).leave("one_1")
    assert "one_1.json" in folder.names()
    Drivers(folder).leave("one_1")
    assert "one_1.json" not in folder.names()


def test_a_driver_that_leaves_takes_the_wish_that_it_pauses_along(folder):
    drivers = Drivers(folder)
    drivers.pause("one_1")
    assert drivers.is_to_pause("one_1")
    drivers.leave("one_1")
    assert sorted(folder.names()) == ["three_1.json", "two_1.json"]


def test_the_wish_that_a_process_of_this_number_on_another_machine_pauses_is_not_for_us(folder, monkeypatch):
    drivers = Drivers(folder)
    with monkeypatch.context() as there:
        there.setattr(liveness, "_machine", lambda: "another machine")
        drivers.note("one_1", {})
        drivers.pause("one_1")
        assert drivers.is_to_pause("one_1")
    assert not drivers.is_to_pause("one_1")
