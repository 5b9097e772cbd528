from typing import get_args

import pytest
import torch
from torch import nn

from ccar.models.bbn import build_two_branches
from ccar.models.build import MODELS, build_model
from ccar.training.config import ModelName


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(params=[name for name in get_args(ModelName) if name != "resnet152"])
def name(request):
    """Every model but the one that is resnet50 again, with three times the layers."""
    return request.param


def pixels(num_channels=3, size=32):
    return torch.randn(2, num_channels, size, size, generator=torch.Generator().manual_seed(1))


def test_two_branches_of_resnet32_have_the_published_number_of_parameters():
    model = build_two_branches("resnet32", "linear", 100, 3)
    assert num_parameters(model.backbone) == 537_488
    assert num_parameters(model) == 550_388


def test_four_blocks_of_the_last_stage_of_resnet32_are_shared_and_one_is_there_twice():
    backbone = build_two_branches("resnet32", "linear", 10, 3).backbone
    convolutions = [
        sum(isinstance(module, nn.Conv2d) and module.out_channels == 64 for module in part.modules())
        for part in (backbone.trunk, backbone.conventional_branch, backbone.rebalancing_branch)
    ]
    assert convolutions == [8, 2, 2]


def test_of_resnet50_two_blocks_of_the_last_stage_are_shared_and_features_are_two_times_2048():
    backbone = build_two_branches("resnet50", "linear", 10, 3).backbone
    plain = MODELS["resnet50"](3)
    last_block = num_parameters(plain.network.layer4[2])
    assert num_parameters(backbone) == num_parameters(plain) + last_block
    assert num_parameters(backbone.rebalancing_branch) == last_block
    assert backbone.num_features == 2 * 2048


def test_trunk_and_conventional_branch_start_as_the_plain_backbone(name):
    torch.manual_seed(3)
    plain = build_model(name, "linear", 5, 3).backbone.eval()
    torch.manual_seed(3)
    backbone = build_two_branches(name, "linear", 5, 3).backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone.conventional(pixels()), plain(pixels()))


def test_the_branches_share_nothing_and_start_differently(name):
    backbone = build_two_branches(name, "linear", 5, 3).backbone
    conventional, rebalancing = (
        dict(part.named_parameters()) for part in (backbone.conventional_branch, backbone.rebalancing_branch)
    )
    assert conventional.keys() == rebalancing.keys()
    for key, weight in conventional.items():
        assert weight.data_ptr() != rebalancing[key].data_ptr()
        assert weight.ndim < 4 or not torch.equal(weight, rebalancing[key])


def test_a_prediction_sees_both_branches_side_by_side_at_full_strength(name):
    model = build_two_branches(name, "linear", 5, 3).eval()
    with torch.no_grad():
        features = torch.cat([model.backbone.conventional(pixels()), model.backbone.rebalancing(pixels())], dim=1)
        assert features.shape == (2, 2 * MODELS[name](3).num_features)
        torch.testing.assert_close(model(pixels()), features @ model.head.weight.T + model.head.bias)
