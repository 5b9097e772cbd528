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


def test_the_best_so_far_is_called_one_on_validation_and_in_per_cent_as_in_the_tables(clock):
    said = io.StringIO()
    trials = made_up_study(seeds=range(1)).trials
    with ProgressDisplay(Console(file=said), total=len(trials), already_done=0) as display:
        display.started(trials[0])
        clock[0] += 60
        accuracies = {"accuracy": 0.9, "balanced_accuracy": 0.9751}
        display.progressed(trials[0], TrialProgress(key=trials[0].key, status="running", accuracies=accuracies))
    setting, _, method = trials[0].cell.id.partition("/")
    assert f"best on validation, IF {setting.removeprefix('if')}: 97.5 % {method}" in said.getvalue()


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


def test_the_time_left_is_worded_like_the_time_that_a_plan_takes(clock):
    said = io.StringIO()
    trials = made_up_study(seeds=range(4)).trials
    with ProgressDisplay(Console(file=said), total=len(trials), already_done=0) as display:
        for number, trial in enumerate(trials[:5]):
            display.started(trial)
            clock[0] += 600
            display.progressed(trial, TrialProgress(key=trial.key, status="finished"))
            display.started(trials[number + 1])
    lines = [line for line in said.getvalue().splitlines() if line]
    assert lines[-1].startswith("5/24 trials, 1 running, about 3.2 h left")


def test_the_death_of_a_process_is_told_with_its_cause_and_its_trial_runs_no_more():
    said = io.StringIO()
    (trial,) = made_up_study(seeds=range(1)).trials[:1]
    with ProgressDisplay(Console(file=said), total=1, already_done=0) as display:
        display.started(trial)
        display.lost_worker(trial, "process 7 on 10.0.0.2: it ran out of memory")
        assert display._running == set()
    assert "its worker process died (process 7 on 10.0.0.2: it ran out of memory); the trial goes on" in said.getvalue()
