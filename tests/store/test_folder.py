"""What the store relies on holds in every place that it can be kept in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ccar.store import liveness, turn
from ccar.store.address import folder_at
from tests.waiting import SECONDS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(place):
    """A folder that does not exist yet."""
    return folder_at(place)


def start(code, *words):
    """Run Python code in a process of its own, with words for it."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def test_a_folder_that_does_not_exist_is_empty(folder):
    assert list(folder.names()) == []
    assert list(folder.names(depth=2)) == []
    assert folder.versions() == {}
    assert not folder.exists("a")
    with pytest.raises(FileNotFoundError):
        folder.read("a")
    with pytest.raises(FileNotFoundError):
        folder.touched_at("a")
    folder.delete("a")


def test_of_two_who_create_a_file_the_first_one_has_it(folder):
    assert folder.create("a", b"first")
    assert not folder.create("a", b"second")
    assert not folder.create("a", b"first")  # not even with the same content
    assert folder.read("a") == b"first"


def test_a_file_that_was_deleted_can_be_created_again(folder):
    folder.create("a", b"first")
    folder.delete("a")
    assert folder.create("a", b"second")
    assert folder.read("a") == b"second"


@pytest.mark.parametrize("size", [0, 1, 12_000_000])
def test_what_is_put_is_read_back_whatever_its_size(folder, size):
    content = os.urandom(size)
    folder.replace("a", b"something else")
    folder.replace("a", content)
    assert folder.read("a") == content
    assert folder.create("b", content)
    assert folder.read("b") == content


def test_names_are_those_of_files_and_folders_one_or_two_levels_down(folder):
    folder.create("a", b"")
    folder.folder("b", "c").create("d", b"")
    folder.folder("b").create("e", b"")
    folder.folder("bb").create("f", b"")
    assert sorted(folder.names()) == ["a", "b", "bb"]
    assert sorted(folder.folder("b").names()) == ["c", "e"]
    inner = folder.folder("b")
    inner.folder("c", "g").create("h", b"")
    inner.delete("e")
    assert sorted(inner.names(depth=2)) == ["d", "g"]


def test_a_file_has_another_version_after_each_change(folder):
    folder.replace("a", b"1")
    folder.replace("b", b"1")
    before = folder.versions()
    folder.replace("a", b"2")
    assert folder.versions()["a"] != before["a"]
    assert folder.versions()["b"] == before["b"]


def test_times_come_from_one_clock_and_are_renewed(folder):
    folder.replace("a", b"content")
    first = folder.touched_at("a")
    time.sleep(1.1)  # servers count seconds
    folder.create("b", b"")
    folder.touch("b")
    assert 1.0 <= folder.touched_at("b") - first < 60


def test_an_address_leads_another_process_to_the_same_folder(folder):
    folder.folder("a").create("b", b"content")
    assert folder_at(str(folder.folder("a"))).read("b") == b"content"


def test_what_is_cleared_is_gone(folder):
    inner = folder.folder("a")
    inner.create("b", b"")
    inner.folder("c", "d").create("e", b"")
    inner.clear()
    assert list(folder.names()) == []


def test_of_many_processes_that_create_the_same_files_exactly_one_has_each(folder):
    race = """
import json, sys
from ccar.store.address import folder_at
folder, own = folder_at(sys.argv[1]), sys.argv[2]
folder.exists("a")
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([n for n in range(40) if folder.create(f"{n:06d}", own.encode())]))
"""
    racers = [start(race, folder, name) for name in "abc"]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = {name: json.loads(racer.communicate()[0]) for name, racer in zip("abc", racers, strict=True)}
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(40))
    for name, numbers in won.items():
        assert {folder.read(f"{number:06d}") for number in numbers} <= {name.encode()}


def test_only_one_has_the_turn_and_the_next_one_gets_it_when_it_is_given_back(folder):
    inside = threading.Semaphore(1)
    turns = []

    def work(name):
        for _ in range(5):
            with folder.turn("lock", SECONDS):
                assert inside.acquire(blocking=False), "two at once"
                turns.append(name)
                inside.release()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turns) == sorted("abc" * 5)


def test_who_waits_too_long_for_a_turn_is_told(folder):
    with folder.turn("lock", 5), pytest.raises(TimeoutError), folder.turn("lock", 0.2):
        pass
    with folder.turn("lock", 5):
        pass


def test_the_turn_of_a_process_that_was_killed_is_taken_over_at_once(folder):
    holder = start(
        "import sys, time\nfrom ccar.store.address import folder_at\n"
        "with folder_at(sys.argv[1]).turn('lock', 5):\n    print('has it', flush=True)\n    time.sleep(100)",
        folder,
    )
    assert holder.stdout.readline() == "has it\n"
    with pytest.raises(TimeoutError), folder.turn("lock", 0.2):
        pass
    holder.kill()
    holder.communicate()
    begun = time.monotonic()
    with folder.turn("lock", 20):
        assert time.monotonic() - begun < 10


@pytest.mark.long
def test_in_a_bucket_the_turn_of_a_process_on_another_host_is_lost_after_the_lease(bucket, monkeypatch):
    folder = folder_at(f"{bucket}/turn-of-another-host")
    monkeypatch.setattr(liveness, "_machine", lambda: "another machine")
    heartbeat = turn._take(folder)
    monkeypatch.undo()
    assert turn._take(folder) is None
    heartbeat.stop()  # it is killed: nothing is given back
    monkeypatch.setattr(liveness, "LEASE_SECONDS", 0.5)
    time.sleep(1.6)  # servers count seconds
    turn._take(folder).end()


@pytest.mark.long
def test_in_a_bucket_a_turn_that_was_cleared_away_cannot_be_taken_a_second_time(bucket, monkeypatch):
    folder = folder_at(f"{bucket}/slow-taker")
    monkeypatch.setattr(turn, "_last", lambda folder, former=turn._last, calls=[]: _slow(folder, former, calls))
    assert turn._take(folder) is None
    monkeypatch.undo()
    assert turn._last(folder) == 3
    assert not [name for name in folder.names() if name.startswith("000000001-")]


def _slow(folder, look, calls):
    """Look; and before the first caller learns what it saw, others take three turns."""
    seen = look(folder)
    calls.append(seen)
    if len(calls) == 1:
        for _ in range(3):
            turn._take(folder).end()
    return seen


def test_a_turn_that_was_given_back_leaves_next_to_nothing(folder):
    for _ in range(5):
        with folder.turn("lock", 5):
            pass
    lock = folder.folder("lock")
    assert len([*folder.names(), *(lock.names() if str(folder).startswith("s3") else ())]) <= 2
