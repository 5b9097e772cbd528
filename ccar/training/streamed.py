"""Packed images on their way to the device: each batch is decoded when it is asked for.

Nothing is fetched ahead: threads decode a batch, then the device trains on it. Which images a batch has is read from
the device, so on a GPU that waits for the step before.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccar.data.augmentation import augment
from ccar.data.config import Augmentation
from ccar.data.packed import NUM_CHANNELS, PackedImages
from ccar.data.resized_crop import SMALLEST_AREA, random_boxes


@dataclass(frozen=True, slots=True, eq=False)
class StreamedImages:
    """One part of the data: packed images in memory that the system may drop, labels on the device.

    Attributes:
        packed: N images.
        labels: (N,) int64, on the device.
    """

    packed: PackedImages
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_channels(self) -> int:
        """Of the images."""
        return NUM_CHANNELS

    def varied(self, indices: Tensor, augmentation: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
        """(B, C, H, W) uint8 images to train on. A random resized crop that comes first cuts from the whole image."""
        chosen = self.packed[indices.cpu().numpy()]
        if augmentation and augmentation[0] in SMALLEST_AREA:
            sizes, smallest_area = torch.from_numpy(chosen.sizes), SMALLEST_AREA[augmentation[0]]
            boxes = random_boxes(sizes, smallest_area, generator).numpy()
            return augment(self._decoded(chosen, boxes), augmentation[1:], generator)
        return augment(self._decoded(chosen, chosen.middles), augmentation, generator)

    def plain(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images to evaluate on: the middle of each."""
        chosen = self.packed[indices.cpu().numpy()]
        return self._decoded(chosen, chosen.middles)

    def _decoded(self, chosen: PackedImages, boxes: NDArray[np.int64]) -> Tensor:
        device, size = self.labels.device, chosen.image_size
        # Page-locked memory is copied to a GPU without waiting for what the GPU still has to do.
        batch = torch.empty(
            (len(chosen), size, size, NUM_CHANNELS), dtype=torch.uint8, pin_memory=device.type == "cuda"
        )
        pixels, num_threads = batch.numpy(), torch.get_num_threads()
        if num_threads == 1:
            chosen.read(boxes, pixels)
        else:
            shares = [slice(first, None, num_threads) for first in range(num_threads)]
            list(_pool(num_threads).map(lambda share: chosen[share].read(boxes[share], pixels[share]), shares))
        return batch.permute(0, 3, 1, 2).to(device, non_blocking=True)


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process; a trial has as many as it has CPUs."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="ccar-decode")
