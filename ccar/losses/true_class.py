"""The probability of the true class, and the way back from it to the logits: all work on (N, K) numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import e, log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ccar.losses.checks import check_first_derivative
from ccar.losses.phi import Phi

LOG2_E = log2(e)
# Two logits can lie further apart than the largest float; far from that limit, sums stay finite too.
_FARTHEST = {dtype: torch.finfo(dtype).min * 1e-8 for dtype in (torch.float32, torch.float64)}


class TrueClass:
    """What the softmax says of the true class of each image, with all digits both where p_t -> 0 and p_t -> 1.

    Attributes:
        cross_entropy: (N,) -ln p_t, at least 0 and finite.
    """

    __slots__ = ("_exp", "_exp_others", "_exp_sum", "cross_entropy")

    def __init__(self, cross_entropy: Tensor, exp: Tensor, exp_others: Tensor, exp_sum: Tensor) -> None:
        self.cross_entropy = cross_entropy
        self._exp, self._exp_others, self._exp_sum = exp, exp_others, exp_sum

    @property
    def p(self) -> Tensor:
        """(N,) probability of the true class."""
        return self._exp / self._exp_sum

    @property
    def rest(self) -> Tensor:
        """(N,) 1 - p_t, as the sum of the other probabilities."""
        return self._exp_others / self._exp_sum


def apply_to_true_class(
    function: Callable[[TrueClass], Phi],
    logits: Tensor,
    labels: Tensor,
    *,
    adjust: Callable[[Tensor, Tensor], Tensor] | None = None,
    true_slope: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """`function(true_class).value`, with the gradient scale * Psi * (p - e_t), p = softmax(scale * adjusted logits).

    Args:
        function: from the true class of each image to Phi. Runs once, without autograd.
        logits: (N, K) float32 or float64, finite; however far apart, values and gradients are finite.
        labels: (N,) int64 in [0, K).
        adjust: from logits and labels to (N, K) logits that are shifted by constants, or the same tensor. Runs
            without autograd; what it returns is overwritten.
        true_slope: (N,) where `adjust` moves the logit of the true class by more than a constant, the derivative
            of the new one by the old one: a factor on that column of the gradient.
        scale: inverse temperature, no unit, > 0.

    Returns:
        (N,) or (), as `function` says.

    Raises:
        NotImplementedError: in the backward pass, when a second derivative is asked for.

    Example:
        >>> logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
        >>> probability = lambda true: Phi(true.p, psi=-true.p)
        >>> apply_to_true_class(probability, logits, torch.tensor([1])).backward()
        >>> logits.grad
        tensor([[-0.2500,  0.2500]])
    """
    value: Tensor = _ApplyToTrueClass.apply(function, logits, labels, adjust, true_slope, scale)
    return value


def with_true_column(values: Tensor, true: Tensor, new: Tensor) -> Tensor:
    """`values` with one number of each row replaced.

    Args:
        values: (N, K); may be overwritten.
        true: (N, 1) int64, the column of each row's number.
        new: (N, 1) of the same type.
    """
    if values.is_cuda and torch.are_deterministic_algorithms_enabled():
        return by_comparison(values, true, new)
    return values.scatter_(1, true, new)


def by_comparison(values: Tensor, true: Tensor, new: Tensor) -> Tensor:
    """The same in one pass over all numbers: a GPU that must be deterministic sorts for a scatter, in many calls."""
    return torch.where(torch.arange(values.shape[1], device=values.device) == true, new, values)


def scaled_rows(saved: Tensor, factors: Tensor) -> Tensor:
    """What a backward pass gives: saved (N, K) times factors (N, 1), in the memory of `saved` where that is free.

    Memory that was not written to lately costs as much as a third of a step. The compiler has its own reuse.
    """
    is_kept = torch._C._autograd._get_current_graph_task_keep_graph  # retain_graph=True; torch has no public name
    if torch.compiler.is_compiling() or is_kept():
        return saved * factors
    return saved.mul_(factors)


class _ApplyToTrueClass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        function: Callable[[TrueClass], Phi],
        logits: Tensor,
        labels: Tensor,
        adjust: Callable[[Tensor, Tensor], Tensor] | None,
        true_slope: Tensor | None,
        scale: float,
    ) -> Tensor:
        true = labels.unsqueeze(1)
        # One (N, K) buffer, and everything below is in place.
        exps = logits if adjust is None else adjust(logits, labels)
        highest = exps.amax(1, keepdim=True)
        exps = exps - highest if exps is logits else exps.sub_(highest)
        gap = exps.gather(1, true).squeeze_(1)
        if scale != 1:
            gap.mul_(scale)
        gap.clamp_min_(_FARTHEST[logits.dtype])
        # exp2, not exp: torch hands exp to a library that is four times slower on some CPUs.
        exps.mul_(scale * LOG2_E).exp2_()
        exps = with_true_column(exps, true, highest.zero_())
        exp_others = exps.sum(1)
        # Now exps / exp_sum is p - e_t, without cancellation where p_t -> 1.
        slope = -exp_others if true_slope is None else -exp_others * true_slope.to(logits.dtype)
        exps = with_true_column(exps, true, slope.unsqueeze_(1))
        exp_true = gap.exp()
        exp_sum = exp_true + exp_others
        # -ln p_t from the log-odds; above the threshold softplus(x) is x, which is exact for float64 too.
        cross_entropy = F.softplus(exp_others.log().sub_(gap), threshold=50.0)
        phi = function(TrueClass(cross_entropy, exp_true, exp_others, exp_sum))
        length = phi.psi / exp_sum
        ctx.save_for_backward(exps, length if scale == 1 else length * scale)
        return phi.value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None, None, None]:  # noqa: ANN401  as in torch
        check_first_derivative()
        (grad,) = grads
        exps, length = ctx.saved_tensors
        return None, scaled_rows(exps, (grad * length).unsqueeze_(1)), None, None, None, None
