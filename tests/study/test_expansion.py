from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccar.errors import StudyFileError
from ccar.store.key import key_parts
from ccar.study.definition import Study, load_study
from ccar.study.expansion import cells_of, load_data, open_cells_of, plan_trials
from ccar.study.methods import BASE_NAMES
from ccar.training.config import DataConfig

STUDIES = Path(__file__).parents[2] / "studies"
REDUCTIONS = ["mean", "weight_normalised", "scale_matched"]
CONSTANT = {("standard_only", "none"), *(("constant", f) for f in ("fraction", "max_normalised", "uniform", "none"))}
ONE_SLOPE = {("standard_only", "uniform"), ("inverted_only", "uniform"), ("inverted_only", "none")}


def study_of(*, methods, factors=(10,), seeds=(0,), **others) -> Study:
    return Study.model_validate(
        {
            "study": "made",
            "question": "?",
            "data": {"name": "digits", "imbalance_factors": list(factors), "validation_per_class": 5},
            "model": "small_cnn",
            "recipe": "digits_quick",
            "methods": methods,
            "seeds": list(seeds),
            "baseline": "cross_entropy",
            **others,
        }
    )


def labels_of(methods) -> list[str]:
    return [cell.method for cell in cells_of(study_of(methods=methods))]


def some(values, **options):
    return st.lists(values, unique=True, min_size=1, max_size=3, **options)


@st.composite
def grids(draw):
    """A study of plain lists, and the number of cells that it must have."""
    bases = draw(some(st.sampled_from(BASE_NAMES)))
    factors = draw(some(st.floats(1, 1000)))
    omegas = draw(some(st.floats(0.001, 1)))
    phases = draw(some(st.sampled_from(["dual", "standard_only", "inverted_only", "constant"])))
    frequencies = draw(some(st.sampled_from(["fraction", "max_normalised", "uniform", "none"])))
    reductions = draw(some(st.sampled_from(REDUCTIONS)))
    seeds = draw(some(st.integers(0, 1000)))
    grid = {"omega": omegas, "phase": phases, "frequency": frequencies, "reduction": reductions}
    weights = {"constant" if pair in CONSTANT else pair for pair in itertools.product(phases, frequencies)}
    points = sum(
        1 if reduction != "mean" and (weight == "constant" or weight in ONE_SLOPE) else len(omegas)
        for weight, reduction in itertools.product(weights, reductions)
    )
    study = study_of(methods={"bases": bases, "reweighting": grid}, factors=factors, seeds=seeds)
    return study, len(factors) * len(bases) * (1 + points)


@given(grids())
@settings(max_examples=60, deadline=None)
def test_a_grid_gives_every_loss_in_the_product_of_its_lists_once_under_unique_names(study_and_count):
    study, count = study_and_count
    cells = cells_of(study)
    assert len(cells) == count
    assert len({cell.id for cell in cells}) == count
    assert len({cell.config for cell in cells}) == count
    assert cells == cells_of(study)


@given(grids())
@settings(max_examples=30, deadline=None)
def test_more_values_rename_nothing_and_keep_the_order(study_and_count):
    study, _ = study_and_count
    before = [cell.id for cell in cells_of(study)]
    grid = study.methods.reweighting[0]
    wider = grid.model_copy(update={"omega": (*grid.omega, 0.0005), "gradient": ("through", "detached")})
    methods = study.methods.model_copy(update={"reweighting": (wider,)})
    after = [cell.id for cell in cells_of(study.model_copy(update={"methods": methods}))]
    assert [name for name in after if name in set(before)] == before


def test_a_trial_has_a_key_of_its_own_and_seeds_vary_fastest(study_file, ten_classes):
    study = load_study(study_file())
    trials = plan_trials(study, ten_classes)
    assert len(trials) == len({trial.key for trial in trials}) == 2 * 6 * 2
    assert [trial.seed for trial in trials[:4]] == [0, 1, 0, 1]
    assert trials[0].name == "if10/cross_entropy seed 0"
    assert [trial.key for trial in plan_trials(study, ten_classes)] == [trial.key for trial in trials]


def test_what_a_trial_sees_is_part_of_its_key(study_file, ten_classes):
    trials = plan_trials(load_study(study_file()), ten_classes)
    by_setting = {(trial.config.data.imbalance_factor, trial.seed): trial.data_fingerprint for trial in trials}
    assert len(set(by_setting.values())) == 4
    for trial in trials:
        assert key_parts(trial.config, trial.data_fingerprint)["seed"] == trial.seed


def test_cells_come_in_the_order_of_the_file(study_file):
    assert [cell.id for cell in cells_of(load_study(study_file()))][:7] == [
        "if10/cross_entropy",
        "if10/cross_entropy+ccar(omega=0.5)",
        "if10/cross_entropy+ccar(omega=0.75)",
        "if10/focal",
        "if10/focal+ccar(omega=0.5)",
        "if10/focal+ccar(omega=0.75)",
        "if50/cross_entropy",
    ]


def test_a_label_says_omega_and_what_differs_from_the_defaults():
    switches = {
        "omega": 1.0,
        "frequency": ["fraction", "max_normalised"],
        "phase": "inverted_only",
        "keep_z": True,
        "reduction": "scale_matched",
    }
    assert labels_of({"bases": [{"name": "focal", "gamma": 2}], "reweighting": switches}) == [
        "focal(gamma=2)",
        "focal(gamma=2)+ccar(omega=1, phase=inverted_only, keep_z=true, reduction=scale_matched)",
        "focal(gamma=2)+ccar(omega=1, frequency=max_normalised, phase=inverted_only, keep_z=true, "
        "reduction=scale_matched)",
    ]


def test_frequency_vectors_are_told_apart_by_a_digest():
    grid = {"omega": 0.5, "frequency": [[0.5, 0.25], [0.5, 0.2]]}
    first, second = labels_of({"bases": ["focal"], "reweighting": grid})[1:]
    assert first.startswith("focal+ccar(omega=0.5, frequency=custom-")
    assert first != second


def test_a_flat_list_of_numbers_is_one_frequency_vector():
    nested = labels_of({"bases": ["focal"], "reweighting": {"omega": 0.5, "frequency": [[0.5, 0.25]]}})
    flat = labels_of({"bases": ["focal"], "reweighting": {"omega": 0.5, "frequency": [0.5, 0.25]}})
    assert flat == nested


def test_a_point_of_two_grids_is_one_method():
    grids = [{"omega": [0.5, 0.75]}, {"omega": 0.75, "phase": ["dual", "constant"]}]
    assert labels_of({"bases": ["cross_entropy"], "reweighting": grids}) == [
        "cross_entropy",
        "cross_entropy+ccar(omega=0.5)",
        "cross_entropy+ccar(omega=0.75)",
        "cross_entropy+ccar(omega=0.75, phase=constant)",
    ]


def test_a_beta_that_a_frequency_does_not_read_makes_no_second_method():
    grid = {"omega": 0.5, "frequency": ["none", "effective_number"], "effective_number_beta": [0.9, 0.99]}
    assert labels_of({"bases": ["focal"], "reweighting": grid})[1:] == [
        "focal+ccar(omega=0.5, frequency=none)",
        "focal+ccar(omega=0.5, frequency=effective_number, effective_number_beta=0.9)",
        "focal+ccar(omega=0.5, frequency=effective_number)",
    ]


def test_an_extra_method_keeps_its_label_and_settings():
    extra = [
        {"label": "post-hoc LA", "procedure": {"name": "post_hoc"}},
        {"base": "focal", "reweighting": {"omega": 0.3, "reduction": "weight_normalised"}},
    ]
    post_hoc, focal = cells_of(study_of(methods={"bases": ["cross_entropy"], "extra": extra}))[1:]
    assert (post_hoc.id, post_hoc.config.procedure.tau) == ("if10/post-hoc LA", (1.0,))
    assert focal.method == "focal+ccar(omega=0.3, reduction=weight_normalised)"
    assert focal.config.reduction == "weight_normalised"


@pytest.mark.parametrize("base", BASE_NAMES)
def test_only_losses_with_margins_on_cosines_have_a_normed_classifier(base):
    (cell,) = cells_of(study_of(methods={"bases": [base]}))
    assert cell.config.head == ("normed" if base in ("ldam", "ala") else "linear")


def test_an_exclusion_leaves_out_exactly_what_has_all_its_values():
    methods = {
        "bases": ["cross_entropy", "focal"],
        "reweighting": {"omega": [0.5, 1.0], "frequency": ["fraction", "none"]},
        "exclude": [
            {"base": "focal", "omega": 1.0},
            {"method": "focal"},
            {"frequency": "none", "imbalance_factor": 50},
        ],
    }
    assert [cell.id for cell in cells_of(study_of(methods=methods, factors=[10, 50]))] == [
        "if10/cross_entropy",
        "if10/cross_entropy+ccar(omega=0.5)",
        "if10/cross_entropy+ccar(omega=1)",
        "if10/cross_entropy+ccar(omega=0.5, frequency=none)",
        "if10/cross_entropy+ccar(omega=1, frequency=none)",
        "if10/focal+ccar(omega=0.5)",
        "if10/focal+ccar(omega=0.5, frequency=none)",
        "if50/cross_entropy",
        "if50/cross_entropy+ccar(omega=0.5)",
        "if50/cross_entropy+ccar(omega=1)",
        "if50/focal+ccar(omega=0.5)",
    ]


@pytest.mark.parametrize("search", [None, {"algorithm": "tpe", "num_samples": 3, "omega": [0.1, 1.0]}])
def test_an_exclusion_by_beta_leaves_out_only_what_reads_it(search):
    grid = {"frequency": ["fraction", "effective_number"], "effective_number_beta": [0.9, 0.99]}
    study = study_of(
        methods={
            "bases": ["cross_entropy"],
            "reweighting": grid if search else {**grid, "omega": 0.5},
            "exclude": [{"effective_number_beta": 0.99}],
        },
        search=search,
    )
    omega = "*" if search else "0.5"
    assert [cell.id for cell in (*cells_of(study), *open_cells_of(study))] == [
        "if10/cross_entropy",
        f"if10/cross_entropy+ccar(omega={omega})",
        f"if10/cross_entropy+ccar(omega={omega}, frequency=effective_number, effective_number_beta=0.9)",
    ]


def test_an_exclusion_of_a_beta_that_nothing_reads_matches_nothing(study_file):
    frequency = "    frequency: fraction\n"
    path = study_file((frequency, f"{frequency}  exclude: [{{effective_number_beta: 0.99}}]\n"))
    with pytest.raises(StudyFileError, match="no method here has effective_number_beta"):
        load_study(path)


def test_a_confidence_that_a_loss_does_not_read_makes_no_second_method():
    methods = {"bases": ["focal", "ldam"], "reweighting": {"omega": 0.5, "confidence": ["adjusted", "raw"]}}
    assert labels_of(methods) == [
        "focal",
        "focal+ccar(omega=0.5)",
        "ldam",
        "ldam+ccar(omega=0.5)",
        "ldam+ccar(omega=0.5, confidence=raw)",
    ]


def test_without_a_class_frequency_there_is_one_phase_constant_whatever_it_is_called():
    grid = {"omega": 0.5, "frequency": ["fraction", "none"], "phase": ["dual", "standard_only", "constant"]}
    assert labels_of({"bases": ["focal"], "reweighting": grid})[1:] == [
        "focal+ccar(omega=0.5)",
        "focal+ccar(omega=0.5, phase=standard_only)",
        "focal+ccar(omega=0.5, phase=constant)",
        "focal+ccar(omega=0.5, frequency=none)",
    ]


@pytest.mark.parametrize(
    ("switches", "shown"),
    [
        ({"phase": "constant", "reduction": "scale_matched"}, "phase=constant, reduction=scale_matched"),
        ({"phase": "inverted_only", "keep_z": True}, "phase=inverted_only, keep_z=true"),
    ],
)
def test_of_omegas_that_change_nothing_the_first_stands(switches, shown):
    methods = {
        "bases": ["focal"],
        "reweighting": [{"omega": [0.5, 0.75], **switches}, {"omega": [0.25, 1.0], **switches}],
    }
    assert labels_of(methods) == ["focal", f"focal+ccar(omega=0.5, {shown})"]


def test_what_trains_the_same_has_one_key_however_it_is_written(ten_classes):
    written = [
        {"omega": 0.5, "frequency": "none", "phase": "standard_only"},
        {"omega": 0.5, "phase": "constant"},
        {"omega": 0.5, "phase": ["dual", "constant"], "frequency": ["fraction", "uniform"]},
    ]
    keys = [
        {
            trial.key
            for trial in plan_trials(study_of(methods={"bases": ["focal"], "reweighting": grid}), ten_classes)
            if trial.config.reweighting is not None and trial.config.reweighting.phase == "constant"
        }
        for grid in written
    ]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == 1


def test_an_exclusion_leaves_out_only_what_reads_its_switches():
    methods = {
        "bases": ["cross_entropy", "balanced_softmax"],
        "reweighting": {"omega": 0.5, "confidence": ["adjusted", "raw"], "phase": ["dual", "constant"]},
        "exclude": [{"confidence": "adjusted"}, {"frequency": "fraction", "base": "balanced_softmax"}],
    }
    assert labels_of(methods) == [
        "cross_entropy",
        "cross_entropy+ccar(omega=0.5)",
        "cross_entropy+ccar(omega=0.5, phase=constant)",
        "balanced_softmax",
        "balanced_softmax+ccar(omega=0.5, phase=constant, confidence=raw)",
    ]


def test_imbalance_factors_are_named_without_rounding():
    study = study_of(methods={"bases": ["focal"]}, factors=[100, 2.5, 1234567.5, 1234567.25, "natural"])
    assert [cell.id for cell in cells_of(study)] == [
        "if100/focal",
        "if2.5/focal",
        "if1234567.5/focal",
        "if1234567.25/focal",
        "natural/focal",
    ]


def test_a_search_opens_a_cell_for_every_base_and_switch(study_file):
    study = study_of(
        methods={"bases": ["cross_entropy", "focal"], "reweighting": {"frequency": ["fraction", "none"]}},
        factors=[10, 50],
        search={"algorithm": "tpe", "num_samples": 3, "omega": [0.1, 1.0]},
    )
    assert [cell.id for cell in open_cells_of(study)][:3] == [
        "if10/cross_entropy+ccar(omega=*)",
        "if10/cross_entropy+ccar(omega=*, frequency=none)",
        "if10/focal+ccar(omega=*)",
    ]
    assert len(open_cells_of(study)) == 8
    assert [cell.method for cell in cells_of(study)] == ["cross_entropy", "focal"] * 2
    assert open_cells_of(study)[0].method.at(0.25).label == "cross_entropy+ccar(omega=0.25)"


def test_two_thousand_cells_are_as_many_trials_with_keys_of_their_own(ten_classes):
    omegas = [number / 1000 for number in range(1, 1000)]
    study = study_of(methods={"bases": ["cross_entropy", "focal"], "reweighting": {"omega": omegas}})
    trials = plan_trials(study, ten_classes)
    assert len({trial.key for trial in trials}) == len(trials) == 2000


def test_the_demo_has_200_trials_and_can_be_cut_from_the_digits(tmp_path):
    study = load_study(STUDIES / "digits_lt.yaml")
    assert len(plan_trials(study, load_data(study, tmp_path))) == 200


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_study_has_the_trials_that_its_head_promises(path):
    study = load_study(path)
    head = path.read_text().partition("\nstudy:")[0]
    assert f"{len(cells_of(study)) * len(study.seeds)} trials" in " ".join(head.replace("#", " ").split())


def test_the_ablation_shares_the_papers_setting_with_table_2():
    table2, ablation = (
        {cell.id: cell.config for cell in cells_of(load_study(STUDIES / f"{name}_cifar100_lt.yaml"))}
        for name in ("table2", "omega_ablation")
    )
    for shared in ("if100/cross_entropy", "if100/cross_entropy+ccar(omega=0.75)"):
        assert table2[shared] == ablation[shared]


def test_the_data_of_a_cell_are_those_of_the_study(study_file):
    cell = cells_of(load_study(study_file(("class: 5", "class: 5\n  class_order: reversed"))))[0]
    assert cell.config.data == DataConfig(
        name="digits", imbalance_factor=10, validation_per_class=5, class_order="reversed"
    )
