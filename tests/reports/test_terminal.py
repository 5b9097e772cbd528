from __future__ import annotations

import io

import pytest
from rich.console import Console

from ccar.evidence.cells import PRIMARY
from ccar.reports.results import summarise
from ccar.reports.terminal import terminal_table
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of, tied_input


def shown(source, width=80):
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=True, color_system=None).print(
        *terminal_table(summarise(source)), sep="\n"
    )
    return text.getvalue()


def row_of(text, name):
    """The lines of one row: a number that lacks seeds has their number below it."""
    lines = text.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith(name))
    return lines[first : first + 2]


def test_each_base_loss_has_its_plain_accuracy_omega_and_difference(source):
    results = summarise(source)
    cells = results.cells.set_index("cell")
    plain = cells.loc["if100/cross_entropy", f"{PRIMARY}_mean"]
    chosen = results.choices.set_index(["imbalance_factor", "family"]).loc["100", "cross_entropy"]
    line, _ = row_of(shown(source), "cross_entropy *")
    accuracy, omega, reached, difference = (line.split()[place] for place in (2, 5, 6, 9))
    assert float(accuracy) == pytest.approx(100 * plain, abs=0.005)
    assert float(omega) == chosen["omega"]
    assert float(reached) == pytest.approx(100 * cells.loc[chosen["cell"], f"{PRIMARY}_mean"], abs=0.005)
    assert float(difference.replace("−", "-")) == pytest.approx(100 * chosen["versus_plain_mean"], abs=0.005)
    assert line.count("±") == 3
    assert line.rstrip().endswith(chosen["versus_plain_verdict"].removesuffix(" to tell"))


def test_a_number_that_lacks_seeds_says_how_many_it_has():
    study = made_up_study()
    text = shown(input_of(study.ended(study.keys("balanced_softmax")[0], "failed", "OSError: gone")))
    assert row_of(text, "balanced_softmax")[1].split() == ["(n", "=", "2)", "(n", "=", "2)"]  # plain, and to plain
    assert text.count("(n = ") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_a_comparison_that_lost_all_its_seeds_is_said_not_to_be_judged():
    study = made_up_study()
    for key in study.keys("balanced_softmax"):
        study = study.ended(key, "diverged", "nan")
    assert row_of(shown(input_of(study)), "balanced_softmax")[0].split()[-3:] == ["–", "not", "judged"]


def test_a_method_that_lacks_seeds_says_so_beside_its_difference_to_the_baseline():
    study = made_up_study(methods={"bases": ["cross_entropy", "focal"]})
    text = shown(input_of(study.ended(study.keys("focal")[0], "failed", "OSError: gone")))
    assert row_of(text, "focal")[1].split() == ["(n", "=", "2)", "(n", "=", "2)"]


def test_it_fits_eighty_columns_without_breaking_a_name():
    methods = {
        "bases": ["cross_entropy", "balanced_softmax", "logit_adjustment"],
        "reweighting": {"omega": [0.5, 0.75]},
    }
    text = shown(input_of(made_up_study(methods=methods)))
    assert max(map(len, text.splitlines())) <= 80
    for name in methods["bases"]:
        assert f"\n{name}" in text


def test_a_name_that_is_too_long_is_broken_between_its_parts():
    focal = {"name": "focal", "gamma": 2.5}
    study = made_up_study(methods={"bases": ["cross_entropy", focal], "reweighting": {"omega": 0.5}})
    text = shown(input_of(study), width=70)
    assert [line.split()[0] for line in row_of(text, "cross_")] == ["cross_", "entropy"]
    assert row_of(text, "cross_")[1].strip() == "entropy *"
    assert [line.split()[0] for line in row_of(text, "focal")] == ["focal", "(gamma=2.5)"]


def test_the_difference_is_said_to_be_the_one_to_the_plain_loss_of_the_row():
    title = shown(input_of(made_up_study())).splitlines()[1]
    assert title == "difference: at omega minus plain of its row (* baseline)"


def test_a_tie_on_validation_is_said():
    text = shown(tied_input(made_up_study()))
    assert "cross_entropy 2 of 2, balanced_softmax 2 of 2" in " ".join(text.split())


def test_what_did_not_finish_is_said(source):
    assert "70 of 72 trials finished; 1 diverged and 1 failed." in " ".join(shown(source).split())


def test_without_omegas_the_methods_are_compared_with_the_baseline():
    text = shown(input_of(made_up_study(methods={"bases": ["cross_entropy", "focal"]})))
    assert "to the baseline" in text
    assert text.splitlines()[0].endswith(" interval (* baseline)")
    assert "omega" not in text.partition("────")[0]


def test_a_method_without_omegas_has_its_difference_to_the_baseline_beside_those_that_have():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": 0.5},
        "extra": [{"label": "cRT", "procedure": "crt"}],
    }
    text = shown(input_of(made_up_study(methods=methods)))
    (row,) = [line for line in text.splitlines() if line.startswith("cRT ")]
    assert " * " in row
    assert text.splitlines()[1].endswith("(* baseline, or difference to it)")
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
