from __future__ import annotations

import pytest
import yaml

from ccar.losses import build_loss
from ccar.reports.recommendation import render_best_omega
from ccar.reports.results import summarise
from ccar.study.definition import Study
from ccar.study.expansion import cells_of
from ccar.study.methods import BASE_NAMES
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of

SWITCHES = {"frequency": "effective_number", "effective_number_beta": 0.9, "phase": "standard_only"}
METHODS = {
    "bases": [name for name in BASE_NAMES if "sigmoid" not in name],
    "reweighting": [{"omega": 0.5}, {"omega": 0.75, "reduction": "scale_matched", **SWITCHES}],
    "extra": [
        {"base": "focal", "reweighting": {"omega": 0.5}, "loss_factor": 2, "recipe": {"learning_rate": 0.3}},
        {"base": "focal", "reweighting": {"omega": 0.5, "frequency": [0.1] * 100}, "procedure": "crt"},
    ],
}


@pytest.fixture(scope="module")
def study():
    """Nearly all base losses with omegas, and methods that differ in more than their loss; ten classes."""
    return made_up_study(methods=METHODS, seeds=(0,))


@pytest.fixture(scope="module")
def recommended(study):
    """best_omega.yaml of that study, as YAML reads it."""
    return yaml.safe_load(render_best_omega(summarise(input_of(study))))["recommendations"]


def test_there_is_one_for_every_base_loss(recommended, study):
    assert len(recommended) == len({trial.cell.family for trial in study.trials if trial.config.reweighting})


def test_every_recommended_loss_is_built(recommended):
    for each in recommended:
        loss = build_loss(class_counts=[5] * 100, **each["build_loss"])
        assert loss.reweighting.omega == each["build_loss"]["reweighting"]["omega"]


def test_a_study_that_takes_an_entry_trains_the_same(recommended, study):
    configs = {cell.method: cell.config for cell in cells_of(study.study)}
    for each in recommended:
        said = study.study.model_dump(mode="json", exclude={"methods", "search", "early_stopping", "pretrained"})
        said["data"] = {"name": "cifar100", "imbalance_factors": [100], "validation_per_class": 10}
        other = Study.model_validate({**said, "methods": {"bases": ["cross_entropy"], "extra": [each["study"]]}})
        assert cells_of(other)[-1].config == configs[each["method"]]


def test_without_a_choice_there_is_none_and_the_file_says_why():
    study = made_up_study(validation_per_class=0)
    content = yaml.safe_load(render_best_omega(summarise(input_of(study))))
    assert (content["missing_validation"], content["recommendations"]) == (True, [])


def test_names_of_users_stay_text(evil_source):
    content = yaml.safe_load(render_best_omega(summarise(evil_source)))
    assert content["study_name"] == evil_source.study
