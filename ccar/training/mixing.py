"""Mixup and CutMix: two images and two labels at once, one weight per batch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ccar.training.recipe import CutMix, Mixup


def mixed(
    images: Tensor, partners: Tensor, mixing: Mixup | CutMix, generator: np.random.Generator
) -> tuple[Tensor, float]:
    """Images mixed with their partners.

    Args:
        images: (B, C, H, W) float32; not changed.
        partners: (B,) int64, the index within the batch of the image that each is mixed with.
        mixing: how.
        generator: gives the weight, and the place of CutMix's rectangle.

    Returns:
        The mixed images, and the weight of the first image's label, in [0, 1]: Beta(alpha, alpha) for mixup,
        for CutMix the share of its area that is left.
    """
    weight = float(generator.beta(mixing.alpha, mixing.alpha))
    if isinstance(mixing, Mixup):
        return torch.lerp(images[partners], images, weight), weight
    top, bottom, left, right = _rectangle(images.shape[2], images.shape[3], 1 - weight, generator)
    cut = images.clone()
    cut[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    return cut, 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])


def _rectangle(height: int, width: int, area: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a rectangle with this share of the area, cut off at the borders."""
    half_height, half_width = (int(size * math.sqrt(area)) // 2 for size in (height, width))
    y, x = int(generator.integers(height)), int(generator.integers(width))
    return (
        max(y - half_height, 0),
        min(y + half_height, height),
        max(x - half_width, 0),
        min(x + half_width, width),
    )
