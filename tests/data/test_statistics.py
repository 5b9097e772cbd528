from __future__ import annotations

import numpy as np
import pytest

from ccar.data import statistics
from ccar.data.statistics import statistics_of


def test_measured_statistics_are_those_of_the_pixels(monkeypatch):
    monkeypatch.setattr(statistics, "_CHUNK", 7)
    images = (
        np.random.default_rng(0).integers(0, 256, (20, 3, 5, 4), dtype=np.uint8) // np.array([1, 2, 3])[:, None, None]
    )
    measured = statistics_of("image_folder", images.astype(np.uint8))
    assert measured.mean == pytest.approx((images / 255).mean(axis=(0, 2, 3)), rel=1e-12)
    assert measured.std == pytest.approx((images / 255).std(axis=(0, 2, 3)), rel=1e-12)


def test_a_constant_channel_does_not_divide_by_zero():
    assert statistics_of("digits", np.full((3, 1, 2, 2), 51, dtype=np.uint8)).std == (1.0,)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("imagenet_lt", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("places_lt", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("inaturalist2018", (0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    ],
)
def test_published_sets_are_normalised_by_their_protocols(name, mean, std):
    fixed = statistics_of(name, np.zeros((1, 3, 32, 32), dtype=np.uint8))
    assert (fixed.mean, fixed.std) == (mean, std)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_normalised_by_the_statistics_of_its_protocol(name):
    fixed = statistics_of(name, np.zeros((1, 3, 32, 32), dtype=np.uint8))
    assert fixed.mean == (0.4914, 0.4822, 0.4465)
    assert fixed.std == (0.2023, 0.1994, 0.2010)
