"""Random variations of training images, a whole batch at a time, and the normalisation that follows them.

Every image draws its own crop, flip, hole and AutoAugment policy: torchvision's transforms draw one for the
whole batch. All numbers are drawn on the CPU, so a seed gives the same images on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ccar.data.config import Augmentation

_TRIES = 10  # boxes that are drawn for a random resized crop
_SMALLEST_AREA = 0.08


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
    top, left = torch.randint(0, 2 * pad + 1, (2, num_images), generator=generator).to(images.device)
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(num_images, device=images.device), :, top, left]


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror left and right with probability 1/2."""
    mirrored = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator).bool().to(images.device)
    return torch.where(mirrored, images.flip(-1), images)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blacken one square of 16x16 pixels around a uniformly drawn pixel; beyond the border it is cut off.

    Images under 32 pixels lose a square of half their short side (digits: 4x4), the same share as of CIFAR.

    Source: DeVries and Taylor, 2017, arXiv:1708.04552.
    """
    num_images, _, height, width = images.shape
    reach = min(8, min(height, width) // 4)
    rows = _hole(height, reach, num_images, generator).to(images.device)
    columns = _hole(width, reach, num_images, generator).to(images.device)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _hole(size: int, reach: int, num_images: int, generator: torch.Generator) -> Tensor:
    """(B, size) bool: the pixels from `centre - reach` up to, not including, `centre + reach`."""
    centre = torch.randint(0, size, (num_images, 1), generator=generator)
    distance = torch.arange(size) - centre
    return (distance >= -reach) & (distance < reach)


def random_resized_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut out a box of random area and shape and resize it to the size of the image (bilinear, antialiased).

    Packed images are cut before they become a batch (see `ccar.training.streamed`), from all of their pixels.
    """
    height, width = images.shape[2:]
    boxes = random_boxes(torch.tensor([[height, width]]).expand(len(images), 2), generator).tolist()
    resized = [
        F.interpolate(
            image[None, :, top : top + box_height, left : left + box_width].float(),
            (height, width),
            mode="bilinear",
            antialias=True,
        )
        for image, (top, left, box_height, box_width) in zip(images, boxes, strict=True)
    ]
    return torch.cat(resized).round().to(torch.uint8)


def random_boxes(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes with 8 % to all of the area of each image, and sides of 3 : 4 to 4 : 3.

    Area and shape are drawn ten times, and the first box that fits is taken. Where none does, it is the whole
    image, or its middle where the image itself is narrower or wider than any such box.

    Args:
        sizes: (B, 2) int64 height and width in pixels.
        generator: on the CPU. How much is drawn depends on B alone.

    Returns:
        (B, 4) int64 top, left, height, width.

    Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, as torchvision's RandomResizedCrop has it.
    """
    draws = torch.rand((2, len(sizes), _TRIES), generator=generator, dtype=torch.float64)
    area = sizes.prod(1, keepdim=True) * (_SMALLEST_AREA + (1 - _SMALLEST_AREA) * draws[0])
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


def color_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, in a random order, each times 0.6 to 1.4; the hue stays.

    As torchvision's ColorJitter(0.4, 0.4, 0.4), with its own order and factors for every image. Grey images have
    no saturation.
    """
    order = torch.rand((len(images), len(_JITTERS)), generator=generator).argsort(1).to(images.device)
    factors = (0.6 + 0.8 * torch.rand((len(images), len(_JITTERS)), generator=generator)).to(images.device)
    jittered = images.clone()
    for turn in range(len(_JITTERS)):
        for index, towards in enumerate(_JITTERS):
            members = (order[:, turn] == index).nonzero()[:, 0]
            pixels = jittered[members]
            factor = factors[members, index][:, None, None, None]
            # Out from the image without any brightness, contrast or colour, or back to it.
            blend = pixels * factor + towards(pixels) * (1 - factor)
            jittered[members] = blend.clamp_(0, 255).to(torch.uint8)
    return jittered


def _grey(pixels: Tensor) -> Tensor:
    """(B, 1, H, W) float32 brightness of each pixel in whole levels, as ITU-R 601-2 weighs the colours."""
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = pixels.float().unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()[:, None]


_JITTERS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda pixels: torch.zeros((), device=pixels.device),
    lambda pixels: _grey(pixels).mean((1, 2, 3), keepdim=True),
    _grey,
)


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
    "random_resized_crop": random_resized_crop,
    "color_jitter": color_jitter,
}
