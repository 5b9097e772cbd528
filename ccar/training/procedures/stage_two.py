"""cRT and LWS: a backbone that stays as stage one left it, and a classifier that learns on.

Source: Kang et al., ICLR 2020, arXiv:1910.09217.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ccar.models.heads import LinearHead, ScaledHead
from ccar.training.config import ClassifierRetraining as CrtConfig
from ccar.training.config import LearnableWeightScaling as LwsConfig
from ccar.training.procedures.end_to_end import EndToEnd


class StageTwo(EndToEnd):
    """Trains the head on features of a frozen backbone."""

    @property
    def _backbone(self) -> nn.Module:
        return cast(nn.Module, self.model.backbone)

    @property
    def _head(self) -> nn.Module:
        return cast(nn.Module, self.model.head)

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._head.parameters() if parameter.requires_grad]

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        super().begin_epoch(epoch, num_epochs)
        if cast(CrtConfig | LwsConfig, self.config.procedure).batch_norm == "frozen":
            self._backbone.eval()

    def logits(self, pixels: Tensor) -> Tensor:
        with self.precision():
            with torch.no_grad():  # half the work: nothing goes back through the backbone
                features = self._backbone(pixels)
            logits: Tensor = self._head(features)
        return logits


class ClassifierRetraining(StageTwo):
    """cRT: the head is a new one."""

    def start_from(self, weights: dict[str, Tensor]) -> None:
        prefix = "backbone."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        self._backbone.load_state_dict(own)


class LearnableWeightScaling(StageTwo):
    """LWS: the head of stage one, with one learnable factor per class on its logits."""

    def build_model(self, in_channels: int) -> nn.Module:
        model = super().build_model(in_channels)
        model.head = ScaledHead(cast(LinearHead, model.head))
        return model

    def start_from(self, weights: dict[str, Tensor]) -> None:
        renamed = {
            f"head.linear.{name.removeprefix('head.')}" if name.startswith("head.") else name: value
            for name, value in weights.items()
        }
        self.model.load_state_dict({**renamed, "head.scale": self._head.state_dict()["scale"]})
