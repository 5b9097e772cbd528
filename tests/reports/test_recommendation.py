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
from tests.reports.conftest import input_of, tied_input

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


def test_a_factor_of_the_loss_stands_beside_build_loss_as_in_the_entry_of_a_study(recommended):
    factors = {each["method"]: (each["loss_factor"], each["study"].get("loss_factor", 1)) for each in recommended}
    assert {method for method, factor in factors.items() if factor == (2, 2)} == {
        "2*focal+ccar(omega=0.5)[learning_rate=0.3]"
    }
    assert set(factors.values()) == {(1, 1), (2, 2)}


@pytest.mark.parametrize(
    ("status", "verdict"), [("diverged", "not judged: seeds dropped out"), ("absent", "too few seeds to tell")]
)
def test_a_plain_loss_without_finished_seeds_leaves_a_verdict_without_a_gain(status, verdict):
    study = made_up_study()
    for key in study.keys("balanced_softmax"):
        study = study.ended(key, status, "")
    first, second = yaml.safe_load(render_best_omega(summarise(input_of(study))))["recommendations"]
    assert first["gain_over_plain"] is not None
    assert (second["gain_over_plain"], second["verdict"]) == (None, verdict)


def test_without_a_plain_loss_there_is_neither_gain_nor_verdict():
    methods = {"bases": ["cross_entropy"], "extra": [{"base": "focal", "reweighting": {"omega": 0.5}}]}
    (only,) = yaml.safe_load(render_best_omega(summarise(input_of(made_up_study(methods=methods)))))["recommendations"]
    assert (only["gain_over_plain"], only["verdict"]) == (None, None)


def test_a_recommendation_that_rests_on_a_tie_says_among_how_many():
    tied = yaml.safe_load(render_best_omega(summarise(tied_input(made_up_study()))))["recommendations"]
    untied = yaml.safe_load(render_best_omega(summarise(input_of(made_up_study()))))["recommendations"]
    assert [[each["tied"] for each in found] for found in (tied, untied)] == [[2, 2], [1, 1]]


def test_without_a_choice_there_is_none_and_the_file_says_why():
    study = made_up_study(validation_per_class=0)
    content = yaml.safe_load(render_best_omega(summarise(input_of(study))))
    assert (content["missing_validation"], content["recommendations"]) == (True, [])


def test_names_of_users_stay_text(evil_source):
    content = yaml.safe_load(render_best_omega(summarise(evil_source)))
    assert content["study_name"] == evil_source.study
