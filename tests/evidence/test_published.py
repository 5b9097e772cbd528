"""The published rows against the tables that they were copied from, typed here a second time."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from ccar.evidence.cells import summarise_cells
from ccar.evidence.published import beside_measured, ccar_paper_rows, published_rows
from ccar.evidence.test_results import with_test_results
from ccar.losses import LOSSES
from ccar.study.definition import load_study
from tests.evidence.made_up_study import made_up, made_up_study

STUDIES = Path(__file__).parents[2] / "studies"

# arXiv:2601.15924 as its tables are printed; "–" is not reported.
TABLE_2 = """
Cross-Entropy    34.84 38.43 43.90
Focal Loss       35.60 38.40 44.30
Class-Balanced   –     39.60 45.17
Ours + CE        36.12 39.86 45.25
LDAM-DRW         38.91 42.04 47.62
Logit Adjust     –     43.90 52.30
Balanced Softmax 43.30 45.00 50.50
Focal + LA       –     43.94 52.01
Focal + BS       43.36 45.11 49.98
Ours + LA        45.93 44.65 52.78
Ours + BS        46.20 48.91 51.94
cRT + mixup      41.73 45.12 50.86
PaCo             –     52.00 56.00
"""
TABLE_3 = """
Cross-Entropy 41.60
CB-Focal      43.90
Ours + CE     45.62
LDAM-DRW      48.80
Logit Adjust  51.10
Ours + LA     52.76
cRT           47.30
tau-normalize 49.40
"""
TABLE_4 = """
Cross-Entropy    72.20 63.00 57.20 61.70
CB-Focal         –     –     –     61.10
Ours + CE        72.68 63.91 58.12 64.90
LDAM-DRW         –     –     –     64.60
Logit Adjust     –     –     –     66.40
Balanced Softmax –     –     –     69.80
ALA              71.30 70.80 70.40 70.70
Ours + LA        71.37 69.25 68.10 69.57
Ours + BS        71.60 69.91 68.81 70.10
cRT              69.00 66.00 63.20 65.20
LWS              65.00 66.30 65.50 65.90
BBN              49.40 70.80 65.30 66.30
"""
TABLE_5 = """
0.25 42.68 60.81
0.50 43.90 61.06
0.75 44.12 62.90
1.00 44.02 62.38
"""


def lines_of(table):
    """(first column, the others) of each line."""
    found = [
        re.fullmatch(r"(.*?) +((?:\d+\.\d+|–)(?: +(?:\d+\.\d+|–))*) *", line) for line in table.strip().splitlines()
    ]
    return [(line[1], line[2].split()) for line in found]


def as_printed(value):
    return "–" if value is None else str(value)


def rows_of_table(table):
    return [row for row in ccar_paper_rows() if row.table == table]


def test_table_2_is_copied_digit_by_digit():
    rows = rows_of_table("Table II")
    printed = {}
    for row in rows:
        assert (row.data, row.backbone) == ("cifar100_lt", "resnet32")
        printed.setdefault(row.method, {})[row.imbalance_factor] = str(row.overall)
    expected = {
        name: {factor: value for factor, value in zip(("200", "100", "50"), values, strict=True) if value != "–"}
        for name, values in lines_of(TABLE_2)
    }
    assert printed == expected
    assert len(rows) == 35


@pytest.mark.parametrize(
    ("table", "text", "data"),
    [("Table III", TABLE_3, "imagenet_lt"), ("Table IV", TABLE_4, "inaturalist2018")],
)
def test_tables_3_and_4_are_copied_digit_by_digit(table, text, data):
    rows = rows_of_table(table)
    columns = ("many", "medium", "few", "overall") if table == "Table IV" else ("overall",)
    printed = [(row.method, [as_printed(getattr(row, column)) for column in columns]) for row in rows]
    assert printed == lines_of(text)
    assert {row.setting for row in rows} == {(data, "natural", "resnet50")}


def test_table_5_is_copied_digit_by_digit():
    rows = {(row.omega, row.data): str(row.overall) for row in rows_of_table("Table V")}
    expected = {}
    for line in TABLE_5.split("\n")[1:-1]:
        omega, imagenet, inaturalist = line.split()
        expected[float(omega), "imagenet_lt"], expected[float(omega), "inaturalist2018"] = imagenet, inaturalist
    assert rows == expected


def test_columns_of_table_2_add_up_to_what_they_add_up_to_on_paper():
    sums = Counter()
    for row in rows_of_table("Table II"):
        sums[row.imbalance_factor] += row.overall
    # Added by awk over the text of the paper.
    assert sums == {"200": Decimal("365.99"), "100": Decimal("566.96"), "50": Decimal("642.61")}


def test_rows_with_omega_are_those_that_the_paper_calls_ours():
    for row in ccar_paper_rows():
        assert (row.omega is not None) == row.method.startswith("Ours"), row
        assert bool(row.baseline) == row.method.startswith(("Ours", "Focal +")), row


# What the papers of the rows report themselves: (paper, method, data) -> imbalance factor -> value.
ORIGINALS = {
    ("Class-Balanced", "Cross-Entropy", "cifar100_lt"): {"200": 34.84, "100": 38.32, "50": 43.85, "10": 55.71},
    ("Class-Balanced", "Class-Balanced", "cifar100_lt"): {"200": 36.23, "100": 39.60, "50": 45.32, "10": 57.99},
    ("Class-Balanced", "Class-Balanced", "cifar10_lt"): {"200": 68.89, "100": 74.57, "50": 79.27, "10": 87.49},
    ("Class-Balanced", "Focal Loss", "cifar10_lt"): {"200": 65.29, "100": 70.38, "50": 76.72, "10": 86.81},
    ("LDAM", "LDAM-DRW", "cifar100_lt"): {"100": 42.04, "10": 58.71},
    ("LDAM", "LDAM-DRW", "cifar10_lt"): {"100": 77.03, "10": 88.16},
    ("Balanced Softmax", "Balanced Softmax", "cifar100_lt"): {"200": 46.7, "100": 50.3, "10": 63.1},
    ("Balanced Softmax", "BALMS", "cifar100_lt"): {"200": 48.0, "100": 50.8, "10": 63.0},
    ("Balanced Softmax", "BALMS", "cifar10_lt"): {"200": 82.2, "100": 84.9, "10": 91.3},
    ("Balanced Softmax", "Cross-Entropy", "cifar100_lt"): {"200": 41.2},
    ("BBN", "BBN", "cifar100_lt"): {"100": 42.56, "50": 47.02, "10": 59.12},
    ("BBN", "BBN", "cifar10_lt"): {"100": 79.82, "50": 82.18, "10": 88.32},
    ("PaCo", "PaCo", "cifar100_lt"): {"100": 52.0, "50": 56.0, "10": 64.2},
    ("GALA", "GALA", "cifar100_lt"): {"200": 48.0, "100": 52.1, "50": 56.0, "10": 63.8},
    ("GALA", "GALA + prediction re-balancing", "cifar100_lt"): {"200": 48.5, "100": 52.3, "50": 56.5, "10": 64.2},
    ("MiSLAS", "MiSLAS", "cifar100_lt"): {"100": 47.0, "50": 52.3, "10": 63.2},
    ("MiSLAS", "MiSLAS", "cifar10_lt"): {"100": 82.5, "50": 85.7, "10": 90.0},
    ("MiSLAS", "mixup (stage one)", "cifar100_lt"): {"100": 39.5, "50": 45.4, "10": 59.1},
    ("Bag of Tricks", "Balanced Softmax", "cifar100_lt"): {"100": 42.99, "50": 46.55},
    ("Bag of Tricks", "LDAM-DRW", "cifar100_lt"): {"100": 42.47, "50": 47.29},
    ("Bag of Tricks", "cRT", "cifar10_lt"): {"100": 74.99, "50": 80.17},
    ("AdjustBnd4Imbalance", "LDAM-DRW", "cifar100_lt"): {"200": 100 - 61.73, "50": 100 - 52.54},
    ("AdjustBnd4Imbalance", "LDAM-DRW", "cifar10_lt"): {"200": 100 - 28.09, "50": 100 - 17.83},
}


@pytest.mark.parametrize("key", ORIGINALS, ids="/".join)
def test_originals_are_copied_from_their_listings(key):
    rows = [row for row in published_rows() if (row.paper, row.method, row.data) == key]
    found = {row.imbalance_factor: float(row.overall) for row in rows}
    assert found == pytest.approx(ORIGINALS[key])
    assert len(rows) == len(found)


DECOUPLING = {  # README of facebookresearch/classifier-balancing, ResNeXt-50 on ImageNet-LT: many, medium, few, all
    "Cross-Entropy": "65.9 37.5 7.7 44.4",
    "cRT": "61.8 46.2 27.4 49.6",
    "tau-normalize": "59.1 46.9 30.7 49.4",
    "LWS": "60.2 47.2 30.3 49.9",
}


def test_group_accuracies_of_decoupling_are_copied():
    rows = [row for row in published_rows() if row.paper == "Decoupling" and row.backbone == "resnext50"]
    assert {row.method: " ".join(map(str, (*row.groups, row.overall))) for row in rows} == DECOUPLING


def test_numbers_from_memory_say_so():
    remembered = [row for row in published_rows() if "memory" in row.source]
    assert remembered
    assert not any(row.verified for row in remembered)
    known = {(row.paper, row.method, row.data, str(row.overall)) for row in published_rows() if not row.verified}
    assert {
        ("ALA", "ALA", "inaturalist2018", "70.7"),
        ("LDAM", "LDAM-DRW", "inaturalist2018", "68.0"),
        ("Decoupling", "tau-normalize", "imagenet_lt", "46.7"),
        ("Logit Adjustment", "Logit Adjust", "cifar100_lt", "43.89"),
        ("LADE", "Balanced Softmax", "inaturalist2018", "69.8"),
        ("GCL", "Cross-Entropy", "cifar100_lt", "38.43"),
    } <= known


def test_every_number_of_another_paper_has_a_source():
    for row in published_rows():
        assert row.paper, row
        assert row.source or row.table, row
        assert row.arxiv or row.paper == "Bag of Tricks", row  # that one is not on arXiv


@pytest.mark.parametrize(
    ("table", "method", "factor", "word"),
    [
        ("Table II", "LDAM-DRW", "50", "46.62"),
        ("Table II", "Ours + LA", "100", "45.93"),
        ("Table III", "Ours + CE", "natural", "44.12"),
        ("Table III", "tau-normalize", "natural", "ResNeXt-50"),
        ("Table IV", "Ours + BS", "natural", "69.65"),
        ("Table IV", "ALA", "natural", "GALA"),
        ("Table IV", "LDAM-DRW", "natural", "64.58"),
    ],
)
def test_disputed_rows_say_why(table, method, factor, word):
    (row,) = [row for row in rows_of_table(table) if (row.method, row.imbalance_factor) == (method, factor)]
    assert word in row.disputed


def test_base_losses_are_named_as_in_ccar():
    assert {row.base for row in ccar_paper_rows()} & set(LOSSES) >= {
        "cross_entropy",
        "focal",
        "class_balanced",
        "class_balanced_focal",
        "ldam",
        "logit_adjustment",
        "balanced_softmax",
        "focal_logit_adjustment",
        "focal_balanced_softmax",
    }


MIXUP = {"name": "mixup"}
METHODS = {
    "bases": ["cross_entropy", {"name": "focal", "gamma": 2}, "balanced_softmax"],
    "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]},
    "extra": [
        {"procedure": "crt"},
        {"procedure": {"name": "post_hoc", "tau": 1.0}},
        {"label": "mixed", "base": "cross_entropy", "recipe": {"mixing": MIXUP}},
        {"label": "retrained", "procedure": "crt", "stage_one": "mixed"},
        {"label": "retrained focal", "procedure": "crt", "stage_one": "focal(gamma=2)"},
        {"label": "faster", "base": "cross_entropy", "recipe": {"learning_rate": 0.2}},
        {"base": "cross_entropy", "label": "twice", "loss_factor": 2.0},
    ],
}


def cells_of(study):
    return summarise_cells(with_test_results(study.validation, study.test_results), "cross_entropy")


@pytest.fixture(scope="module")
def beside():
    """A study on CIFAR-100 beside what is published: its cells, and the pairs with their published rows."""
    cells = cells_of(made_up_study(methods=METHODS, imbalance_factors=(100, 20))).set_index("cell")
    pairs = beside_measured(cells.reset_index())
    return cells, [(published_rows()[row.row], row) for row in pairs.itertuples()]


def test_a_published_row_stands_beside_the_cell_of_the_same_loss_and_omega(beside):
    cells, pairs = beside
    table_2 = {(row.method, row.omega): pair for row, pair in pairs if row.table == "Table II"}
    assert cells.loc[table_2["Cross-Entropy", None].cell, "method"] == "cross_entropy"
    assert cells.loc[table_2["Focal Loss", None].cell, "method"] == "focal(gamma=2)"  # the paper states no gamma
    assert cells.loc[table_2["Ours + CE", 0.75].cell, "method"] == "cross_entropy+ccar(omega=0.75)"
    assert cells.loc[table_2["Ours + BS", 0.75].cell, "method"] == "balanced_softmax+ccar(omega=0.75)"
    assert not isinstance(table_2["PaCo", None].cell, str)
    assert all(pair.imbalance_factor == "100" for pair in table_2.values())


def test_other_procedures_and_changed_losses_are_other_methods(beside):
    cells, pairs = beside
    measured = {(row.paper, row.method): cells.loc[pair.cell, "method"] for row, pair in pairs if pair.n}
    assert measured["Bag of Tricks", "cRT"] == "cross_entropy+crt"
    assert measured["Bag of Tricks", "Cross-Entropy"] == "cross_entropy"
    assert measured["CCAR", "cRT + mixup"] == "retrained"
    assert measured["Bag of Tricks", "mixup"] == measured["MiSLAS", "mixup (stage one)"] == "mixed"
    assert not {"cross_entropy+post_hoc", "twice", "faster", "retrained focal"} & set(measured.values())


def measured_in(study):
    """The pairs of a study: published row, and method of the cell."""
    cells = cells_of(study).set_index("cell")
    pairs = [pair for pair in beside_measured(cells.reset_index()).itertuples() if pair.n]
    return [(published_rows()[pair.row], cells.loc[pair.cell, "method"]) for pair in pairs]


@pytest.mark.parametrize(
    ("study", "table"),
    [
        ("table2_cifar100_lt", "Table II"),
        ("table3_imagenet_lt", "Table III"),
        ("table4_inaturalist2018", "Table IV"),
    ],
)
def test_every_row_of_a_table_stands_beside_a_cell_of_the_study_of_that_table(study, table):
    beside = {row.line for row, _ in measured_in(made_up(load_study(STUDIES / f"{study}.yaml")))}
    assert [row.method for row in rows_of_table(table) if row.line not in beside] == []


def test_lengths_and_rates_of_a_procedure_are_recipe():
    extra = [
        {"procedure": "crt", "recipe": {"epochs": 30, "learning_rate": 0.2}},
        {"procedure": "paco", "recipe": {"epochs": 400}},
    ]
    measured = measured_in(made_up_study(methods={"bases": ["cross_entropy"], "extra": extra}))
    assert {method for row, method in measured if row.procedure} == {
        "cross_entropy[epochs=30, learning_rate=0.2]+crt",
        "balanced_softmax[epochs=400]+paco",
    }


def test_where_the_recipe_of_the_study_mixes_images_its_cells_stand_beside_mixup_rows():
    methods = {
        "bases": ["cross_entropy"],
        "extra": [
            {"label": "unmixed", "base": "cross_entropy", "recipe": {"mixing": None}},
            {"procedure": "crt"},
            {"procedure": "crt", "stage_one": "unmixed"},
        ],
    }
    measured = measured_in(made_up_study(methods=methods, recipe={"name": "ldam_drw_cifar", "mixing": MIXUP}))
    assert {(row.procedure, row.mixing, method) for row, method in measured} == {
        ("", "", "unmixed"),
        ("", "mixup", "cross_entropy"),
        ("crt", "", "cross_entropy+crt(stage_one=unmixed)"),
        ("crt", "mixup", "cross_entropy+crt"),
    }


def test_images_that_are_mixed_in_another_way_or_place_have_no_published_rows():
    methods = {
        "bases": ["cross_entropy"],
        "extra": [
            {"base": "cross_entropy", "recipe": {"mixing": {"name": "cutmix"}}},
            {"procedure": "crt", "recipe": {"mixing": MIXUP}},  # papers mix in stage one
        ],
    }
    assert {method for _, method in measured_in(made_up_study(methods=methods))} == {"cross_entropy"}


@pytest.mark.parametrize(
    "stage_one",
    [
        {"reweighting": {"omega": 0.75}},
        {"reweighting": {"omega": 0.75, "reduction": "scale_matched"}},
        {"loss_factor": 2.1},
        {"recipe": {"learning_rate": 0.2}},
    ],
    ids=["re-weighted", "scale-matched", "scaled", "faster"],
)
def test_a_stage_one_that_is_not_plain_makes_another_method(stage_one):
    methods = {
        "bases": ["cross_entropy"],
        "extra": [
            {"label": "ours", "base": "cross_entropy", **stage_one},
            {"procedure": "crt", "stage_one": "ours"},
            {"procedure": "tau_norm", "stage_one": "ours"},
        ],
    }
    assert not [method for row, method in measured_in(made_up_study(methods=methods)) if row.procedure]


def test_the_gap_is_measured_minus_published_also_in_units_of_the_spread_over_seeds(beside):
    cells, pairs = beside
    (pair,) = [pair for row, pair in pairs if (row.table, row.method) == ("Table II", "Ours + CE")]
    cell = cells.loc[pair.cell]
    assert pair.gap == pytest.approx(cell["test_accuracy_mean"] - 0.3986)
    assert pair.gap_in_sd == pytest.approx((cell["test_accuracy_mean"] - 0.3986) / cell["test_accuracy_sd"])
    assert pair.n == 3


def test_only_the_rows_of_the_study_s_own_settings_are_given(beside):
    _, pairs = beside
    assert {row.setting for row, _ in pairs} == {("cifar100_lt", "100", "resnet32")}  # nobody reports IF 20
    assert [pair.row for _, pair in pairs] == sorted(pair.row for _, pair in pairs)


def test_one_seed_has_a_gap_but_no_spread():
    pairs = beside_measured(cells_of(made_up_study(seeds=(0,))))
    measured = pairs[pairs["n"] > 0]
    assert len(measured)
    assert measured["gap"].notna().all()
    assert measured["gap_in_sd"].isna().all()


def test_a_study_that_never_ran_stands_beside_nothing_measured():
    study = made_up_study()
    pairs = beside_measured(cells_of(study.never_ran))
    assert len(pairs)
    assert (pairs["n"] == 0).all()
    assert pairs["cell"].isna().all()


def test_a_study_of_other_data_has_no_published_rows():
    cells = cells_of(made_up_study())
    assert beside_measured(cells.assign(data="digits")).empty
    assert beside_measured(cells.assign(model="resnet50")).empty


def test_classes_in_another_order_images_of_another_size_and_pretrained_networks_have_no_published_rows():
    assert len(beside_measured(cells := cells_of(made_up_study())))
    assert beside_measured(cells_of(made_up_study(class_order="reversed"))).empty
    assert beside_measured(cells.assign(data_options="image_size=112")).empty
    assert beside_measured(cells.assign(model_options="pretrained")).empty


def test_ldam_stands_beside_rows_with_drw_or_without_it_as_it_was_trained_itself():
    methods = {"bases": ["cross_entropy", "ldam", {"name": "ldam", "drw_start": 1}]}
    cells = cells_of(made_up_study(methods=methods)).set_index("cell")
    pairs = beside_measured(cells.reset_index())
    rows = [(published_rows()[pair.row], pair) for pair in pairs.itertuples() if pair.n]
    beside = {(row.paper, row.method): cells.loc[pair.cell, "method"] for row, pair in rows if row.base == "ldam"}
    assert beside["LDAM", "LDAM-DRW"] == beside["CCAR", "LDAM-DRW"] == "ldam"
    assert beside["Bag of Tricks", "LDAM without DRW"] == "ldam(drw_start=1)"
    assert len(rows) == len({row.line for row, _ in rows})  # no row beside both
