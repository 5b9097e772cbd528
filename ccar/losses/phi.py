"""Weights on cross-entropy that depend on the confidence, and the numbers that come of them, with their slopes.

Lemma 1 of the CCAR paper: whatever a loss makes of the probability p_t of the true class, its gradient by the logits is
Psi * (p - e_t), cross-entropy's direction with another length. So it is enough to carry one slope per image along.
Here they are computed with the values, by the product and the quotient rule; autograd would walk back through a
dozen small operations, which for a few hundred images costs more than the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor


@dataclass(slots=True, eq=False)
class Weight:
    """A factor per image on its cross-entropy L = -ln p_t.

    Attributes:
        value: (N,) the factor.
        log_slope: (N,) derivative of ln(value) by L. Where value depends on p_t, remember dp_t / dL = -p_t.
    """

    value: Tensor
    log_slope: Tensor

    def __mul__(self, other: Weight) -> Weight:
        return Weight(self.value * other.value, self.log_slope + other.log_slope)

    def scaled(self, constants: Tensor) -> Weight:
        """The product with (N,) constants; no operator, because torch.compile cannot follow one to a tensor."""
        return Weight(self.value * constants, self.log_slope)

    def times(self, cross_entropy: Tensor) -> Phi:
        """The weighted cross-entropy, with Psi = value * (1 + log_slope * L). cross_entropy: (N,) L."""
        weighted = self.value * cross_entropy
        return Phi(weighted, torch.addcmul(self.value, self.log_slope, weighted))

    def as_phi(self) -> Phi:
        """The weight itself."""
        return Phi(self.value, self.log_slope * self.value)


@dataclass(slots=True, eq=False)
class Phi:
    """A number that depends on the logits through the cross-entropy of each image alone.

    The expressions that reduce a batch can be written once for Phi and for plain tensors.

    Attributes:
        value: (N,) one number per image, or () after a reduction.
        psi: (N,) always: derivative of `value` by the image's cross-entropy. Cross-entropy itself has Psi = 1.

    Example:
        >>> loss = Phi(torch.tensor([4.0, 2.0]), psi=torch.tensor([1.0, 1.0]))
        >>> loss.sum() / torch.tensor(8.0)
        Phi(value=tensor(0.7500), psi=tensor([0.1250, 0.1250]))
    """

    value: Tensor
    psi: Tensor

    def __mul__(self, constants: Tensor) -> Phi:
        return Phi(self.value * constants, self.psi * constants)

    def __truediv__(self, other: Phi | Tensor) -> Phi:
        if isinstance(other, Phi):
            ratio = self.value / other.value
            return Phi(ratio, (self.psi - ratio * other.psi) / other.value)
        return Phi(self.value / other, self.psi / other)

    def sum(self) -> Phi:
        """The sum over images. Each image moves only its own term, so Psi stays as it is."""
        return Phi(self.value.sum(), self.psi)

    def mean(self) -> Phi:
        """The mean over images; NaN when there are none, as in torch."""
        # times a tensor, because arithmetic with a Python number takes twice as long
        share = torch.full((), 1 / (self.psi.shape[0] or nan), dtype=self.psi.dtype, device=self.psi.device)
        return Phi(self.value.sum() * share, self.psi * share)
