import pytest
import torch
from torch import nn

from ccar.models.build import build_model
from ccar.models.resnet32 import BasicBlock, ResNet32


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_backbone_has_the_published_number_of_parameters():
    assert num_parameters(ResNet32(3)) == 463_504


@pytest.mark.parametrize(("head", "num_classes", "expected"), [
    ("linear", 10, 464_154),
    ("linear", 100, 470_004),
    ("normed", 100, 469_904),
])  # fmt: skip
def test_the_classifier_has_the_published_number_of_parameters(head, num_classes, expected):
    assert num_parameters(build_model("resnet32", head, num_classes, 3)) == expected


def test_it_has_31_convolutions_and_with_the_head_32_layers():
    layers = [m for m in build_model("resnet32", "linear", 10, 3).modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) == 31
    assert all(layer.bias is None for layer in layers)


def test_two_halvings_leave_8x8_maps_whose_average_is_the_feature():
    backbone = ResNet32(3).eval()
    with torch.no_grad():
        maps = backbone.stages(backbone.stem(torch.zeros(2, 3, 32, 32)))
        assert maps.shape == (2, 64, 8, 8)
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    maps = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    found = BasicBlock(2, 4, stride=2)._shortcut(maps)
    assert found.shape == (1, 4, 2, 2)
    assert found[0, 0].eq(0).all()
    assert found[0, 3].eq(0).all()
    for channel in range(2):
        for row in range(2):
            for column in range(2):
                assert found[0, 1 + channel, row, column] == maps[0, channel, 2 * row, 2 * column]


def test_a_block_whose_convolutions_are_silent_passes_its_positive_input_on():
    block = BasicBlock(4, 4, stride=1).eval()
    nn.init.zeros_(block.conv2.weight)
    maps = torch.rand(2, 4, 5, 5)
    with torch.no_grad():
        assert torch.equal(block(maps), maps)


def test_convolutions_start_kaiming_normal():
    torch.manual_seed(0)
    weight = ResNet32(3).stages[2][1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.002)


def test_batch_norm_keeps_the_defaults_of_the_protocols():
    norm = ResNet32(3).stem[1]
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
