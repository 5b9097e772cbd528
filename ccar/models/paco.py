"""PaCo's network: a classifier, an embedding beside it, a slow copy of both, and a memory of what the copy saw.

Source: Cui et al., ICCV 2021, arXiv:2107.12028, and its published code (PaCo/LT/moco/builder.py); the slow copy and
the queue are those of He et al., CVPR 2020, arXiv:1911.05722 (MoCo).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContrastNetwork(nn.Module):
    """(N, in_channels, H, W) images to (N, K) float32 logits; for training also embeddings, keys and a queue of keys.

    Embeddings and keys are (N, dim) float32 of length 1. The keys come from copies of backbone and projection that
    get no gradient and follow the originals. All of it is in the state_dict.

    Args:
        backbone: images to features, with its `num_features`.
        head: features to logits: the class centres.
        num_classes: K.
        dim: of the embeddings.
        queue_size: keys that are remembered.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, *, num_classes: int, dim: int, queue_size: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        num_features = cast(int, backbone.num_features)
        self.projection = nn.Sequential(
            nn.Linear(num_features, num_features),
            nn.BatchNorm1d(num_features),
            nn.ReLU(inplace=True),
            nn.Linear(num_features, dim),
        )
        self.key_backbone = copy.deepcopy(backbone).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        # The authors scale the columns of the first queue, not its rows, to length 1; here the rows are.
        self.queue: Tensor
        self.queue_labels: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("queue_labels", torch.randint(num_classes, (queue_size,)))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def logits_and_embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K) logits, from the features, and (N, dim) embeddings, from the projection of the same features."""
        features = self.backbone(images)
        return self.head(features), _of_length_one(self.projection(features))

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """(N, dim) embeddings of the copies."""
        return _of_length_one(self.key_projection(self.key_backbone(images)))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the weights of the copies: momentum times what they are, the rest of the originals."""
        for original, follower in (self.backbone, self.key_backbone), (self.projection, self.key_projection):
            for theirs, own in zip(original.parameters(), follower.parameters(), strict=True):
                own.lerp_(theirs, 1 - momentum)

    @torch.no_grad()
    def remember(self, keys: Tensor, labels: Tensor) -> None:
        """Put (N, dim) keys and their (N,) labels at the end of the queue; the oldest fall out at its beginning."""
        size = len(self.queue)
        self.queue.copy_(torch.cat((self.queue, keys))[-size:])
        self.queue_labels.copy_(torch.cat((self.queue_labels, labels))[-size:])


def _of_length_one(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.float(), dim=1)
