from __future__ import annotations

import math

import pytest

from ccar.reports.results import summarise
from ccar.reports.tables.accuracy import accuracy_table
from ccar.reports.tables.all_tables import tables_of
from ccar.reports.tables.best_omega import best_omega_table
from ccar.reports.tables.calibration import calibration_table
from ccar.reports.tables.costs import costs_table
from ccar.reports.tables.differences import difference_table
from ccar.reports.tables.incomplete import incomplete_table
from ccar.reports.tables.optimism import optimism_table
from ccar.reports.tables.shape_and_scale import shape_and_scale_table
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of, tied_input


@pytest.fixture(scope="module")
def results(source):
    """The numbers of the study with one diverged and one failed seed."""
    return summarise(source)


def texts(table):
    return {row.entries[0].text: [entry.text for entry in row.entries[1:]] for row in table.rows}


def entries(table):
    return [entry for row in table.rows for entry in row.entries]


def test_every_table_is_rectangular(results):
    for table in tables_of(results):
        assert all(len(row.entries) == len(table.columns) for row in table.rows)


def test_rows_are_methods_and_column_groups_are_imbalance_factors(results):
    table = accuracy_table(results)
    assert [heading for heading, _, _ in table.groups()] == ["", "IF 100", "IF 50"]
    assert list(texts(table))[:2] == ["cross_entropy (baseline)", "cross_entropy+ccar(omega=0.25)"]


def test_a_cell_with_fewer_seeds_says_how_many(results):
    shown = texts(accuracy_table(results))
    assert shown["focal+ccar(omega=0.5)"][0].endswith("(n = 2)")
    assert "n =" not in shown["focal+ccar(omega=0.5)"][2]


def test_the_best_complete_cell_of_each_column_is_bold(results):
    table = accuracy_table(results)
    for place in range(1, len(table.columns)):
        column = [row.entries[place] for row in table.rows]
        best = max(column, key=lambda entry: float(entry.text.split()[0]))
        assert [entry.text for entry in column if entry.bold] == [best.text]


def test_nothing_is_bold_in_a_column_where_all_are_equal(study):
    tests = study.test_results.assign(test_few=0.0)
    table = accuracy_table(summarise(input_of(study, tests=tests)))
    bold = {table.columns[place].heading for row in table.rows for place, each in enumerate(row.entries) if each.bold}
    assert bold == {"accuracy"}


def test_a_choice_that_rests_on_a_tie_is_marked_and_never_called_the_same(study):
    results = summarise(tied_input(study))
    table = best_omega_table(results)
    assert table.rows[0].entries[2].text == "0.25 (tie of 3)"
    assert "Tie: so many candidates share that mean; the steadiest over the seeds, then the smallest ω" in table.caption
    shown = optimism_table(results)
    place = [column.heading for column in shown.columns].index("same choice")
    assert {row.entries[place].text for row in shown.rows} == {"–"}


def test_where_validation_made_every_choice_no_tie_is_spoken_of(results):
    assert "Tie" not in best_omega_table(results).caption


def test_a_cell_that_lost_a_seed_is_never_bold(study):
    best = study
    for method in ("balanced_softmax+ccar(omega=0.75)", "balanced_softmax+ccar(omega=0.5)"):
        best = best.ended(study.keys(method)[0], "diverged", "nan")
    table = accuracy_table(summarise(input_of(best)))
    assert not [entry for entry in entries(table) if entry.bold and "n =" in entry.text]


def test_a_column_of_groups_without_classes_is_left_out(study):
    tests = study.test_results
    tests["test_few"] = math.nan
    table = accuracy_table(summarise(input_of(study, tests=tests)))
    assert [column.heading for column in table.columns] == ["method", "accuracy", "accuracy"]


def test_a_wide_study_leaves_few_shot_accuracy_to_the_csv():
    study = made_up_study(imbalance_factors=(10, 20, 50, 100))
    table = accuracy_table(summarise(input_of(study)))
    assert [column.heading for column in table.columns] == ["method", *["accuracy"] * 4]


def test_a_method_that_was_excluded_somewhere_has_a_dash_there():
    methods = {"bases": ["cross_entropy", "focal"], "exclude": [{"base": "focal", "imbalance_factor": 50}]}
    study = made_up_study(methods=methods, imbalance_factors=(100, 50))
    shown = texts(accuracy_table(summarise(input_of(study))))
    assert shown["focal"][2:] == ["–", "–"]


def test_the_best_omega_stands_with_its_differences_and_verdicts(results):
    row = best_omega_table(results).rows[0]
    shown = [entry.text for entry in row.entries]
    choice = results.choices.iloc[0]
    assert shown[:3] == ["IF 100", "cross_entropy", f"{choice['omega']:g}"]
    assert shown[5].startswith(f"{100 * choice['versus_plain_mean']:+.2f} (")
    assert shown[6].startswith(choice["versus_plain_verdict"])


def test_the_chosen_method_is_spelt_out_where_omega_does_not_tell_it_apart():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]},
    }
    study = made_up_study(methods=methods)
    results = summarise(input_of(study))
    assert best_omega_table(results).rows[0].entries[1].text == results.choices.iloc[0]["method"]


def test_a_difference_over_fewer_seeds_says_so(results):
    shown = texts(difference_table(results))
    assert "n = 2" in shown["focal+ccar(omega=0.5)"][0]
    assert shown["focal+ccar(omega=0.5)"][1] == "not judged: seeds dropped out"


def test_a_comparison_that_lost_all_its_seeds_is_said_not_to_be_judged():
    study = made_up_study()
    for key in study.keys("balanced_softmax"):
        study = study.ended(key, "diverged", "nan")
    found = summarise(input_of(study))
    assert texts(difference_table(found))["balanced_softmax"] == ["–", "not judged: seeds dropped out"]
    chosen = best_omega_table(found).rows[1].entries
    assert [entry.text for entry in chosen[5:7]] == ["–", "not judged: seeds dropped out"]


def test_a_verdict_that_is_open_says_how_many_more_seeds_would_settle_it(results):
    row, choice = best_omega_table(results).rows[1], results.choices.iloc[1]
    assert choice["versus_plain_verdict"] == "too few seeds to tell"
    assert row.entries[6].text == f"too few seeds to tell ({choice['versus_plain_more_seeds']:.0f})"


def test_optimism_sets_the_honest_choice_beside_what_the_test_set_would_have_picked(results):
    table = optimism_table(results)
    row = results.optimism.iloc[0]
    shown = [entry.text for entry in table.rows[0].entries]
    assert shown[:4] == ["IF 100", "cross_entropy", f"{row['omega']:g}", f"{100 * row['mean']:.2f}"]
    assert shown[-1] == f"{100 * row['optimism']:+.2f}"


def test_optimism_names_the_methods_where_omega_does_not_tell_them_apart():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]},
    }
    results = summarise(input_of(made_up_study(methods=methods)))
    table, row, method_of = optimism_table(results), results.optimism.iloc[0], results.cells.set_index("cell")["method"]
    headings = [column.heading for column in table.columns]
    shown = dict(zip(headings, (entry.text for entry in table.rows[0].entries), strict=False))
    assert shown["chosen method"] == method_of[row["cell"]]
    assert shown["method"] == method_of[row["picked_cell"]]
    assert "same choice" in headings


def test_cells_that_lost_seeds_are_listed_with_counts_and_errors(results):
    table = incomplete_table(results)
    assert [column.heading for column in table.columns] == [
        "cell",
        "diverged",
        "failed",
        "finished",
        "planned",
        "first error",
    ]
    assert texts(table) == {
        "if100/focal+ccar(omega=0.5)": ["1", "0", "2", "3", "the training loss is nan"],
        "if50/focal": ["0", "1", "2", "3", "OSError: gone"],
    }


def test_tables_without_anything_to_say_are_left_out():
    study = made_up_study(methods={"bases": ["cross_entropy"]})
    assert [table.name for table in tables_of(summarise(input_of(study)))] == [
        "accuracy",
        "calibration",
        "published",
        "fingerprints",
        "costs",
        "machines",
    ]


def test_a_machine_that_older_records_do_not_describe_has_dashes():
    study = made_up_study()
    costs = study.costs.assign(processor=None, versions=None, threads=float("nan"))
    old = costs.astype(study.costs.dtypes)
    (table,) = [table for table in tables_of(summarise(input_of(study, costs=old))) if table.name == "machines"]
    assert [entry.text for entry in table.rows[0].entries] == ["node-1", "cpu", "–", "–", "–", "18"]


def test_a_study_that_never_ran_has_its_table_of_dashes():
    study = made_up_study()
    nothing = input_of(study.never_ran)
    tables = {table.name: table for table in tables_of(summarise(nothing))}
    assert set(tables) == {"accuracy", "incomplete", "fingerprints"}
    assert {entry.text for row in tables["accuracy"].rows for entry in row.entries[1:]} == {"–"}


def test_the_parts_of_a_gain_stand_in_a_block_and_absent_controls_are_named():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": [{"omega": 0.75, "frequency": ["fraction", "none"]}],
        "extra": [{"base": "cross_entropy", "loss_factor": 2.1}],
    }
    table = shape_and_scale_table(summarise(input_of(made_up_study(methods=methods))))
    assert [row.entries[2].text for row in table.rows] == [
        "gain",
        "scale (loss × 2.1)",
        "confidence shape (loss × 2.1)",
        "class term",
        "shape and class (loss × 2.1)",
    ]
    assert table.caption.endswith(
        "Not in this study: a learning rate within 10 % of e^ω times its own (recipe), reduction: scale_matched and "
        "gradient: detached."
    )


def test_a_part_of_a_gain_whose_control_lacks_a_seed_has_its_n_and_no_share():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": [{"omega": 0.75, "frequency": ["fraction", "none"]}],
        "extra": [{"base": "cross_entropy", "loss_factor": 2.1}],
    }
    study = made_up_study(methods=methods, seeds=range(6))
    broken = study.ended(study.keys("2.1*cross_entropy")[0], "failed", "the machine went away")
    rows = {row.entries[2].text: row for row in shape_and_scale_table(summarise(input_of(broken))).rows}
    assert "n = 5" in rows["scale (loss × 2.1)"].entries[3].text
    assert rows["scale (loss × 2.1)"].entries[-1].text == "–"
    assert rows["class term"].entries[-1].text.endswith(" %")


def test_a_study_without_controls_has_no_such_table(results):
    assert shape_and_scale_table(results) is None


def test_worst_class_and_calibration_stand_plain_beside_chosen(results):
    table = calibration_table(results)
    cells = results.cells.set_index("cell")
    shown = [entry.text for entry in table.rows[0].entries]
    assert shown[:2] == ["IF 100", "cross_entropy"]
    assert shown[2].startswith(f"{100 * cells.loc['if100/cross_entropy', 'test_worst_class_mean']:.2f} ± ")
    assert shown[4] == shown[5] == "6.00"  # the same for every seed: no interval


def test_costs_are_those_of_each_claim_and_of_all(results):
    table = costs_table(results)
    assert texts(table)["IF 100"] == ["cross_entropy", "4", "12", "0.015 h"]
    assert texts(table)["all"] == ["every table and figure", "24", "72", "0.09 h"]
    assert "0.09 h on cpu" in table.caption
