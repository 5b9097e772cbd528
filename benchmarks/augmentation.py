"""What it costs to vary a batch of images: all at once as ccar does, beside PIL images one by one.

On one CPU thread, in turn. On a GPU each operation of torch is a call into the driver, of some microseconds whatever
the size of the batch, so their number is told, too; that none of them waits for the GPU is tested (`tests/data`).

    python -m benchmarks.augmentation
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms

from benchmarks.loss_step import Operations
from ccar.data.augmentation import augment
from ccar.data.config import Augmentation

BATCH, ROUNDS = 512, 15
BY_PIL: dict[tuple[Augmentation, ...], Callable[[Image.Image], object]] = {
    ("crop", "flip"): transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]),
    ("autoaugment",): transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    ("cutout",): transforms.Compose(
        [transforms.PILToTensor(), transforms.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))]
    ),
}


def main() -> None:
    """Measure and print Markdown."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    smooth = F.interpolate(255 * torch.rand((BATCH, 3, 6, 6), generator=draw), (32, 32), mode="bicubic")
    images = smooth.clamp(0, 255).to(torch.uint8)
    pictures = [Image.fromarray(image) for image in np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())]
    print("## Augmentation (`python -m benchmarks.augmentation`)\n")
    print(f"{BATCH} images of 32x32 on one CPU; medians (least to most) of {ROUNDS} rounds.\n")
    print("| variation | ms at once | ms one by one with PIL | ratio | operations of torch |\n|---|---|---|---|---|")
    for names, by_pil in BY_PIL.items():
        at_once, one_by_one = [], []
        for round_ in range(ROUNDS + 2):
            times = milliseconds(augment, images, names, draw), milliseconds(one_after_the_other, by_pil, pictures)
            if round_ >= 2:  # the first ones warm up
                at_once.append(times[0])
                one_by_one.append(times[1])
        with Operations(images.numel()) as counted:
            augment(images, names, draw)
        ratio = statistics.median(one / other for one, other in zip(one_by_one, at_once, strict=True))
        number = counted.wide + counted.narrow
        print(f"| {', '.join(names)} | {spread(at_once)} | {spread(one_by_one)} | {ratio:.1f} | {number} |")


def one_after_the_other(vary: Callable[[Image.Image], object], pictures: Sequence[Image.Image]) -> None:
    for picture in pictures:
        vary(picture)


def milliseconds(work: Callable[..., object], *arguments: object) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return 1000 * (time.perf_counter() - begun)


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


if __name__ == "__main__":
    main()
