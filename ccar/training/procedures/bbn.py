"""BBN: two branches that learn from two samplings of the images, and a share that moves from one to the other.

Source: Zhou et al., CVPR 2020, arXiv:1912.02413, and its published code (Megvii-Nanjing/BBN).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ccar.models.bbn import TwoBranches, build_two_branches
from ccar.training.procedures.end_to_end import EndToEnd
from ccar.training.resident import TrainingImages
from ccar.training.sampling import reversed_order


class BilateralBranch(EndToEnd):
    """Every step trains on a batch of the recipe's sampler and on one of the reversed sampler.

    With a the share of the conventional branch, the classifier sees 2 (a f_c, (1 - a) f_r), and the loss is
    a L(logits, y_c) + (1 - a) L(logits, y_r) with the loss L of the method, re-weighting included. To predict,
    one image goes through both branches, each at full strength.
    """

    _share = 1.0  # of the conventional branch in this epoch

    def build_model(self, in_channels: int) -> nn.Module:
        return build_two_branches(self.config.model, self.config.head, len(self.class_counts), in_channels)

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        super().begin_epoch(epoch, num_epochs)
        self._share = conventional_share(epoch, num_epochs)

    def batches(self, labels: Tensor, num_steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """In each, the images of the conventional branch come first, and as many of the other one after them."""
        conventional = super().batches(labels, num_steps, generator)
        sizes = [len(batch) for batch in conventional]
        rebalancing = torch.split(reversed_order(labels.cpu(), sum(sizes), generator).to(labels.device), sizes)
        return tuple(torch.cat(pair) for pair in zip(conventional, rebalancing, strict=True))

    def loss_of(self, batch: Tensor, images: TrainingImages, generator: torch.Generator) -> Tensor:
        pixels = images.batch(batch, generator).chunk(2)
        labels = images.labels[batch].chunk(2)
        shares = (self._share, 1 - self._share)
        backbone = cast(TwoBranches, self.model.backbone)
        with self.precision():
            features = (backbone.conventional(pixels[0]), backbone.rebalancing(pixels[1]))
        # float32: in bfloat16 the shares would lose the digits in which one epoch differs from the next.
        parts = [share * feature.float() for share, feature in zip(shares, features, strict=True)]
        logits = cast(nn.Module, self.model.head)(2 * torch.cat(parts, dim=1))
        first, second = (share * self.loss(logits, labels_of) for share, labels_of in zip(shares, labels, strict=True))
        return cast(Tensor, first + second)


def conventional_share(epoch: int, num_epochs: int) -> float:
    """Share of the conventional branch, 1 - ((T - 1) / T_div)^2: all in the first epoch, nearly none in the last.

    Args:
        epoch: T, counted from 1.
        num_epochs: T_div, except that 90 epochs take 100 and 180 take 200, as in the authors' code.

    Example:
        >>> [round(conventional_share(epoch, 200), 3) for epoch in (1, 50, 100, 150, 200)]
        [1.0, 0.94, 0.755, 0.445, 0.01]
    """
    divisor = {90: 100, 180: 200}.get(num_epochs, num_epochs)
    return 1 - ((epoch - 1) / divisor) ** 2
