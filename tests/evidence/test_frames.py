from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from ccar.evidence.frames import (
    COST_DTYPES,
    VALIDATION_DTYPES,
    best_validation_epoch,
    cost_frame,
    validation_frame,
)
from ccar.evidence.test_results import TEST_DTYPES, with_test_results
from ccar.evidence.test_results import test_frame as frame_of_tests
from ccar.training.config import Pretrained
from tests.evidence.made_up_study import made_up_study


@pytest.fixture(scope="module")
def study():
    """Two base losses, plain and with two omegas, three seeds."""
    return made_up_study()


def dtypes(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_there_is_one_row_per_trial_in_the_order_of_the_plan(study):
    assert study.validation["key"].tolist() == [trial.key for trial in study.trials]


def test_columns_and_their_types_do_not_depend_on_what_the_trials_have(study):
    nothing_ran = validation_frame(study.trials, {})
    for frame in (study.validation, nothing_ran, validation_frame([], {})):
        assert dtypes(frame) == VALIDATION_DTYPES
    for frame in (study.costs, cost_frame(study.trials, {}), cost_frame([], {})):
        assert dtypes(frame) == COST_DTYPES
    for frame in (study.test_results, frame_of_tests({})):
        assert dtypes(frame) == TEST_DTYPES


def test_no_column_of_the_validation_frame_comes_from_the_test_set(study):
    assert not [name for name in study.validation.columns if name.startswith("test")]


def test_a_trial_without_a_record_is_absent_and_stays_in_the_frame(study):
    frame = validation_frame(study.trials, {})
    assert set(frame["status"]) == {"absent"}
    assert frame["val_accuracy"].isna().all()


def test_a_row_names_the_switches_that_its_method_has(study):
    frame = study.validation.set_index("method")
    plain, reweighted = frame.loc["cross_entropy"].iloc[0], frame.loc["cross_entropy+ccar(omega=0.75)"].iloc[0]
    assert math.isnan(plain["omega"])
    assert (reweighted["omega"], reweighted["frequency"], reweighted["phase"]) == (0.75, "fraction", "dual")
    assert plain["family"] == reweighted["family"] == "cross_entropy"


def test_options_and_procedure_make_another_family():
    methods = {
        "bases": ["cross_entropy", "focal", {"name": "focal", "gamma": 2}],
        "extra": [{"procedure": {"name": "post_hoc", "tau": (0.5,)}}],
    }
    frame = made_up_study(methods=methods).validation
    assert frame["family"].unique().tolist() == [
        "cross_entropy",
        "focal",
        "focal(gamma=2)",
        "cross_entropy+post_hoc(tau=0.5)",
    ]
    assert frame["base_options"].unique().tolist() == ["", "gamma=2"]


def test_a_family_is_called_what_the_user_calls_its_plain_method():
    methods = {
        "bases": ["cross_entropy"],
        "extra": [
            {"label": "mixup", "base": "cross_entropy", "recipe": {"mixing": {"name": "mixup"}}},
            {"label": "cRT + mixup", "procedure": "crt", "stage_one": "mixup"},
            {"procedure": "crt", "stage_one": "mixup", "reweighting": {"omega": 0.5}},
            {"procedure": "lws", "base": "focal", "reweighting": {"omega": 0.5}},
        ],
    }
    frame = made_up_study(methods=methods).validation.drop_duplicates("cell").set_index("method")
    assert frame["family"].tolist() == ["cross_entropy", "mixup", "cRT + mixup", "cRT + mixup", "focal+lws"]
    assert frame["training"].tolist()[1:3] == ["cross_entropy[mixing=mixup]", "cross_entropy+crt(stage_one=mixup)"]
    assert frame["stage_one"].dropna().tolist() == ["mixup", "mixup", "cross_entropy"]


def test_a_row_says_how_its_images_are_mixed_and_what_its_method_alone_changes_of_the_recipe():
    methods = {
        "bases": ["cross_entropy"],
        "extra": [
            {"label": "unmixed", "base": "cross_entropy", "recipe": {"mixing": None}},
            {"label": "said again", "base": "focal", "recipe": {"learning_rate": 0.1}},
            {"label": "cRT", "procedure": "crt", "recipe": {"epochs": 30}},
            {"label": "tau", "procedure": "tau_norm"},
        ],
    }
    study = made_up_study(
        methods=methods, recipe={"name": "ldam_drw_cifar", "epochs": 190, "mixing": {"name": "mixup"}}
    )
    frame = study.validation.drop_duplicates("cell").set_index("method")
    mixing = {"cross_entropy": "mixup", "unmixed": "", "said again": "mixup", "cRT": "", "tau": ""}
    changes = {"cross_entropy": "", "unmixed": "mixing", "said again": "", "cRT": "epochs", "tau": ""}
    assert frame["mixing"].to_dict() == mixing
    assert frame["own_recipe_changes"].to_dict() == changes


def test_a_custom_frequency_vector_is_named_by_a_digest():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": [{"omega": 0.5, "frequency": [0.25] * 4}, {"omega": 0.5, "frequency": [0.5] * 4}],
    }
    named = made_up_study(methods=methods).validation["frequency"].dropna().unique()
    assert len(named) == 2
    assert all(name.startswith("custom-") for name in named)


def test_validation_columns_hold_the_last_epoch_and_the_best_one(study):
    key = study.trials[0].key
    record = study.records[key]
    epochs = (record.epochs[0], record.epochs[2], record.epochs[1])  # the best one in the middle
    frame = validation_frame(study.trials[:1], {key: dataclasses.replace(record, epochs=epochs)})
    row = frame.iloc[0]
    assert row["val_accuracy"] == epochs[2].validation.accuracy
    assert row["val_best_accuracy"] == epochs[1].validation.accuracy > row["val_accuracy"]
    assert row["val_best_epoch"] == epochs[1].epoch


def test_of_equally_good_epochs_the_earliest_is_the_best(study):
    epochs = study.records[study.trials[0].key].epochs
    same = [dataclasses.replace(epoch, validation=epochs[0].validation) for epoch in epochs]
    assert best_validation_epoch(same) == same[0]


def test_a_group_without_classes_is_missing_and_not_zero(study):
    key = study.trials[0].key
    test = study.tests[key]
    empty = dataclasses.replace(test, last_epoch=dataclasses.replace(test.last_epoch, few=None), best_epoch=None)
    row = frame_of_tests({key: empty}).iloc[0]
    assert math.isnan(row["test_few"])
    assert math.isnan(row["test_best_accuracy"])
    assert row["test_many"] == test.last_epoch.many


def test_trials_without_test_results_keep_their_row(study):
    key = study.trials[0].key
    joined = with_test_results(study.validation, study.ended(key, "failed", "RuntimeError").test_results)
    assert len(joined) == len(study.trials)
    assert joined.set_index("key").loc[key, "test_accuracy":"test_loss"].isna().all()


def test_costs_hold_pure_time_and_speed_and_place(study):
    row = study.costs.iloc[0]
    assert (row["seconds"], row["images_per_second"], row["host"]) == (4.5, 4000.0, "node-1")


def test_of_a_crash_the_exception_is_kept_and_not_its_traceback(study):
    key = study.trials[0].key
    crash = 'Traceback (most recent call last):\n  File "loop.py", line 1\nRuntimeError: out of memory\n'
    frame = study.ended(key, "failed", crash).validation
    assert frame.set_index("key").loc[key, "error"] == "RuntimeError: out of memory"


def test_a_row_says_how_images_network_and_recipe_are_not_what_their_names_stand_for(study):
    named = study.validation[["data_options", "model_options", "recipe_changes"]]
    assert set(named.to_numpy().ravel()) == {""}
    trial = made_up_study(class_order="shuffled", recipe={"name": "ldam_drw_cifar", "epochs": 190}).trials[0]
    pretrained = Pretrained(path=Path("weights.pt"), sha256="0" * 64)
    config = trial.config.model_copy(update={"pretrained": pretrained})
    (row,) = validation_frame([dataclasses.replace(trial, config=config)], {}).to_dict("records")
    assert row["data_options"] == "class_order=shuffled"
    assert row["model_options"] == "pretrained"
    assert (row["recipe"], row["recipe_changes"]) == ("ldam_drw_cifar", "epochs")


@pytest.mark.parametrize(("size", "told"), [(None, ""), (224, ""), (112, "image_size=112")])
def test_images_of_another_size_than_papers_have_say_so(study, size, told):
    trial = study.trials[0]
    data = trial.config.data.model_copy(update={"name": "imagenet_lt", "image_size": size})
    changed = dataclasses.replace(trial, config=trial.config.model_copy(update={"data": data}))
    assert validation_frame([changed], {})["data_options"].tolist() == [told]
