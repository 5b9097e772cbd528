"""Who may use how much of a shared cluster: pure arithmetic, and the notes that it starts from."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccar.cluster.allowance import Allowance, Limits
from ccar.cluster.fair_share import Contender, may_run, queue, shares
from ccar.cluster.seat import Seat, standing_of_drivers
from ccar.errors import UserError
from ccar.store.disk_folder import DiskFolder
from ccar.store.drivers import Drivers
from dashboards.library import _waiting
from tests.waiting import SECONDS, wait_until


def study(name, **facts):
    return Contender(**{"id": name, "slots": 8, "running": 0, "left": 100, **facts})


def test_equals_share_the_cluster_equally_and_whoever_is_alone_has_all_of_it():
    assert shares([study("a")]) == {"a": 8}
    assert shares([study("a"), study("b")]) == {"a": 4, "b": 4}
    assert shares([study("a"), study("b", slots=4)]) == {"a": 4, "b": 2}  # its trials are twice as large


def test_what_one_cannot_use_falls_to_the_others():
    assert shares([study("a", left=1), study("b")]) == {"a": 1, "b": 7}
    assert shares([study("a", at_once=2), study("b")]) == {"a": 2, "b": 6}
    assert shares([study("a", paused=True), study("b")]) == {"a": 0, "b": 8}


def test_a_higher_priority_takes_all_that_it_can_use():
    assert shares([study("a"), study("b", priority=1)]) == {"a": 0, "b": 8}
    assert shares([study("a"), study("b", priority=1, at_once=6)]) == {"a": 2, "b": 6}


def test_what_cannot_be_divided_goes_round_by_the_device_time_that_was_used():
    one, other = study("a", slots=1, device_seconds=30.0), study("b", slots=1, device_seconds=20.0, since=5.0)
    assert shares([one, other]) == {"a": 0, "b": 1}
    assert shares([one, study("b", slots=1, device_seconds=40.0)]) == {"a": 1, "b": 0}


def test_no_trial_is_taken_away_and_nobody_starts_one_where_there_is_no_room():
    old, new = study("old", running=8, left=50), study("new")
    assert may_run([old, new], "new") == 0
    assert may_run([old, new], "old") == 8  # none of them has to end before its time
    old = study("old", running=5, left=50)
    assert may_run([old, new], "new") == 3
    assert may_run([old, new], "old") == 5


def test_while_a_larger_trial_waits_for_its_place_no_smaller_one_takes_what_falls_free():
    """Four of eight shares of two GPUs are free, and on both GPUs some of them."""
    large = study("large", slots=2, running=1, unplaced=1)
    small = study("small", running=3)
    assert may_run([large, small], "small") == 3
    assert may_run([large, small], "large") == 1
    assert may_run([study("large", slots=2, running=1), small], "small") == 4
    assert may_run([study("like it", running=1, unplaced=1), small], "small") == 4
    assert may_run([study("smaller", slots=16, running=1, unplaced=1), small], "small") == 4
    none = study("none", since=1.0)
    assert queue([large, study("small", running=2), none]) == {
        "none": "place 1 of 1: a larger trial of large has to start"
    }
    assert may_run([large, none], "none") == 4  # it waits for something else


@given(st.builds(study, st.just("a"), **{name: st.integers(0, 12) for name in ("running", "left")}))
def test_a_study_that_is_alone_is_told_the_same_as_beside_one_that_wants_nothing(alone):
    assert may_run([alone], "a") == may_run([alone, study("b", left=0)], "a")


def test_who_waits_is_told_its_place_and_what_for():
    first = study("first", running=8, priority=2, left=50)
    waiting = [study("late", since=2.0), study("early", since=1.0)]
    assert queue([first, *waiting]) == {
        "early": "place 1 of 2: behind first (priority 2)",
        "late": "place 2 of 2: behind first (priority 2)",
    }
    assert queue([study("old", running=8), study("new")]) == {"new": "place 1 of 1: a trial of old has to end"}
    assert queue([study("alone")]) == {}
    assert queue([study("a", running=1, slots=1), study("b", paused=True)]) == {}


contender = st.builds(
    Contender,
    id=st.just(""),
    slots=st.integers(1, 12),
    running=st.integers(0, 12),
    left=st.integers(0, 12),
    unplaced=st.integers(0, 12),
    priority=st.integers(-1, 2),
    at_once=st.none() | st.integers(1, 5),
    device_seconds=st.floats(0, 100),
    paused=st.booleans(),
)


@given(st.lists(contender, min_size=1, max_size=5), st.randoms())
def test_shares_never_exceed_the_cluster_and_nothing_that_somebody_could_use_stays_idle(found, order):
    named = [Contender(**{**{f: getattr(one, f) for f in one.__slots__}, "id": str(n)}) for n, one in enumerate(found)]
    granted = shares(named)
    free = 1 - sum(granted[one.id] * one.size for one in named)
    assert free >= 0
    assert all(granted[one.id] <= one.wanted for one in named)
    assert not any(granted[one.id] < one.wanted and one.size <= free for one in named)
    order.shuffle(named)
    assert shares(named) == granted


def test_two_studies_of_trials_of_different_length_get_the_same_device_time():
    """The cluster played through, one trial at a time: trials of 7 s against trials of 2 s, from the same start."""
    used, lengths, clock = {"a": 0.0, "b": 0.0}, {"a": 7.0, "b": 2.0}, 0.0
    while clock < 2000:
        granted = shares([study(name, slots=1, device_seconds=seconds) for name, seconds in used.items()])
        (name,) = (name for name, count in granted.items() if count)
        used[name] += lengths[name]
        clock += lengths[name]
    assert abs(used["a"] - used["b"]) <= max(lengths.values())


def test_drivers_know_of_each_other_as_long_as_they_live(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    code = f"""
from pathlib import Path
from ccar.store.disk_folder import DiskFolder
from ccar.store.drivers import Drivers
Drivers(DiskFolder(Path({str(tmp_path)!r}))).note("other_1", {{"a": 1}})
print(flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        drivers.note("mine_1", {"b": 2})
        assert drivers.alive() == {"mine_1": {"b": 2}, "other_1": {"a": 1}}
        drivers.pause("other_1")
        assert not drivers.is_to_pause("other_1")  # that process is meant, and not this one of the same name
        other.communicate(b"\n")
    assert drivers.alive() == {"mine_1": {"b": 2}}
    with pytest.raises(UserError, match="other_1 is not at work yet, or not any more"):
        drivers.resume("other_1")
    drivers.forget_dead()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "mine_1.json",
        "other_1.pause",
    ]  # it may have been frozen
    drivers.leave("mine_1")
    assert drivers.alive() == {}


def test_a_damaged_note_is_as_good_as_none(tmp_path):
    Drivers(DiskFolder(tmp_path)).note("mine_1", {})
    (tmp_path / "mine_1.json").write_text("{}")
    assert Drivers(DiskFolder(tmp_path)).alive() == {}


def test_a_note_that_cannot_be_read_just_now_stays_and_so_does_the_wish_that_its_driver_pauses(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    drivers.note("other_1", {})
    drivers.pause("other_1")
    content = (tmp_path / "other_1.json").read_text()
    (tmp_path / "other_1.json").write_text("{}")
    drivers.forget_dead()
    (tmp_path / "other_1.json").write_text(content)
    assert drivers.alive() == {"other_1": {}}
    assert drivers.is_to_pause("other_1")


def test_the_note_of_another_version_is_passed_over(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    with Seat(drivers, "one_1", study="one", priority=0, at_once=None, say=print) as seat:
        seat.take("here:1", 4)
        drivers.note("older_1", {"study": "older", "cluster": "here:1", "slots": 4})
        drivers.note("oldest_1", {})
        assert seat.may_run(0, 10, 0.0) == 4
        assert list(standing_of_drivers(drivers.alive())) == ["one_1"]
        assert _waiting(drivers.alive()) == {}
        drivers.pause("one_1")
        wait_until(lambda: seat.is_to_pause)  # its thread lives on
        wait_until(lambda: _waiting(drivers.alive()) == {"one": "paused"})


def test_a_study_none_of_whose_trials_has_a_process_does_not_run():
    def standing(**facts):
        note = {**asdict(study("a", left=0, **facts)), "cluster": "here:1"}
        return standing_of_drivers({"a": note})["a"]

    assert standing(running=8, unplaced=8) == {
        "state": "waiting",
        "why": "none of its trials has a process yet",
        "running": 0,
    }
    assert standing(running=8, unplaced=3) == {"state": "running", "why": "", "running": 5}
    assert standing(running=8, unplaced=8, paused=True) == {"state": "paused", "why": "", "running": 0}


def test_a_cluster_that_grows_is_shared_anew(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    options = {"priority": 0, "at_once": None, "say": print}
    with Seat(drivers, "one_1", study="one", **options) as one, Seat(drivers, "two_1", study="two", **options) as two:
        for seat in (one, two):
            seat.take("here:1", 0)  # its nodes have yet to come
        wait_until(lambda: one.may_run(0, 10, 0.0) + two.may_run(0, 10, 0.0) == 1)
        for seat in (one, two):
            seat.resize(6)
        wait_until(lambda: (one.may_run(0, 10, 0.0), two.may_run(0, 10, 0.0)) == (3, 3))


class Signals:
    """Of an `Interruption`, what an `Allowance` looks at."""

    is_over = False


def test_two_drivers_divide_the_slots_of_their_cluster_and_the_one_that_leaves_makes_room(tmp_path):
    said = []
    drivers = Drivers(DiskFolder(tmp_path))
    options = {"at_once": None, "say": said.append}
    with Seat(drivers, "one_1", study="one", priority=0, **options) as one:
        one.take("here:1", 4)
        assert one.may_run(0, 10, 0.0) == 4
        with Seat(drivers, "two_1", study="two", priority=0, **options) as two:
            two.take("here:1", 4)
            assert two.may_run(0, 10, 0.0) == 2
            with Seat(drivers, "far_1", study="far", priority=9, **options) as far:
                far.take("there:1", 1)
                assert far.may_run(0, 10, 0.0) == 1  # of another cluster with the same store
            wait_until(lambda: one.may_run(2, 8, 0.0) == 2)
        wait_until(lambda: one.may_run(2, 8, 0.0) == 4)
    assert drivers.alive() == {}
    assert said == []


def test_a_paused_study_says_so_waits_and_goes_on(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    with Seat(drivers, "one_1", study="one", priority=0, at_once=None, say=print) as seat:
        allowance = Allowance(Limits(), Signals(), seat=seat)
        allowance.begin("here:1", 4, 1)
        assert allowance.trials_at_once(0, 9, 0) == 4
        assert not allowance.outlasts_pause()  # it was not that
        drivers.pause("one_1")
        wait_until(lambda: allowance.is_over)
        wait_until(lambda: standing_of_drivers(drivers.alive())["one_1"]["state"] == "paused")
        drivers.resume("one_1")
        wait_until(lambda: not seat.is_to_pause)
        assert allowance.is_over  # its trials are being given back, though it may go on by now
        assert allowance.outlasts_pause()
        assert not allowance.is_over
        assert not allowance.outlasts_pause()  # a second end would have another reason


class PausedAgain:
    """A seat at which somebody asks for another pause as soon as one has ended."""

    def __init__(self):
        self._answers = iter([True, True, False])

    @property
    def is_to_pause(self):
        return next(self._answers, True)

    def may_run(self, running, left, device_seconds):
        return 0


def test_a_pause_right_after_another_one_does_not_end_the_run():
    allowance = Allowance(Limits(), Signals(), seat=PausedAgain())
    assert allowance.is_over
    assert allowance.outlasts_pause()
    assert allowance.is_over  # it pauses again


class HeldDrivers(Drivers):
    """The first note that a seat's thread writes is written when `go_on` is set."""

    def __init__(self, folder):
        super().__init__(folder)
        self.held, self.go_on = threading.Event(), threading.Event()
        self.slots = []

    def note(self, driver, content):
        if threading.current_thread().name == "ccar-seat" and not self.held.is_set():
            self.held.set()
            assert self.go_on.wait(SECONDS)
        super().note(driver, content)
        self.slots.append(content["slots"])


def test_an_older_note_is_never_written_over_a_newer_one(tmp_path):
    drivers = HeldDrivers(DiskFolder(tmp_path))
    with Seat(drivers, "one_1", study="one", priority=0, at_once=None, say=print) as seat:
        seat.take("here:1", 2)
        assert drivers.held.wait(SECONDS)
        resizing = threading.Thread(target=seat.resize, args=(6,))
        resizing.start()
        resizing.join(1)  # written by now, if it does not wait for the one that is held
        drivers.go_on.set()
        resizing.join()
    assert drivers.slots == sorted(drivers.slots)
    assert drivers.slots[-1] == 6


def test_a_pause_that_cannot_be_read_just_now_is_still_a_pause(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    with Seat(drivers, "one_1", study="one", priority=0, at_once=None, say=print) as seat:
        drivers.pause("one_1")
        wait_until(lambda: seat.is_to_pause)
        (tmp_path / "one_1.pause").rename(tmp_path / "kept")
        (tmp_path / "one_1.pause").mkdir()  # any error but that it is not there
        before = drivers._folder.touched_at("one_1.json")
        wait_until(lambda: drivers._folder.touched_at("one_1.json") > before + 1)
        assert seat.is_to_pause
        (tmp_path / "one_1.pause").rmdir()
        wait_until(lambda: not seat.is_to_pause)


def test_a_trial_that_ends_makes_room_for_whoever_waits_and_not_for_the_next_of_its_own_study(tmp_path):
    drivers = Drivers(DiskFolder(tmp_path))
    options = {"at_once": None, "say": lambda text: None}
    with (
        Seat(drivers, "one_1", study="one", priority=0, **options) as one,
        Seat(drivers, "two_1", study="two", priority=5, **options) as two,
    ):
        one.take("here:1", 2)
        wait_until(lambda: one.may_run(2, 8, 10.0) == 2)
        two.take("here:1", 2)
        assert two.may_run(0, 10, 0.0) == 0
        one._note()
        assert one.may_run(2, 8, 10.0) == 2  # none of them has to end before its time
        assert one.may_run(1, 8, 10.0) == 1
        wait_until(lambda: two.may_run(0, 10, 0.0) == 1)


def test_device_hours_are_counted_by_devices_in_use_and_end_the_run(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    allowance = Allowance(Limits(max_device_hours=1.0), Signals(), seat=None)
    allowance.begin("here:1", 2, 0.5)
    assert allowance.trials_at_once(7, 10, 3) > 100  # three of them have no process yet
    clock[0] = 1799.0
    assert not allowance.is_over
    clock[0] = 1801.0
    assert allowance.is_over
    assert allowance.is_spent
