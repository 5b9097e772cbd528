"""A trial small enough to train in a few milliseconds; fresh processes of the tests build the same one."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch

from ccar.data.config import DataConfig
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import split_long_tailed
from ccar.training.checkpoint import from_bytes
from ccar.training.config import LDAM, Reweighting, TrialConfig
from ccar.training.loop import Training
from ccar.training.recipe import CosineSchedule, Recipe

CPU = torch.device("cpu")
NUM_CLASSES = 4


def tiny_source(num_channels=1, size=8):
    """Four noisy patterns, 24 training and 10 test images each, in arrays that cannot be written to."""
    rng = np.random.default_rng(7)
    patterns = rng.uniform(60, 190, (NUM_CLASSES, num_channels, size, size))

    def images_of(per_class):
        labels = np.repeat(np.arange(NUM_CLASSES), per_class)
        images = (patterns[labels] + rng.normal(0, 45, (len(labels), num_channels, size, size))).clip(0, 255)
        images = images.astype(np.uint8)
        images.setflags(write=False)
        labels.setflags(write=False)
        return ImageSet(images, labels)

    return SourceData.of(images_of(24), images_of(10), ("a", "b", "c", "d"))


def tiny_recipe(**changes):
    plain = Recipe(
        name="tiny",
        epochs=6,
        batch_size=8,
        learning_rate=0.1,
        weight_decay=5e-4,
        schedule=CosineSchedule(warmup_epochs=2, warmup_start=0.5),
    )
    return Recipe.model_validate(plain.model_dump() | changes)


def tiny_config(*, recipe=None, imbalance_factor=4, validation_per_class=4, **changes):
    """20 + 12 + 7 + 5 = 44 training images of `tiny_source`, 16 to validate on."""
    data = DataConfig(name="digits", imbalance_factor=imbalance_factor, validation_per_class=validation_per_class)
    plain = {"model": "small_cnn", "head": "linear", "loss": {"name": "cross_entropy"}, "seed": 0}
    return TrialConfig.model_validate(plain | {"data": data, "recipe": recipe or tiny_recipe()} | changes)


# Everything that a checkpoint has to carry: momentum, a loss with a state, the epoch for DRW, augmentation.
WITH_STATE = {
    "head": "normed",
    "loss": LDAM(drw_start=0.5),
    "reweighting": Reweighting(omega=0.75),
    "reduction": "scale_matched",
    "recipe": tiny_recipe(augmentation=("crop", "flip"), precision="bf16"),
}


def tiny_training(config, source=None):
    source = source or tiny_source()
    return Training(config, source, split_long_tailed(source.train.labels, config.data, config.seed), device=CPU)


def finish(training):
    """Train to the end and test; everything that was measured, without the times."""
    return [numbers(result) for result in training.epochs()], numbers(training.test())


def numbers(result):
    """A result as JSON would keep it, without what depends on the clock."""
    fields = json.loads(json.dumps(dataclasses.asdict(result)))
    return {key: fields[key] for key in fields.keys() - {"seconds", "images_per_second", "finished_at"}}


if __name__ == "__main__":  # python -m tests.training.tiny STATE: finish what another process began
    torch.set_num_threads(1)
    training = tiny_training(tiny_config(**WITH_STATE))
    training.load_state_dict(from_bytes(Path(sys.argv[1]).read_bytes(), CPU))
    print(json.dumps(finish(training)))
