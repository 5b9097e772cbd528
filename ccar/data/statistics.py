"""Mean and standard deviation of each colour channel, by which images are normalised before the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccar.data.config import DatasetName
from ccar.data.packed import PackedImages

_CHUNK = 4_096  # images at a time: counting needs 8 bytes for each pixel


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """One value for each channel, of pixels scaled to 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# Of CIFAR-10, as the published protocols write them, also for CIFAR-100. The std is smaller than that of the
# pixels (0.247, 0.243, 0.262); all published numbers were trained with it, so ours are too.
_CIFAR = ChannelStatistics(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))

# As the published protocols of the long-tailed sets write them: of ImageNet, also for Places; iNaturalist's own.
# Source: Ren et al., NeurIPS 2020, arXiv:2007.10740 (data/dataloader.py of BalancedMetaSoftmax-Classification).
_IMAGENET = ChannelStatistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_INATURALIST = ChannelStatistics(mean=(0.466, 0.471, 0.380), std=(0.195, 0.194, 0.192))

_FIXED: dict[DatasetName, ChannelStatistics] = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "imagenet_lt": _IMAGENET,
    "places_lt": _IMAGENET,
    "inaturalist2018": _INATURALIST,
}


def statistics_of(name: DatasetName, images: NDArray[np.uint8] | PackedImages) -> ChannelStatistics:
    """What to normalise the images of data set `name` by, when `images` are trained on.

    Published sets have fixed values by their protocol; for all others they come from the training images of
    the trial, never from validation or test.

    Args:
        name: of the data set.
        images: (N, C, H, W) uint8, the training images of the trial; N >= 1. Packed ones are not looked at.
    """
    fixed = _FIXED.get(name)
    if fixed is not None:
        return fixed
    assert not isinstance(images, PackedImages)
    return _measure(images)


def _measure(images: NDArray[np.uint8]) -> ChannelStatistics:
    """From how often each of the 256 values occurs, in float64. A constant channel gets std 1."""
    num_channels = images.shape[1]
    occurs = np.zeros((num_channels, 256))
    for start in range(0, len(images), _CHUNK):
        for channel in range(num_channels):
            pixels = images[start : start + _CHUNK, channel].ravel()
            occurs[channel] += np.bincount(pixels, minlength=256)
    share = occurs / occurs.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, np.newaxis]) ** 2).sum(axis=1))
    std[std == 0] = 1
    return ChannelStatistics(tuple(mean.tolist()), tuple(std.tolist()))
