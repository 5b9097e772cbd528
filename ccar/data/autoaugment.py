"""AutoAugment's CIFAR-10 policy for a batch, every image with its own draw.

25 sub-policies of two operations each (Cubuk et al., CVPR 2019, arXiv:1805.09501), with the details of the
Pillow port that the published CIFAR long-tail recipes use. torchvision's own AutoAugment has the same
sub-policies, but draws one of them for the whole batch, rotates both ways, and shears by nearest pixel with
black coming in. Every operation here is within one grey level of Pillow's, takes a magnitude for each image,
and has no number for a GPU to wait for: torchvision's take one for all of them, and half of them wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2.functional import autocontrast

from ccar.data.colors import Adjustment, blended, brightness, contrast, saturation
from ccar.data.groups import changed_by_group, to_device

_TOP_LEVEL = 9
_GREY = 128  # comes in from outside when an image is moved
_NOTHING = -1  # group of the images that an operation is not applied to


class _Operation(NamedTuple):
    top: float  # magnitude at level 9; 0 at level 0
    has_sign: bool  # drawn: magnitude and -magnitude are equally likely
    apply: Callable[[Tensor, Tensor], Tensor]  # (B, C, H, W) uint8 and (B, 1, 1, 1) float64 magnitudes to such images


def apply_cifar10_policy(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a sub-policy for each image and apply it; images that drew the same operation go together.

    Args:
        images: (B, C, H, W) uint8, C = 3 (or 1: colour then changes nothing), on any device; not changed.
        generator: on the CPU.

    Returns:
        (B, C, H, W) uint8.
    """
    policy = torch.randint(0, len(_PROBABILITY), (len(images),), generator=generator)
    is_applied = torch.rand((len(images), 2), generator=generator) < _PROBABILITY[policy]
    is_positive = torch.randint(0, 2, (len(images), 2), generator=generator).bool()
    operations = torch.where(is_applied, _OPERATION[policy], _NOTHING)
    magnitudes = torch.where(is_positive | ~_HAS_SIGN[policy], _MAGNITUDE[policy], -_MAGNITUDE[policy])
    for operation, magnitude in zip(operations.unbind(1), to_device(magnitudes, images.device).unbind(1), strict=True):
        images = _applied(images, operation, magnitude)
    return images


def _applied(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """The operation with this number on each image, or nothing. (B,) both: int64 on the CPU, float64 where they are."""

    def change(operation: int, images: Tensor, members: Tensor) -> Tensor:
        if operation == _NOTHING:
            return images
        return _OPERATIONS[_NAMES[operation]].apply(images, magnitudes[members, None, None, None])

    return changed_by_group(images, operations[:, None], change)


def _shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Row y moves left by `slope * y` pixels, cubic interpolation (a = -1/2) as in Pillow.

    Neither torchvision (nearest and bilinear only) nor `grid_sample` (cubic with a = -3/4) has it.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device) + 0.5
    source = x + slope.float() * y[:, None]
    left = (source - 0.5).floor()
    t = source - 0.5 - left
    neighbours = left.long() + torch.arange(-1, 3, device=images.device)[:, None, None, None, None]
    a, b, c, d = (
        images.gather(-1, column.expand(images.shape)).to(torch.float32) for column in neighbours.clamp(0, width - 1)
    )
    cubic = b + t * ((c - a) + t * ((2 * (a - b) + c - d) + t * (b - a + d - c)))
    is_inside = (source >= 0) & (source < width)
    return torch.where(is_inside, cubic.clamp(0, 255), _GREY).to(torch.uint8)


def _shear_y(images: Tensor, slope: Tensor) -> Tensor:
    return _shear_x(images.transpose(-1, -2), slope).transpose(-1, -2)


def _translate_x(images: Tensor, share: Tensor) -> Tensor:
    """Move left by `share` of the width, to the nearest whole pixel."""
    row, column = _places(images)
    return _taken(images, row, column + share * images.shape[-1])


def _translate_y(images: Tensor, share: Tensor) -> Tensor:
    """Move up by `share` of the height, to the nearest whole pixel."""
    row, column = _places(images)
    return _taken(images, row + share * images.shape[-2], column)


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn around the middle, against the clock, to the nearest whole pixel."""
    row, column = _places(images)
    middle_row, middle_column = images.shape[-2] / 2, images.shape[-1] / 2
    y, x = row - middle_row, column - middle_column
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return _taken(images, middle_row + sin * x + cos * y, middle_column + cos * x - sin * y)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """(H, 1) and (W,) float64: the middles of the rows and columns, in pixels from the corner."""
    height, width = images.shape[-2:]
    row, column = (torch.arange(size, device=images.device, dtype=torch.float64) + 0.5 for size in (height, width))
    return row[:, None], column


def _taken(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The pixels in which these places lie, grey where they lie outside. float64, (B, 1, H, W) together."""
    height, width = images.shape[-2:]
    row, column = row.floor().long(), column.floor().long()
    is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    taken = images.flatten(-2).gather(-1, place.expand(images.shape).flatten(-2)).view(images.shape)
    return torch.where(is_inside, taken, _GREY)


def _enhanced(adjust: Adjustment) -> Callable[[Tensor, Tensor], Tensor]:
    """The adjustment by a factor of 1 more than the magnitude."""
    return lambda images, more: adjust(images, (1 + more).float()).clamp_(0, 255).to(torch.uint8)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the smoothed image, or towards it; its border is left as it is."""
    sharp = images.float()
    rows = sharp[..., :-2, :] + sharp[..., 1:-1, :] + sharp[..., 2:, :]
    window = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = sharp.clone()
    smooth[..., 1:-1, 1:-1] = ((window + 4 * sharp[..., 1:-1, 1:-1]) / 13).round_()
    return blended(smooth, sharp, factor)


def _posterize(images: Tensor, fewer: Tensor) -> Tensor:
    """Keep the upper `8 - fewer` bits, rounded."""
    num_lost = 8 - (8 - fewer).round().long()
    return images & ((255 << num_lost) & 255).to(torch.uint8)


def _solarize(images: Tensor, below: Tensor) -> Tensor:
    """Invert what is as bright as `256 - below`, or brighter."""
    return torch.where(images >= 256 - below, ~images, images)


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Spread the levels of each channel evenly."""
    pixels = images.reshape(-1, images.shape[-2] * images.shape[-1]).long()
    levels = torch.arange(256, device=images.device)
    # Counted in one row for all channels: along one of several dimensions a GPU that is to be deterministic waits.
    place = (pixels + 256 * torch.arange(len(pixels), device=images.device)[:, None]).flatten()
    counts = torch.zeros(256 * len(pixels), dtype=torch.int64, device=images.device)
    counts = counts.scatter_add_(0, place, torch.ones_like(place)).view(-1, 256)
    num_darker = counts.cumsum(1) - counts
    step = num_darker.gather(1, pixels.amax(1, keepdim=True)) // 255
    spread = ((num_darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, levels).to(torch.uint8).gather(1, pixels).view(images.shape)


# Operations whose levels say nothing (Invert and so on) have top 0.
_OPERATIONS = {
    "ShearX": _Operation(0.3, True, _shear_x),
    "ShearY": _Operation(0.3, True, _shear_y),
    "TranslateX": _Operation(150 / 331, True, _translate_x),
    "TranslateY": _Operation(150 / 331, True, _translate_y),
    "Rotate": _Operation(30.0, False, _rotate),
    "Brightness": _Operation(0.9, True, _enhanced(brightness)),
    "Color": _Operation(0.9, True, _enhanced(saturation)),
    "Contrast": _Operation(0.9, True, _enhanced(contrast)),
    "Sharpness": _Operation(0.9, True, _enhanced(_sharpness)),
    "Posterize": _Operation(4.0, False, _posterize),
    "Solarize": _Operation(256.0, False, _solarize),
    "AutoContrast": _Operation(0.0, False, lambda images, _: autocontrast(images)),
    "Equalize": _Operation(0.0, False, _equalize),
    "Invert": _Operation(0.0, False, lambda images, _: ~images),
}
_NAMES = tuple(_OPERATIONS)

# 25 times ((name, probability, level or None), (name, probability, level or None)); all tensors are (25, 2)
_POLICIES = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
_OPERATION = torch.tensor([[_NAMES.index(name) for name, _, _ in policy] for policy in _POLICIES])
_PROBABILITY = torch.tensor([[probability for _, probability, _ in policy] for policy in _POLICIES])
_MAGNITUDE = torch.tensor(
    [[_OPERATIONS[name].top * (level or 0) / _TOP_LEVEL for name, _, level in policy] for policy in _POLICIES],
    dtype=torch.float64,
)
_HAS_SIGN = torch.tensor([[_OPERATIONS[name].has_sign for name, _, _ in policy] for policy in _POLICIES])
