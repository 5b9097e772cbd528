"""AutoAugment's CIFAR-10 policy for a batch, every image with its own draw.

25 sub-policies of two operations each (Cubuk et al., CVPR 2019, arXiv:1805.09501), with the details of the
Pillow port that the published CIFAR long-tail recipes use. torchvision's own AutoAugment has the same
sub-policies, but draws one of them for the whole batch, rotates both ways, and shears by nearest pixel with
black coming in. Every operation here is within one grey level of Pillow's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as F

from ccar.data.groups import changed_by_group

_TOP_LEVEL = 9
_GREY = 128  # comes in from outside when an image is moved
_NOTHING = -1  # group of the images that an operation is not applied to


class _Operation(NamedTuple):
    top: float  # magnitude at level 9; 0 at level 0
    has_sign: bool  # drawn: magnitude and -magnitude are equally likely
    apply: Callable[[Tensor, float], Tensor]  # (B, C, H, W) uint8 and the magnitude, the same for all


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
    is_positive = torch.randint(0, 2, (len(images), 2), generator=generator)
    step = _STEP[policy]
    groups = torch.where(is_applied, 2 * step + is_positive * _HAS_SIGN[step], _NOTHING)
    return changed_by_group(images, groups, _applied)


def _applied(group: int, images: Tensor, _: Tensor) -> Tensor:
    """What the images become that drew this step, and this sign."""
    if group == _NOTHING:
        return images
    name, level = _STEPS[group // 2]
    operation = _OPERATIONS[name]
    magnitude = operation.top * level / _TOP_LEVEL
    return operation.apply(images, -magnitude if operation.has_sign and group % 2 == 0 else magnitude)


def _shear_x(images: Tensor, slope: float) -> Tensor:
    """Row y moves left by `slope * y` pixels, cubic interpolation (a = -1/2) as in Pillow.

    Neither torchvision (nearest and bilinear only) nor `grid_sample` (cubic with a = -3/4) has it.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device) + 0.5
    source = x + slope * y[:, None]
    left = (source - 0.5).floor()
    t = source - 0.5 - left
    neighbours = left.long() + torch.arange(-1, 3, device=images.device)[:, None, None]
    a, b, c, d = (
        images.gather(-1, column.expand(images.shape)).to(torch.float32) for column in neighbours.clamp(0, width - 1)
    )
    cubic = b + t * ((c - a) + t * ((2 * (a - b) + c - d) + t * (b - a + d - c)))
    is_inside = (source >= 0) & (source < width)
    return torch.where(is_inside, cubic.clamp(0, 255), _GREY).to(torch.uint8)


def _shear_y(images: Tensor, slope: float) -> Tensor:
    return _shear_x(images.transpose(-1, -2), slope).transpose(-1, -2)


def _translate_x(images: Tensor, share: float) -> Tensor:
    """Move left by `share` of the width, to the nearest whole pixel."""
    pixels = math.floor(share * images.shape[-1] + 0.5)
    moved: Tensor = F.affine(images, angle=0.0, translate=[-pixels, 0], scale=1.0, shear=[0.0, 0.0], fill=_GREY)
    return moved


def _translate_y(images: Tensor, share: float) -> Tensor:
    return _translate_x(images.transpose(-1, -2), share).transpose(-1, -2)


# Operations whose levels say nothing (Invert and so on) have top 0.
_OPERATIONS = {
    "ShearX": _Operation(0.3, True, _shear_x),
    "ShearY": _Operation(0.3, True, _shear_y),
    "TranslateX": _Operation(150 / 331, True, _translate_x),
    "TranslateY": _Operation(150 / 331, True, _translate_y),
    "Rotate": _Operation(30.0, False, lambda images, degrees: F.rotate(images, degrees, fill=_GREY)),
    "Brightness": _Operation(0.9, True, lambda images, more: F.adjust_brightness(images, 1 + more)),
    "Color": _Operation(0.9, True, lambda images, more: F.adjust_saturation(images, 1 + more)),
    "Contrast": _Operation(0.9, True, lambda images, more: F.adjust_contrast(images, 1 + more)),
    "Sharpness": _Operation(0.9, True, lambda images, more: F.adjust_sharpness(images, 1 + more)),
    "Posterize": _Operation(4.0, False, lambda images, fewer: F.posterize(images, round(8 - fewer))),
    "Solarize": _Operation(256.0, False, lambda images, below: F.solarize(images, 256 - below)),
    "AutoContrast": _Operation(0.0, False, lambda images, _: F.autocontrast(images)),
    "Equalize": _Operation(0.0, False, lambda images, _: F.equalize(images)),
    "Invert": _Operation(0.0, False, lambda images, _: F.invert(images)),
}

# 25 times ((name, probability, level or None), (name, probability, level or None))
_POLICIES = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
_STEPS = sorted({(name, level or 0) for policy in _POLICIES for name, _, level in policy})
_STEP = torch.tensor([[_STEPS.index((name, level or 0)) for name, _, level in policy] for policy in _POLICIES])
_PROBABILITY = torch.tensor([[probability for _, probability, _ in policy] for policy in _POLICIES])
_HAS_SIGN = torch.tensor([_OPERATIONS[name].has_sign for name, _ in _STEPS], dtype=torch.int64)
