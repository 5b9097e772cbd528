"""Every mistake that a study file can hold: file, line, wording and hint of what the user reads."""

from __future__ import annotations

import re
import time

import pytest

from ccar.errors import StudyFileError
from ccar.study.definition import load_study
from ccar.study.expansion import load_data, plan_trials


def problems_of(path):
    with pytest.raises(StudyFileError) as caught:
        load_study(path)
    return caught.value.problems


OMEGA = "omega: [0.5, 0.75]"
FREQUENCY = "    frequency: fraction\n"
BASES = "bases: [cross_entropy, focal]"
FACTORS = "imbalance_factors: [10, 50]"
SEEDS = "seeds: [0, 1]"
RECIPE = "recipe: digits_quick"
BASELINE = "baseline: cross_entropy\n"
NUMBER = "expected a number above 0 and at most 1"

# name: (text, replacement, line, message, hint)
ONE_MISTAKE = {
    "a misspelt key": (
        "  imbalance_factors:", "  imbalance_factor:", 5,
        "unknown key in data: found 'imbalance_factor', expected one of name, imbalance_factors, ",
        "did you mean 'imbalance_factors'?",
    ),
    "a misspelt key at the top": (
        "model:", "modle:", 7, "unknown key: found 'modle', expected one of study, question, data, ",
        "did you mean 'model'?",
    ),
    "a key in the wrong place": (
        SEEDS, f"epochs: 5\n{SEEDS}", 14, "unknown key: found 'epochs', expected one of study, ",
        "'epochs' belongs in recipe",
    ),
    "a key that is missing": (
        "model: small_cnn\n", "", 1, "model is missing: found nothing, expected one of small_cnn, resnet32", "model: ",
    ),
    "a text for a number": (
        "validation_per_class: 5", "validation_per_class: few", 6,
        "data.validation_per_class is unknown: found 'few', expected own or a whole number, at least 0",
        "validation_per_class: ",
    ),
    "a quoted number": (
        OMEGA, 'omega: "0.5"', 12, f"methods.reweighting.omega has the wrong type: found '0.5', {NUMBER}", "omega: ",
    ),
    "true for a number": (
        OMEGA, "omega: true", 12, f"methods.reweighting.omega has the wrong type: found true, {NUMBER}", "omega: ",
    ),
    "yes for true": (
        FREQUENCY, "    keep_z: yes\n", 13,
        "methods.reweighting.keep_z has the wrong type: found 'yes', expected true or false", "keep_z: ",
    ),
    "a share for a whole number": (
        SEEDS, "seeds: [0, 1.5]", 14, "seeds[1] has the wrong type: found 1.5, expected a whole number", "seeds: ",
    ),
    "a number for a list of seeds": (
        SEEDS, "seeds: 3", 14, "seeds has the wrong type: found 3, expected a list, each a whole number",
        "seeds: one trial per cell and seed, e.g. [0, 1, 2]",
    ),
    "a list for a mapping": (
        "recipe: digits_quick", "recipe: [digits_quick]", 8,
        "recipe has the wrong type: found [digits_quick], expected one of ", "recipe: ",
    ),
    "omega 0": (
        OMEGA, "omega: [0, 0.75]", 12, f"methods.reweighting.omega[0] is out of range: found 0, {NUMBER}", "omega: ",
    ),
    "omega 1.5": (
        OMEGA, "omega: 1.5", 12, f"methods.reweighting.omega is out of range: found 1.5, {NUMBER}", "omega: ",
    ),
    "omega not a number": (
        OMEGA, "omega: .nan", 12, f"methods.reweighting.omega is out of range: found nan, {NUMBER}", "omega: ",
    ),
    "omega infinite": (
        OMEGA, "omega: .inf", 12, f"methods.reweighting.omega is out of range: found inf, {NUMBER}", "omega: ",
    ),
    "omega twice": (
        OMEGA, "omega:\n    - 0.5\n    - 0.75\n    - 0.50", 15,
        "methods.reweighting.omega[2] has a repeat: found 0.5 twice, expected each value once", "delete one of them",
    ),
    "no omega": (
        f"    {OMEGA}\n", "", 11,
        "methods.reweighting.omega is missing: found nothing, expected numbers above 0 and at most 1",
        "write omega: [0.25, 0.5, 0.75, 1.0], or let `search` look for it",
    ),
    "an imbalance factor below 1": (
        FACTORS, "imbalance_factors: [10, 0.02]", 5,
        "data.imbalance_factors[1] is out of range: found 0.02, expected natural or a number, at least 1",
        "imbalance_factors: largest / smallest class count",
    ),
    "an imbalance factor twice": (
        FACTORS, "imbalance_factors: [10, 10.0]", 5,
        "data.imbalance_factors[1] has a repeat: found 10 twice, expected each value once", "delete one of them",
    ),
    "no imbalance factor": (
        FACTORS, "imbalance_factors: []", 5,
        "data.imbalance_factors is empty: found an empty list, expected at least one value", "imbalance_factors: ",
    ),
    "an unknown loss": (
        BASES, "bases: [cross_entropy, focl]", 10,
        "methods.bases[1] is unknown: found 'focl', expected one of cross_entropy, focal, class_balanced, ",
        "did you mean 'focal'?",
    ),
    "an unknown loss with options": (
        BASES, "bases:\n  - cross_entropy\n  - {name: ldm, scale: 20}", 12,
        "methods.bases[1] is unknown: found 'ldm', expected one of cross_entropy, ", "did you mean 'ldam'?",
    ),
    "a loss without a name": (
        BASES, "bases: [cross_entropy, {gamma: 2}]", 10,
        "methods.bases[1] has no name: found a mapping with gamma, expected one of cross_entropy, ", "bases: ",
    ),
    "the name of a loss as a key": (
        BASES, "bases: [cross_entropy, focal: {gamma: 2}]", 10,
        "methods.bases[1] has no name: found a mapping with focal, expected one of cross_entropy, ",
        "write {name: focal, gamma: 2}",
    ),
    "the name of a loss as a key beside its options": (
        BASES, "bases:\n  - cross_entropy\n  - focal:\n    gamma: 2", 12,
        "methods.bases[1] has no name: found a mapping with focal, gamma, expected one of cross_entropy, ",
        "write {name: focal, gamma: 2}",
    ),
    "the name of a schedule as a key": (
        "digits_quick", "{name: digits_quick, schedule: {steps: {milestones: [5, 10]}}}", 8,
        "recipe.schedule has no name: found a mapping with steps, expected one of cosine, steps",
        "write {name: steps, milestones: [5, 10]}",
    ),
    "a number for the options of a mixing": (
        "digits_quick", "{name: digits_quick, mixing: {mixup: 0.5}}", 8,
        "recipe.mixing has no name: found a mapping with mixup, expected one of mixup, cutmix", "mixing: mix pairs ",
    ),
    "an option that the loss does not have": (
        BASES, "bases: [cross_entropy, {name: focal, tau: 2}]", 10,
        "unknown key in methods.bases[1]: found 'tau', expected one of name, gamma", "'tau' belongs in ",
    ),
    "an option out of range": (
        BASES, "bases: [cross_entropy, {name: focal, gamma: -1}]", 10,
        "methods.bases[1].gamma is out of range: found -1, expected a number, at least 0", "gamma: ",
    ),
    "a loss twice": (
        BASES, "bases: [cross_entropy, focal, {name: focal, gamma: 1.0}]", 10,
        "methods.bases[2] has a repeat: found focal twice, expected each value once", "delete one of them",
    ),
    "an unknown data set": (
        "name: digits", "name: digit", 4,
        "data.name is unknown: found 'digit', expected one of digits, cifar10, cifar100, image_folder",
        "did you mean 'digits'?",
    ),
    "an unknown model": (
        "small_cnn", "resnet23", 7, "model is unknown: found 'resnet23', expected one of small_cnn, resnet32",
        "did you mean 'resnet32'?",
    ),
    "an unknown recipe": (
        "digits_quick", "digits-quick", 8, "recipe is unknown: found 'digits-quick', expected one of ",
        "did you mean 'digits_quick'?",
    ),
    "an unknown recipe with changes": (
        "recipe: digits_quick", "recipe:\n  epochs: 3\n  name: digits_fast", 10,
        "recipe.name is unknown: found 'digits_fast', expected one of ", "",
    ),
    "a misspelt change of a recipe": (
        "digits_quick", "{name: digits_quick, epoch: 3}", 8,
        "unknown key in recipe: found 'epoch', expected one of name, epochs, ", "did you mean 'epochs'?",
    ),
    "a recipe with two lengths": (
        "digits_quick", "{name: digits_quick, epochs: 3, iterations: 50}", 8,
        "recipe contradicts itself: found a mapping with name, epochs, iterations, expected parts that fit",
        "say either epochs or iterations, and only one of them",
    ),
    "a recipe that ends before its last milestone": (
        "digits_quick", "{name: cifar_smoke, epochs: 1}", 8,
        "recipe ends before its schedule does: found epochs 1 and milestones [2] of the schedule, expected all "
        "milestones before the last epoch",
        "write epochs: 3 or more, or another schedule, such as schedule: {name: cosine}",
    ),
    "a recipe that ends before its warm-up does": (
        "digits_quick", "{name: digits_quick, epochs: 1}", 8,
        "recipe ends before its schedule does: found epochs 1 and warmup_epochs 2 of the schedule, expected a warm-up "
        "no longer than the training",
        "write epochs: 2 or more, or another schedule, such as schedule: {name: cosine}",
    ),
    "a milestone after the last epoch": (
        "digits_quick", "{name: digits_quick, schedule: {name: steps, milestones: [10, 20]}}", 8,
        "recipe ends before its schedule does: found epochs 20 and milestones [10, 20] of the schedule, expected ",
        "write epochs: 21 or more, or another schedule",
    ),
    "a method that ends before its warm-up does": (
        FREQUENCY, "  extra:\n  - base: ldam\n    recipe: {epochs: 1}\n", 15,
        "methods.extra[0].recipe ends before its schedule does: found epochs 1 and warmup_epochs 2 of the schedule, ",
        "write epochs: 2 or more, or another schedule",
    ),
    "a change of a schedule without its name": (
        "digits_quick", "{name: digits_quick, schedule: {warmup_epochs: 1}}", 8,
        "recipe.schedule has no name: found a mapping with warmup_epochs, expected one of cosine, steps", "schedule: ",
    ),
    "an unknown phase": (
        FREQUENCY, "    phase: [dual, standart_only]\n", 13,
        "methods.reweighting.phase[1] is unknown: found 'standart_only', expected one of dual, standard_only, ",
        "did you mean 'standard_only'?",
    ),
    "an unknown frequency": (
        FREQUENCY, "    frequency: max_normalized\n", 13,
        "methods.reweighting.frequency is unknown: found 'max_normalized', expected one of fraction, ",
        "did you mean 'max_normalised'?",
    ),
    "a frequency above 1": (
        FREQUENCY, "    frequency:\n    - 0.5\n    - 2\n", 15,
        "methods.reweighting.frequency[1] is out of range: found 2, expected a number from 0 to 1", "frequency: ",
    ),
    "a beta that nothing reads": (
        FREQUENCY, "    effective_number_beta: 0.9\n", 13,
        "methods.reweighting.effective_number_beta has no effect: found no frequency that reads it, expected ",
        "add effective_number to frequency, or delete effective_number_beta",
    ),
    "frequencies that no phase reads": (
        FREQUENCY, "    phase: constant\n    frequency: [fraction, none]\n", 14,
        "methods.reweighting.frequency has no effect: found phase constant, which takes 0 for every class, expected ",
        "delete frequency, or add a phase that reads it",
    ),
    "a confidence that no base reads": (
        FREQUENCY, "    confidence: [adjusted, raw]\n", 13,
        "methods.reweighting.confidence has no effect: found raw over losses that adjust no logits, expected a base ",
        "delete confidence, or add a base such as balanced_softmax",
    ),
    "a confidence that the base of an extra method does not read": (
        FREQUENCY,
        "  extra:\n  - base: class_balanced\n    reweighting:\n      omega: 0.5\n      confidence: raw\n", 17,
        "methods.extra[0].reweighting.confidence has no effect: found raw over losses that adjust no logits, ",
        "delete confidence",
    ),
    "Z where it is divided out": (
        FREQUENCY, "    phase: constant\n    keep_z: [false, true]\n    reduction: weight_normalised\n", 14,
        "methods.reweighting.keep_z has no effect: found one Z for all images, which the reduction divides by, ",
        "delete keep_z",
    ),
    "soft labels without mixed images": (
        FREQUENCY, "    soft_labels: [forbidden, per_label]\n", 13,
        "methods.reweighting.soft_labels has no effect: found a recipe without mixing, expected mixup or cutmix",
        "delete soft_labels, or add mixing to the recipe",
    ),
    "a warm-up of one epoch": (
        "digits_quick", "{name: digits_quick, schedule: {name: steps, warmup_epochs: 1, milestones: [2]}}", 8,
        "recipe.schedule.warmup_epochs has no effect: found 1, expected 0, or 2 and more",
        "the epoch of this number has the full learning rate",
    ),
    "the start of a warm-up that is none": (
        "recipe: digits_quick",
        "recipe:\n  name: digits_quick\n  schedule:\n    name: cosine\n    warmup_start: 0.5", 12,
        "recipe.schedule.warmup_start has no effect: found 0.5 without a warm-up, expected warmup_epochs beside it",
        "write warmup_epochs: 2 or more, or delete warmup_start",
    ),
    "a method's warm-up of one epoch": (
        FREQUENCY,
        "  extra:\n  - base: ldam\n    recipe:\n      schedule:\n        name: cosine\n        warmup_epochs: 1\n", 18,
        "methods.extra[0].recipe.schedule.warmup_epochs has no effect: found 1, expected 0, or 2 and more",
        "the epoch of this number has the full learning rate",
    ),
    "a duplicate key": (
        SEEDS, f"{SEEDS}\nseeds: [0, 1, 2]", 15,
        "duplicate key: found 'seeds' again, expected it once (first in line 14)", "YAML would silently keep",
    ),
    "repeated seeds": (
        SEEDS, "seeds: [0, 1, 0]", 14, "seeds[2] has a repeat: found 0 twice, expected each value once",
        "delete one of them",
    ),
    "a negative seed": (
        SEEDS, "seeds: [-1]", 14, "seeds[0] is out of range: found -1, expected a whole number, at least 0", "seeds: ",
    ),
    "no seeds": (
        SEEDS, "seeds: []", 14, "seeds is empty: found an empty list, expected at least one value", "seeds: ",
    ),
    "a name with capitals": (
        "digits-lt", "Digits LT", 1,
        "study is not a name: found 'Digits LT', expected lower-case letters, digits and hyphens",
        "did you mean 'digits-lt'?",
    ),
    "an empty question": (
        "Which omega helps?", '""', 2, "question is empty: found '', expected text", "question: ",
    ),
    "a folder from a variable that is not set": (
        "name: digits", "name: image_folder\n  root: ${CCAR_TEST_NOT_SET}/images", 5,
        "data.root names an environment variable that is not set on this machine: found ${CCAR_TEST_NOT_SET}",
        "write ${CCAR_TEST_NOT_SET:-FOLDER} for a default, or export CCAR_TEST_NOT_SET=FOLDER; `ccar submit` needs it",
    ),
    "a folder of a user who is not here": (
        "name: digits", "name: image_folder\n  root: ~no-such-user-here/images", 5,
        "data.root begins with an unknown user: found ~no-such-user-here/images, expected one of this machine",
        "write the whole path",
    ),
    "a folder for built-in images": (
        "name: digits", "name: digits\n  root: /images", 5,
        "digits comes with scikit-learn and has no root: found /images, expected no root", "see the data section of ",
    ),
    "images of one's own without a folder": (
        "name: digits", "name: image_folder", 3,
        "image_folder needs a root: found none, expected the folder that holds train/<class>/ and test/<class>/",
        "see the data section of ",
    ),
    "a download of what is built in": (
        "name: digits", "name: digits\n  download: true", 5,
        "download has no effect: found it although digits downloads nothing, expected it for cifar10 and cifar100 only",
        "see the data section of ",
    ),
    "another size of images that have one": (
        "name: digits", "name: cifar10\n  image_size: 32", 5,
        "image_size has no effect: found it although images of cifar10 have one size, expected it for image_folder",
        "see the data section of ",
    ),
    "lists for images that come without": (
        "name: digits", "name: digits\n  lists: /lists", 5,
        "lists has no effect: found it although digits does not come as lists, expected it for imagenet_lt, ",
        "see the data section of ",
    ),
    "counts for images that come without lists": (
        "name: digits", "name: cifar10\n  counts: listed", 5,
        "counts has no effect: found it although cifar10 does not come as lists, expected it for imagenet_lt, ",
        "see the data section of ",
    ),
    "a baseline that is no method": (
        BASELINE, "baseline: cross_entropi\n", 15,
        "baseline is unknown: found 'cross_entropi', expected one of cross_entropy, ",
        "did you mean 'cross_entropy'?",
    ),
    "a baseline that is left out somewhere": (
        FREQUENCY, "  exclude: [{method: cross_entropy, imbalance_factor: 50}]\n", 15,
        "the baseline is left out at imbalance factor 50: found no 'cross_entropy', expected it at every ",
        "change methods.exclude, or choose another baseline",
    ),
    "an exclusion that matches nothing": (
        FREQUENCY, "  exclude:\n  - {base: focal, omega: 0.9}\n", 14,
        "methods.exclude[0] matches nothing: found {base: focal, omega: 0.9}, expected values of this study",
        "omega is one of 0.5, 0.75 here",
    ),
    "an exclusion with a misspelt base": (
        FREQUENCY, "  exclude: [{base: focl}]\n", 13,
        "methods.exclude[0] matches nothing: found {base: focl}, expected values of this study",
        "did you mean 'focal'?",
    ),
    "an exclusion whose values never meet": (
        FREQUENCY, "  exclude: [{method: focal, omega: 0.5}]\n", 13,
        "methods.exclude[0] matches nothing: found {method: focal, omega: 0.5}, expected values of this study",
        "each value occurs, but never together",
    ),
    "an empty exclusion": (
        FREQUENCY, "  exclude: [{}]\n", 13,
        "methods.exclude[0] says nothing: found {}, expected at least one key, such as base", "it would leave out",
    ),
    "no trials after exclusions": (
        FREQUENCY, "  exclude: [{base: cross_entropy}, {base: focal}]\n", 13,
        "no trial is left: found exclusions that match every method, expected at least one method",
        "delete an exclusion",
    ),
    "an extra method that is in the grid": (
        FREQUENCY, "  extra:\n  - {base: focal, label: mine, reweighting: {omega: 0.5}}\n", 14,
        "methods.extra[0] trains the same as another method: found 'mine' beside 'focal+ccar(omega=0.5)', ",
        "delete it",
    ),
    "an extra method that changes nothing of the recipe": (
        FREQUENCY, "  extra:\n  - base: focal\n    recipe: {learning_rate: 0.1, mixing: null}\n", 15,
        "methods.extra[0] trains the same as another method: found 'focal[learning_rate=0.1, mixing=None]' beside ",
        "delete it, or change what the recipe does not say already",
    ),
    "two extra methods whose recipes come to the same": (
        FREQUENCY, "  extra:\n  - {base: ldam, recipe: {epochs: 5}}\n  - base: ldam\n"
        "    recipe: {epochs: 5, momentum: 0.9}\n", 16,
        "methods.extra[1] trains the same as another method: found 'ldam[epochs=5, momentum=0.9]' beside ",
        "delete it, or change what the recipe does not say already",
    ),
    "two extra methods whose omega changes nothing": (
        FREQUENCY, "  extra:\n  - {base: ldam, reweighting: {omega: 0.5, phase: constant, reduction: scale_matched}}\n"
        "  - {base: ldam, label: mine, reweighting: {omega: 0.7, phase: constant, reduction: scale_matched}}\n", 15,
        "methods.extra[1] trains the same as another method: found 'mine' beside 'ldam+ccar(omega=0.5, phase=",
        "delete it",
    ),
    "two methods of one label": (
        FREQUENCY, "  extra:\n  - base: ldam\n    label: focal\n", 15,
        "two methods have one label: found 'focal' twice, expected different labels", "choose another label",
    ),
    "a label with a slash": (
        FREQUENCY, "  extra: [{base: ldam, label: a/b}]\n", 13,
        "methods.extra[0].label is not allowed: found 'a/b', expected ", "label: ",
    ),
    "a label that a terminal obeys": (
        FREQUENCY, '  extra: [{base: ldam, label: "\\e[31ma"}]\n', 13,
        "methods.extra[0].label is not allowed: found ", "label: ",
    ),
    "a part of a second GPU": (
        SEEDS, f"resources: {{gpus: 1.5}}\n{SEEDS}", 14,
        "resources.gpus is out of range: found 1.5, expected a share of one GPU, or a whole number of GPUs", "gpus: ",
    ),
    "a word for GPUs": (
        SEEDS, f"resources: {{gpus: atuo}}\n{SEEDS}", 14,
        "resources.gpus is unknown: found 'atuo', expected auto or a number, at least 0", "did you mean 'auto'?",
    ),
    "no CPU": (
        SEEDS, f"resources: {{cpus: 0}}\n{SEEDS}", 14,
        "resources.cpus is out of range: found 0, expected a number above 0", "cpus: ",
    ),
    "a searcher without settings": (
        SEEDS, f"search: tpe\n{SEEDS}", 14,
        "search is unknown: found 'tpe', expected grid or a mapping with algorithm, num_samples, omega, ", "search: ",
    ),
    "an unknown searcher": (
        SEEDS, f"search: {{algorithm: tpi, num_samples: 5, omega: [0.1, 1.0]}}\n{SEEDS}", 14,
        "search.algorithm is unknown: found 'tpi', expected one of tpe, gp, random", "did you mean 'tpe'?",
    ),
    "a search beside a grid of omegas": (
        SEEDS, f"search: {{algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}}\n{SEEDS}", 12,
        "omega is given and searched: found omega 0.5, 0.75 beside search, expected one of the two",
        "delete omega here, or write search: grid",
    ),
    "a search for an omega that changes nothing": (
        f"    {OMEGA}\n{FREQUENCY}",
        "    {keep_z: true, phase: [dual, standard_only]}\n"
        "search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}\n", 11,
        "omega is searched where it changes nothing: found phase standard_only, frequency fraction, keep_z true, ",
        "with one slope on both sides of it, omega is only a scale",
    ),
    "a search in a range that is none": (
        SEEDS, f"search: {{algorithm: tpe, num_samples: 5, omega: [0.9, 0.1]}}\n{SEEDS}", 14,
        "search.omega is no range: found [0.9, 0.1], expected lowest below highest, in steps of 0.001", "omega: ",
    ),
    "an early stopping without a grace period": (
        SEEDS, f"early_stopping: {{algorithm: asha}}\n{SEEDS}", 14,
        "early_stopping.grace_epochs is missing: found nothing, expected a whole number above 0", "grace_epochs: ",
    ),
    "an early stopping that comes too late": (
        SEEDS, f"early_stopping: {{algorithm: median, grace_epochs: 9999}}\n{SEEDS}", 14,
        "early_stopping.grace_epochs is out of range: found 9999, expected less than the ", "or write early_stop",
    ),
    "a reduction factor for the median rule": (
        SEEDS, f"early_stopping: {{algorithm: median, grace_epochs: 3, reduction_factor: 2}}\n{SEEDS}", 14,
        "early_stopping.reduction_factor has no effect: found algorithm: median, expected algorithm: asha beside it",
        "reduction_factor: ",
    ),
    "population-based training": (
        SEEDS, f"early_stopping: {{algorithm: pbt, grace_epochs: 3}}\n{SEEDS}", 14,
        "early_stopping.algorithm is not offered: found 'pbt', expected an algorithm that leaves a trial the conf",
        "search omega with tpe, gp or random, stop trials with asha or median; docs/decisions/pbt.md says why",
    ),
    "population-based training as a search": (
        f"    {OMEGA}\n{FREQUENCY}",
        f"{FREQUENCY}search: {{algorithm: PB2, num_samples: 5, omega: [0.1, 1.0]}}\n", 13,
        "search.algorithm is not offered: found 'PB2', expected an algorithm that leaves a trial the configuration",
        "search omega with tpe, gp or random, stop trials with asha or median; docs/decisions/pbt.md says why",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_gives_one_problem_with_its_place(study_file, name):
    old, new, line, message, hint = ONE_MISTAKE[name]
    path = study_file((old, new))
    (problem,) = problems_of(path)
    assert problem.file == str(path)
    assert problem.line == line
    assert problem.message.startswith(message)
    assert problem.hint
    assert problem.hint.startswith(hint)


def assert_well_formed(problems):
    """Each is one line with its place, what was found and what was expected, and a line with a hint."""
    for problem in problems:
        first, _, hint = str(problem).partition("\n")
        assert re.fullmatch(re.escape(problem.file) + r":\d+: .+: found .+, expected .+", first)
        assert re.fullmatch(r"  hint: .+", hint)


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_every_message_is_one_line_of_found_and_expected(study_file, name):
    old, new, *_ = ONE_MISTAKE[name]
    path = study_file((old, new))
    problems = problems_of(path)
    assert {problem.file for problem in problems} == {str(path)}
    assert_well_formed(problems)


def test_all_independent_mistakes_are_told_at_once_in_the_order_of_their_lines(study_file):
    path = study_file(
        ("digits-lt", "Digits"),
        ("validation_per_class: 5", "validation_per_class: -1"),
        ("small_cnn", "small_cn"),
        (OMEGA, "omega: [0, 2]"),
        (SEEDS, "seeds: [1, 1]\nseeds: [2]\nsearch: {algorithm: gp}"),
        (BASELINE, "baseline: 7\n"),
    )
    assert [problem.line for problem in problems_of(path)] == [1, 6, 7, 12, 12, 14, 15, 16, 16, 17]


def test_a_mistake_in_one_part_does_not_hide_one_between_the_others(study_file):
    path = study_file(("small_cnn", "small_cn"), (SEEDS, "seeds: []"), (BASELINE, "baseline: crossentropy\n"))
    messages = [problem.message for problem in problems_of(path)]
    assert [message.split(":")[0] for message in messages] == [
        "model is unknown",
        "seeds is empty",
        "baseline is unknown",
    ]


def test_a_mistake_in_one_key_of_the_data_does_not_hide_that_another_has_no_effect(study_file):
    path = study_file(
        ("name: digits", "name: digits\n  download: true\n  image_sise: 8\n  root: /images"),
        ("validation_per_class: 5", "validation_per_class: -1"),
    )
    assert [(problem.line, problem.message.split()[0]) for problem in problems_of(path)] == [
        (5, "download"),
        (6, "unknown"),
        (7, "digits"),
        (9, "data.validation_per_class"),
    ]


def test_a_misspelt_twin_does_not_hide_what_is_wrong_with_the_key_itself(study_file):
    path = study_file((OMEGA, f"{OMEGA.replace('0.5', '0')}\n    omegas: 1"))
    assert [problem.line for problem in problems_of(path)] == [12, 13]


def test_a_search_without_anything_to_search(study_file):
    search = "search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}"
    path = study_file((f"  reweighting:\n    {OMEGA}\n{FREQUENCY}", ""), (SEEDS, f"{search}\n{SEEDS}"))
    (problem,) = problems_of(path)
    assert problem.message.startswith("search has nothing to look for: found methods without reweighting")


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ("{}", "Omega has no rule for mixed images: found mixing mixup at 'cross_entropy+ccar(omega=*)', expected "),
        (
            "{soft_labels: per_label, reduction: scale_matched}",
            "scale_matched has no rule for mixed images: found mixing mixup at "
            "'cross_entropy+ccar(omega=*, soft_labels=per_label, reduction=scale_matched)', expected another reduction",
        ),
    ],
)
def test_a_search_over_losses_that_cannot_be_mixed_as_the_recipe_says(study_file, switches, message):
    path = study_file(
        (RECIPE, "recipe: {name: digits_quick, mixing: {name: mixup}}"),
        (BASES, "bases: [cross_entropy]"),
        (f"  reweighting:\n    {OMEGA}\n{FREQUENCY}", f"  reweighting: {switches}\n"),
        (SEEDS, f"search: {{algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}}\n{SEEDS}"),
    )
    problems = problems_of(path)
    (problem,) = problems
    assert problem.line == 8
    assert problem.message.startswith(message)
    assert_well_formed(problems)


def test_a_search_for_more_omegas_than_its_range_has(study_file):
    search = "search:\n  algorithm: tpe\n  omega: [0.5, 0.504]\n  num_samples: 6"
    path = study_file((f"    {OMEGA}\n", ""), (SEEDS, f"{search}\n{SEEDS}"))
    (problem,) = problems_of(path)
    assert problem.line == 16
    assert problem.message == (
        "search.num_samples is out of range: found 6, expected at most 5, the omegas in search.omega"
    )


@pytest.mark.parametrize(
    ("part", "omega"),
    [
        ("search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}", ""),
        ("early_stopping: {algorithm: asha, grace_epochs: 3}", f"    {OMEGA}\n"),
    ],
)
def test_what_looks_at_validation_images_needs_some(study_file, part, omega):
    path = study_file(
        ("validation_per_class: 5", "validation_per_class: 0"), (f"    {OMEGA}\n", omega), (SEEDS, f"{part}\n{SEEDS}")
    )
    (problem,) = problems_of(path)
    name = part.partition(":")[0]
    assert problem.message == (f"{name} looks at validation images: found validation_per_class 0, expected at least 1")


def test_a_number_like_1e_3_is_a_number(study_file):
    study = load_study(study_file((OMEGA, "omega: [1e-3, 5E-1]")))
    assert study.methods.reweighting[0].omega == (0.001, 0.5)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x7fELF\x02\x01\x01\x00", b"\xff\xfes\x00"])
def test_an_empty_or_binary_file_is_one_problem(tmp_path, content):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    (problem,) = problems_of(path)
    assert problem.line == 1


def test_tags_and_aliases_are_refused(study_file):
    tag, anchor, alias = problems_of(
        study_file((OMEGA, "omega: !!float 0.5"), ("[10, 50]", "&factors [10, 50]"), (SEEDS, "seeds: *factors"))
    )
    # In the order of the file.
    assert [problem.line for problem in (tag, anchor, alias)] == [5, 12, 14]


def test_mistakes_are_told_within_two_seconds_however_many(study_file):
    omegas = ", ".join(["2"] * 500)
    started = time.process_time()
    found = problems_of(study_file((OMEGA, f"omega: [{omegas}]"), (SEEDS, f"seeds: [{omegas}]")))
    assert time.process_time() - started < 2
    assert len(found) == 501


class TestWithData:
    """Mistakes that show once the images are known."""

    @pytest.fixture
    def folder(self, tmp_path):
        from PIL import Image

        for part in ("train", "test"):
            for name in ("cat", "dog"):
                for index in range(4):
                    path = tmp_path / "images" / part / name / f"{index}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (4, 4), (index, 0, 0)).save(path)
        return tmp_path / "images"

    @pytest.fixture
    def tailed_folder(self, folder):
        """The same with a third class, of two training images."""
        for image in folder.glob("*/cat/[01].png"):
            copy = image.parents[1] / "fox" / image.name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(image.read_bytes())
        return folder

    def problems(self, study_file, folder, tmp_path):
        replacement = f"name: image_folder\n  root: {folder}"
        path = study_file(("name: digits", replacement), ("[10, 50]", "2"), ("class: 5", "class: 1"))
        study = load_study(path)
        with pytest.raises(StudyFileError) as caught:
            plan_trials(study, load_data(study, tmp_path / "cache"))
        assert {problem.file for problem in caught.value.problems} == {str(path)}
        assert {problem.line for problem in caught.value.problems} == {5}
        assert_well_formed(caught.value.problems)
        return [problem.message for problem in caught.value.problems]

    def test_an_empty_class_folder_is_named(self, study_file, folder, tmp_path):
        for image in (folder / "train" / "cat").iterdir():
            image.unlink()
        (message,) = self.problems(study_file, folder, tmp_path)
        assert message.startswith(f"class folder {folder / 'train' / 'cat'} holds no image: found none, expected ")

    def test_an_unreadable_image_is_named(self, study_file, folder, tmp_path):
        broken = folder / "test" / "dog" / "1.png"
        broken.write_bytes(b"no image")
        (message,) = self.problems(study_file, folder, tmp_path)
        assert str(broken) in message

    @pytest.mark.parametrize(("bits", "hint"), [("L", "replace or delete this file"), ("I;16", "save it with 8 bits")])
    def test_an_unreadable_image_says_what_to_do_with_it(self, study_file, folder, tmp_path, bits, hint):
        from PIL import Image

        broken = folder / "train" / "dog" / "1.png"
        Image.new(bits, (64, 64)).save(broken)
        if bits == "L":
            broken.write_bytes(broken.read_bytes()[:60])
        path = study_file(("name: digits", f"name: image_folder\n  root: {folder}"))
        with pytest.raises(StudyFileError) as caught:
            load_data(load_study(path), tmp_path / "cache")
        (problem,) = caught.value.problems
        assert problem.hint == hint

    def test_a_test_class_missing_from_train_is_named(self, study_file, folder, tmp_path):
        for image in (folder / "train" / "dog").iterdir():
            image.unlink()
        (folder / "train" / "dog").rmdir()
        messages = self.problems(study_file, folder, tmp_path)
        assert any("'dog'" in message for message in messages)

    def test_a_folder_that_is_not_there_is_named(self, study_file, tmp_path):
        (message,) = self.problems(study_file, tmp_path / "nowhere", tmp_path)
        assert message.startswith(f"image folder {tmp_path / 'nowhere'} does not exist: found none, expected ")

    def test_a_root_that_is_a_file_is_named(self, study_file, tmp_path):
        (tmp_path / "file").touch()
        (message,) = self.problems(study_file, tmp_path / "file", tmp_path)
        assert message.startswith(f"image folder {tmp_path / 'file'} is not a folder: found a file, expected ")

    def test_one_class_is_not_enough(self, study_file, folder, tmp_path):
        for part in ("train", "test"):
            (folder / part / "dog").rename(tmp_path / part)
        (message,) = self.problems(study_file, folder, tmp_path)
        assert message == f"{folder / 'train'} needs two or more class folders: found cat, expected at least two"

    def test_a_misspelt_class_folder_is_named_with_a_hint(self, study_file, folder, tmp_path):
        (folder / "test" / "dog").rename(folder / "test" / "dogs")
        path = study_file(("name: digits", f"name: image_folder\n  root: {folder}"))
        with pytest.raises(StudyFileError) as caught:
            load_data(load_study(path), tmp_path / "cache")
        assert_well_formed(caught.value.problems)
        assert [problem.hint for problem in caught.value.problems] == ["did you mean 'dog'?", "did you mean 'dogs'?"]

    def test_images_of_two_sizes_are_named_with_a_hint(self, study_file, folder, tmp_path):
        from PIL import Image

        Image.new("RGB", (5, 4)).save(folder / "test" / "dog" / "1.png")
        (message,) = self.problems(study_file, folder, tmp_path)
        assert message.startswith("images differ in size: found ")
        assert message.endswith(", expected one size")

    def test_of_many_unreadable_images_ten_are_named_and_all_are_counted(self, study_file, folder, tmp_path):
        for index in range(25):
            (folder / "train" / "dog" / f"x{index:02}.png").touch()
        *named, rest = self.problems(study_file, folder, tmp_path)
        assert len(named) == 10
        assert rest == "25 images cannot be read: found 15 more than are named, expected none"

    @pytest.mark.parametrize(
        "data",
        [
            "cifar10\n  root: EMPTY",
            "imagenet_lt\n  root: EMPTY",
            "imagenet_lt\n  root: EMPTY\n  lists: NOWHERE",
        ],
    )
    def test_a_data_set_that_cannot_be_what_is_asked_for(self, study_file, tmp_path, data):
        (tmp_path / "empty").mkdir()
        data = data.replace("EMPTY", str(tmp_path / "empty")).replace("NOWHERE", str(tmp_path / "nowhere"))
        own = "natural" if data.startswith("imagenet_lt") else "[10, 50]"
        validation = "own" if data.startswith("imagenet_lt") else "5"
        path = study_file(("digits\n", f"{data}\n"), ("[10, 50]", own), ("per_class: 5", f"per_class: {validation}"))
        with pytest.raises(StudyFileError) as caught:
            load_data(load_study(path), tmp_path / "cache")
        assert_well_formed(caught.value.problems)

    def test_an_imbalance_factor_too_large_for_the_classes(self, study_file, ten_classes):
        path = study_file((FACTORS, "imbalance_factors:\n  - 50\n  - 116\n  - 1e5"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        first, second = caught.value.problems
        assert str(first).startswith(
            f"{path}:7: the imbalance factor does not fit the data: found 116, expected an image in every class\n"
            "  hint: imbalance_factors: 116 leaves a class without a training image; at most 115 works"
        )
        assert "natural" not in str(first)  # ten classes of one size
        assert (second.line, "found 100000" in second.message) == (8, True)

    @pytest.fixture
    def of_the_tailed_folder(self, study_file, tailed_folder, tmp_path):
        """The file of a study on it, and what is wrong with the tail that it asks for."""

        def found(per_class, factors):
            folder = f"name: image_folder\n  root: {tailed_folder}"
            path = study_file(("name: digits", folder), ("class: 5", f"class: {per_class}"), (FACTORS, factors))
            study = load_study(path)
            with pytest.raises(StudyFileError) as caught:
                plan_trials(study, load_data(study, tmp_path / "cache"))
            (problem,) = caught.value.problems
            return path, problem

        return found

    def test_an_imbalance_factor_too_large_for_data_with_a_tail_of_its_own(self, of_the_tailed_folder, tmp_path):
        path, problem = of_the_tailed_folder(1, "imbalance_factors: [1, 10]")
        assert problem.hint == (
            "imbalance_factors: 10 leaves a class without a training image; at most 1 works: the head has 1 image, "
            "what the smallest class of the data has left after 1 for validation. This data has a long tail of its "
            "own: write `imbalance_factors: natural`"
        )
        path.write_text(path.read_text().replace("[1, 10]", "natural"))
        study = load_study(path)
        assert plan_trials(study, load_data(study, tmp_path / "cache"))

    def test_a_class_too_small_for_the_validation_part_is_named(self, of_the_tailed_folder):
        _, problem = of_the_tailed_folder(3, "imbalance_factors: natural")
        assert problem.line == 7
        assert problem.hint == (
            "validation_per_class: 3 leaves class 'fox' without a training image: it has 2, so at most 1"
        )

    def test_a_validation_part_that_leaves_nothing_to_train_on(self, study_file, ten_classes):
        path = study_file(("validation_per_class: 5", "validation_per_class: 120"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        (problem,) = caught.value.problems
        assert problem.line == 6
        assert problem.message == (
            "data.validation_per_class does not fit the data: found 120, expected a training image left in every class"
        )

    def test_a_frequency_vector_of_another_length(self, study_file, ten_classes):
        path = study_file((FREQUENCY, "    frequency: [fraction, [0.5, 0.25]]\n"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        (problem,) = caught.value.problems
        assert problem.line == 13
        assert problem.message == "a frequency vector does not fit the data: found 2 numbers, expected 10"

    @pytest.mark.parametrize(
        ("recipe", "message"),
        [
            (
                "{name: digits_quick, batch_size: 2000, drop_last: true}",
                "recipe trains on no batch at imbalance factor 2: found batch_size 2000 for 830 training images, "
                "expected at least a batch of them",
            ),
            (
                "{name: ldam_drw_cifar, iterations: 70}",
                "recipe ends before its learning rate is lowered: found milestones [160, 180] and 70 iterations, which "
                "are 10 epochs at imbalance factor 2, expected all of them before the last epoch",
            ),
            (
                "{name: ldam_drw_cifar, iterations: 14, schedule: {name: cosine, warmup_epochs: 5}}",
                "recipe ends before its warm-up does: found warmup_epochs 5 and 14 iterations, which are 2 epochs at "
                "imbalance factor 2, expected no more than these",
            ),
        ],
    )
    def test_a_recipe_that_does_not_fit_so_few_images(self, study_file, ten_classes, recipe, message):
        path = study_file((FACTORS, "imbalance_factors: 2"), (RECIPE, f"recipe: {recipe}"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        (problem,) = caught.value.problems
        assert problem.message == message
        assert_well_formed([problem])

    def test_a_grace_period_as_long_as_the_iterations_of_the_recipe(self, study_file, ten_classes):
        stopping = "early_stopping: {algorithm: asha, grace_epochs: 10}"
        recipe = "recipe: {name: balanced_softmax_cifar, iterations: 20, warmup_iterations: 1, batch_size: 128}"
        path = study_file((FACTORS, "imbalance_factors: 2"), (RECIPE, recipe), (SEEDS, f"{stopping}\n{SEEDS}"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        (problem,) = caught.value.problems
        assert problem.message.startswith("early_stopping.grace_epochs is out of range: found 10 and 20 iterations")

    def test_a_grace_period_says_nothing_of_methods_with_a_recipe_of_their_own(self, study_file, ten_classes):
        stopping = "early_stopping: {algorithm: asha, grace_epochs: 2}"
        short = "  extra:\n    - {base: ldam, recipe: {iterations: 40}}\n"
        path = study_file((FACTORS, "imbalance_factors: 2"), (SEEDS, f"{short}{stopping}\n{SEEDS}"))
        assert len(plan_trials(load_study(path), ten_classes)) == 14

    def test_an_objective_whose_group_has_no_class(self, study_file, ten_classes):
        search = "search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0], objectives: [few, many]}"
        path = study_file((FACTORS, "imbalance_factors: 2"), (f"    {OMEGA}\n", ""), (SEEDS, f"{search}\n{SEEDS}"))
        with pytest.raises(StudyFileError) as caught:
            plan_trials(load_study(path), ten_classes)
        (problem,) = caught.value.problems
        assert problem.message == (
            "search.objectives has a group without classes: found few, "
            "expected one of many, medium at imbalance factor 2"
        )
