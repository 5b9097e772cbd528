from __future__ import annotations

import io

import pytest
from rich.console import Console

from ccar.reports.results import summarise
from ccar.reports.terminal import terminal_table
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of


def shown(source, width=80):
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=True, color_system=None).print(
        *terminal_table(summarise(source)), sep="\n"
    )
    return text.getvalue()


def test_each_base_loss_has_its_plain_accuracy_omega_and_difference(source):
    lines = shown(source).splitlines()
    row = next(line for line in lines if line.startswith("cross_entropy *"))
    assert row.split()[-1] in ("better", "worse", "noise", "seeds")
    assert "0.75" in row
    assert row.count("±") == 3


def test_it_fits_eighty_columns_without_breaking_a_name():
    methods = {
        "bases": ["cross_entropy", "balanced_softmax", "logit_adjustment"],
        "reweighting": {"omega": [0.5, 0.75]},
    }
    text = shown(input_of(made_up_study(methods=methods)))
    assert max(map(len, text.splitlines())) <= 80
    for name in methods["bases"]:
        assert f"\n{name}" in text


def test_what_did_not_finish_is_said(source):
    assert "70 of 72 trials finished; 1 diverged and 1 failed." in " ".join(shown(source).split())


def test_without_omegas_the_methods_are_compared_with_the_baseline():
    text = shown(input_of(made_up_study(methods={"bases": ["cross_entropy", "focal"]})))
    assert "to the baseline" in text
    assert "omega" not in text.splitlines()[2]


def test_a_method_without_omegas_has_its_difference_to_the_baseline_beside_those_that_have():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": 0.5},
        "extra": [{"label": "cRT", "procedure": "crt"}],
    }
    text = shown(input_of(made_up_study(methods=methods)))
    (row,) = [line for line in text.splitlines() if line.startswith("cRT ")]
    assert " * " in row
    assert row.split()[-1] in ("better", "worse", "noise", "seeds")
    assert max(map(len, text.splitlines())) <= 80


def test_a_study_that_never_ran_has_dashes():
    study = made_up_study()
    text = shown(input_of(study.never_ran))
    assert "–" in text
    assert "nan" not in text


@pytest.mark.parametrize("width", [40, 200])
def test_names_cannot_steer_the_terminal(evil_source, width):
    text = shown(evil_source, width)
    assert "\x1b" not in text
    assert "\u202e" not in text
