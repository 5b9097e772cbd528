from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms.v2.functional import resized_crop

from ccar.data.augmentation import augment
from ccar.data.resized_crop import SMALLEST_AREA, random_boxes
from tests.data.draws import generator, is_uniform


def test_boxes_have_the_areas_and_shapes_of_the_protocol_and_lie_anywhere():
    """In a square image nearly every first draw fits, so areas are uniform from 8 % to all."""
    sizes = torch.full((20_000, 2), 1000)
    top, left, height, width = random_boxes(sizes, 0.08, generator()).double().unbind(1)
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
    ours = random_boxes(torch.tensor([[30, 50]]).expand(4_000, 2), 0.08, generator())
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4


def test_the_smallest_box_of_a_contrastive_view_has_a_fifth_of_the_area():
    assert SMALLEST_AREA["simclr_crop"] == 0.2
    boxes = random_boxes(torch.full((20_000, 2), 1000), 0.2, generator()).double()
    area = boxes[:, 2] * boxes[:, 3] / 1e6
    assert 0.199 < area.min() < 0.201
    assert area.max() > 0.99


@pytest.mark.parametrize(("size", "box"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))])
def test_where_no_box_fits_the_middle_is_taken_at_the_nearest_shape(size, box):
    """Into an image of 1 : 10 few of the boxes fit that are drawn."""
    boxes = random_boxes(torch.tensor([size]).expand(500, 2), 0.08, generator())
    assert (boxes == torch.tensor(box)).all(1).double().mean() > 0.5


@pytest.mark.parametrize("name", SMALLEST_AREA)
@pytest.mark.parametrize("size", [(32, 32), (32, 20), (9, 16)])
def test_a_batch_of_images_is_cut_and_resized_as_torchvision_does(photos, name, size):
    images = photos[:, :, : size[0], : size[1]]
    cut = augment(images, (name,), generator())
    boxes = random_boxes(torch.tensor([size]).expand(len(images), 2), SMALLEST_AREA[name], generator()).tolist()
    for before, after, box in zip(images, cut, boxes, strict=True):
        expected = resized_crop(before, *box, list(size), antialias=True)
        assert (after.int() - expected.int()).abs().max() <= 1
