"""PaCo: contrast with other images and with learnable class centres, in one softmax.

Source: Cui et al., ICCV 2021, arXiv:2107.12028, and its published code
(dvlab-research/Parametric-Contrastive-Learning, PaCo/LT).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ccar.losses import SoftmaxLoss
from ccar.losses.paco import parametric_contrastive
from ccar.models.paco import ContrastNetwork
from ccar.training.config import ParametricContrast as PaCoConfig
from ccar.training.procedures.end_to_end import EndToEnd
from ccar.training.resident import TrainingImages


class ParametricContrast(EndToEnd):
    """Two views of every image: the recipe's for the network that is trained, another one for its slow copy.

    The class prior that the base loss adds to its logits is added to those of the class centres, in training only.
    """

    @property
    def _network(self) -> ContrastNetwork:
        return cast(ContrastNetwork, self.model)

    @property
    def _options(self) -> PaCoConfig:
        return cast(PaCoConfig, self.config.procedure)

    def build_model(self, in_channels: int) -> nn.Module:
        plain = super().build_model(in_channels)
        return ContrastNetwork(
            plain.get_submodule("backbone"),
            plain.get_submodule("head"),
            num_classes=len(self.class_counts),
            dim=self._options.dim,
            queue_size=self._options.queue_size,
        )

    def loss_of(self, batch: Tensor, images: TrainingImages, generator: torch.Generator) -> Tensor:
        network, options, labels = self._network, self._options, images.labels[batch]
        views = images.batch(batch, generator), images.view(batch, options.key_augmentation, generator)
        with self.precision():
            logits, embeddings = network.logits_and_embeddings(views[0])
            network.follow(options.momentum)
            keys = network.keys(views[1])
        candidates = torch.cat((embeddings, keys, network.queue))
        losses = parametric_contrastive(
            cast(SoftmaxLoss, self.loss.base).adjust(logits, labels),
            embeddings @ candidates.T,
            labels,
            torch.cat((labels, labels, network.queue_labels)),
            alpha=options.alpha,
            beta=options.beta,
            gamma=options.gamma,
            supt=options.supt,
            temperature=options.temperature,
        )
        network.remember(keys, labels)
        return losses.mean()
