from __future__ import annotations

import pandas as pd

from ccar.evidence.flat_region import flat_region
from ccar.evidence.selection import CRITERION, select_omega
from tests.evidence.made_up_study import made_up_study

METHODS = {"bases": ["cross_entropy"], "reweighting": {"omega": [0.25, 0.5, 0.75]}}
PREFIX = "if100/cross_entropy+ccar(omega="


def region_of(values, seeds=(0, 1, 2)):
    """Of a study with these validation accuracies of omega 0.25, 0.5 and 0.75 over the seeds."""
    frame = made_up_study(methods=METHODS, seeds=seeds).validation
    for omega, accuracies in values.items():
        frame.loc[frame["omega"] == omega, CRITERION] = accuracies
    return flat_region(select_omega(frame), frame)


def test_an_omega_whose_interval_lies_below_the_chosen_one_is_outside():
    flat = region_of({0.25: [0.60, 0.61, 0.62], 0.5: [0.70, 0.72, 0.69], 0.75: [0.71, 0.70, 0.71]})
    assert flat.to_dict() == {f"{PREFIX}0.25)": False, f"{PREFIX}0.5)": True, f"{PREFIX}0.75)": True}


def test_two_seeds_cannot_tell_what_is_flat():
    assert region_of({0.25: [0.60, 0.61]}, seeds=(0, 1)).isna().all()


def test_of_an_omega_that_differs_by_the_same_in_every_seed_nothing_can_be_told_and_of_one_that_does_not_it_can():
    flat = region_of({0.25: [0.5, 0.5, 0.5], 0.5: [0.75, 0.75, 0.75], 0.75: [0.75, 0.75, 0.75]})
    assert pd.isna(flat[f"{PREFIX}0.25)"])
    assert flat[f"{PREFIX}0.5)"]
    assert flat[f"{PREFIX}0.75)"]


def test_an_omega_that_lost_seeds_cannot_be_told():
    flat = region_of({0.25: [0.60, float("nan"), 0.62], 0.5: [0.70, 0.72, 0.69]})
    assert pd.isna(flat[f"{PREFIX}0.25)"])


def test_without_a_choice_there_is_no_region():
    frame = made_up_study(methods=METHODS, validation_per_class=0).validation
    assert flat_region(select_omega(frame), frame).empty


def test_an_omega_with_a_stopped_seed_cannot_be_told():
    study = made_up_study(methods=METHODS, seeds=(0, 1, 2, 3))
    frame = study.ended(study.keys("cross_entropy+ccar(omega=0.25)")[3], "stopped", "").validation
    flat = flat_region(select_omega(frame), frame)
    assert flat.isna().to_dict() == {f"{PREFIX}0.25)": True, f"{PREFIX}0.5)": False, f"{PREFIX}0.75)": False}
