from typing import get_args

import pytest
import torch

from ccar.models.build import HEADS, MODELS, build_model
from ccar.training.config import Head, ModelName


def test_every_model_and_head_that_a_study_can_name_exists():
    assert set(MODELS) == set(get_args(ModelName))
    assert set(HEADS) == set(get_args(Head))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_model_gives_one_logit_per_class_and_a_finite_gradient_everywhere(name, head, in_channels):
    torch.manual_seed(0)  # three images of one pixel after the last stage: batch norm has few numbers to go by
    model = build_model(name, head, num_classes=7, in_channels=in_channels)
    logits = model(torch.randn(3, in_channels, 8, 8))
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_the_backbone_starts_the_same_under_either_head(name):
    backbones = []
    for head in HEADS:
        torch.manual_seed(3)
        backbones.append(build_model(name, head, 5, 3).backbone.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(b.values() for b in backbones), strict=True))
