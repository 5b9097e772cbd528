"""Random variations of training images, a whole batch at a time, and the normalisation that follows them.

Every image draws its own crop, flip, hole and AutoAugment policy: torchvision's transforms draw one for the
whole batch. All numbers are drawn on the CPU, so a seed gives the same images on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ccar.data.blur import blur
from ccar.data.colors import color_jitter, grayscale, simclr_jitter
from ccar.data.config import Augmentation
from ccar.data.groups import to_device
from ccar.data.resized_crop import SMALLEST_AREA, random_resized_crop


def augment(images: Tensor, names: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Apply the named variations in the order of `names`.

    Args:
        images: (B, C, H, W) uint8, on any device; not changed.
        names: as in `Recipe.augmentation`; none: the images come back as they are.
        generator: on the CPU. How much is drawn depends on B alone, not on the images.

    Returns:
        (B, C, H, W) uint8, on the same device.
    """
    for name in names:
        images = _AUGMENTATIONS[name](images, generator)
    return images


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels as the network sees them: (images / 255 - mean) / std.

    Args:
        images: (B, C, H, W) uint8.
        mean: (C,) float32 of pixels scaled to 0 to 1, on the device of the images.
        std: (C,) float32, greater than 0; likewise.

    Returns:
        (B, C, H, W) float32.
    """
    scaled = images.to(torch.float32)
    return scaled.sub_((255 * mean)[:, None, None]).div_((255 * std)[:, None, None])


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 4 pixels in both directions; zeros (black) come in from outside.

    The same as padding by 4 and cropping back at a uniform place. Images under 32 pixels shift by an eighth
    of their short side (digits: 1 pixel), so that as much of them stays in sight.
    """
    num_images, _, height, width = images.shape
    pad = min(4, min(height, width) // 8)
    top, left = to_device(torch.randint(0, 2 * pad + 1, (2, num_images), generator=generator), images.device)
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(num_images, device=images.device), :, top, left]


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror left and right with probability 1/2."""
    mirrored = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator).bool()
    return torch.where(to_device(mirrored, images.device), images.flip(-1), images)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blacken one square of 16x16 pixels around a uniformly drawn pixel; beyond the border it is cut off.

    Images under 32 pixels lose a square of half their short side (digits: 4x4), the same share as of CIFAR.

    Source: DeVries and Taylor, 2017, arXiv:1708.04552.
    """
    num_images, _, height, width = images.shape
    reach = min(8, min(height, width) // 4)
    rows = to_device(_hole(height, reach, num_images, generator), images.device)
    columns = to_device(_hole(width, reach, num_images, generator), images.device)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _hole(size: int, reach: int, num_images: int, generator: torch.Generator) -> Tensor:
    """(B, size) bool: the pixels from `centre - reach` up to, not including, `centre + reach`."""
    centre = torch.randint(0, size, (num_images, 1), generator=generator)
    distance = torch.arange(size) - centre
    return (distance >= -reach) & (distance < reach)


def autoaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """The CIFAR-10 policy of AutoAugment; see `ccar.data.autoaugment`."""
    from ccar.data.autoaugment import (
        apply_cifar10_policy,
    )  # imports torchvision: 3 s, 0.3 GB, for few recipes

    return apply_cifar10_policy(images, generator)


_AUGMENTATIONS: dict[Augmentation, Callable[[Tensor, torch.Generator], Tensor]] = {
    "crop": crop,
    "flip": flip,
    "autoaugment": autoaugment,
    "cutout": cutout,
    "color_jitter": color_jitter,
    "simclr_jitter": simclr_jitter,
    "grayscale": grayscale,
    "blur": blur,
    **{name: partial(random_resized_crop, smallest_area=area) for name, area in SMALLEST_AREA.items()},
}
