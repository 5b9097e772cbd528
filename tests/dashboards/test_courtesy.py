"""What others on the machine notice of the pages."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import psutil
import pytest

from ccar.store.trial_store import TrialStore
from ccar.tracking.web_server import free_port, running
from dashboards import importances, once, pace
from dashboards.once import made_once
from dashboards.pages import trial as trial_page
from tests.dashboards.made_up_store import put_study


def test_trials_on_the_same_machine_go_first(tmp_path):
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "dashboards", "--store", str(tmp_path), "--port", str(port)]
    with running(command, os.environ, "the dashboard", f"http://127.0.0.1:{port}") as server:
        server.wait_until_it_answers("/")
        dashboard = psutil.Process(server._process.pid)
        assert dashboard.nice() == 19
        group = Path(f"/proc/{dashboard.pid}/autogroup")
        assert not group.exists() or group.read_text().endswith(" nice 10\n")


def test_who_asks_too_often_waits_his_turn_and_a_burst_does_not(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    bounded = pace.Pace(per_second=50.0, burst=10)
    clock.now = 1000.0
    for _ in range(14):
        bounded.wait()
    assert clock.slept == pytest.approx([0.0] * 11 + [0.02, 0.04, 0.06])
    clock.now += 1.0  # quiet for long enough that the burst is there again
    bounded.wait()
    assert clock.slept[-1] == 0.0


def test_who_asks_for_what_another_one_is_making_waits_for_it():
    begun = []

    @made_once(kept=2, seconds=3600.0)
    def make(name):
        begun.append(name)
        time.sleep(0.2)
        return object()

    with ThreadPoolExecutor(4) as pool:
        one, *others = pool.map(make, ["page"] * 4)
    assert begun == ["page"]
    assert all(other is one for other in others)


def test_after_a_while_it_is_made_again(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(once, "time", clock)
    make = made_once(kept=2, seconds=10.0)(lambda: clock.now)
    assert (make(), make()) == (0.0, 0.0)
    clock.now = 10.0
    assert make() == 10.0


def test_what_explains_the_accuracies_is_found_again_only_after_a_while(monkeypatch):
    clock, found = Clock(), []
    monkeypatch.setattr(importances, "time", clock)
    monkeypatch.setattr(importances, "importance", lambda trials: found.append(len(trials)))
    asked = importances.Importances()
    for num_trials, seconds in ((1, 0.0), (2, 1.0), (3, importances.AGAIN_SECONDS), (3, 1e9)):
        clock.now = seconds
        asked.of("made-up", "IF 15", pd.DataFrame({"key": map(str, range(num_trials)), "status": "finished"}))
    assert found == [1, 3]


def test_the_store_is_searched_for_the_nearest_trial_only_now_and_then(tmp_path, monkeypatch):
    store = TrialStore(tmp_path / "store")
    one, other, *_ = put_study(store)
    clock, searched = Clock(), []
    monkeypatch.setattr(once, "time", clock)
    monkeypatch.setattr(trial_page, "why", lambda trial, records: searched.append(trial.key))
    for trial in (one, other, one, other):
        trial_page._nearest(store, trial)
    assert searched == [one.key, other.key]
    clock.now = trial_page._NEAREST_SECONDS
    trial_page._nearest(store, one)
    assert searched == [one.key, other.key, one.key]


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
