"""Random resized crops: a box of any size and nearly any shape, made as large as the image again."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ccar.data.config import Augmentation
from ccar.data.groups import to_device

# Smallest share of an image that is cut out, of the variations that begin by a random resized crop; the second one is
# that of contrastive methods (Chen et al., 2020, arXiv:2003.04297, MoCo v2).
SMALLEST_AREA: dict[Augmentation, float] = {"random_resized_crop": 0.08, "simclr_crop": 0.2}

_TRIES = 10  # boxes that are drawn for one image


def random_resized_crop(images: Tensor, generator: torch.Generator, *, smallest_area: float) -> Tensor:
    """Cut out a box of random area and shape and resize it to the size of the image.

    Packed images are cut before they become a batch (see `ccar.training.streamed`), from all of their pixels. Bilinear,
    all images at once: a box is never larger than the image, so there is nothing to antialias.

    Args:
        images: (B, C, H, W) uint8.
        generator: on the CPU.
        smallest_area: share of the image, in (0, 1].
    """
    height, width = images.shape[2:]
    boxes = random_boxes(torch.tensor([[height, width]]).expand(len(images), 2), smallest_area, generator)
    top, left, box_height, box_width = to_device(boxes, images.device).float().unbind(1)
    y = _positions(top, box_height, height)[:, :, None].expand(-1, -1, width)
    x = _positions(left, box_width, width)[:, None, :].expand(-1, height, -1)
    grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), dim=3)
    resized = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return resized.round().to(torch.uint8)


def random_boxes(sizes: Tensor, smallest_area: float, generator: torch.Generator) -> Tensor:
    """Boxes with sides of 3 : 4 to 4 : 3, and areas that are uniform from the smallest to all of the image.

    Area and shape are drawn ten times, and the first box that fits is taken. Where none does, it is the whole
    image, or its middle where the image itself is narrower or wider than any such box.

    Args:
        sizes: (B, 2) int64 height and width in pixels.
        smallest_area: share of the image, in (0, 1].
        generator: on the CPU. How much is drawn depends on B alone.

    Returns:
        (B, 4) int64 top, left, height, width.

    Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, as torchvision's RandomResizedCrop has it.
    """
    draws = torch.rand((2, len(sizes), _TRIES), generator=generator, dtype=torch.float64)
    area = sizes.prod(1, keepdim=True) * (smallest_area + (1 - smallest_area) * draws[0])
    ratio = torch.exp(math.log(4 / 3) * (2 * draws[1] - 1))  # width / height
    tried = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()], dim=2).long()
    fits = ((tried > 0) & (tried <= sizes[:, None])).all(2)
    first = fits.int().argmax(1)  # of equal values torch takes the first
    box = torch.where(fits.any(1)[:, None], tried[torch.arange(len(sizes)), first], _largest_box(sizes))
    room = sizes - box
    place = torch.rand((len(sizes), 2), generator=generator, dtype=torch.float64)
    corner = torch.where(fits.any(1)[:, None], (place * (room + 1)).long(), room // 2)
    return torch.cat([corner, box], dim=1)


def _largest_box(sizes: Tensor) -> Tensor:
    """(B, 2) height and width of the image, cut to 4 : 3 or 3 : 4 where it is longer."""
    height, width = sizes.unbind(1)
    return torch.stack([height.minimum((width * 4 / 3).round()), width.minimum((height * 4 / 3).round())], dim=1).long()


def _positions(first: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size) where in an image the pixels are taken from: `size` of them from `length` pixels at `first`."""
    pixels = torch.arange(size, device=first.device) + 0.5
    within = pixels * (length / size)[:, None] - 0.5
    return first[:, None] + within.clamp(min=0).minimum(length[:, None] - 1)
