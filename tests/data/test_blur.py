from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ccar.data.augmentation import augment
from tests.data.draws import generator


@pytest.mark.parametrize("size", [(32, 32), (8, 5)])
def test_half_of_the_images_are_blurred_as_scipy_does_each_by_its_own_width(photos, size):
    images = photos[:, :, : size[0], : size[1]]
    draws = generator()
    is_blurred = torch.rand(len(images), generator=draws) < 0.5
    sigmas = 0.1 + 1.9 * torch.rand(len(images), generator=draws)
    found = augment(images, ("blur",), generator())
    for before, after, blurred, sigma in zip(images, found, is_blurred, sigmas, strict=True):
        if not blurred:
            assert torch.equal(before, after)
            continue
        width = (0, float(sigma), float(sigma))
        expected = gaussian_filter(before.double().numpy(), width, mode="nearest", radius=(0, 6, 6))
        assert np.abs(after.numpy() - expected).max() <= 0.5 + 1e-3
    assert 20 < is_blurred.sum() < 44


def test_a_blurred_image_is_close_to_pillows(photos):
    """Pillow blurs by boxes, three times, instead of by a bell curve."""
    from PIL import Image, ImageFilter

    draws = generator()
    is_blurred = torch.rand(len(photos), generator=draws) < 0.5
    sigmas = 0.1 + 1.9 * torch.rand(len(photos), generator=draws)
    found = augment(photos, ("blur",), generator())
    for index in is_blurred.nonzero()[:, 0].tolist():
        image = Image.fromarray(photos[index].permute(1, 2, 0).numpy())
        theirs = np.asarray(image.filter(ImageFilter.GaussianBlur(float(sigmas[index]))), np.int64)
        assert np.abs(found[index].permute(1, 2, 0).numpy() - theirs).mean() < 1


def test_a_batch_of_which_nothing_is_blurred_stays_as_it_is():
    for seed in range(20):
        image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
        if torch.rand(1, generator=generator(seed)) >= 0.5:
            assert torch.equal(augment(image, ("blur",), generator(seed)), image)
