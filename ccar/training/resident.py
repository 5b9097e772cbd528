"""Images that stay on the device for the whole trial: no worker processes, no loading while training.

What is too large for that is packed, and streamed to the device: see `ccar.training.streamed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccar.data.augmentation import augment, normalise
from ccar.data.config import Augmentation
from ccar.data.image_set import ImageSet
from ccar.data.packed import PackedImages
from ccar.data.statistics import ChannelStatistics
from ccar.training.streamed import StreamedImages


@dataclass(frozen=True, slots=True, eq=False)
class ResidentImages:
    """One part of the data on one device.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device) -> ResidentImages:
        """Copy arrays, memory maps too, onto the device."""
        return cls(torch.tensor(images, device=device), torch.tensor(labels, device=device))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_channels(self) -> int:
        """Of the images."""
        return self.images.shape[1]

    def varied(self, indices: Tensor, augmentation: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
        """(B, C, H, W) uint8 images to train on."""
        return augment(self.images[indices], augmentation, generator)

    def plain(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images to evaluate on."""
        return self.images[indices]


def on_device(part: ImageSet, device: torch.device) -> ResidentImages | StreamedImages:
    """One part of the data as training reads it: on the device, or in its pack where it is packed."""
    if isinstance(part.images, PackedImages):
        return StreamedImages(part.images, torch.tensor(part.labels, device=device))
    return ResidentImages.of(part.images, part.labels, device)


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """What makes pixels into the network's input.

    Attributes:
        mean: (C,) float32, of pixels scaled to 0 to 1.
        std: (C,) float32, likewise.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def by(cls, statistics: ChannelStatistics, device: torch.device) -> Normalisation:
        """Put the statistics onto the device."""
        return cls(torch.tensor(statistics.mean, device=device), torch.tensor(statistics.std, device=device))

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 to float32 in the memory format that the models are kept in."""
        return normalise(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """The training part as a procedure sees it: batches of network inputs, varied as the recipe says."""

    images: ResidentImages | StreamedImages
    normalisation: Normalisation
    augmentation: tuple[Augmentation, ...]

    @property
    def labels(self) -> Tensor:
        """(N,) int64, on the device."""
        return self.images.labels

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, H, W) float32 pixels of the images with these indices."""
        return self.view(indices, self.augmentation, generator)

    def view(self, indices: Tensor, augmentation: tuple[Augmentation, ...], generator: torch.Generator) -> Tensor:
        """The same images, varied in another way than the recipe says."""
        return self.normalisation(self.images.varied(indices, augmentation, generator))
