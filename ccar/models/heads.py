"""Classifier heads: features to logits, in float32 whatever the precision of the backbone.

A confidence read from bfloat16 logits is off by up to half a percent, which every loss here would feel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-12  # keeps the direction of an all-zero feature vector finite


class LinearHead(nn.Linear):
    """`features @ weight.T + bias`; Kaiming-normal weights, bias as torch draws it."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(N, num_features) features of any float type to (N, num_classes) float32 logits."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.float(), self.weight, self.bias)


def biases_of_linear_heads(model: nn.Module) -> list[nn.Parameter]:
    """The biases of every linear head in a network."""
    return [module.bias for module in model.modules() if isinstance(module, LinearHead)]


class NormedHead(nn.Module):
    """Cosine between the features and one direction per class: logits in [-1, 1], no bias, no scale.

    The scale belongs to the loss (LDAM's `s`), because the margins are taken off the cosines before it.
    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413 (LDAM-DRW, `NormedLinear`).
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        directions = torch.empty(num_features, num_classes).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(directions, dim=0, eps=NORM_EPS))

    def forward(self, features: Tensor) -> Tensor:
        """(N, num_features) features of any float type to (N, num_classes) float32 cosines."""
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(features.float(), dim=1, eps=NORM_EPS) @ F.normalize(self.weight, dim=0, eps=NORM_EPS)


class ScaledHead(nn.Module):
    """A trained linear head that stays as it is, with a learnable factor per class on its logits, bias included.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217 (learnable weight scaling).
    """

    def __init__(self, linear: LinearHead) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(linear.out_features))

    def forward(self, features: Tensor) -> Tensor:
        """(N, num_features) features of any float type to (N, num_classes) float32 logits."""
        logits: Tensor = self.linear(features)
        return logits * self.scale


def normalised_by_tau(head: LinearHead, features: Tensor, tau: float) -> Tensor:
    """Logits of class vectors divided by their norm to the power tau, without the bias.

    Args:
        head: a trained linear head; not changed.
        features: (N, num_features) of any float type.
        tau: strength, no unit; 0 is the head without its bias, 1 leaves only the directions.

    Returns:
        (N, num_classes) float32.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217.
    """
    norms = head.weight.norm(dim=1).clamp_min(NORM_EPS)
    logits: Tensor = F.linear(features.float(), head.weight) / norms**tau
    return logits
