"""ResNet-32 for 32x32 images, as the long-tail literature trains it.

Source: He et al., CVPR 2016, arXiv:1512.03385, section 4.2, with the parameter-free shortcut (option A)
and the initialisation of Cao et al., NeurIPS 2019, arXiv:1906.07413 (LDAM-DRW).
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS_PER_STAGE = 5


class ResNet32(nn.Module):
    """Backbone: (N, in_channels, H, W) images to (N, 64) features; 463,504 parameters for three channels."""

    num_features = 64

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.stages = nn.Sequential(_stage(16, 16, 1), _stage(16, 32, 2), _stage(32, 64, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.stages(self.stem(images))
        return maps.mean((2, 3))

    def in_two_parts(self) -> tuple[nn.Module, nn.Module]:
        """All but the last block; the last block and the average. They share their parameters with this network."""
        last_stage = cast(nn.Sequential, self.stages[-1])
        trunk = nn.Sequential(self.stem, self.stages[:-1], last_stage[:-1])
        return trunk, nn.Sequential(last_stage[-1], GlobalAverage())


class GlobalAverage(nn.Module):
    """(N, C, H, W) maps to the mean of each, (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters.

    Where the shape changes, the shortcut takes every second pixel in both directions and pads the new
    channels with zeros, half of them on either side.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.pad_channels = (channels - in_channels) // 2

    def forward(self, maps: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self._shortcut(maps), inplace=True)

    def _shortcut(self, maps: Tensor) -> Tensor:
        if self.stride == 1:
            return maps
        halved = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(halved, (0, 0, 0, 0, self.pad_channels, self.pad_channels))


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    later = (BasicBlock(channels, channels, 1) for _ in range(BLOCKS_PER_STAGE - 1))
    return nn.Sequential(BasicBlock(in_channels, channels, stride), *later)
