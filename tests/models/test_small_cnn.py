import pytest
import torch
import torch.nn.functional as F

from ccar.models.small_cnn import SmallCNN, _average_to_2x2


def test_it_is_small():
    assert sum(parameter.numel() for parameter in SmallCNN(1).parameters()) == 10_656


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (7, 10), (28, 28)])
def test_images_of_any_size_give_128_features(size):
    assert SmallCNN(3).eval()(torch.zeros(2, 3, *size)).shape == (2, 128)


@pytest.mark.parametrize("size", [(2, 2), (3, 4), (5, 7), (8, 8)])
def test_its_pooling_is_torchs_adaptive_pooling(size):
    maps = torch.randn(2, 3, *size)
    torch.testing.assert_close(_average_to_2x2(maps), F.adaptive_avg_pool2d(maps, 2))
