from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from ccar.evidence.cells import summarise_cells
from ccar.evidence.shape_and_scale import PARTS_OF_GAIN, select_method, shape_and_scale
from ccar.evidence.test_results import with_test_results
from tests.evidence.made_up_study import made_up_study

STUDIES = Path(__file__).parents[2] / "studies"
CONTROLS = {
    "bases": ["cross_entropy"],
    "reweighting": [
        {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]},
        {"omega": 0.75, "gradient": "detached"},
        {"omega": 0.75, "reduction": ["weight_normalised", "scale_matched"]},
    ],
    "extra": [
        {"base": "cross_entropy", "loss_factor": 2.1},
        {"base": "cross_entropy", "loss_factor": 9.0},
        {"base": "cross_entropy", "recipe": {"learning_rate": 0.2}},
        {"base": "cross_entropy", "recipe": {"learning_rate": 0.2, "batch_size": 64}},
    ],
}
ACCURACY = {  # of every seed, but for what makes the intervals
    "cross_entropy": 0.50,
    "2.1*cross_entropy": 0.53,
    "cross_entropy[learning_rate=0.2]": 0.525,
    "cross_entropy+ccar(omega=0.75, frequency=none)": 0.55,
    "cross_entropy+ccar(omega=0.75)": 0.56,
    "cross_entropy+ccar(omega=0.75, gradient=detached)": 0.54,
    "cross_entropy+ccar(omega=0.75, reduction=scale_matched)": 0.52,
}


def parts_of(methods=CONTROLS, accuracy=ACCURACY, failed=()):
    """The parts of the gain of omega 0.75, which is made the best on validation; `failed`: (method, seed) each."""
    study = made_up_study(methods=methods, seeds=(0, 1, 2, 3))
    for method, seed in failed:
        study = study.ended(study.keys(method)[seed], "failed", "the machine went away")
    frame, tests = study.validation, study.test_results.set_index("key")
    best = frame["method"].str.startswith("cross_entropy+ccar(omega=0.75")
    frame.loc[best, "val_balanced_accuracy"] = 0.9
    noise = np.random.default_rng(0)
    for method, level in accuracy.items():
        keys = frame.loc[(frame["method"] == method) & (frame["status"] == "finished"), "key"]
        tests.loc[keys, "test_balanced_accuracy"] = level + noise.normal(0, 0.0005, len(keys))
    trials = with_test_results(frame, tests.reset_index())
    cells = summarise_cells(trials, "cross_entropy")
    return shape_and_scale(select_method(frame), trials, cells).set_index("part")


def test_each_part_is_the_difference_of_the_two_cells_that_isolate_it():
    found = parts_of()
    expected = {
        "gain": 0.06,
        "scale": 0.03,
        "confidence shape": 0.02,
        "class term": 0.01,
        "shape and class": 0.03,
        "scale, as a learning rate": 0.025,
        "scale, taken out of Omega": 0.04,
        "gradient through Omega": 0.02,
    }
    assert list(found.index) == list(PARTS_OF_GAIN)
    assert found["mean"].to_dict() == pytest.approx(expected, abs=0.002)


def test_scale_shape_and_class_term_add_up_to_the_gain():
    mean = parts_of()["mean"]
    assert mean[["scale", "confidence shape", "class term"]].sum() == pytest.approx(mean["gain"])


def test_the_shares_are_of_the_gain():
    found = parts_of()
    assert found.loc["gain", "share"] == 1
    assert found.loc["scale", "share"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "failed",
    [
        [("2.1*cross_entropy", 1)],
        [("2.1*cross_entropy", 1), ("cross_entropy", 0)],  # as many as the gain has, and others
    ],
)
def test_a_part_over_other_seeds_than_the_gain_is_no_share_of_it(failed):
    share = parts_of(failed=failed)["share"]
    assert share[["confidence shape", "shape and class"]].isna().all()
    assert share["gain"] == 1


def test_a_seed_that_a_control_lacks_leaves_the_shares_of_the_others():
    share = parts_of(failed=[("2.1*cross_entropy", 1)])["share"]
    assert share.isna()[["scale", "class term", "gradient through Omega"]].tolist() == [True, False, False]


def test_without_a_gain_nothing_is_a_share_of_it():
    level = dict.fromkeys(ACCURACY, 0.5)
    assert parts_of(accuracy=level)["share"].isna().all()


def test_the_loss_factor_is_the_one_nearest_to_what_omega_multiplies_by():
    found = parts_of()
    assert found.loc["scale", ["own", "factor"]].tolist() == ["if100/2.1*cross_entropy", 2.1]
    assert found.loc["scale, as a learning rate", "own"] == "if100/cross_entropy[learning_rate=0.2]"
    assert found.loc["scale, as a learning rate", "factor"] == pytest.approx(2.0)


def test_a_loss_factor_far_from_what_omega_multiplies_by_is_no_control_of_its_scale():
    # e^0.75 = 2.12: 2.4 is 13 % above
    methods = {**CONTROLS, "extra": [{"base": "cross_entropy", "loss_factor": factor} for factor in (1.28, 2.4, 9.0)]}
    found = parts_of(methods)
    known = ["gain", "class term", "scale, taken out of Omega", "gradient through Omega"]
    assert found.index[found["other"].notna()].tolist() == known


@pytest.mark.parametrize("switch", [{"keep_z": True}, {"phase": "inverted_only"}])
def test_a_method_whose_loss_omega_does_not_multiply_by_its_exponential_has_no_scale(switch):
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": 0.75, **switch},
        "extra": [
            {"base": "cross_entropy", "loss_factor": 2.1},
            {"base": "cross_entropy", "reweighting": {"omega": 0.75, "frequency": "none", **switch}},
        ],
    }
    found = parts_of(methods, accuracy={})
    assert found.index[found["other"].notna()].tolist() == ["gain", "class term"]


def test_what_standard_only_is_without_a_class_frequency_is_the_constant_phase():
    grid = {"omega": 0.75, "frequency": ["effective_number", "none"], "phase": "standard_only"}
    own, other = parts_of({"bases": ["cross_entropy"], "reweighting": grid}, accuracy={}).loc[
        "class term", ["own", "other"]
    ]
    assert own == "if100/cross_entropy+ccar(omega=0.75, frequency=effective_number, phase=standard_only)"
    assert other == "if100/cross_entropy+ccar(omega=0.75, phase=constant)"


@pytest.mark.parametrize("study", ["omega_ablation_cifar100_lt", "table5_omega_ablation_imagenet_lt"])
def test_the_studies_of_omega_have_the_loss_factor_of_each_of_their_omegas(study):
    methods = yaml.safe_load((STUDIES / f"{study}.yaml").read_text())["methods"]
    factors = [entry["loss_factor"] for entry in methods["extra"] if "loss_factor" in entry]
    assert factors == pytest.approx([math.exp(omega) for omega in methods["reweighting"][0]["omega"]], rel=0.005)


def test_of_the_two_reductions_without_scale_the_one_that_keeps_the_weights_of_batches_is_taken():
    assert parts_of().loc["scale, taken out of Omega", "other"].endswith("(omega=0.75, reduction=scale_matched)")


def test_controls_that_a_study_lacks_leave_their_part_without_a_difference():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": 0.75},
        "extra": [{"base": "cross_entropy", "loss_factor": 2.1}],
    }
    found = parts_of(methods)
    assert found["other"].notna().to_dict() == {
        part: part in ("gain", "scale", "shape and class") for part in PARTS_OF_GAIN
    }
    assert found.loc["class term", ["n", "mean"]].isna().tolist() == [False, True]


def test_a_study_without_any_control_takes_nothing_apart():
    assert parts_of({"bases": ["cross_entropy"], "reweighting": {"omega": [0.5, 0.75]}}).empty


def scale_of(extra):
    """The cell that is taken for a mere scale of the chosen one, of each family that has one."""
    study = made_up_study(methods={"bases": ["cross_entropy"], "extra": extra})
    trials = with_test_results(study.validation, study.test_results)
    found = shape_and_scale(select_method(study.validation), trials, summarise_cells(trials, "cross_entropy"))
    scale = found[(found["part"] == "scale") & found["own"].notna()]
    return dict(zip(scale["family"], scale["own"], strict=True))


OTHER_STAGE_ONES = [{"recipe": {"mixing": {"name": "mixup"}}}, {"reweighting": {"omega": 0.5}}, {"loss_factor": 3.0}]


def two_stage_methods(other):
    """cRT plain and at an omega, from cross-entropy and from another stage one."""
    crt = {"procedure": "crt"}, {"procedure": "crt", "reweighting": {"omega": 0.75}}
    from_other = [{**method, "stage_one": "other"} for method in crt]
    return [{"label": "other", "base": "cross_entropy", **other}, *crt, *from_other]


@pytest.mark.parametrize("other", OTHER_STAGE_ONES, ids=lambda other: next(iter(other)))
def test_a_two_stage_method_has_the_scale_of_its_own_stage_one(other):
    control = {"procedure": "crt", "loss_factor": 2.1}
    assert scale_of([*two_stage_methods(other), control, {**control, "stage_one": "other"}]) == {
        "cross_entropy+crt": "if100/2.1*cross_entropy+crt",
        "cross_entropy+crt(stage_one=other)": "if100/2.1*cross_entropy+crt(stage_one=other)",
    }


@pytest.mark.parametrize("other", OTHER_STAGE_ONES, ids=lambda other: next(iter(other)))
def test_the_scale_of_another_stage_one_is_no_control(other):
    assert scale_of([*two_stage_methods(other), {"procedure": "crt", "loss_factor": 2.1}]) == {
        "cross_entropy+crt": "if100/2.1*cross_entropy+crt"
    }


def test_what_reads_a_network_in_another_way_has_the_scale_of_that_network():
    reweighted, scaled = "cross_entropy+ccar(omega=0.75)", "2.1*cross_entropy"
    assert scale_of(
        [
            {"base": "cross_entropy", "reweighting": {"omega": 0.75}},
            {"base": "cross_entropy", "loss_factor": 2.1},
            *({"procedure": "tau_norm", "stage_one": name} for name in ("cross_entropy", reweighted, scaled)),
        ]
    ) == {"cross_entropy": f"if100/{scaled}", "cross_entropy+tau_norm": f"if100/{scaled}+tau_norm"}


def test_a_control_is_never_the_method_whose_gain_is_taken_apart():
    study = made_up_study(methods=CONTROLS)
    frame = study.validation
    controls = frame["method"].str.contains("detached|none|reduction")
    frame.loc[controls, "val_balanced_accuracy"] = 0.99
    (method,) = select_method(frame)["method"]
    assert method in ("cross_entropy+ccar(omega=0.5)", "cross_entropy+ccar(omega=0.75)")
