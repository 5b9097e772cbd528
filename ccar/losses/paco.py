"""PaCo's loss: one softmax over learnable class centres and over other images, with the right ones of both as targets.

No base loss: it needs more than logits and labels, and no factor of one probability p_t that Omega could weigh.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-12  # of the authors' code: where the anchor's similarity to itself is far above all that counts


def parametric_contrastive(
    class_logits: Tensor,
    similarities: Tensor,
    labels: Tensor,
    candidate_labels: Tensor,
    *,
    alpha: float = 0.01,
    beta: float = 1.0,
    gamma: float = 1.0,
    supt: float = 1.0,
    temperature: float = 0.05,
) -> Tensor:
    """Minus the weighted mean log probability of an anchor's class centre and of the candidates of its class.

    The softmax goes over the K classes, at class_logits / supt, and the M candidates, at similarities /
    temperature, whose exponentials count gamma times. An anchor is no candidate of its own.

    Args:
        class_logits: (B, K) float32, the class prior in them where it is wanted.
        similarities: (B, M) float32 cosines of each anchor with each candidate; the first B candidates are the
            anchors themselves, in their order.
        labels: (B,) int64 of the anchors, in [0, K).
        candidate_labels: (M,) int64.
        alpha: target weight of each candidate of the anchor's class, no unit, >= 0.
        beta: target weight of the anchor's class centre, no unit, > 0.
        gamma: weight of the candidates in the denominator, no unit, >= 0.
        supt: temperature of the class logits, no unit, > 0.
        temperature: of the similarities, no unit, > 0.

    Returns:
        (B,) losses in nats.

    Source: Cui et al., ICCV 2021, arXiv:2107.12028, and its published code (PaCo/LT/losses.py).

    Example:
        >>> logits, similarities = torch.zeros(1, 2), torch.tensor([[1.0, 1.0, 0.0]])
        >>> parametric_contrastive(logits, similarities, torch.tensor([0]), torch.tensor([0, 0, 1]), temperature=1.0)
        tensor([1.7338])
    """
    num_classes = class_logits.shape[1]
    counts = torch.ones_like(similarities).fill_diagonal_(0)  # not the anchor itself
    is_class = labels[:, None] == torch.arange(num_classes, device=labels.device)
    is_positive = labels[:, None] == candidate_labels
    targets = torch.cat((beta * is_class.to(class_logits.dtype), alpha * counts * is_positive), dim=1)
    weights = torch.cat((torch.ones_like(class_logits), gamma * counts), dim=1)
    scores = torch.cat((class_logits / supt, similarities / temperature), dim=1)
    scores = scores - scores.detach().amax(1, keepdim=True)
    log_probabilities = scores - torch.log((scores.exp() * weights).sum(1, keepdim=True) + _EPSILON)
    return -(targets * log_probabilities).sum(1) / targets.sum(1)
