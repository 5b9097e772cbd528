from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ccar.store.records import StudyTrial, TrialRecord
from ccar.tracking.run_content import run_content
from ccar.training.config import Pretrained
from tests.store.examples import NUM_EPOCHS, TEST, epoch
from tests.tracking.examples import ALL_POINTS, config_of

TRIAL = StudyTrial(cell="if10/focal", method="focal", seed=7, key="k" * 64)
FINISHED = TrialRecord(
    key=TRIAL.key,
    status="finished",
    config=config_of(7),
    class_counts=(20, 2),
    parts={"data_fingerprint": "f" * 64, "code": "c" * 64},
    epochs=tuple(epoch(number) for number in range(1, NUM_EPOCHS + 1)),
    started_at=1000.0,
    ended_at=1004.5,
    worker={"host": "node-3", "pid": 17, "device": "cpu", "threads": 1},
    num_records=NUM_EPOCHS + 2,
)


def changed(**changes):
    return dataclasses.replace(FINISHED, **changes)


def with_config(**changes):
    return changed(config=FINISHED.config.model_copy(update=changes))


def test_every_epoch_has_its_own_step_and_the_time_at_which_it_ended():
    content = run_content(TRIAL, FINISHED, TEST)

    losses = [point for point in content.points if point.key == "train.loss"]
    assert [(point.step, point.timestamp) for point in losses] == [
        (number, 1_000_000 + 1000 * number) for number in range(1, NUM_EPOCHS + 1)
    ]
    assert len(content.points) == len(set(content.points)) == ALL_POINTS


def test_the_test_set_is_shown_for_the_last_and_for_the_best_epoch():
    content = run_content(TRIAL, FINISHED, dataclasses.replace(TEST, best_epoch_index=2))

    found = {point.key: point for point in content.points if point.key.startswith("test")}
    assert found["test.balanced_accuracy"][1:] == (0.4, 1_004_500, NUM_EPOCHS)
    assert found["test_best.balanced_accuracy"][1:] == (0.5, 1_004_500, 2)
    assert found["test.ece"][1] == 0.1
    assert "test.many" not in found


def test_a_longer_log_only_adds_points_at_the_end():
    half = run_content(TRIAL, changed(status="unfinished", epochs=FINISHED.epochs[:2]), None)

    assert run_content(TRIAL, FINISHED, TEST).points[: len(half.points)] == half.points


def test_a_value_that_is_not_finite_is_not_sent():
    exploded = dataclasses.replace(epoch(1), train_loss=float("inf"))

    content = run_content(TRIAL, changed(status="diverged", epochs=(exploded,)), None)

    assert "train.loss" not in {point.key for point in content.points}


def test_params_carry_the_whole_configuration_under_dotted_names():
    params = run_content(TRIAL, FINISHED, TEST).params

    expected = {
        "data.name": "digits",
        "data.imbalance_factor": "10.0",
        "loss.name": "cross_entropy",
        "reweighting.omega": "0.75",
        "recipe.learning_rate": "0.1",
        "recipe.schedule.milestones": "2",
        "model": "small_cnn",
        "seed": "7",
    }
    assert expected.items() <= params.items()


def test_params_say_nothing_of_what_is_unset_or_of_where_the_bytes_came_from():
    data = FINISHED.config.data.model_copy(
        update={"root": Path("images"), "lists": Path("lists"), "counts": Path("file")}
    )
    pretrained = Pretrained(path=Path("weights"), sha256="ab" * 32)
    stage_one = FINISHED.config.model_copy(update={"data": data})
    content = run_content(TRIAL, with_config(data=data, pretrained=pretrained, stage_one=stage_one), TEST)

    params = {name.removeprefix("stage_one.") for name in content.params}
    assert {"data.imbalance_factor", "pretrained.sha256"} <= params
    unset = {"recipe.iterations", "recipe.augmentation", "post_hoc_tau"}
    assert not {*unset, "data.root", "data.lists", "data.counts", "data.download", "pretrained.path"} & params


def test_a_param_too_long_for_mlflow_is_cut_but_still_tells_two_values_apart():
    def frequency_param(last):
        shares = (0.001,) * 2000 + (last,)
        reweighting = FINISHED.config.reweighting.model_copy(update={"frequency": shares})
        return run_content(TRIAL, with_config(reweighting=reweighting), TEST).params["reweighting.frequency"]

    assert len(frequency_param(0.1)) == 6000
    assert frequency_param(0.1) != frequency_param(0.2)


@pytest.mark.parametrize(
    ("status", "shown"),
    [("unfinished", "RUNNING"), ("stopped", "KILLED"), ("diverged", "FAILED"), ("failed", "FAILED")],
)
def test_mlflow_knows_fewer_ways_to_end_so_a_tag_says_which(status, shown):
    content = run_content(TRIAL, changed(status=status), None)

    assert (content.status, content.tags["ccar.status"]) == (shown, status)


def test_a_trial_that_still_runs_has_no_end_and_no_table():
    content = run_content(TRIAL, changed(status="unfinished"), None)

    assert (content.end_time, content.per_class) == (None, None)
    assert "mlflow.loggedArtifacts" not in content.tags


def test_the_table_has_one_row_per_class():
    table = json.loads(run_content(TRIAL, FINISHED, TEST).per_class)

    assert table == {
        "columns": ["class", "train_images", "val", "test", "test_best"],
        "data": [[0, 20, 0.4, 0.4, 0.5], [1, 2, 0.4, 0.4, 0.5]],
    }


def test_without_a_validation_part_only_the_last_epoch_is_shown():
    bare = dataclasses.replace(epoch(1), validation=None)
    test = dataclasses.replace(TEST, best_epoch=None, best_epoch_index=None)

    content = run_content(TRIAL, changed(epochs=(bare,)), test)

    assert not any(point.key.startswith(("val", "test_best")) for point in content.points)
    assert json.loads(content.per_class)["columns"] == ["class", "train_images", "test"]


def test_tags_say_where_it_ran_but_not_which_process():
    tags = run_content(TRIAL, FINISHED, TEST).tags

    assert tags["ccar.host"] == "node-3"
    assert json.loads(tags["ccar.worker"]) == {"device": "cpu", "host": "node-3", "threads": 1}


def test_of_a_very_long_error_the_end_fits_into_a_tag():
    error = "Traceback:\n" + "  File, line\n" * 2000 + "OSError: disk"
    content = run_content(TRIAL, changed(status="failed", error=error), None)

    assert len(content.tags["ccar.error"]) == 5000
    assert content.tags["ccar.error"].endswith("OSError: disk")


def test_an_error_about_a_file_whose_name_is_no_unicode_is_text_that_databases_take():
    content = run_content(TRIAL, changed(status="failed", error="cannot read \udcff\0.png"), None)

    assert content.tags["ccar.error"] == r"cannot read \udcff\0.png"


def test_a_name_that_a_database_would_refuse_for_its_length_is_cut_before_the_seed():
    content = run_content(dataclasses.replace(TRIAL, cell="c" * 400), FINISHED, TEST)

    assert len(content.tags["mlflow.runName"]) == 250
    assert content.tags["mlflow.runName"].endswith("c seed 7")
    assert content.tags["ccar.cell"] == "c" * 400


def test_a_trial_that_has_not_begun_cannot_be_shown():
    with pytest.raises(ValueError, match="has not begun"):
        run_content(TRIAL, TrialRecord(key=TRIAL.key, status="absent"), None)
