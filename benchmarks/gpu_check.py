"""Does training on a device keep what ccar promises? Tiny trials of every kind, before anything is timed there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from benchmarks.cells import cells_of, row_of
from benchmarks.cuda_graphs import CapturedTraining
from ccar.data.augmentation import augment
from ccar.data.config import Augmentation, DataConfig
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import split_long_tailed
from ccar.training.config import LDAM, Reweighting, TrialConfig
from ccar.training.loop import Training
from ccar.training.recipe import CosineSchedule, Recipe

NUM_CLASSES = 4
LEVELS = 2  # grey levels by which another device may round a pixel otherwise, where one step rounds after another
SHARE = 0.01  # of the pixels that may be further off: of nearest pixels at ties, and where few levels become many

RECIPE = Recipe(
    name="tiny",
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    weight_decay=5e-4,
    schedule=CosineSchedule(),
    augmentation=("crop", "flip", "autoaugment", "cutout"),
)
DATA = DataConfig(name="cifar10", imbalance_factor=4, validation_per_class=4)
PLAIN: dict[str, Any] = {
    "data": DATA,
    "head": "linear",
    "recipe": RECIPE,
    "loss": {"name": "cross_entropy"},
    "seed": 0,
}
SOFTMAX = PLAIN | {"loss": {"name": "balanced_softmax"}, "reweighting": Reweighting(omega=0.75)}
# A state in all that can have one: momentum, batch norm, the loss, deferred re-weighting.
WITH_STATE = PLAIN | {
    "head": "normed",
    "loss": LDAM(drw_start=0.5),
    "reweighting": Reweighting(omega=0.75),
    "reduction": "scale_matched",
    "recipe": RECIPE.model_copy(update={"precision": "bf16"}),
}
BALANCED = {"recipe": RECIPE.model_copy(update={"sampler": "class_balanced"})}
OTHERS: dict[str, dict[str, Any]] = {
    "mixup": {"recipe": RECIPE.model_dump() | {"mixing": {"name": "mixup"}}},
    "CutMix": {"recipe": RECIPE.model_dump() | {"mixing": {"name": "cutmix"}}},
    "BBN": {"procedure": {"name": "bbn"}},
    "cRT": {"procedure": {"name": "crt"}, **BALANCED},
    "LWS": {"procedure": {"name": "lws"}, **BALANCED},
    "tau-norm": {"procedure": {"name": "tau_norm"}},
    "PaCo": {"loss": {"name": "balanced_softmax"}, "procedure": {"name": "paco", "queue_size": 64}},
}


def check_training(device_name: str, seconds: float) -> None:
    """Print what was checked and found; a check that fails says NO, or its error, and ends nothing.

    Args:
        device_name: where.
        seconds: no check begins after them.
    """
    device, end = torch.device(device_name), time.time() + seconds
    print("\n| training on this device, where only deterministic algorithms are allowed | |\n|---|---|")
    for name, check in checks(device).items():
        print(row_of(name, *cells_of(partial(_cell, check, end), 1)))


def _cell(check: Callable[[], str], end: float) -> tuple[str, ...]:
    return (check() if time.time() < end else "no time left",)


def checks(device: torch.device) -> dict[str, Callable[[], str]]:
    """By what they check; each says `yes`, or `NO` and more."""
    named: dict[str, Callable[[], str]] = {}
    for precision, options in (("float32", SOFTMAX), ("bfloat16, with a state in the loss", WITH_STATE)):
        named |= {
            f"two runs give the same bits ({precision})": partial(repeats, options, device),
            f"a resumed run has the bits of one in one go ({precision})": partial(resumes, options, device),
            f"its step as a CUDA graph gives the same bits ({precision})": partial(is_captured, options, device),
        }
    named |= {f"{name} trains and is tested": partial(trains, changes, device) for name, changes in OTHERS.items()}
    for name in get_args(Augmentation):
        named[f"{name} gives the images that it gives on the CPU"] = partial(augments, name, device)
    return named


def repeats(options: Mapping[str, Any], device: torch.device) -> str:
    return said(same_weights(*(finished(training_of(options, device)) for _ in range(2))))


def resumes(options: Mapping[str, Any], device: torch.device) -> str:
    first, resumed = training_of(options, device), training_of(options, device)
    next(first.epochs())
    resumed.load_state_dict(first.state_dict())
    return said(same_weights(finished(resumed), finished(training_of(options, device))))


def is_captured(options: Mapping[str, Any], device: torch.device) -> str:
    captured = training_of(options, device, kind=CapturedTraining)
    return said(same_weights(finished(captured), finished(training_of(options, device))))


def trains(changes: dict[str, Any], device: torch.device) -> str:
    options, weights = PLAIN | changes, None
    if changes.get("procedure", {}).get("name") in ("crt", "lws", "tau_norm"):
        first = finished(training_of(PLAIN, device))
        options, weights = options | {"stage_one": first.config}, first.state_dict()["model"]
    finished(training_of(options, device, stage_one=weights)).test()
    return "yes"


def augments(name: Augmentation, device: torch.device) -> str:
    """Numbers are drawn on the CPU for every device; what is computed from them is rounded there."""
    images = torch.from_numpy(source().train.pixels)
    there, here = (
        augment(images.to(place), (name,), torch.Generator().manual_seed(0)).cpu().int() for place in (device, "cpu")
    )
    off = (there - here).abs()
    if not off.any():
        return "yes"
    far = (off > LEVELS).double().mean().item()
    return (
        f"{said(far <= SHARE)}, but for {100 * (off > 0).double().mean():.2g} % of the pixels, by {off.max()} at most"
    )


def said(holds: bool) -> str:
    return "yes" if holds else "NO"


def source() -> SourceData:
    """Four noisy patterns, of which a network learns something, and which are like photos in being smooth."""
    random = np.random.default_rng(0)
    patterns = random.uniform(0, 255, (NUM_CLASSES, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)

    def images(per_class: int) -> ImageSet:
        labels = np.repeat(np.arange(NUM_CLASSES), per_class)
        pixels = patterns[labels] + random.normal(0, 30, (len(labels), 3, 32, 32))
        return ImageSet(pixels.clip(0, 255).astype(np.uint8), labels)

    return SourceData.of(images(24), images(8), ("a", "b", "c", "d"))


def training_of(
    options: Mapping[str, Any],
    device: torch.device,
    *,
    kind: type[Training] = Training,
    stage_one: dict[str, Tensor] | None = None,
) -> Training:
    model = "resnet32" if device.type == "cuda" else "small_cnn"  # on a CPU this is only tried out
    config, images = TrialConfig.model_validate({"model": model, **options}), source()
    split = split_long_tailed(images.train.labels, config.data, config.seed)
    return kind(config, images, split, device=device, stage_one=stage_one)


def finished(training: Training) -> Training:
    for _ in training.epochs():
        pass
    return training


def same_weights(one: Training, other: Training) -> bool:
    """Running statistics included."""
    weights = (each.state_dict()["model"] for each in (one, other))
    return all(torch.equal(*pair) for pair in zip(*(each.values() for each in weights), strict=True))
