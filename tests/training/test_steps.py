"""What the steps of an epoch must not do on a GPU."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from ccar.data.long_tail import split_long_tailed
from ccar.losses import LOSSES
from ccar.training.config import Reweighting
from ccar.training.loop import Training
from ccar.training.randomness import epoch_generator
from tests.training.tiny import tiny_config, tiny_recipe, tiny_source
from tests.without_waiting import META, WithoutWaiting

OMEGA = Reweighting(omega=0.75)
CHANGES = [
    *({"loss": {"name": name}, "reweighting": reweighting} for name in LOSSES for reweighting in (None, OMEGA)),
    {"reweighting": OMEGA, "reduction": "weight_normalised"},
    {"reweighting": OMEGA, "reduction": "scale_matched"},
    {"loss": {"name": "logit_adjustment"}, "reweighting": Reweighting(omega=0.75, confidence="raw")},
    {"loss": {"name": "ldam", "drw_start": 0.0}, "head": "normed"},
    {"recipe": tiny_recipe(mixing={"name": "mixup"})},
    {"recipe": tiny_recipe(mixing={"name": "cutmix"})},
    {"recipe": tiny_recipe(augmentation=("crop", "flip", "autoaugment", "cutout"))},
    {"procedure": {"name": "paco"}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_no_step_of_an_epoch_waits_for_the_device(changes, monkeypatch):
    source, config = tiny_source(num_channels=3), tiny_config(**changes)
    training = Training(config, source, split_long_tailed(source.train.labels, config.data, config.seed), device=META)
    generator = epoch_generator(config.seed, 1)
    batches = training._procedure.batches(training._train.labels, training._num_steps, generator)
    training._procedure.begin_epoch(1, training.num_epochs)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for this device
    with WithoutWaiting(monkeypatch):
        losses = [training._step(batch, generator) for batch in batches]
    assert {loss.device for loss in losses} == {META}
