"""Images that stay on the device for the whole trial: no worker processes, no loading while training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccar.data.augmentation import normalise
from ccar.data.statistics import ChannelStatistics


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
