from __future__ import annotations

import pytest

from ccar.errors import UserError
from ccar.study.definition import load_study
from ccar.study.extension import extended

HEAD = """\
study: a-study
question: Does it grow?
data: {name: digits, imbalance_factors: 10, validation_per_class: 10}
model: small_cnn
recipe: digits_quick
baseline: cross_entropy
"""


def study_of(tmp_path, rest):
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + rest)
    return load_study(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "methods: {bases: [cross_entropy], reweighting: {omega: [0.5, 1.0]}}  # two\nseeds: [0, 3]\n",
            "methods: {bases: [cross_entropy], reweighting: {omega: [0.5, 1.0, 0.9]}}  # two\nseeds: [0, 3, 4, 5]\n",
        ),
        (
            "methods: {bases: [cross_entropy], reweighting: {omega: 0.50}}\nseeds: [0]",
            "methods: {bases: [cross_entropy], reweighting: {omega: [0.50, 0.9]}}\nseeds: [0, 1, 2]",
        ),
        (
            "methods:\n  bases: [focal, cross_entropy]\n  reweighting:\n    omega:\n    - 0.25  # low\n    - 1\n"
            "    # more?\n    phase: dual\nseeds:\n  - 0\n  - 1",
            "methods:\n  bases: [focal, cross_entropy]\n  reweighting:\n    omega:\n    - 0.25  # low\n    - 1\n"
            "    - 0.9\n    # more?\n    phase: dual\nseeds:\n  - 0\n  - 1\n  - 2\n  - 3",
        ),
        (
            "methods:\n  bases: [cross_entropy]\n  reweighting:\n    - omega: [0.25, 1.0]\n"
            "    - {omega: 0.75, phase: standard_only}\nseeds: [0]\n",
            "methods:\n  bases: [cross_entropy]\n  reweighting:\n    - omega: [0.25, 1.0, 0.9]\n"
            "    - {omega: 0.75, phase: standard_only}\nseeds: [0, 1, 2]\n",
        ),
    ],
)
def test_what_is_added_stands_where_it_belongs_and_the_rest_stays_as_it_was(tmp_path, before, after):
    study = study_of(tmp_path, before)
    assert extended(study, omegas=[0.9], num_seeds=2) == HEAD + after
    grown = study_of(tmp_path, after)
    assert set(grown.seeds) > set(study.seeds)
    assert 0.9 in grown.methods.reweighting[0].omega
    assert extended(study) == study.text


def test_an_omega_that_is_there_is_told_so(tmp_path):
    study = study_of(tmp_path, "methods: {bases: [cross_entropy], reweighting: {omega: 0.50}}\nseeds: [0]\n")
    with pytest.raises(UserError, match=r"has omega 0\.5 already"):
        extended(study, omegas=[0.9, 0.5])


def test_an_omega_of_another_grid_is_new_to_the_one_that_varies_it(tmp_path):
    grids = "[{omega: [0.25, 1.0]}, {omega: 0.75, phase: standard_only}]"
    study = study_of(tmp_path, f"methods: {{bases: [cross_entropy], reweighting: {grids}}}\nseeds: [0]\n")
    grown = study_of(tmp_path, extended(study, omegas=[0.75]).removeprefix(HEAD))
    assert [grid.omega for grid in grown.methods.reweighting] == [(0.25, 1.0, 0.75), (0.75,)]
    with pytest.raises(UserError, match=r"has omega 0\.25 already"):
        extended(study, omegas=[0.25])


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("methods: {bases: [cross_entropy]}\nseeds: [0]\n", "no grid of the study varies omega"),
        (
            "methods: {bases: [cross_entropy], reweighting: [{omega: [0.5, 1.0]}, "
            "{omega: [0.1, 0.2], phase: standard_only}]}\nseeds: [0]\n",
            "several grids of the study vary omega",
        ),
    ],
)
def test_where_it_is_not_clear_where_an_omega_belongs_the_user_is_asked(tmp_path, rest, words):
    study = study_of(tmp_path, rest)
    with pytest.raises(UserError, match=words):
        extended(study, omegas=[0.9])
