"""Gaussian blur, every image with its own width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ccar.data.groups import changed_by_group, to_device

_PROBABILITY = 0.5
_SIGMA = (0.1, 2.0)  # pixels, uniform in between, whatever the size of the image
_REACH = 6  # pixels: three times the largest sigma


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur an image with probability 1/2; pixels beyond the border are those at it, as in Pillow.

    Source: Chen et al., 2020, arXiv:2003.04297 (MoCo v2).
    """
    is_blurred = torch.rand(len(images), generator=generator) < _PROBABILITY
    sigma = _SIGMA[0] + (_SIGMA[1] - _SIGMA[0]) * torch.rand(len(images), generator=generator)
    weights = torch.exp(-((torch.arange(-_REACH, _REACH + 1) / sigma[is_blurred, None]) ** 2) / 2)
    weights = to_device(weights / weights.sum(1, keepdim=True), images.device)

    def change(blurred: int, images: Tensor, _: Tensor) -> Tensor:
        if not blurred:
            return images
        down = _weighted_window(images.float(), weights)
        across = _weighted_window(down.transpose(2, 3), weights).transpose(2, 3)
        return across.round_().to(torch.uint8)

    return changed_by_group(images, is_blurred.long()[:, None], change)


def _weighted_window(images: Tensor, weights: Tensor) -> Tensor:
    """(B, C, H, W) float32: each row becomes the weighted sum of the rows around it, by the (B, 13) weights."""
    height = images.shape[2]
    padded = F.pad(images, (0, 0, _REACH, _REACH), mode="replicate")
    total = torch.zeros_like(images)
    for row, weight in enumerate(weights.unbind(1)):
        total.addcmul_(padded[:, :, row : row + height], weight[:, None, None, None])
    return total
