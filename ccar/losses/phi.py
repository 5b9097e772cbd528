"""Phi: a number per image that depends on the logits only through log p_t, carried with its slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import e, log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

_LOG2_E = log2(e)


@dataclass(slots=True, eq=False)
class Phi:
    """A value phi(log p_t) and its slope Psi, so that the gradient by the logits is Psi * (p - e_t).

    That is Lemma 1 of the paper: whatever is done to the probability p_t of the true class, the gradient
    keeps the direction of cross-entropy's and only its length Psi changes. Arithmetic on Phi follows the
    product and the quotient rule, so a loss is put together from parts and its gradient comes along, without
    autograd walking back through a dozen small operations. The same expressions work on plain tensors.

    Attributes:
        value: (N,) one number per image, or () after a reduction.
        psi: (N,) always: minus the derivative of `value` by the image's log p_t. Cross-entropy has Psi = 1.

    Example:
        >>> omega = Phi(torch.tensor([2.0]), psi=torch.tensor([0.5]))
        >>> cross_entropy = Phi(torch.tensor([3.0]), psi=torch.tensor([1.0]))
        >>> omega * cross_entropy
        Phi(value=tensor([6.]), psi=tensor([3.5000]))
    """

    value: Tensor
    psi: Tensor

    def __mul__(self, other: Phi | Tensor) -> Phi:
        if isinstance(other, Phi):
            psi = torch.addcmul(self.value * other.psi, self.psi, other.value)
            return Phi(self.value * other.value, psi)
        return Phi(self.value * other, self.psi * other)

    def __truediv__(self, other: Phi | Tensor) -> Phi:
        if isinstance(other, Phi):
            ratio = self.value / other.value
            return Phi(ratio, (self.psi - ratio * other.psi) / other.value)
        return Phi(self.value / other, self.psi / other)

    def sum(self) -> Phi:
        """The sum over images; each image's log p_t moves only its own term, so Psi stays as it is."""
        return Phi(self.value.sum(), self.psi)

    def mean(self) -> Phi:
        """The mean over images."""
        return Phi(self.value.mean(), self.psi / len(self.psi))

    def detach(self) -> Phi:
        """The same value as a constant."""
        return Phi(self.value, torch.zeros_like(self.psi))


def apply_to_log_prob(
    logits: Tensor, labels: Tensor, function: Callable[[Tensor], Phi], *, scale: float = 1.0
) -> Tensor:
    """`function(log p_t).value`, with p = softmax(scale * logits) and gradient Psi * scale * (p - e_t).

    The probability of the true class is where all the work on (N, K) numbers is: three passes over one buffer
    and one exponential each, then one multiplication on the way back. log p_t and 1 - p_t keep their digits
    at both ends, and any finite logits give finite values.

    Args:
        logits: (N, K) float32 or float64.
        labels: (N,) int64 in [0, K).
        function: from log p_t (N,), at most 0, to Phi. Runs once, without autograd.
        scale: inverse temperature, no unit, > 0.

    Returns:
        (N,) or (), as `function` says.

    Raises:
        NotImplementedError: in the backward pass, when a second derivative is asked for.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
        >>> apply_to_log_prob(logits, torch.tensor([1]), lambda log_p: Phi(-log_p, torch.ones(1))).backward()
        >>> logits.grad
        tensor([[ 0.5000, -0.5000]])
    """
    value: Tensor = _ApplyToLogProb.apply(logits, labels, function, scale)
    return value


class _ApplyToLogProb(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, labels: Tensor, function: Callable[[Tensor], Phi], scale: float
    ) -> Tensor:
        true = labels.unsqueeze(1)
        exps = logits - logits.amax(1, keepdim=True)  # the one (N, K) buffer; everything below is in place
        gap = exps.gather(1, true).squeeze(1)
        if scale != 1:
            gap.mul_(scale)
        # Two logits can lie further apart than the largest float; far from that limit, sums stay finite too.
        gap.clamp_(min=torch.finfo(logits.dtype).min * 1e-8)
        # exp2, not exp: torch hands exp to a library that is four times slower on some CPUs.
        exps.mul_(scale * _LOG2_E).exp2_()
        exps.scatter_(1, true, 0.0)
        others = exps.sum(1)
        # Now exps / total is p - e_t, without cancellation where p_t -> 1.
        exps.scatter_(1, true, -others.unsqueeze(1))
        total = others + gap.exp()
        # The log-odds of the true class say log p_t with all its digits at both ends.
        phi = function(F.logsigmoid(gap - others.log()))
        slope = phi.psi / total
        ctx.save_for_backward(exps, slope if scale == 1 else slope * scale)
        return phi.value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401  as in torch
        if torch.is_grad_enabled():  # create_graph=True: what is saved here knows no logits to go back to
            raise NotImplementedError("the losses of ccar have no second derivative; use create_graph=False")
        (grad,) = grads
        exps, slope = ctx.saved_tensors
        return exps * (grad * slope).unsqueeze(1), None, None, None
