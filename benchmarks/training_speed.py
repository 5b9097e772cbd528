"""Images per second of the training loop, and what one trial of each table would take at that speed.

Random images, cross-entropy, one CPU thread, the recipe of the study; the first epoch or step warms up. The step of a
224-pixel network is measured on 16 images that are in memory already, so decoding is not in it.

    python -m benchmarks.training_speed
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from ccar.data.class_counts import published_class_counts
from ccar.data.config import DataConfig
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import long_tailed_counts, split_long_tailed
from ccar.study.definition import load_study
from ccar.training.config import TrialConfig
from ccar.training.loop import Training
from ccar.training.procedures import build_procedure
from ccar.training.recipe import changed_recipe
from ccar.training.schedule import num_epochs, steps_per_epoch

STUDIES = Path(__file__).parents[1] / "studies"
CPU = torch.device("cpu")
REPEATS = 3


def main() -> None:
    """Measure and print Markdown."""
    torch.set_num_threads(1)
    print("## Training speed (`python -m benchmarks.training_speed`)\n")
    small, large = resnet32(), resnet50()
    print("| network, recipe | images/s on one core: median of 3 (least to most) |\n|---|---|")
    for name, speeds in (("ResNet-32, balanced_softmax_cifar", small), ("ResNet-50, imagenet_lt_90", large)):
        print(f"| {name} | {statistics.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f}) |")
    print("\nWhat a trial of that many images would take on one such core, by division:\n")
    print("| study | images of one trial | days on one core |\n|---|---|---|")
    for name, images, speeds in (
        ("table2_cifar100_lt, IF 100", cifar_images(), small),
        ("table3_imagenet_lt", 90 * sum(published_class_counts("imagenet_lt")), large),
        ("table4_inaturalist2018", 90 * sum(published_class_counts("inaturalist2018")), large),
    ):
        days = images / statistics.median(speeds) / 86400
        print(f"| {name} | {images / 1e6:.1f} million | {days:.1f} |")


def resnet32() -> list[float]:
    """Images per second of whole epochs of 2,048 images, augmentation included."""
    study = load_study(STUDIES / "table2_cifar100_lt.yaml")
    rng = np.random.default_rng(0)
    part = ImageSet(rng.integers(0, 256, (2048, 3, 32, 32), dtype=np.uint8), np.arange(2048) % 100)
    source = SourceData.of(part, part, tuple(map(str, range(100))))
    data = DataConfig(name="cifar100", imbalance_factor="natural", validation_per_class=0)
    recipe = changed_recipe(study.recipe, {"epochs": REPEATS + 1, "schedule": {"name": "cosine"}})
    config = TrialConfig(
        data=data, model="resnet32", head="linear", recipe=recipe, loss={"name": "cross_entropy"}, seed=0
    )
    training = Training(config, source, split_long_tailed(part.labels, data, 0), device=CPU)
    return [epoch.images_per_second for epoch in training.epochs()][1:]


def resnet50() -> list[float]:
    """Images per second of forward and backward pass and SGD step on 16 images of 224 pixels, 1,000 classes."""
    study = load_study(STUDIES / "table3_imagenet_lt.yaml")
    data = DataConfig(name="imagenet_lt", root=Path("/"), imbalance_factor="natural", validation_per_class="own")
    config = TrialConfig(
        data=data, model="resnet50", head="linear", recipe=study.recipe, loss={"name": "cross_entropy"}, seed=0
    )
    procedure = build_procedure(config, published_class_counts("imagenet_lt"), 3, CPU, None)
    optimizer = torch.optim.SGD(procedure.model.parameters(), lr=0.01, momentum=0.9)
    procedure.begin_epoch(1, 90)
    pixels = torch.randn(16, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    speeds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        procedure.loss(procedure.logits(pixels), torch.arange(16)).backward()
        optimizer.step()
        optimizer.zero_grad()
        speeds.append(16 / (time.perf_counter() - started))
    return speeds[1:]


def cifar_images() -> int:
    """Training images of one trial of Table II at imbalance factor 100."""
    study = load_study(STUDIES / "table2_cifar100_lt.yaml")
    kept = study.data.validation_per_class
    assert isinstance(kept, int)
    images = int(long_tailed_counts(500 - kept, 100, 100).sum())
    return num_epochs(study.recipe, images) * steps_per_epoch(study.recipe, images) * study.recipe.batch_size


if __name__ == "__main__":
    main()
