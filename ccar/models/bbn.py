"""BBN's network: one trunk, and the last block of a backbone twice.

Source: Zhou et al., CVPR 2020, arXiv:1912.02413.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor, nn

from ccar.models.build import HEADS, MODELS


class _Backbone(Protocol):
    num_features: int

    def in_two_parts(self) -> tuple[nn.Module, nn.Module]:
        """All but the last block; the last block and what follows it."""
        ...


class TwoBranches(nn.Module):
    """Backbone: (N, in_channels, H, W) images to the features of both branches side by side.

    Each branch is a last block of its own behind the trunk that they share. ResNet-32 so has 128 features and
    537,488 parameters.

    Args:
        conventional: a fresh backbone: the trunk and the branch that sees every image equally often.
        rebalancing: another one of the same kind, whose last block is the branch that sees rare classes more often;
            the rest of it is left alone.
    """

    def __init__(self, conventional: _Backbone, rebalancing: _Backbone) -> None:
        super().__init__()
        self.trunk, self.conventional_branch = conventional.in_two_parts()
        _, self.rebalancing_branch = rebalancing.in_two_parts()
        self.num_features = 2 * conventional.num_features

    def conventional(self, images: Tensor) -> Tensor:
        """(N, num_features / 2) features of the conventional branch."""
        features: Tensor = self.conventional_branch(self.trunk(images))
        return features

    def rebalancing(self, images: Tensor) -> Tensor:
        """(N, num_features / 2) features of the re-balancing branch."""
        features: Tensor = self.rebalancing_branch(self.trunk(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk(images)
        return torch.cat((self.conventional_branch(maps), self.rebalancing_branch(maps)), dim=1)


def build_two_branches(name: str, head: str, num_classes: int, in_channels: int) -> nn.Sequential:
    """A freshly initialised two-branch classifier with float32 logits; otherwise as `build_model`.

    The trunk and the conventional branch start as the backbone of `build_model` does.
    """
    backbone = TwoBranches(MODELS[name](in_channels), MODELS[name](in_channels))
    return nn.Sequential(OrderedDict(backbone=backbone, head=HEADS[head](backbone.num_features, num_classes)))
