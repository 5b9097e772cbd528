"""Trials that share a device in one process train as they would alone; here on the CPU."""

from __future__ import annotations

from threading import Barrier

import pytest
import torch

from benchmarks.cuda_graphs import Captured, CapturedTraining
from benchmarks.side_by_side_models import side_by_side, speed_side_by_side, speeds_of_threads
from ccar.data.long_tail import split_long_tailed
from ccar.errors import CcarError
from ccar.training.config import Reweighting
from ccar.training.loop import Training
from ccar.training.procedures import build_procedure
from tests.training.tiny import CPU, finish, tiny_config, tiny_recipe, tiny_source, tiny_training
from tests.waiting import SECONDS

pytestmark = pytest.mark.long

COUNTS = (20, 12, 7, 5)


@pytest.mark.parametrize("model", ["small_cnn", "resnet32"])
def test_networks_side_by_side_make_the_steps_that_each_makes_alone(model):
    generator = torch.Generator().manual_seed(0)
    recipe = tiny_recipe(learning_rate=0.01)
    omegas = (0.25, 0.75, 1.0)
    configs = [tiny_config(model=model, recipe=recipe, reweighting=Reweighting(omega=omega)) for omega in omegas]
    pixels_of_steps = torch.randn(3, 8, 3, 8, 8, generator=generator)
    batches = list(zip(pixels_of_steps, torch.randint(4, (3, 8), generator=generator), strict=True))
    together = side_by_side(configs, COUNTS, 3, CPU)
    losses = torch.stack([together.step(*batch) for batch in batches])
    for number, config in enumerate(configs):
        alone = build_procedure(config, COUNTS, 3, CPU, None)
        alone.begin_epoch(1, 1)
        optimizer = torch.optim.SGD(alone.parameters(), lr=0.01, momentum=recipe.momentum, weight_decay=5e-4)
        for (pixels, labels), found in zip(batches, losses[:, number], strict=True):
            loss = alone.loss(alone.logits(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert found.item() == pytest.approx(loss.item(), rel=1e-4)
        state = together.parameters | together.buffers
        assert state.keys() == alone.model.state_dict().keys()
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(state[name][number].detach(), value, rtol=1e-3, atol=1e-4, msg=name)
    assert not torch.equal(losses[:, 0], losses[:, 1])


@pytest.mark.parametrize("captured", [False, True])
def test_networks_side_by_side_have_a_speed(captured):
    config = tiny_config(recipe=tiny_recipe(augmentation=("crop", "flip"), precision="bf16"))
    images = tiny_training(config)._train
    models = side_by_side([config, config], COUNTS, 1, CPU)
    before = {name: value.detach().clone() for name, value in models.parameters.items()}
    assert speed_side_by_side(models, images, config, 0.0, captured=captured) > 0
    assert all((value != before[name]).flatten(1).any(1).all() for name, value in models.parameters.items())


def test_trainings_in_threads_end_where_each_ends_alone():
    configs = [tiny_config(seed=seed) for seed in range(3)]
    trainings = [tiny_training(config) for config in configs]
    mode = torch.get_deterministic_debug_mode()
    speeds = speeds_of_threads(trainings, CPU, 60.0)
    assert torch.get_deterministic_debug_mode() == mode
    assert len(speeds) == 3
    assert min(speeds) > 0
    for training, config in zip(trainings, configs, strict=True):
        alone = tiny_training(config)
        *_, last = alone.epochs()
        assert training.epoch == alone.epoch == last.epoch
        for name, value in alone.state_dict()["model"].items():
            torch.testing.assert_close(training.state_dict()["model"][name], value)


def test_no_training_in_a_thread_takes_another_ones_switches_away():
    """The first to begin ends its epoch, and puts back what it found, while the others are in theirs."""
    begun, ended, seen = (Barrier(3, timeout=SECONDS) for _ in range(3))
    modes = []

    class Other(Training):
        steps = 0

        def _train_epoch(self, epoch, rate):
            if epoch == 1:
                begun.wait()
            return super()._train_epoch(epoch, rate)

        def _step(self, batch, generator):
            self.steps += 1
            if self.steps == 1:
                ended.wait()
            modes.append(torch.get_deterministic_debug_mode())
            if self.steps == 1:
                seen.wait()
            return super()._step(batch, generator)

    class First(Training):
        steps = 0

        def _train_epoch(self, epoch, rate):
            found = super()._train_epoch(epoch, rate)
            if epoch == 1:
                ended.wait()
                seen.wait()
            return found

        def _step(self, batch, generator):
            self.steps += 1
            modes.append(torch.get_deterministic_debug_mode())
            if self.steps == 1:
                begun.wait()
            return super()._step(batch, generator)

    source, config = tiny_source(), tiny_config()
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    speeds_of_threads([kind(config, source, split, device=CPU) for kind in (First, Other, Other)], CPU, 0.0)
    assert len(modes) >= 3 * 2 * 6
    assert set(modes) == {2}  # an error where an operation is not deterministic


def test_networks_side_by_side_are_timed_where_only_deterministic_algorithms_are_allowed(monkeypatch):
    config, modes = tiny_config(), set()
    images, models = tiny_training(config)._train, side_by_side([config], COUNTS, 1, CPU)
    step = models.step
    monkeypatch.setattr(models, "step", lambda *batch: modes.add(torch.get_deterministic_debug_mode()) or step(*batch))
    speed_side_by_side(models, images, config, 0.0, captured=False)
    assert modes == {2}


def test_a_training_that_fails_in_its_thread_is_what_is_told():
    diverges = tiny_config(recipe=tiny_recipe(learning_rate=1e30))
    with pytest.raises(CcarError, match="training loss is"):
        speeds_of_threads([tiny_training(tiny_config()), tiny_training(diverges)], CPU, 0.0)


def test_a_captured_training_gives_the_bits_of_a_plain_one():
    config = tiny_config(recipe=tiny_recipe(augmentation=("crop",)), loss_factor=0.5)
    source = tiny_source()
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    captured = CapturedTraining(config, source, split, device=CPU)
    assert finish(captured) == finish(tiny_training(config))
    assert captured._captured is not None
    assert not captured._captured.fits(torch.zeros(4, 1, 8, 8), torch.zeros(4))


def test_a_captured_function_keeps_its_arguments_and_gives_its_results_away():
    seen = []

    def double(values):
        seen.append(values.data_ptr())
        return 2 * values

    captured = Captured(double, torch.zeros(2))
    first, second = captured(torch.ones(2)), captured(torch.full((2,), 5.0))
    assert (first.tolist(), second.tolist()) == ([2.0, 2.0], [10.0, 10.0])
    assert len(set(seen)) == 1
