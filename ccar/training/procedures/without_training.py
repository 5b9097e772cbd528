"""Tau-normalisation and post-hoc logit adjustment: stage one read in another way, with a tau from validation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ccar.losses import post_hoc_logit_adjustment
from ccar.metrics.accuracy import recall_per_class
from ccar.models.heads import LinearHead, normalised_by_tau
from ccar.training.config import PostHocLogitAdjustment as PostHocConfig
from ccar.training.config import TauNormalisation as TauNormConfig
from ccar.training.procedures.end_to_end import EndToEnd


class WithoutTraining(EndToEnd):
    """Nothing is trained; a strength tau is chosen on the validation part and kept beside the weights."""

    def build_model(self, in_channels: int) -> nn.Module:
        model = super().build_model(in_channels)
        model.register_buffer("tau", torch.tensor(self.candidates[0], dtype=torch.float64))
        return model

    @property
    def candidates(self) -> tuple[float, ...]:
        """The taus to choose from."""
        return cast(TauNormConfig | PostHocConfig, self.config.procedure).tau

    @property
    def tau(self) -> float:
        """The chosen one; before `choose` the first candidate."""
        return float(cast(Tensor, self.model.tau))

    def start_from(self, weights: dict[str, Tensor]) -> None:
        self.model.load_state_dict({**weights, "tau": self.model.state_dict()["tau"]})

    def features(self, pixels: Tensor) -> Tensor:
        """(B, ...) what `read` needs of a batch, the same for every tau."""
        raise NotImplementedError

    def read(self, features: Tensor, tau: float) -> Tensor:
        """(B, K) logits whose softmax is the prediction at this tau."""
        raise NotImplementedError

    def predict(self, pixels: Tensor) -> Tensor:
        return self.read(self.features(pixels), self.tau)

    def choose(self, features: Tensor, labels: Tensor) -> None:
        """Keep the tau with the highest balanced accuracy, the smallest of equals.

        Args:
            features: of all validation images.
            labels: (N,) int64.
        """
        truth, reached = labels.cpu().numpy(), {}
        for tau in self.candidates:
            predicted = self.read(features, tau).argmax(1).cpu().numpy()
            reached[tau] = recall_per_class(predicted, truth, len(self.class_counts)).mean()
        best = min(self.candidates, key=lambda tau: (-reached[tau], tau))
        cast(Tensor, self.model.tau).fill_(best)


class TauNormalisation(WithoutTraining):
    """Each class vector divided by its norm to the power tau; the bias is dropped.

    Source: Kang et al., ICLR 2020, arXiv:1910.09217.
    """

    def features(self, pixels: Tensor) -> Tensor:
        with self.precision():
            features: Tensor = cast(nn.Module, self.model.backbone)(pixels)
        return features

    def read(self, features: Tensor, tau: float) -> Tensor:
        return normalised_by_tau(cast(LinearHead, self.model.head), features, tau)


class PostHocLogitAdjustment(WithoutTraining):
    """tau times the log prior taken off the logits. Source: Menon et al., ICLR 2021, arXiv:2007.07314."""

    def features(self, pixels: Tensor) -> Tensor:
        return self.scaled(self.logits(pixels))

    def read(self, features: Tensor, tau: float) -> Tensor:
        return post_hoc_logit_adjustment(features, self.class_counts, tau)
