from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from ccar.store.key import key_parts
from ccar.store.records import TrialRecord
from ccar.study.definition import Resources
from ccar.study.expansion import plan_trials
from ccar.study.plan import Capacity, plan_of, why
from ccar.training.result import EpochResult

from .test_expansion import study_of

ONE_CPU = Resources(cpus=1)
TWO_CPUS = Capacity(cpus=2)


def epochs(seconds: float) -> tuple[EpochResult, ...]:
    return (
        EpochResult(
            epoch=1,
            train_loss=1.0,
            learning_rate=0.1,
            seconds=seconds,
            images_per_second=1.0,
            finished_at=0.0,
            validation=None,
        ),
    )


def record(trial, status="finished", seconds=10.0, device="cpu", ended_at=0.0) -> TrialRecord:
    return TrialRecord(
        key=trial.key,
        status=status,
        config=trial.config,
        parts=key_parts(trial.config, trial.data_fingerprint),
        epochs=epochs(seconds) if status != "absent" else (),
        ended_at=ended_at,
        worker={"device": device},
    )


@pytest.fixture
def trials(ten_classes):
    """Eight: two omegas and the plain base, at two imbalance factors, one seed, and two more of focal."""
    methods = {"bases": ["cross_entropy", "focal"], "reweighting": {"omega": 0.5}}
    return plan_trials(study_of(methods=methods, factors=[10, 50]), ten_classes)


def plan(trials, records, timings=None, **options):
    by_key = {found.key: found for found in records}
    places = {"resources": ONE_CPU, "capacity": TWO_CPUS, **options}
    return plan_of(trials, by_key, records if timings is None else timings, **places)


def test_nothing_is_done_and_nothing_is_known_at_first(trials):
    found = plan(trials, [])
    assert (found.total, found.done, found.to_run) == (8, 0, 8)
    assert found.by_status == {"absent": 8}
    assert (found.device_hours, found.wall_clock_hours) == (None, None)
    assert (found.slots, found.device) == (2, "cpu")


def test_the_rest_is_estimated_from_the_trials_that_have_finished(trials):
    found = plan(trials, [record(trials[0], seconds=10), record(trials[1], seconds=20)])
    assert (found.done, found.to_run) == (2, 6)
    assert found.device_hours == pytest.approx(6 * 15 / 3600)
    assert found.wall_clock_hours == pytest.approx(6 * 15 / 2 / 3600)


def test_trials_of_the_same_imbalance_factor_tell_more_than_others(trials):
    records = [record(trials[0], seconds=10), record(trials[4], seconds=40)]
    assert trials[4].config.data.imbalance_factor == 50
    assert plan(trials, records).device_hours == pytest.approx((3 * 10 + 3 * 40) / 3600)


def test_what_an_unfinished_trial_has_behind_it_is_not_counted_again(trials):
    records = [record(trial) for trial in trials[:-1]] + [record(trials[-1], "unfinished", seconds=4)]
    found = plan(trials, records)
    assert found.by_status == {"finished": 7, "unfinished": 1}
    assert found.device_hours == pytest.approx(6 / 3600)
    assert found.wall_clock_hours == pytest.approx(6 / 3600)  # one trial cannot be shared out


@pytest.mark.parametrize(
    ("status", "done"),
    [("finished", 1), ("diverged", 1), ("failed", 0), ("unfinished", 0), ("absent", 0), ("stopped", 0)],
)
def test_what_counts_as_done(trials, status, done):
    assert plan(trials, [record(trials[0], status)]).done == done


def test_a_stopped_trial_is_done_in_a_study_that_stops_trials(trials):
    assert plan(trials, [record(trials[0], "stopped")], stopped_is_done=True).done == 1


def test_a_finished_study_takes_no_time(trials):
    found = plan(trials, [record(trial) for trial in trials])
    assert (found.to_run, found.device_hours, found.wall_clock_hours) == (0, 0.0, 0.0)


def test_another_model_or_device_tells_nothing_about_the_time(trials):
    small = record(trials[0])
    other = small.config.model_copy(update={"model": "resnet32"})
    assert plan(trials, [], timings=[TrialRecord(key="k", status="finished", config=other)]).device_hours is None
    on_gpu = [record(trials[0], device="NVIDIA H100")]
    assert plan(trials, on_gpu).device_hours is None
    shared = Resources(cpus=1, gpus=0.25)
    found = plan(trials, on_gpu, resources=shared, capacity=Capacity(cpus=16, gpus=1))
    assert (found.device, found.slots) == ("gpu", 4)
    assert found.device_hours == pytest.approx(7 * 10 * 0.25 / 3600)


def test_a_machine_that_is_too_small_never_ends(trials):
    found = plan(trials, [record(trials[0])], resources=Resources(cpus=1, gpus=1))
    assert (found.slots, found.wall_clock_hours) == (0, None)


def test_fractions_add_up_to_whole_slots():
    assert Capacity(cpus=8, gpus=1).slots(Resources(cpus=1, gpus=0.1)) == 8
    assert Capacity(cpus=64, gpus=3).slots(Resources(cpus=1, gpus=0.3)) == 9  # three on each
    assert Capacity(cpus=64, gpus=4).slots(Resources(cpus=1, gpus=0.4)) == 8
    assert Capacity(cpus=64, gpus=4).slots(Resources(cpus=1, gpus=2)) == 2
    assert Capacity(cpus=3).slots(Resources(cpus=0.1)) == 30
    assert Capacity(cpus=0.1 + 0.2).slots(Resources(cpus=0.3)) == 1


def test_slots_are_those_of_ray_which_rounds_amounts():
    assert Capacity(cpus=64, gpus=1).slots(Resources(cpus=1, gpus=0.142857)) == 6  # of 0.1429
    assert Capacity(cpus=2).slots(Resources(cpus=0.142857)) == 13
    assert Capacity(cpus=64, gpus=1).slots(Resources(cpus=1, gpus=0.333333)) == 3


@pytest.mark.parametrize("count", [2**k for k in range(9)])
def test_as_many_trials_as_were_measured_fit_on_a_gpu(count):
    share = Resources(gpus="auto").with_trials_per_gpu(count)
    assert Capacity(cpus=1000, gpus=1).slots(share) == count


def test_trials_that_a_searcher_will_suggest_are_counted(trials):
    found = plan(trials, [record(trials[0])], num_trials=20)
    assert (found.total, found.to_run, found.to_suggest) == (20, 19, 12)
    assert found.device_hours == pytest.approx(19 * 10 / 3600)


def test_a_plan_is_plain_json(trials):
    found = plan(trials, [record(trials[0])]).to_json()
    assert json.loads(json.dumps(found)) == found
    assert math.isfinite(found["device_hours"])


def test_why_names_the_nearest_finished_trial_and_what_differs(trials):
    records = [record(trials[0]), record(trials[1]), record(trials[2], "unfinished")]
    recipe = trials[1].config.recipe.model_copy(update={"epochs": 99, "augmentation": ("flip",)})
    changed = trials[1].config.model_copy(update={"recipe": recipe})
    now = replace(trials[1], config=changed, key="k")
    found = why(now, records)
    assert found.nearest.key == trials[1].key
    before = trials[1].config.recipe.epochs
    assert [(part.path, part.stored, part.current) for part in found.differences] == [
        ("recipe.epochs", before, 99),
        ("recipe.augmentation.0", None, "flip"),
    ]
    assert str(found.differences[0]) == f"recipe.epochs: {before} -> 99"


def test_why_shows_other_data_and_another_seed(trials):
    found = why(trials[4], [record(trials[0])])
    assert {part.path for part in found.differences} == {"data.imbalance_factor", "data_fingerprint"}


def test_of_equally_near_trials_the_latest_is_taken(trials):
    old, new = record(trials[0], ended_at=1.0), record(trials[0], ended_at=2.0)
    assert why(trials[1], [old, new]).nearest is new


def test_a_trial_that_is_finished_differs_in_nothing(trials):
    assert why(trials[0], [record(trial) for trial in trials]).differences == ()


def test_without_finished_trials_there_is_nothing_to_compare_with(trials):
    assert why(trials[0], [record(trials[0], "failed")]).nearest is None
