"""The training loop that people start from, beside ccar's: same network, images, augmentation, batch and machine.

The yardstick is written the way public long-tail code is: a DataLoader with one worker process per CPU, PIL images
augmented one by one, the loss read with `.item()` at every step. Images are random; ResNet-32, cross-entropy, SGD,
batches of 128; crop, flip, AutoAugment and cutout. The first round warms up; the rounds of all sides take turns.

The floor is forward and backward pass and SGD step alone, on a batch that lies in memory.

    python -m benchmarks.reference_loop
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ccar.data.config import DataConfig
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import split_long_tailed
from ccar.machine import num_cpus
from ccar.models.build import build_model
from ccar.training.config import TrialConfig
from ccar.training.loop import Training
from ccar.training.recipe import changed_recipe
from ccar.training.recipes import RECIPES

CPUS = num_cpus()
IMAGES, CLASSES, BATCH, ROUNDS = 2048, 100, 128, 4
MEAN, STD = (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)


class PilImages(Dataset):
    """Images that are turned into PIL's, augmented and turned back, one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images.transpose(0, 2, 3, 1), labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
                transforms.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def main() -> None:
    """Measure and print Markdown."""
    images, labels = made_up_images()
    sides: dict[str, Callable[[], float]] = {
        "reference loop": reference_loop(images, labels),
        "ccar, one trial on all CPUs": one_trial(CPUS),
        "ccar, one trial per CPU (as it runs them)": a_trial_per_cpu,
        "floor: the network alone, on all CPUs": network_alone(images, labels),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, measure in sides.items():
            speed = measure()
            if number:
                speeds[name].append(speed)
    reference = speeds["reference loop"]
    print("## Training loop (`python -m benchmarks.reference_loop`)\n")
    print(f"ResNet-32 on {CPUS} CPUs, {IMAGES:,} images a round, n = {ROUNDS}; target: 1.3 times the reference loop, ")
    print("or the floor where that is lower.\n")
    print("| loop | images/s: median (least to most) | times the reference, median of rounds |\n|---|---|---|")
    for name, found in speeds.items():
        ratio = statistics.median(own / other for own, other in zip(found, reference, strict=True))
        print(f"| {name} | {statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f}) | {ratio:.2f} |")


def made_up_images() -> tuple[np.ndarray, np.ndarray]:
    """(IMAGES, 3, 32, 32) uint8 images, and their labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8), np.arange(IMAGES) % CLASSES


def reference_loop(images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """An epoch of the yardstick, in images per second."""
    loader = DataLoader(PilImages(images, labels), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=CPUS)
    step = training_step()

    def epoch() -> float:
        torch.set_num_threads(CPUS)
        began, seen, total = time.perf_counter(), 0, 0.0
        for pixels, targets in loader:
            total += step(pixels, targets).item()
            seen += len(targets)
        return seen / (time.perf_counter() - began)

    return epoch


def network_alone(images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """The same steps on one batch in memory, laid out as ccar lays it out."""
    pixels = torch.from_numpy(images[:BATCH]).float().div(255).contiguous(memory_format=torch.channels_last)
    targets, step = torch.from_numpy(labels[:BATCH]), training_step()

    def steps() -> float:
        torch.set_num_threads(CPUS)
        began = time.perf_counter()
        for _ in range(IMAGES // BATCH):
            step(pixels, targets)
        return IMAGES // BATCH * BATCH / (time.perf_counter() - began)

    return steps


def training_step(device: str = "cpu") -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """One SGD step of ResNet-32; returns the loss."""
    model = build_model("resnet32", "linear", CLASSES, 3).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(model(pixels), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def one_trial(threads: int) -> Callable[[], float]:
    """The next epoch of one trial of ccar, in images per second."""
    images, labels = made_up_images()
    part = ImageSet(images, labels)
    source = SourceData.of(part, part, tuple(map(str, range(CLASSES))))
    data = DataConfig(name="cifar100", imbalance_factor="natural", validation_per_class=0)
    recipe = changed_recipe(
        RECIPES["balanced_softmax_cifar"],
        {"epochs": ROUNDS + 1, "batch_size": BATCH, "schedule": {"name": "cosine"}},
    )
    config = TrialConfig(
        data=data, model="resnet32", head="linear", recipe=recipe, loss={"name": "cross_entropy"}, seed=0
    )
    training = Training(config, source, split_long_tailed(labels, data, 0), device=torch.device("cpu"))
    epochs = training.epochs()

    def epoch() -> float:
        torch.set_num_threads(threads)
        return next(epochs).images_per_second

    return epoch


def a_trial_per_cpu() -> float:
    """Images per second of as many trials as there are CPUs, each in a process of its own: their sum."""
    context = multiprocessing.get_context("spawn")
    together, speeds = context.Barrier(CPUS), context.Queue()
    processes = [context.Process(target=second_epoch, args=(together, speeds)) for _ in range(CPUS)]
    for process in processes:
        process.start()
    total = sum(speeds.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def second_epoch(together: Any, speeds: Any) -> None:
    """Train two epochs on one thread; the speed of the second one, which all processes begin together."""
    epoch = one_trial(1)
    epoch()
    together.wait()
    speeds.put(epoch())


if __name__ == "__main__":
    main()
