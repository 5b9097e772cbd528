from __future__ import annotations

import math
import subprocess
import sys
from itertools import product
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    resized_crop,
)

from ccar.data.augmentation import augment, normalise, random_boxes
from ccar.data.config import Augmentation

NAMES = get_args(Augmentation)
ALL = ("crop", "flip", "autoaugment", "cutout")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def photos() -> torch.Tensor:
    """(64, 3, 32, 32): smooth random colours with every grey level, no two pixels of a row alike."""
    coarse = torch.rand(64, 3, 5, 5, generator=generator(1)) * 255
    return F.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8)


def many_copies(size: int, count: int = 20_000) -> torch.Tensor:
    """(count, 1, size, size): the same image whose pixels are all different where they can be, none 0."""
    return (torch.arange(size * size).reshape(size, size) % 255 + 1).to(torch.uint8).expand(count, 1, size, size)


def is_uniform(counts: list[int]) -> bool:
    return chisquare(counts).pvalue > 1e-4


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


def test_boxes_have_the_areas_and_shapes_of_the_protocol_and_lie_anywhere():
    """In a square image nearly every first draw fits, so areas are uniform from 8 % to all."""
    sizes = torch.full((20_000, 2), 1000)
    top, left, height, width = random_boxes(sizes, generator()).double().unbind(1)
    assert (top >= 0).all()
    assert (top + height <= 1000).all()
    assert (left + width <= 1000).all()
    area, ratio = height * width / 1e6, width / height
    assert 0.079 < area.min() < 0.081
    assert 0.749 < ratio.min() < ratio.max() < 1.335
    small = area < 0.5  # always fits, at every shape
    share = (area[small] - 0.08) / 0.42
    assert is_uniform(torch.histc(share, 10, 0, 1).tolist())
    assert is_uniform(torch.histc(ratio[small].log(), 10, -math.log(4 / 3), math.log(4 / 3)).tolist())
    for place, side in ((top, height), (left, width)):
        assert is_uniform(torch.histc(((place + 0.5) / (1000 - side + 1))[small], 10, 0, 1).tolist())


def test_boxes_are_distributed_as_torchvision_draws_them():
    """A second source for all that the try-again rule does in an image of any shape."""
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.empty(3, 30, 50)
    scale, ratio = [0.08, 1.0], [3 / 4, 4 / 3]
    theirs = torch.tensor([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(4_000)])
    ours = random_boxes(torch.tensor([[30, 50]]).expand(4_000, 2), generator())
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4


@pytest.mark.parametrize(("size", "box"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))])
def test_where_no_box_fits_the_middle_is_taken_at_the_nearest_shape(size, box):
    """Into an image of 1 : 10 few of the boxes fit that are drawn."""
    boxes = random_boxes(torch.tensor([size]).expand(500, 2), generator())
    assert (boxes == torch.tensor(box)).all(1).double().mean() > 0.5


def test_a_batch_of_equal_images_is_cut_and_resized_as_torchvision_does(photos):
    cut = augment(photos, ("random_resized_crop",), generator())
    boxes = random_boxes(torch.tensor([[32, 32]]).expand(len(photos), 2), generator()).tolist()
    for before, after, box in zip(photos, cut, boxes, strict=True):
        expected = resized_crop(before, *box, [32, 32], antialias=True)
        assert (after.int() - expected.int()).abs().max() <= 1


def test_colours_are_jittered_as_torchvision_does(photos):
    """Every image by its own factors in its own order."""
    draws = generator()
    order = torch.rand((len(photos), 3), generator=draws).argsort(1)
    factors = 0.6 + 0.8 * torch.rand((len(photos), 3), generator=draws)
    jittered = augment(photos, ("color_jitter",), generator())
    adjust = (adjust_brightness, adjust_contrast, adjust_saturation)
    for before, after, turns, amounts in zip(photos, jittered, order, factors, strict=True):
        expected = before
        for turn in turns.tolist():
            expected = adjust[turn](expected, float(amounts[turn]))
        assert (after.int() - expected.int()).abs().max() <= 2  # rounding down three times


def test_all_orders_of_colour_jitter_occur_equally_often():
    order = torch.rand((6_000, 3), generator=generator()).argsort(1)
    assert is_uniform((order[:, 0] * 3 + order[:, 1]).bincount()[[1, 2, 3, 5, 6, 7]].tolist())


def test_normalised_images_are_as_torchvision_makes_them(photos):
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    expected = (photos.double() / 255 - mean[:, None, None]) / std[:, None, None]
    normalised = normalise(photos, mean, std)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.double(), expected, rtol=1e-5, atol=1e-6)


def test_only_autoaugment_needs_torchvision():
    """Each trial worker of the demo would pay 3 s and 0.3 GB for it."""
    code = "import sys, ccar.data.augmentation; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
