"""What the progress display says where nobody sees a bar: a line now and then."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ccar.cli import progress
from ccar.cli.progress import ProgressDisplay
from ccar.cluster.events import TrialProgress
from tests.evidence.made_up_study import made_up_study


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_leaves_out_what_the_start_of_the_workers_took(clock):
    said = io.StringIO()
    trials = made_up_study(seeds=range(4)).trials
    with ProgressDisplay(Console(file=said), total=len(trials), already_done=0) as display:
        for trial in trials[:2]:
            display.started(trial)
        for number, trial in enumerate(trials[:10]):
            clock[0] += 60 if number == 0 else 5 if number % 2 == 0 else 0  # a minute of start; then two every 5 s
            display.progressed(trial, TrialProgress(key=trial.key, status="finished"))
            display.started(trials[number + 2])
    lines = [line for line in said.getvalue().splitlines() if line]
    assert "left" not in lines[0]
    assert lines[-1].startswith("9/24 trials, 2 running, about 38 s left")
