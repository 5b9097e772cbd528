"""Images of a batch that drew the same are changed together; what was drawn goes to their device without waiting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Numbers that were drawn on the CPU. A GPU gets them from page-locked memory: so nobody waits for what it does."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn


def changed_by_group(images: Tensor, groups: Tensor, change: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
    """Turn by turn, all images of a group go through the same change.

    Nothing is written to chosen places of a batch: where only deterministic algorithms are allowed, a GPU sorts for
    that, and a gather does the same.

    Args:
        images: (B, ...) on any device; not changed.
        groups: (B, T) int64 on the CPU: the group of each image in each of T turns.
        change: from the group, its images, and which of the batch they are, (n,) int64 on the device of the images,
            to as many images, of the same shape and type. An empty group is left out.

    Returns:
        (B, ...), each image in its old place.
    """
    if len(images) == 0:
        return images
    order = groups.argsort(dim=0, stable=True)
    places = to_device(torch.stack((order, order.argsort(dim=0))), images.device)
    for turn, (sorted_by_group, back) in enumerate(zip(*(each.unbind(1) for each in places), strict=True)):
        found, sizes = torch.unique(groups[:, turn], return_counts=True)
        members = torch.split(sorted_by_group, sizes.tolist())
        parts = torch.split(images[sorted_by_group], sizes.tolist())
        changed = [change(*each) for each in zip(found.tolist(), parts, members, strict=True)]
        images = torch.cat(changed)[back]
    return images
