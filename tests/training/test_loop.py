import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from ccar.data.long_tail import split_long_tailed
from ccar.errors import Diverged, UserError
from ccar.losses import LOSSES
from ccar.models.build import build_model
from ccar.training import loop
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.config import GALA, LDAM, BaseLoss, LogitAdjustment, Reweighting, SigmoidFocal
from ccar.training.recipe import StepSchedule
from tests.training.tiny import (
    CPU,
    NUM_CLASSES,
    WITH_STATE,
    finish,
    numbers,
    tiny_config,
    tiny_recipe,
    tiny_source,
    tiny_training,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source():
    """Four classes of 24 noisy 8x8 images to train and validate on."""
    return tiny_source()


def logits_of(state, config, source, images):
    """Logits of a saved model in float64, for `images` as uint8: written again, without the loop."""
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    pixels = source.train.images[split.train] / 255
    model = build_model(config.model, config.head, NUM_CLASSES, images.shape[1])
    model.load_state_dict(state["model"])
    model.eval()
    with torch.no_grad():
        normalised = (images / 255 - pixels.mean()) / pixels.std()
        logits = model(torch.tensor(normalised, dtype=torch.float32))
    return logits.double().numpy(), np.array(split.class_counts)


def mean_cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


def recalls(predicted, labels):
    return tuple((predicted[labels == label] == label).mean() for label in range(NUM_CLASSES))


def test_a_training_yields_each_epoch_once_and_learns(source):
    training = tiny_training(tiny_config(), source)
    results = list(training.epochs())
    assert [result.epoch for result in results] == [1, 2, 3, 4, 5, 6]
    assert training.epoch == training.num_epochs == 6
    assert results[-1].train_loss < 0.3 * results[0].train_loss
    assert results[-1].validation.balanced_accuracy > 0.7
    assert training.test().last_epoch.balanced_accuracy > 0.7
    assert list(training.epochs()) == []


def test_an_epoch_says_on_how_many_images_how_fast_and_when_it_was(source):
    (result,) = tiny_training(tiny_config(recipe=tiny_recipe(epochs=1, schedule={"name": "cosine"})), source).epochs()
    assert result.num_images == 44
    # in training alone, so in less than all the seconds
    assert result.images_per_second > 44 / result.seconds
    assert result.finished_at == pytest.approx(time.time(), abs=60)


def test_an_epoch_counts_no_image_that_its_batches_leave_out(source):
    recipe = tiny_recipe(epochs=1, schedule={"name": "cosine"}, batch_size=32, drop_last=True)
    (result,) = tiny_training(tiny_config(recipe=recipe), source).epochs()
    assert result.num_images == 32


def test_the_learning_rate_of_each_epoch_is_the_schedules(source):
    schedule = StepSchedule(warmup_epochs=2, milestones=(4,), factor=0.1)
    config = tiny_config(recipe=tiny_recipe(schedule=schedule.model_dump()))
    found = [result.learning_rate for result in tiny_training(config, source).epochs()]
    assert found == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_the_same_seed_gives_the_same_bits(source):
    assert finish(tiny_training(tiny_config(seed=3), source)) == finish(tiny_training(tiny_config(seed=3), source))


def test_another_seed_gives_other_weights_and_another_order(source):
    first, second = (tiny_training(tiny_config(seed=seed), source) for seed in (0, 1))
    assert not torch.equal(first.state_dict()["model"]["head.weight"], second.state_dict()["model"]["head.weight"])
    assert finish(first) != finish(second)


@pytest.mark.parametrize(
    "changes",
    [{}, WITH_STATE, {"loss": GALA()}, {"loss": SigmoidFocal()}],
    ids=["plain", "with_state", "running_sums", "biases_apart"],
)
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(source, changes):
    config = tiny_config(**changes)
    whole = finish(tiny_training(config, source))
    first = tiny_training(config, source)
    earlier = [numbers(result) for result in itertools.islice(first.epochs(), 3)]
    second = tiny_training(config, source)
    second.load_state_dict(from_bytes(to_bytes(first.state_dict()), CPU))
    assert second.epoch == 3
    later, test = finish(second)
    assert (earlier + later, test) == whole


def test_a_training_resumed_in_a_fresh_process_has_the_bits_of_an_uninterrupted_one(source, tmp_path):
    config = tiny_config(**WITH_STATE)
    first = tiny_training(config, source)
    earlier = [numbers(result) for result in itertools.islice(first.epochs(), 3)]
    (tmp_path / "state.pt").write_bytes(to_bytes(first.state_dict()))
    resume = [sys.executable, "-m", "tests.training.tiny", str(tmp_path / "state.pt")]
    done = subprocess.run(resume, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    later, test = json.loads(done.stdout)
    assert (earlier + later, test) == finish(tiny_training(config, source))


def test_a_state_is_a_copy_and_is_not_changed_by_going_on_from_it(source):
    first = tiny_training(tiny_config(), source)
    next(first.epochs())
    state = first.state_dict()
    before = to_bytes(state)
    list(first.epochs())
    second = tiny_training(tiny_config(), source)
    second.load_state_dict(state)
    list(second.epochs())
    assert to_bytes(state) == before


def test_stopping_early_leaves_the_finished_epochs(source):
    training = tiny_training(tiny_config(), source)
    for result in training.epochs():
        if result.epoch == 2:
            break
    assert training.epoch == 2


def test_the_callers_random_numbers_and_switches_stay_as_they_were(source):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finish(tiny_training(tiny_config(), source))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_callers_random_numbers_do_not_reach_the_training(source):
    torch.manual_seed(5)
    first = finish(tiny_training(tiny_config(), source))
    torch.manual_seed(6)
    assert finish(tiny_training(tiny_config(), source)) == first


def test_all_methods_start_from_the_same_weights(source):
    first = tiny_training(tiny_config(), source).state_dict()["model"]
    other = tiny_config(loss=LogitAdjustment(), reweighting=Reweighting(omega=0.5))
    second = tiny_training(other, source).state_dict()["model"]
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("loss", [union.__name__ for union in get_args(get_args(BaseLoss)[0])])
@pytest.mark.parametrize("reweighting", [None, Reweighting(omega=0.75)], ids=["alone", "ccar"])
def test_every_loss_that_a_study_can_name_trains(source, loss, reweighting):
    loss = next(member for member in get_args(get_args(BaseLoss)[0]) if member.__name__ == loss)()
    recipe = tiny_recipe(epochs=2, schedule={"name": "cosine"})
    config = tiny_config(loss=loss, reweighting=reweighting, recipe=recipe, head=loss.head)
    first, last = tiny_training(config, source).epochs()
    assert last.train_loss < first.train_loss


def one_step(source, *, weight_decay=0.0, **changes):
    """The network before and after a single step on all 44 images, without momentum."""
    recipe = tiny_recipe(epochs=1, batch_size=64, momentum=0, weight_decay=weight_decay, schedule={"name": "cosine"})
    training = tiny_training(tiny_config(recipe=recipe, **changes), source)
    before = training.state_dict()["model"]
    next(training.epochs())
    return before, training.state_dict()["model"]


@pytest.mark.parametrize("loss", ["sigmoid_focal", "class_balanced_sigmoid_focal"])
def test_with_a_sigmoid_loss_the_biases_of_the_classifier_start_where_every_class_has_an_equal_share(source, loss):
    plain, _ = one_step(source)
    before, after = one_step(source, loss={"name": loss})
    assert before["head.bias"].sigmoid().tolist() == pytest.approx([1 / NUM_CLASSES] * NUM_CLASSES)
    assert not torch.equal(after["head.bias"], before["head.bias"])
    assert all(torch.equal(before[name], plain[name]) for name in plain if name != "head.bias")


@pytest.mark.parametrize("loss", ["sigmoid_focal", "cross_entropy"])
def test_only_a_sigmoid_loss_keeps_the_biases_of_the_classifier_free_of_weight_decay(source, loss):
    _, free = one_step(source, loss={"name": loss})
    _, decayed = one_step(source, loss={"name": loss}, weight_decay=0.5)
    assert torch.equal(free["head.bias"], decayed["head.bias"]) == (loss == "sigmoid_focal")
    assert not torch.equal(free["head.weight"], decayed["head.weight"])


def test_the_study_can_name_exactly_the_losses_there_are():
    assert {member().name for member in get_args(get_args(BaseLoss)[0])} == set(LOSSES)


@pytest.mark.parametrize(("learning_rate", "batch_size", "message"), [
    (1e20, 8, "epoch 1: the training loss is (nan|inf)"),
    (1e38, 64, "epoch 1: a weight is no longer finite"),  # one step only: its loss was still fine
])  # fmt: skip
@pytest.mark.parametrize("validation_per_class", [0, 4])
def test_a_loss_that_is_not_finite_ends_the_training_within_the_epoch(
    source, learning_rate, batch_size, message, validation_per_class
):
    recipe = tiny_recipe(learning_rate=learning_rate, batch_size=batch_size, schedule={"name": "cosine"})
    training = tiny_training(tiny_config(recipe=recipe, validation_per_class=validation_per_class), source)
    with pytest.raises(Diverged, match=message):
        next(training.epochs())
    assert training.epoch == 0


def test_validation_and_test_figures_are_those_of_a_second_computation(source):
    config = tiny_config(recipe=tiny_recipe(epochs=1, schedule={"name": "cosine"}))
    training = tiny_training(config, source)
    (result,) = training.epochs()
    state = training.state_dict()
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    for found, images, labels in [
        (result.validation, source.train.images[split.validation], source.train.labels[split.validation]),
        (training.test().last_epoch, source.test.images, source.test.labels),
    ]:
        logits, _ = logits_of(state, config, source, images)
        assert found.num_images == len(labels)
        assert found.per_class == recalls(logits.argmax(axis=1), labels)
        assert found.loss == pytest.approx(mean_cross_entropy(logits, labels), rel=1e-4)
        ece = multiclass_calibration_error(torch.tensor(logits).softmax(1), torch.tensor(labels), NUM_CLASSES)
        assert found.ece == pytest.approx(ece.item(), abs=1e-4)
        assert sum(found.reliability.counts) == len(labels)


def test_ldam_predicts_with_scaled_cosines_of_a_normed_head(source):
    recipe = tiny_recipe(epochs=1, schedule={"name": "cosine"})
    config = tiny_config(loss=LDAM(scale=20.0), head="normed", recipe=recipe)
    training = tiny_training(config, source)
    list(training.epochs())
    state = training.state_dict()
    assert "head.bias" not in state["model"]
    cosines, _ = logits_of(state, config, source, source.test.images)
    assert np.abs(cosines).max() <= 1 + 1e-6
    expected = mean_cross_entropy(20 * cosines, source.test.labels)
    assert training.test().last_epoch.loss == pytest.approx(expected, rel=1e-4)


def test_deferred_reweighting_starts_at_its_epoch(source):
    never, halfway = (
        [
            result.train_loss
            for result in tiny_training(
                tiny_config(loss=LDAM(drw_start=start, drw_beta=0.99), head="normed"), source
            ).epochs()
        ]
        for start in (1, 0.5)
    )
    assert halfway[:3] == never[:3]
    assert halfway[3] != never[3]


def test_the_first_epoch_with_the_best_balanced_validation_accuracy_is_kept(source):
    # A rate so large that accuracies go up and down; with this seed the best comes twice, before the last.
    recipe = tiny_recipe(learning_rate=2.0, schedule={"name": "steps", "milestones": ()})
    training = tiny_training(tiny_config(recipe=recipe, seed=2), source)
    at_epoch, accuracies = [], []
    for result in training.epochs():
        accuracies.append(result.validation.balanced_accuracy)
        at_epoch.append(training.state_dict()["model"])
    best = int(np.argmax(accuracies))
    found = training.test()
    assert found.best_epoch_index == best + 1
    logits, _ = logits_of({"model": at_epoch[best]}, training.config, source, source.test.images)
    assert found.best_epoch.per_class == recalls(logits.argmax(axis=1), source.test.labels)
    assert training.test() == found  # the weights of the last epoch are back


def test_without_a_validation_part_there_is_only_the_last_epoch(source):
    recipe = tiny_recipe(epochs=1, schedule={"name": "cosine"})
    training = tiny_training(tiny_config(recipe=recipe, validation_per_class=0), source)
    (result,) = training.epochs()
    assert result.validation is None
    test = training.test()
    assert (test.best_epoch, test.best_epoch_index) == (None, None)
    assert test.last_epoch.num_images == 40


def test_the_test_images_are_not_touched_before_the_end(source):
    training = tiny_training(tiny_config(), dataclasses.replace(source, test=None))
    next(training.epochs())
    with pytest.raises(RuntimeError, match="after epoch 6; finished are 1"):
        training.test()
    assert len(list(training.epochs())) == 5


def test_evaluating_in_smaller_batches_changes_nothing(source, monkeypatch):
    whole = tiny_training(tiny_config(), source)
    next(whole.epochs())
    monkeypatch.setattr(loop, "EVALUATION_BATCH", 7)
    parts = tiny_training(tiny_config(), source)
    next(parts.epochs())
    found, expected = (training._predict(training._validation, "validation") for training in (parts, whole))
    assert (found.predicted == expected.predicted).all()


def test_the_training_loss_is_the_mean_over_images_not_over_batches(source):
    # 44 images: batches of 43 and 1 without the rule that leaves out one image; of 30 and 14 here
    recipe = tiny_recipe(epochs=1, batch_size=30, schedule={"name": "cosine"})
    training = tiny_training(tiny_config(recipe=recipe), source)
    seen = []
    step = training._step
    training._step = lambda batch, generator: seen.append((len(batch), step(batch, generator))) or seen[-1][1]
    (result,) = training.epochs()
    assert [size for size, _ in seen] == [30, 14]
    assert result.train_loss == pytest.approx(sum(size * loss.item() for size, loss in seen) / 44)


def test_a_last_batch_of_one_image_is_left_out(source):
    recipe = tiny_recipe(epochs=1, batch_size=43, schedule={"name": "cosine"})
    training = tiny_training(tiny_config(recipe=recipe), source)
    sizes = []
    step = training._step
    training._step = lambda batch, generator: sizes.append(len(batch)) or step(batch, generator)
    list(training.epochs())
    assert sizes == [43]


def test_a_frequency_for_another_number_of_classes_is_the_users_mistake(source):
    config = tiny_config(reweighting=Reweighting(omega=0.5, frequency=(0.5, 0.5)))
    with pytest.raises(UserError, match="4 numbers"):
        tiny_training(config, source)


def test_resnet32_takes_a_step_on_colour_images_in_bfloat16():
    recipe = tiny_recipe(
        epochs=1,
        batch_size=64,
        augmentation=("crop", "flip", "cutout"),
        precision="bf16",
        schedule={"name": "cosine"},
    )
    config = tiny_config(model="resnet32", recipe=recipe)
    training = tiny_training(config, tiny_source(num_channels=3, size=32))
    before = training.state_dict()["model"]
    (result,) = training.epochs()
    after = training.state_dict()["model"]
    assert result.train_loss > 0
    assert all(after[name].dtype == torch.float32 for name in after if "num_batches" not in name)
    assert not torch.equal(before["backbone.stem.0.weight"], after["backbone.stem.0.weight"])


def test_no_number_comes_from_memory_that_was_never_written(source, monkeypatch):
    """So it need not be filled, which torch does by default where only deterministic algorithms are allowed."""
    plain = loop.deterministic

    @contextlib.contextmanager
    def filling(device):
        with plain(device):
            assert torch.utils.deterministic.fill_uninitialized_memory is False
            torch.utils.deterministic.fill_uninitialized_memory = True
            yield

    # As torch has it, whatever trainings that nobody has finished yet have left.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    config = tiny_config(recipe=tiny_recipe(augmentation=("crop",)))
    found = finish(tiny_training(config, source))
    monkeypatch.setattr(loop, "deterministic", filling)
    assert finish(tiny_training(config, source)) == found
    assert torch.utils.deterministic.fill_uninitialized_memory is True
