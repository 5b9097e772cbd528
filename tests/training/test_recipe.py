import subprocess
import sys

import pytest
from pydantic import ValidationError

from ccar.training.recipe import CosineSchedule, Recipe, StepSchedule
from ccar.training.recipes import RECIPES

PLAIN = {"name": "tiny", "batch_size": 4, "learning_rate": 0.1, "schedule": {"name": "cosine"}}


@pytest.mark.parametrize(("changes", "message"), [
    ({}, "either epochs or iterations"),
    ({"epochs": 1, "iterations": 1}, "either epochs or iterations"),
    ({"epochs": 9, "warmup_iterations": 1}, "warmup_iterations needs iterations"),
    ({"iterations": 9, "warmup_iterations": 10}, "warmup_iterations 10 exceed iterations 9"),
    (
        {"iterations": 9, "warmup_iterations": 1, "schedule": CosineSchedule(warmup_epochs=1)},
        "either warmup_iterations or schedule.warmup_epochs",
    ),
    ({"epochs": 3, "schedule": CosineSchedule(warmup_epochs=4)}, "warmup_epochs 4 exceed the 3 epochs"),
    ({"epochs": 180, "schedule": StepSchedule(milestones=(160, 180))}, r"milestones \[160, 180\] must lie"),
    ({"epochs": 9, "schedule": {"name": "steps", "milestones": (6, 4)}}, r"must increase, found \[6, 4\]"),
    ({"epochs": 9, "schedule": {"name": "steps", "milestones": (4, 4)}}, r"must increase, found \[4, 4\]"),
    ({"epochs": 1, "nesterov": True, "momentum": 0}, "nesterov needs momentum"),
    ({"epochs": 1, "learning_rate": float("nan")}, "learning_rate"),
    ({"epochs": 1, "momentum": float("nan")}, "momentum"),
    ({"epochs": 1, "epoch": 2}, "epoch"),
])  # fmt: skip
def test_a_recipe_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(PLAIN | changes)


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_reads_back_from_its_own_json(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_balanced_softmax_protocol_is_the_published_one():
    recipe = RECIPES["balanced_softmax_cifar"]
    assert (recipe.iterations, recipe.warmup_iterations, recipe.batch_size) == (13_000, 800, 512)
    assert (recipe.learning_rate, recipe.schedule.warmup_start) == (0.1, 0.5)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 5e-4)
    assert recipe.augmentation == ("crop", "flip", "autoaugment", "cutout")
    assert recipe.drop_last


def test_the_ldam_drw_protocol_is_the_published_one():
    recipe = RECIPES["ldam_drw_cifar"]
    assert (recipe.epochs, recipe.batch_size, recipe.drop_last) == (200, 128, False)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 2e-4)
    assert recipe.augmentation == ("crop", "flip")


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "learning_rate", "weight_decay", "jitters"),
    [
        ("imagenet_lt_90", 90, 512, 0.2, 5e-4, True),
        ("inaturalist2018_90", 90, 512, 0.2, 1e-4, False),
        ("places_lt_30", 30, 256, 0.01, 5e-4, True),
    ],
)
def test_the_protocols_of_large_sets_are_the_published_ones(
    name, epochs, batch_size, learning_rate, weight_decay, jitters
):
    recipe = RECIPES[name]
    assert (recipe.epochs, recipe.batch_size, recipe.drop_last) == (epochs, batch_size, False)
    assert (recipe.learning_rate, recipe.weight_decay) == (learning_rate, weight_decay)
    assert (recipe.momentum, recipe.nesterov) == (0.9, False)
    assert recipe.schedule == CosineSchedule()
    assert recipe.augmentation == ("random_resized_crop", "flip") + ("color_jitter",) * jitters


def test_recipes_and_schedules_can_be_read_without_torch():
    check = "import sys, ccar.training.recipes, ccar.training.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
