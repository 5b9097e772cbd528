"""From one weighted loss per image to one number per batch."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from ccar.losses.checks import check_choice
from ccar.losses.phi import Phi

REDUCTIONS: tuple[str, ...] = ("mean", "weight_normalised", "scale_matched", "none")
_MOMENTUM = 0.1

Differentiable = TypeVar("Differentiable", Tensor, Phi)


class Reduction(nn.Module):
    """`mean`, `weight_normalised`, `scale_matched`, or `none`.

    Below the pivot, omega multiplies the loss by e^omega, which acts like a larger learning rate. Two of
    these take that away, so that a study can tell the shape of Omega from its scale. Without Omega all but
    `none` are the mean.

    - `mean`: sum(Omega w L) / N, or / sum(w) for base losses whose mean is by weight.
    - `weight_normalised`: sum(Omega w L) / sum(Omega), or / sum(Omega w) likewise. Differentiated as it
      stands: where the gradient goes through Omega, it also goes through the divisor.
    - `scale_matched`: the mean divided by m, a running mean of Omega that no gradient goes through.
      In training mode, batch t = 1, 2, ... first updates m <- m + max(1 / t, 0.1) (mean(Omega) - m): the
      plain mean over the first ten batches, then an exponential one. In evaluation mode m stays; before
      any training it is 1. m and t are part of the state_dict.
    - `none`: (N,) one per image.

    Raises:
        ValueError: another name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        check_choice("reduction", name, REDUCTIONS)
        self.name = name
        self.uses_omega = name in ("weight_normalised", "scale_matched")
        if name == "scale_matched":
            self.running_omega: Tensor
            self.num_batches: Tensor
            self.register_buffer("running_omega", torch.ones((), dtype=torch.float64))
            self.register_buffer("num_batches", torch.zeros((), dtype=torch.float64))

    def of(self, loss: Differentiable, omega: Differentiable | None, weights: Tensor | None) -> Differentiable:
        """One number for the batch; one per image for `none`.

        Args:
            loss: (N,) per image, Omega and class weight included.
            omega: (N,) Omega per image, or None when there is none or `uses_omega` is false.
            weights: (N,) class weights that the mean divides by, or None to divide by N.
        """
        if self.name == "none":
            return loss
        if self.name == "weight_normalised" and omega is not None:
            return loss.sum() / (omega if weights is None else omega * weights).sum()
        mean = loss.mean() if weights is None else loss.sum() / weights.sum()
        if self.name == "scale_matched" and omega is not None:
            return mean / self._running_mean(omega)
        return mean

    def _running_mean(self, omega: Tensor | Phi) -> Tensor:
        values = omega.value if isinstance(omega, Phi) else omega.detach()
        if self.training:
            self.num_batches += 1
            share = (1 / self.num_batches).clamp(min=_MOMENTUM)
            self.running_omega.lerp_(values.mean().to(share.dtype), share)
        # a copy, because the next batch may come before this one's backward pass
        return self.running_omega.to(values.dtype, copy=True)
