"""Colours against torchvision's own functions, one image at a time."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    rgb_to_grayscale,
)

from ccar.data.augmentation import augment
from ccar.data.colors import _hue
from tests.data.draws import generator, is_uniform


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


def test_contrastive_views_are_jittered_as_torchvision_does_hue_included(photos):
    """Four images in five, every one by its own amounts in its own order."""
    draws = generator()
    is_jittered = torch.rand(len(photos), generator=draws) < 0.8
    order = torch.rand((len(photos), 4), generator=draws).argsort(1)
    amounts = torch.rand((len(photos), 4), generator=draws)
    jittered = augment(photos, ("simclr_jitter",), generator())
    adjust = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for before, after, chosen, turns, amount in zip(photos, jittered, is_jittered, order, amounts, strict=True):
        expected = before
        for turn in turns.tolist() if chosen else []:
            value = float(amount[turn])
            expected = adjust[turn](expected, 0.2 * value - 0.1 if turn == 3 else 0.6 + 0.8 * value)
        # Whole levels after each step; torchvision's hue rounds down, and a level of hue moves a colour by more.
        assert (after.int() - expected.int()).abs().max() <= (6 if chosen else 0)
    assert is_jittered.sum() > 40


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.03, 0.25])
def test_a_turned_hue_is_torchvisions(photos, turn):
    found = _hue(photos, torch.full((len(photos), 1, 1, 1), turn))
    assert (found - adjust_hue(photos, turn).float()).abs().max() <= 1


def test_grey_pixels_have_no_hue_to_turn():
    grey = torch.arange(256, dtype=torch.uint8).expand(1, 3, 4, 256)
    assert torch.equal(_hue(grey, torch.full((1, 1, 1, 1), 0.3)), grey.float())


def test_four_images_in_five_are_jittered_and_one_in_five_is_grey():
    images = torch.randint(0, 256, (10_000, 3, 2, 2), dtype=torch.uint8, generator=generator(1))
    for name, share in (("simclr_jitter", 0.8), ("grayscale", 0.2)):
        changed = (augment(images, (name,), generator()) != images).flatten(1).any(1).double().mean()
        assert changed == pytest.approx(share, abs=0.02)


def test_a_grey_image_is_torchvisions_and_keeps_its_channels(photos):
    changed = augment(photos, ("grayscale",), generator())
    is_grey = torch.rand(len(photos), generator=generator()) < 0.2
    assert is_grey.any()
    expected = rgb_to_grayscale(photos, num_output_channels=3)
    assert (changed[is_grey].int() - expected[is_grey].int()).abs().max() <= 1
    assert torch.equal(changed[~is_grey], photos[~is_grey])


@pytest.mark.parametrize("name", ["color_jitter", "simclr_jitter", "grayscale"])
def test_images_of_one_channel_stay_grey_and_are_changed_in_brightness_and_contrast_only(name):
    images = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=generator(1))
    changed = augment(images, (name,), generator())
    in_colours = augment(images.expand(20, 3, 8, 8), (name,), generator())
    assert (changed.int() - in_colours.int()).abs().max() <= 3  # the weights of the colours sum to 0.9999
