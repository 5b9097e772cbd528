import math

import pytest

from ccar.errors import UserError
from ccar.training.recipe import CosineSchedule, Recipe, StepSchedule
from ccar.training.recipes import RECIPES
from ccar.training.schedule import learning_rate, num_epochs, steps_per_epoch, warmup_epochs

BALANCED_SOFTMAX = RECIPES["balanced_softmax_cifar"]
LDAM_DRW = RECIPES["ldam_drw_cifar"]


def recipe(**changes):
    plain = {
        "name": "tiny",
        "epochs": 10,
        "batch_size": 4,
        "learning_rate": 1.0,
        "schedule": CosineSchedule(),
    }
    return Recipe(**(plain | changes))


def rates(recipe, num_images):
    epochs, warmup = num_epochs(recipe, num_images), warmup_epochs(recipe, num_images)
    return [learning_rate(recipe, epoch, num_epochs=epochs, warmup_epochs=warmup) for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize(("num_images", "epochs", "warmup", "steps", "total_steps"), [
    (9502, 685, 43, 18, 12330),
    (10847, 591, 37, 21, 12411),
    (12608, 520, 32, 24, 12480),
    (19573, 334, 21, 38, 12692),
    (11203, 591, 37, 21, 12411),
    (12406, 520, 32, 24, 12480),
    (13996, 465, 29, 27, 12555),
    (20431, 325, 20, 39, 12675),
])  # fmt: skip
def test_iterations_become_epochs_as_in_the_balanced_softmax_code(num_images, epochs, warmup, steps, total_steps):
    assert num_epochs(BALANCED_SOFTMAX, num_images) == epochs
    assert warmup_epochs(BALANCED_SOFTMAX, num_images) == warmup
    assert steps_per_epoch(BALANCED_SOFTMAX, num_images) == steps
    assert epochs * steps == total_steps


@pytest.mark.parametrize(("epoch", "expected", "tolerance"), [
    (1, 0.05, 1e-12),
    (2, 0.0513889, 1e-7),
    (36, 0.0986111, 1e-7),
    (37, 0.1, 1e-12),
    (314, 0.05, 1e-12),
    (590, 8.04e-7, 1e-9),
    (591, 0.0, 0.0),
])  # fmt: skip
def test_the_balanced_softmax_rate_has_the_published_values_at_if_100(epoch, expected, tolerance):
    assert rates(BALANCED_SOFTMAX, 10847)[epoch - 1] == pytest.approx(expected, abs=tolerance)


def test_the_balanced_softmax_rate_follows_its_formula_in_every_epoch():
    for t, rate in enumerate(rates(BALANCED_SOFTMAX, 12608), start=1):
        warmup, cosine = 0.05 + 0.05 * (t - 1) / 31, 0.05 * (1 + math.cos(math.pi * (t - 32) / (520 - 32)))
        assert rate == pytest.approx(warmup if t < 32 else cosine, abs=1e-15)


def test_the_ldam_drw_rate_follows_its_steps_in_every_epoch():
    found = rates(LDAM_DRW, 10847)
    assert len(found) == 200
    assert found[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert set(found[5:160]) == {0.1}
    assert found[160:180] == pytest.approx([0.001] * 20)
    assert found[180:] == pytest.approx([0.00001] * 20)


def test_ldam_drw_keeps_its_partial_last_batch():
    assert steps_per_epoch(LDAM_DRW, 10847) == 85


def test_without_warm_up_the_first_epoch_has_the_peak_rate():
    assert rates(recipe(), 40)[0] == 1.0
    assert rates(recipe(schedule=StepSchedule(milestones=(5,))), 40)[0] == 1.0


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_single_epoch_has_the_peak_rate(warmup):
    assert rates(recipe(epochs=1, schedule=CosineSchedule(warmup_epochs=warmup)), 40) == [1.0]


def test_a_warm_up_over_all_epochs_ends_at_the_peak():
    found = rates(recipe(epochs=3, schedule=CosineSchedule(warmup_epochs=3, warmup_start=0.5)), 40)
    assert found == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(("num_images", "batch_size", "drop_last", "expected"), [
    (40, 4, False, 10),
    (42, 4, False, 11),
    (42, 4, True, 10),
    (41, 4, False, 10),  # one image left over: left out
    (3, 4, False, 1),
    (3, 1, False, 3),
])  # fmt: skip
def test_an_epoch_has_as_many_steps_as_batches_of_two_or_more(num_images, batch_size, drop_last, expected):
    assert steps_per_epoch(recipe(batch_size=batch_size, drop_last=drop_last), num_images) == expected


@pytest.mark.parametrize(("num_images", "drop_last"), [(3, True), (1, False)])
def test_a_recipe_that_would_train_on_nothing_is_refused(num_images, drop_last):
    with pytest.raises(UserError, match="'tiny' trains on no batch") as caught:
        steps_per_epoch(recipe(drop_last=drop_last), num_images)
    assert "smaller batch_size" in caught.value.hint
