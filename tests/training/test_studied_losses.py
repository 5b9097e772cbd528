"""The base losses that no shipped study names, as a study on the digits would run them."""

from __future__ import annotations

import pytest
import torch

from ccar.data.long_tail import split_long_tailed
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of, load_data
from ccar.training.loop import Training
from tests.training.tiny import CPU, finish

STUDY = """\
study: other-losses
question: Do the losses that no shipped study names learn?
data: {name: digits, imbalance_factors: 10, validation_per_class: 10}
model: small_cnn
recipe: {name: digits_quick, epochs: 4}
methods:
  bases: [ala, gala, sigmoid_focal, class_balanced_sigmoid_focal]
  reweighting: {omega: 0.75}
seeds: [0]
baseline: gala
"""
LABELS = [
    label
    for base in ("ala", "gala", "sigmoid_focal", "class_balanced_sigmoid_focal")
    for label in (base, f"{base}+ccar(omega=0.75)")
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Its cells by label, and the digits."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(folder / "study.yaml")
    return {cell.method: cell.config for cell in cells_of(study)}, load_data(study, folder / "cache")


def trained(config, source):
    training = Training(config, source, split_long_tailed(source.train.labels, config.data, config.seed), device=CPU)
    return finish(training)


def test_the_study_has_each_loss_plain_and_re_weighted(study):
    assert list(study[0]) == LABELS


@pytest.mark.parametrize("label", LABELS)
def test_it_learns_far_above_chance_and_repeats_bit_for_bit_by_seed(label, study):
    configs, source = study
    epochs, test = trained(configs[label], source)
    assert all(torch.tensor(epoch["train_loss"]).isfinite() for epoch in epochs)
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert epochs[-1]["validation"]["balanced_accuracy"] > 0.5  # chance is 0.1
    assert test["last_epoch"]["balanced_accuracy"] > 0.5
    assert trained(configs[label], source) == (epochs, test)
    assert trained(configs[label].with_seed(1), source) != (epochs, test)
