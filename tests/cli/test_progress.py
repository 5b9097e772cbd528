"""What the progress display says where nobody sees a bar: a line now and then."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

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
    name = f"IF {setting.removeprefix('if')}: 97.5 % {method} seed {trials[0].seed}"
    assert f"1 running; best of this run on validation, {name}" in said.getvalue()


def told(trial, accuracy, status="running"):
    return trial, TrialProgress(key=trial.key, status=status, accuracies={"balanced_accuracy": accuracy})


def test_trials_stand_by_their_latest_epoch_and_of_equals_the_first_one_stays():
    first, second, third, failed = made_up_study(seeds=range(4)).trials[:4]
    display = ProgressDisplay(Console(file=io.StringIO()), total=4, already_done=0)
    for one in (
        told(first, 0.9),
        told(first, 0.8),
        told(failed, 0.99),
        told(first, 0.7, "finished"),
        told(second, 0.7, "finished"),
        told(third, 0.6),
        told(failed, 0.99, "failed"),
    ):
        display.progressed(*one)
    assert [line.rpartition(": ")[2] for line in display._best_lines()] == [
        f"70.0 % {first.cell.method} seed {first.seed}"
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_in_a_narrow_terminal_the_bar_keeps_its_count_and_its_times(width):
    trials = made_up_study(seeds=range(2)).trials
    display = ProgressDisplay(Console(file=io.StringIO()), total=len(trials), already_done=3)
    display.started(trials[0])
    display.progressed(*told(trials[0], 0.5))
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True)
    bar, best = terminal.render_lines(Group(*display._bar.get_renderables()), pad=False)
    assert "3/12 1 running 0:00:00 left -:--:--" in "".join(part.text for part in bar)
    assert "".join(part.text for part in best).startswith("best of this run on validation, IF 100: 50.0 % cro")


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
