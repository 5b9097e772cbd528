from __future__ import annotations

import math
import subprocess
import sys
from itertools import product
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from ccar.data.augmentation import augment, normalise
from ccar.data.config import Augmentation
from tests.data.draws import generator, is_uniform
from tests.without_waiting import META, WithoutWaiting

NAMES = get_args(Augmentation)
ALL = ("crop", "flip", "autoaugment", "cutout")


def many_copies(size: int, count: int = 20_000) -> torch.Tensor:
    """(count, 1, size, size): the same image whose pixels are all different where they can be, none 0."""
    return (torch.arange(size * size).reshape(size, size) % 255 + 1).to(torch.uint8).expand(count, 1, size, size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(7, 3, 32, 32), (5, 1, 8, 8), (3, 3, 40, 24), (1, 3, 64, 64)])
def test_every_variation_keeps_shape_and_type_and_leaves_its_input_alone(name, shape):
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator())
    before = images.clone()
    varied = augment(images, (name,), generator())
    assert varied.shape == images.shape
    assert varied.dtype == torch.uint8
    assert (images == before).all()


@pytest.mark.parametrize("names", [*((name,) for name in NAMES), ALL])
def test_the_seed_alone_decides(names, photos):
    first, again, other = (augment(photos, names, generator(seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_does_not_depend_on_the_images(name, photos):
    one, other = generator(), generator()
    augment(photos, (name,), one)
    augment(torch.zeros_like(photos), (name,), other)
    assert (one.get_state() == other.get_state()).all()


def test_no_variation_gives_the_images_back(photos):
    assert augment(photos, (), generator()) is photos


def test_variations_are_applied_in_the_order_given(photos):
    """A crop after a hole moves the hole; a hole after a crop does not: the draws are the same numbers."""
    draws = generator()
    expected = augment(augment(photos, ("cutout",), draws), ("crop",), draws)
    assert (augment(photos, ("cutout", "crop"), generator()) == expected).all()
    assert (augment(photos, ("crop", "cutout"), generator()) != expected).any()


@pytest.mark.parametrize(("size", "pad"), [(32, 4), (48, 4), (16, 2), (8, 1)])
def test_a_crop_is_a_uniform_shift_with_black_coming_in(size, pad):
    images = many_copies(size, 4_000)
    cropped = augment(images, ("crop",), generator())
    padded = F.pad(images[0, 0], (pad, pad, pad, pad))
    shifts = list(product(range(2 * pad + 1), repeat=2))
    counts = [
        int((cropped[:, 0] == padded[top : top + size, left : left + size]).all(dim=(1, 2)).sum())
        for top, left in shifts
    ]
    assert sum(counts) == len(images)
    assert is_uniform(counts)


def test_half_of_the_images_are_mirrored():
    images = many_copies(4)
    flipped = augment(images, ("flip",), generator())
    kept, mirrored = ((flipped == expected).all(dim=(1, 2, 3)).sum().item() for expected in (images, images.flip(-1)))
    assert kept + mirrored == len(images)
    assert is_uniform([kept, mirrored])


@pytest.mark.parametrize(("size", "side"), [(32, 16), (48, 16), (16, 8), (8, 4)])
def test_a_hole_is_a_square_around_a_uniform_centre_cut_off_at_the_border(size, side):
    images = many_copies(size, 8_000)
    hole = (augment(images, ("cutout",), generator()) == 0)[:, 0]
    assert ((augment(images, ("cutout",), generator()) == images)[:, 0] | hole).all()
    rows, columns = hole.any(dim=2), hole.any(dim=1)
    assert (hole == (rows[:, :, None] & columns[:, None, :])).all()
    spans = [(max(0, centre - side // 2), min(size, centre + side // 2)) for centre in range(size)]
    for covered in (rows, columns):
        first = covered.to(torch.uint8).argmax(dim=1)
        end = first + covered.sum(dim=1)
        found = list(zip(first.tolist(), end.tolist(), strict=True))
        assert len(set(spans)) == size  # each span tells its centre
        assert is_uniform([found.count(span) for span in spans])
        assert set(found) <= set(spans)


def test_rows_and_columns_of_a_hole_are_drawn_independently():
    hole = (augment(many_copies(8), ("cutout",), generator()) == 0)[:, 0]
    height, width = hole.any(dim=2).sum(dim=1).double(), hole.any(dim=1).sum(dim=1).double()
    assert abs(torch.corrcoef(torch.stack([height, width]))[0, 1]) < 4 / math.sqrt(len(hole))


def test_normalised_images_are_as_torchvision_makes_them(photos):
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    expected = (photos.double() / 255 - mean[:, None, None]) / std[:, None, None]
    normalised = normalise(photos, mean, std)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.double(), expected, rtol=1e-5, atol=1e-6)


def test_only_autoaugment_needs_torchvision():
    """Each trial worker of the demo would pay 3 s and 0.3 GB for it."""
    code = "import sys, ccar.data.augmentation; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_device_that_varies_images_is_not_waited_for(name, monkeypatch):
    images = torch.empty((64, 3, 32, 32), dtype=torch.uint8, device=META)
    with WithoutWaiting(monkeypatch):
        varied = augment(images, (name,), generator())
    assert (varied.shape, varied.device) == (images.shape, META)
