"""Two-stage methods in a study: one stage one for all, before them, and every mistake with its line."""

import re
from pathlib import Path

import pytest

from ccar.errors import StudyFileError
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of, plan_trials
from ccar.study.methods import PROCEDURE_NAMES
from ccar.study.plan import Capacity, plan_of
from ccar.study.search import trial_source
from ccar.training.recipe import CosineSchedule

TWO_STAGES = """\
study: stages
question: Which classifier?
data: {name: digits, imbalance_factors: [10, 5], validation_per_class: 10}
model: small_cnn
recipe: digits_quick
methods:
  bases: [cross_entropy]
  extra:
    - {procedure: post_hoc}
    - {procedure: {name: tau_norm, tau: [0.5, 1]}}
    - {base: cross_entropy, procedure: crt}
    - {base: cross_entropy, procedure: {name: lws, batch_norm: frozen}, recipe: {epochs: 3}}
    - {label: mixup, base: cross_entropy, recipe: {mixing: {name: mixup, alpha: 0.2}}}
    - {base: balanced_softmax, reweighting: {omega: 0.75}, procedure: crt, stage_one: mixup}
seeds: [0, 1]
baseline: cross_entropy
"""


@pytest.fixture
def study(tmp_path):
    return load_file(tmp_path, TWO_STAGES)


def load_file(folder, text):
    path = folder / "study.yaml"
    path.write_text(text)
    return load_study(path)


def problems_of(folder, text):
    with pytest.raises(StudyFileError) as error:
        load_file(folder, text)
    return [(problem.line, problem.message) for problem in error.value.problems]


def test_every_procedure_stands_under_its_heading_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "procedures.md").read_text()
    assert re.findall(r"^## `(\w+)`$", text, re.MULTILINE) == list(PROCEDURE_NAMES)
    for name in PROCEDURE_NAMES[1:]:
        entry = text.partition(f"## `{name}`")[2].partition("\n## ")[0]
        assert "Source: " in entry
        assert "Defaults per data set" in entry


def test_labels_say_how_the_network_comes_to_its_weights(study):
    assert [cell.method for cell in cells_of(study)[:7]] == [
        "cross_entropy",
        "cross_entropy+post_hoc",
        "cross_entropy+tau_norm(tau=0.5|1)",
        "cross_entropy+crt",
        "cross_entropy[epochs=3]+lws(batch_norm=frozen)",
        "mixup",
        "balanced_softmax+ccar(omega=0.75)+crt(stage_one=mixup)",
    ]


def test_stage_two_has_its_own_recipe_and_the_rest_of_the_studys(study):
    crt = cells_of(study)[3].config
    assert (crt.recipe.epochs, crt.recipe.sampler, crt.recipe.schedule.name) == (10, "class_balanced", "cosine")
    assert (crt.recipe.batch_size, crt.recipe.learning_rate) == (study.recipe.batch_size, study.recipe.learning_rate)
    assert crt.stage_one.recipe == study.recipe


def test_iterations_of_a_method_take_the_place_of_the_epochs_of_its_procedure(tmp_path):
    text = TWO_STAGES.replace("procedure: crt}", "procedure: crt, recipe: {iterations: 2000}}")
    crt = cells_of(load_file(tmp_path, text))[3].config.recipe
    assert (crt.epochs, crt.iterations, crt.sampler) == (None, 2000, "class_balanced")


def test_stage_two_has_no_warm_up_whatever_that_of_the_study_counts(tmp_path):
    text = TWO_STAGES.replace("recipe: digits_quick", "recipe: balanced_softmax_cifar")
    recipes = {cell.config.procedure.name: cell.config.recipe for cell in cells_of(load_file(tmp_path, text))}
    assert (recipes["crt"].epochs, recipes["lws"].epochs) == (10, 3)
    for name in ("crt", "lws"):
        assert (recipes[name].warmup_iterations, recipes[name].schedule) == (None, CosineSchedule())


def test_a_method_that_counts_epochs_where_the_warm_up_counts_iterations_is_told(tmp_path):
    text = TWO_STAGES.replace("recipe: digits_quick", "recipe: balanced_softmax_cifar")
    text = text.replace("{procedure: post_hoc}", "{base: focal, recipe: {epochs: 100}}")
    ((line, message),) = problems_of(tmp_path, text)
    assert (line, message.partition(":")[0]) == (9, "methods.extra[0].recipe loses its warm-up")


def test_stage_two_of_table_2_lasts_as_long_as_the_protocols():
    study = load_study(Path(__file__).parents[2] / "studies" / "table2_cifar100_lt.yaml")
    (recipe,) = {cell.config.recipe for cell in cells_of(study) if cell.method == "crt + mixup"}
    assert (recipe.iterations, recipe.learning_rate, recipe.batch_size) == (2000, 0.1, 512)
    assert (recipe.schedule, recipe.warmup_iterations) == (CosineSchedule(), None)


def test_the_file_may_name_the_network_after_what_is_made_of_it(tmp_path):
    mixup = "    - {label: mixup, base: cross_entropy, recipe: {mixing: {name: mixup, alpha: 0.2}}}\n"
    at_the_end = TWO_STAGES.replace("{procedure: post_hoc}", "{procedure: post_hoc, stage_one: mixup}")
    in_order = at_the_end.replace(mixup, "").replace("  extra:\n", f"  extra:\n{mixup}")
    found, wanted = ({cell.id: cell for cell in cells_of(load_file(tmp_path, text))} for text in (at_the_end, in_order))
    assert found == wanted
    (cell,) = (cell for name, cell in found.items() if name == "if10/mixup+post_hoc")
    assert cell.config.stage_one.recipe.mixing is not None


def test_all_that_start_from_a_network_share_one_trial_of_it(study, ten_classes):
    trials = plan_trials(study, ten_classes)
    assert len(trials) == len({trial.key for trial in trials}) == 2 * 7 * 2
    keys = {trial.key: trial for trial in trials}
    for trial in trials:
        if trial.stage_one_key is not None:
            first = keys[trial.stage_one_key]
            assert first.seed == trial.seed
            assert first.config == trial.config.stage_one
    plan = plan_of(trials, {}, [], resources=study.resources, capacity=Capacity(cpus=2))
    # per data, imbalance factor and seed: one network of cross-entropy, one of mixup
    assert (plan.stage_ones, plan.two_stage) == (2 * 2 * 2, 5 * 2 * 2)


def test_a_trial_waits_for_its_stage_one_however_that_ends(study, ten_classes):
    source = trial_source(study, ten_classes, None)
    ended, under_way = set(), []
    while not source.exhausted:
        while (trial := source.next()) is not None:
            assert trial.stage_one_key is None or trial.stage_one_key in ended
            under_way.append(trial)
        trial = under_way.pop(0)
        ended.add(trial.key)
        source.tell(trial, None)
    assert len(ended) + len(under_way) == source.num_trials


@pytest.mark.parametrize("baseline", ["cross_entropy", "mixup"])
def test_early_stopping_leaves_alone_what_others_start_from_and_what_has_another_recipe(tmp_path, baseline):
    text = TWO_STAGES.replace("bases: [cross_entropy]", "bases: [cross_entropy, focal]")
    text = text.replace("{procedure: post_hoc}", "{label: short, base: ldam, recipe: {epochs: 3}}")
    text = text.replace("baseline: cross_entropy", f"baseline: {baseline}")
    cells = cells_of(load_file(tmp_path, text))
    assert [cell.id for cell in cells if cell.may_stop] == ["if10/focal", "if5/focal"]


@pytest.mark.parametrize(
    ("line", "extra", "where", "message"),
    [
        (9, "{procedure: crt, stage_one: mixpu}", 9, "stage one is unknown: found 'mixpu', expected the label of a"),
        (9, "{procedure: crt, stage_one: cross_entropy+crt}", 9, "stage one has two stages itself"),
        (9, "{base: focal, stage_one: cross_entropy}", 9, "expected none beside a procedure that trains in one go"),
        (9, "{base: focal, procedure: tau_norm}", 9, "base beside tau_norm, which trains nothing"),
        (9, "{procedure: post_hoc, recipe: {epochs: 3}}", 9, "recipe beside post_hoc, which trains nothing"),
        (9, "{procedure: ctr}", 9, "'ctr'"),
        (9, "{label: nothing}", 9, "no base"),
        (9, "{procedure: {name: post_hoc, tau: 0}}", 9, "found 0"),
        (9, "{base: focal, loss_factor: 0}", 9, "found 0"),
        (9, "{base: focal, recipe: {epoch: 3}}", 9, "found 'epoch'"),
        (9, "{base: focal, recipe: {nesterov: true, momentum: 0}}", 9, "nesterov needs momentum above 0"),
        (9, "{base: ldam, recipe: {mixing: {name: mixup}}}", 9, "ldam has no rule for mixed images"),
        (
            9,
            "{base: focal, reweighting: {omega: 0.5}, recipe: {mixing: {name: cutmix}}}",
            9,
            "Omega has no rule for mixed images",
        ),
        (
            9,
            "{base: focal, reweighting: {omega: 0.5, soft_labels: per_label, reduction: scale_matched}, "
            "recipe: {mixing: {name: mixup}}}",
            9,
            "scale_matched has no rule for mixed images",
        ),
        (9, "{procedure: bbn, recipe: {mixing: {name: mixup}}}", 9, "bbn does not fit its method: found mixing mixup"),
        (9, "{procedure: bbn, recipe: {sampler: class_balanced}}", 9, "found sampler class_balanced"),
        (
            9,
            "{procedure: bbn, reweighting: {omega: 0.5, reduction: scale_matched}}",
            9,
            "bbn does not fit its method: found reduction scale_matched, expected another reduction",
        ),
        (9, "{base: focal, procedure: paco}", 9, "paco does not fit its method: found base focal, expected one of"),
        (9, "{procedure: paco, reweighting: {omega: 0.5}}", 9, "found omega 0.5, expected no re-weighting"),
        (9, "{procedure: paco, recipe: {mixing: {name: cutmix}}}", 9, "found mixing cutmix, expected images of one"),
        (9, "{procedure: {name: paco, beta: 0}}", 9, "found 0"),
        (9, "{procedure: {name: paco, key_augmentation: [blurr]}}", 9, "found 'blurr'"),
        (9, "{base: ldam, procedure: lws}", 9, "lws keeps the linear classifier of stage one"),
    ],
)
def test_a_mistake_about_stages_is_told_with_its_line(tmp_path, line, extra, where, message):
    lines = TWO_STAGES.splitlines()
    lines[line - 1] = f"    - {extra}"
    (found,) = problems_of(tmp_path, "\n".join(lines))
    assert found[0] == where
    assert message in found[1]


def test_a_stage_one_with_cosines_cannot_be_rescaled(tmp_path):
    text = TWO_STAGES.replace("bases: [cross_entropy]", "bases: [cross_entropy, ldam]")
    text = text.replace("{procedure: post_hoc}", "{procedure: tau_norm, stage_one: ldam}")
    ((line, message),) = problems_of(tmp_path, text)
    assert (line, message.partition(":")[0]) == (9, "tau_norm rescales the vectors of a linear classifier")


def test_a_stage_one_that_is_left_out_is_told(tmp_path):
    text = TWO_STAGES.replace("seeds:", "  exclude:\n    - {method: mixup, imbalance_factor: 5}\nseeds:")
    ((line, message),) = problems_of(tmp_path, text)
    assert line == 14
    assert "stage one is left out at imbalance factor 5" in message


def test_taus_to_choose_from_need_validation_images(tmp_path):
    text = TWO_STAGES.replace("validation_per_class: 10", "validation_per_class: 0")
    ((line, message),) = problems_of(tmp_path, text)
    assert line == 10
    assert "chooses tau on validation images" in message


def test_a_stage_one_with_two_branches_is_told(tmp_path):
    text = TWO_STAGES.replace("{procedure: post_hoc}", "{label: two branches, procedure: bbn}")
    text = text.replace("stage_one: mixup", "stage_one: two branches")
    ((line, message),) = problems_of(tmp_path, text)
    assert line == 14
    assert "found 'two branches', trained by bbn, expected a method that is trained end to end" in message


def test_a_recipe_that_mixes_does_not_reach_bbn_in_silence(tmp_path):
    text = TWO_STAGES.replace("recipe: digits_quick", "recipe: {name: digits_quick, mixing: {name: mixup}}")
    text = text.replace("{procedure: post_hoc}", "{procedure: bbn}")
    ((line, message),) = problems_of(tmp_path, text)
    assert (line, message) == (9, "bbn does not fit its method: found mixing mixup, expected images of one class")


def test_soft_labels_of_a_stage_that_does_not_mix_are_refused(tmp_path):
    text = TWO_STAGES.replace("reweighting: {omega: 0.75}", "reweighting: {omega: 0.75, soft_labels: per_label}")
    ((line, message),) = problems_of(tmp_path, text)
    assert line == 14
    assert message.startswith("methods.extra[5].reweighting.soft_labels has no effect: found a recipe without mixing")


def test_paco_without_a_base_has_the_prior_of_balanced_softmax(tmp_path):
    cells = cells_of(load_file(tmp_path, TWO_STAGES.replace("{procedure: post_hoc}", "{procedure: paco}")))
    assert cells[1].method == "balanced_softmax+paco"
    assert cells[1].config.loss.name == "balanced_softmax"
    assert cells[1].config.recipe == cells[0].config.recipe
