"""Random changes of colour, as torchvision makes them, every image with its own draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ccar.data.groups import changed_by_group, to_device

Adjustment = Callable[[Tensor, Tensor], Tensor]  # (B, C, H, W) uint8 and (B, 1, 1, 1) amounts to (B, C, H, W) float32


def color_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, in a random order, each times 0.6 to 1.4; the hue stays.

    As torchvision's ColorJitter(0.4, 0.4, 0.4). Grey images have no saturation.
    """
    order = torch.rand((len(images), 3), generator=generator).argsort(1)
    factors = 0.6 + 0.8 * torch.rand((len(images), 3), generator=generator)
    return _adjusted(images, (brightness, contrast, saturation), factors, order)


def simclr_jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """With probability 0.8 the same, and the hue turned by up to a tenth of the circle among them.

    As torchvision's ColorJitter(0.4, 0.4, 0.4, 0.1). Grey images have neither saturation nor hue.

    Source: Chen et al., 2020, arXiv:2003.04297 (MoCo v2).
    """
    is_jittered = torch.rand(len(images), generator=generator) < 0.8
    order = torch.rand((len(images), 4), generator=generator).argsort(1)
    amounts = torch.rand((len(images), 4), generator=generator)
    amounts = torch.cat((0.6 + 0.8 * amounts[:, :3], 0.2 * amounts[:, 3:] - 0.1), dim=1)
    adjustments = (brightness, contrast, saturation, _hue)

    def change(jittered: int, images: Tensor, _: Tensor) -> Tensor:
        return _adjusted(images, adjustments, amounts[is_jittered], order[is_jittered]) if jittered else images

    return changed_by_group(images, is_jittered.long()[:, None], change)


def grayscale(images: Tensor, generator: torch.Generator) -> Tensor:
    """Make an image grey with probability 0.2; it keeps its channels."""
    is_grey = to_device(torch.rand((len(images), 1, 1, 1), generator=generator) < 0.2, images.device)
    return torch.where(is_grey, _grey(images).to(torch.uint8), images)


def _adjusted(images: Tensor, adjustments: tuple[Adjustment, ...], amounts: Tensor, order: Tensor) -> Tensor:
    """All adjustments, one after the other, rounded down to whole levels after each.

    Args:
        images: (B, C, H, W) uint8; not changed.
        adjustments: n of them.
        amounts: (B, n) float32 on the CPU, how much of each adjustment.
        order: (B, n) int64 on the CPU, which adjustment comes first, second and so on.
    """
    amounts = to_device(amounts, images.device)

    def change(index: int, images: Tensor, members: Tensor) -> Tensor:
        amount = amounts[members, index][:, None, None, None]
        return adjustments[index](images, amount).clamp_(0, 255).to(torch.uint8)

    return changed_by_group(images, order, change)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from black, or towards it; an `Adjustment`, as are the next two."""
    return images * factor


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean grey of the image, or towards it."""
    return blended(_grey(images).mean((1, 2, 3), keepdim=True), images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the grey of each pixel, or towards it."""
    return blended(_grey(images), images, factor)


def blended(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, `images` at 1; where the two are equal nothing changes, whatever is rounded."""
    return other + factor * (images - other)


def _hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the circle; value and saturation, as HSV has them, stay."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.float().unbind(1)
    value = images.float().amax(1)
    chroma = value - images.float().amin(1)
    sixth = torch.where(
        value == red,
        (green - blue) / chroma,
        torch.where(value == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    hue = torch.where(chroma == 0, 0.0, sixth) + 6 * turn[:, 0]
    steps = [(hue + first).remainder(6) for first in (5, 3, 1)]  # of red, green and blue
    return torch.stack([value - chroma * step.minimum(4 - step).clamp(0, 1) for step in steps], dim=1).round_()


def _grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) float32 brightness of each pixel in whole levels, as ITU-R 601-2 weighs the colours."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.float().unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()[:, None]
