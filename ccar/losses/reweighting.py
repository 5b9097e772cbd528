"""CCAR: the weight Omega(p_t, f_c) of an image, from its confidence and the frequency of its class.

With the pivot omega in (0, 1], f' = f_c below the pivot and 1 - f_c from it on, and beta = ln(e - f'):

    Omega = (e - f')^(omega - p_t) = exp(beta (omega - p_t))

Source: CCAR, arXiv:2601.15924, equations 10 to 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import e
from typing import Literal

import torch
from torch import Tensor, nn

from ccar.losses.checks import check_choice, check_number
from ccar.losses.class_prior import FrequencySource, class_frequency
from ccar.losses.phi import Weight
from ccar.losses.true_class import TrueClass

Phase = Literal["dual", "standard_only", "inverted_only", "constant"]
PHASES: tuple[str, ...] = ("dual", "standard_only", "inverted_only", "constant")
CONFIDENCES: tuple[str, ...] = ("adjusted", "raw")
GRADIENTS: tuple[str, ...] = ("through", "detached")
SOFT_LABELS: tuple[str, ...] = ("forbidden", "per_label")


def ccar_weight(
    p_t: Tensor | float,
    class_frequency: Tensor | float,
    omega: float,
    *,
    phase: Phase = "dual",
    keep_z: bool = False,
) -> Tensor:
    """Omega(p_t, f_c), elementwise: above 1 for p_t below the pivot, 1 at it, below 1 beyond.

    Args:
        p_t: probability of the true class, in [0, 1]. NaN stays NaN.
        class_frequency: f_c of the true class, in [0, 1]; broadcasts against `p_t`.
        omega: the pivot, no unit, in (0, 1].
        phase: `dual` takes f' = f_c below the pivot and 1 - f_c at and above it, as the paper;
            `standard_only` f_c on both sides; `inverted_only` 1 - f_c on both; `constant` f' = 0, so beta = 1
            for every class.
        keep_z: divide by Z = e^(beta omega) (1 - e^-beta) / beta, which the paper drops. Then omega no longer
            scales Omega, it is only where the phases meet, and Omega jumps there.

    Returns:
        Omega in the shape of the arguments together; without `keep_z` between e^(omega - 1) and e^omega.
        A plain number takes the other argument's type and device; two plain numbers are float64.

    Raises:
        ValueError: omega outside (0, 1], or an unknown phase.

    Source: CCAR, arXiv:2601.15924, equation 12; equation 8 for Z.

    Example:
        >>> ccar_weight(torch.tensor([0.01, 0.75, 0.999]), 5 / 10847, omega=0.75)
        tensor([2.0957, 1.0000, 0.8738])
    """
    omega = _checked_omega(omega)
    check_choice("phase", phase, PHASES)
    p_t, class_frequency = _float_tensors(p_t, class_frequency)
    below, above = betas(class_frequency, phase)
    beta = torch.where(p_t < omega, below, above)
    weight = torch.exp(beta * (omega - p_t))
    return weight / normaliser(beta, omega) if keep_z else weight


def betas(class_frequency: Tensor, phase: Phase) -> tuple[Tensor, Tensor]:
    """beta = ln(e - f') for confidences below the pivot, and for those at or above it (equation 11)."""
    f = torch.zeros_like(class_frequency) if phase == "constant" else class_frequency
    standard, inverted = (e - f).log(), (e - (1 - f)).log()
    below = inverted if phase == "inverted_only" else standard
    above = standard if phase in ("standard_only", "constant") else inverted
    return below, above


def normaliser(beta: Tensor, omega: Tensor | float) -> Tensor:
    """Z, the integral of exp(beta (omega - p)) over p in [0, 1] (equation 8)."""
    return torch.exp(beta * omega) * -torch.expm1(-beta) / beta


class Reweighting(nn.Module):
    """Omega for the images of a batch, with its slope; the switches of a CCAR study are its options.

    Args:
        class_counts: (K,) float64 images per class, already checked.
        omega: the pivot, no unit, in (0, 1].
        frequency: where f_c comes from, see `class_prior.class_frequency`; K numbers in [0, 1] are taken as
            they are.
        effective_number_beta: in [0, 1), read by `frequency="effective_number"` only.
        phase: see `ccar_weight`.
        confidence: `adjusted` takes p_t from the softmax that the base loss trains (with the prior or the
            margin in it), so Lemma 1 holds as it stands; `raw` from the logits as they came. Different only
            for base losses that adjust logits.
        gradient: `through` differentiates Omega too, as the paper's Lemma 1; `detached` takes it as a
            constant.
        keep_z: see `ccar_weight`.
        soft_labels: of an image with two labels (mixup, CutMix) the paper does not define p_t. `forbidden`
            refuses such images; `per_label` takes the weighted mean of the two losses Omega L, each with the
            p_t of its own label.

    Raises:
        ValueError: a value that is not one of these.
    """

    def __init__(
        self,
        class_counts: Tensor,
        *,
        omega: float,
        frequency: FrequencySource | Sequence[float] | Tensor = "fraction",
        effective_number_beta: float = 0.99,
        phase: Phase = "dual",
        confidence: Literal["adjusted", "raw"] = "adjusted",
        gradient: Literal["through", "detached"] = "through",
        keep_z: bool = False,
        soft_labels: Literal["forbidden", "per_label"] = "forbidden",
    ) -> None:
        super().__init__()
        pivot = _checked_omega(omega)
        check_choice("phase", phase, PHASES)
        check_choice("confidence", confidence, CONFIDENCES)
        check_choice("gradient", gradient, GRADIENTS)
        check_choice("soft_labels", soft_labels, SOFT_LABELS)
        if not isinstance(keep_z, bool):
            raise ValueError(f"keep_z must be true or false, not {keep_z!r}")
        self.confidence, self.gradient, self.keep_z, self.phase = confidence, gradient, keep_z, phase
        self.takes_two_labels = soft_labels == "per_label"

        self.omega: Tensor
        self.frequency: Tensor
        self.register_buffer("omega", torch.tensor(pivot, dtype=torch.float64), persistent=False)
        f = class_frequency(class_counts, frequency, effective_number_beta=effective_number_beta)
        self.register_buffer("frequency", f, persistent=False)
        # Nearly every step computes in float32; to convert in each would cost it 5 % at (512, 100).
        self.float32_omega: Tensor
        self.float32_beta_below: Tensor
        self.float32_beta_above: Tensor
        below, above = betas(f, phase)
        for name, value in (("omega", self.omega), ("beta_below", below), ("beta_above", above)):
            self.register_buffer(f"float32_{name}", value.float(), persistent=False)

    def weight(self, true: TrueClass, labels: Tensor) -> Weight:
        """Omega of each image; the slope of ln(Omega) is beta p_t. labels: (N,) int64."""
        p = true.p
        if p.dtype == torch.float32:
            omega, below, above = self.float32_omega, self.float32_beta_below, self.float32_beta_above
        else:
            omega, (below, above) = self.omega, betas(self.frequency, self.phase)
        beta = torch.where(p < omega, below.index_select(0, labels), above.index_select(0, labels))
        value = (omega - p).mul_(beta).exp_()
        if self.keep_z:
            value = value / normaliser(beta, omega)
        return Weight(value, torch.zeros_like(p) if self.gradient == "detached" else beta * p)


def _checked_omega(omega: object) -> float:
    return check_number("omega", omega, "in (0, 1]", lambda w: 0 < w <= 1)


def _float_tensors(*values: Tensor | float) -> list[Tensor]:
    """Tensors of at least float32; plain numbers take type and device of the tensor among them."""
    like = next((v for v in values if isinstance(v, Tensor)), torch.zeros((), dtype=torch.float64))
    dtype = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
    return [torch.as_tensor(v, dtype=dtype, device=like.device) for v in values]
