import math

import numpy as np
import pytest
import torch

from ccar.training.sampling import IMAGES_PER_DRAW, _cycled, class_balanced_order, epoch_batches
from tests.training.tiny import tiny_recipe

LABELS = torch.tensor([0] * 30 + [1] * 7 + [2] * 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_instance_balanced_batches_hold_every_image_once():
    batches = epoch_batches(tiny_recipe(batch_size=16), LABELS, 3, generator())
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert sorted(torch.cat(batches).tolist()) == list(range(40))


def test_class_balanced_batches_are_full_and_as_many_as_the_steps():
    batches = epoch_batches(tiny_recipe(batch_size=16, sampler="class_balanced"), LABELS, 3, generator())
    assert [len(batch) for batch in batches] == [16, 16, 16]


def test_class_balanced_order_draws_every_class_equally_often():
    order = class_balanced_order(LABELS, 3 * 50 * IMAGES_PER_DRAW, generator())
    assert np.bincount(LABELS[order].numpy()).tolist() == [50 * IMAGES_PER_DRAW] * 3


def test_a_class_comes_four_images_at_a_time_and_all_classes_before_any_again():
    labels = LABELS[class_balanced_order(LABELS, 3 * 20 * IMAGES_PER_DRAW, generator())].view(20, 3, IMAGES_PER_DRAW)
    assert (labels == labels[:, :, :1]).all()
    assert (labels[:, :, 0].sort(1).values == torch.tensor([0, 1, 2])).all()


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_class_shows_all_of_its_images_before_any_of_them_again(label):
    images = (label == LABELS).nonzero().squeeze(1)
    order = class_balanced_order(LABELS, 3 * 60 * IMAGES_PER_DRAW, generator())
    of_class = order[LABELS[order] == label]
    rounds = of_class[: len(of_class) // len(images) * len(images)].view(-1, len(images))
    assert (rounds.sort(1).values == images).all()


def test_the_same_seed_gives_the_same_order_and_another_another():
    first, same, other = (class_balanced_order(LABELS, 100, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def looked_up_for_each_class(labels, num_images, generator):
    """The same order by looking through all labels and all draws once for each class."""
    classes, num_draws = torch.unique(labels), math.ceil(num_images / IMAGES_PER_DRAW)
    draws = _cycled(classes, num_draws, generator)
    order = torch.empty(num_draws, IMAGES_PER_DRAW, dtype=torch.int64)
    for label in classes.tolist():
        turns, images = draws == label, (labels == label).nonzero().squeeze(1)
        order[turns] = _cycled(images, int(turns.sum()) * IMAGES_PER_DRAW, generator).view(-1, IMAGES_PER_DRAW)
    return order.flatten()[:num_images]


@pytest.mark.parametrize("num_images", [0, 1, 30, 999])
def test_sorting_once_by_class_gives_the_order_of_a_search_for_each_class(num_images):
    """Also where classes are missing, and where there are fewer draws than classes."""
    labels = torch.randint(0, 40, (300,), generator=generator(5))
    labels[labels % 7 == 3] = 41
    assert torch.equal(
        class_balanced_order(labels, num_images, generator()), looked_up_for_each_class(labels, num_images, generator())
    )
