"""Packed images in training: the same draws, the same bits, whatever decodes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ccar.data.augmentation import augment
from ccar.data.long_tail import split_long_tailed
from ccar.data.resized_crop import random_boxes
from ccar.data.sources import load_source
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.config import TrialConfig
from ccar.training.loop import Training
from ccar.training.resident import ResidentImages, on_device
from tests.data.folders import listed_config
from tests.data.miniature import write_imagenet_lt, write_inaturalist2018
from tests.training.tiny import CPU, finish, numbers, tiny_recipe

SIZE = 28


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    return write_imagenet_lt(tmp_path_factory.mktemp("imagenet"), num_classes=4, largest=20).root


@pytest.fixture(scope="module")
def source(imagenet, tmp_path_factory):
    return load_source(listed_config("imagenet_lt", imagenet, image_size=SIZE), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def threads():
    """Puts the number of threads back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def config_of(imagenet: Path, **changes) -> TrialConfig:
    recipe = tiny_recipe(epochs=4, learning_rate=0.05, augmentation=("random_resized_crop", "flip", "color_jitter"))
    data = listed_config("imagenet_lt", imagenet, image_size=SIZE, validation_per_class="own")
    plain = {"model": "small_cnn", "head": "linear", "loss": {"name": "cross_entropy"}, "seed": 0}
    return TrialConfig.model_validate(plain | {"data": data, "recipe": recipe} | changes)


def training_of(config: TrialConfig, source) -> Training:
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    return Training(config, source, split, device=CPU)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("num_threads", [1, 2, 3, 40])
def test_a_batch_is_the_same_by_however_many_threads(source, threads, num_threads):
    part, indices = on_device(source.train, CPU), torch.tensor([7, 3, 3, 0, 11])
    threads(1)
    expected = part.varied(indices, ("random_resized_crop", "flip"), generator()), part.plain(indices)
    threads(num_threads)
    assert torch.equal(part.varied(indices, ("random_resized_crop", "flip"), generator()), expected[0])
    assert torch.equal(part.plain(indices), expected[1])


@pytest.mark.parametrize(("crop", "smallest_area"), [("random_resized_crop", 0.08), ("simclr_crop", 0.2)])
def test_a_crop_that_comes_first_is_cut_from_the_whole_image(source, crop, smallest_area):
    part, indices = on_device(source.train, CPU), torch.tensor([4, 1])
    draws = generator()
    sizes = torch.from_numpy(source.train.images[indices.numpy()].sizes)
    boxes = random_boxes(sizes, smallest_area, draws).numpy()
    out = np.empty((2, SIZE, SIZE, 3), np.uint8)
    source.train.images[indices.numpy()].read(boxes, out)
    expected = augment(torch.from_numpy(out).permute(0, 3, 1, 2), ("flip",), draws)
    assert torch.equal(part.varied(indices, (crop, "flip"), generator()), expected)


def test_without_such_a_crop_the_middle_is_varied_as_resident_images_are(source):
    part, indices = on_device(source.train, CPU), torch.tensor([4, 1, 9])
    resident = ResidentImages(part.plain(torch.arange(len(part))), part.labels)
    for augmentation in ((), ("flip", "crop"), ("flip", "random_resized_crop")):
        expected = resident.varied(indices, augmentation, generator())
        assert torch.equal(part.varied(indices, augmentation, generator()), expected)


def test_a_training_on_packed_images_learns_and_is_repeated_bit_by_bit(source, imagenet):
    first, again = (finish(training_of(config_of(imagenet), source)) for _ in range(2))
    other = finish(training_of(config_of(imagenet, seed=1), source))
    assert first == again
    assert first != other
    losses = [epoch["train_loss"] for epoch in first[0]]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_a_resumed_training_gives_the_bits_of_one_that_was_not_interrupted(source, imagenet):
    whole = finish(training_of(config_of(imagenet), source))
    begun = training_of(config_of(imagenet), source)
    epochs = begun.epochs()
    first = json.loads(json.dumps(numbers(next(epochs))))
    resumed = training_of(config_of(imagenet), source)
    resumed.load_state_dict(from_bytes(to_bytes(begun.state_dict()), CPU))
    rest, test = finish(resumed)
    assert ([first, *rest], test) == whole


def test_the_own_validation_images_are_validated_on(source, imagenet):
    result = next(training_of(config_of(imagenet), source).epochs())
    assert result.validation.num_images == len(source.validation)
    none = listed_config("imagenet_lt", imagenet, image_size=SIZE)
    assert next(training_of(config_of(imagenet, data=none), source).epochs()).validation is None


def test_validation_images_can_be_held_out_of_every_class_of_inaturalist(tmp_path):
    miniature = write_inaturalist2018(tmp_path / "images")
    data = listed_config("inaturalist2018", tmp_path / "images", image_size=SIZE, validation_per_class=1)
    source = load_source(data, tmp_path / "cache")
    split = split_long_tailed(source.train.labels, data, seed=0)
    assert len(split.validation) == len(miniature.class_counts)
    assert split.class_counts == tuple(count - 1 for count in miniature.class_counts)
    config = config_of(tmp_path, data=data, recipe=tiny_recipe(epochs=2))
    assert next(training_of(config, source).epochs()).validation.num_images == len(split.validation)
