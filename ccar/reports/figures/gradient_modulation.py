"""Figure 1 of the CCAR paper: by which factor each loss scales the gradient of cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure, legend_below
from ccar.reports.omega_formula import class_frequencies, focal_gradient_factor, gradient_factor, without_jump

OMEGAS = (0.25, 0.5, 0.75, 1.0)
FOCAL_STYLES = {1.0: "--", 2.0: "-."}
_P = np.linspace(1e-4, 1.0, 800)
_DOTTED = (0, (1, 1.2))


def gradient_modulation(class_counts: Sequence[int], name: str) -> ReportFigure:
    """Left Psi of the smallest class beside focal and cross-entropy; right what its class frequency adds.

    Args:
        class_counts: training images of each class.
        name: what the classes are of.
    """
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    fraction, of_largest = (_head_and_tail(class_counts, source) for source in ("fraction", "max_normalised"))
    for colour, omega in zip(PALETTE, OMEGAS, strict=False):
        psi = without_jump(_P, gradient_factor(_P, fraction[1], omega), omega)
        left.plot(_P, psi, color=colour)
        for (head, tail), style in ((fraction, "-"), (of_largest, _DOTTED)):
            added = gradient_factor(_P, tail, omega) / gradient_factor(_P, head, omega) - 1
            right.plot(_P, without_jump(_P, 100 * added, omega), color=colour, linestyle=style)
    left.axhline(1.0, color=NEUTRAL)
    for gamma, style in FOCAL_STYLES.items():
        left.plot(_P, focal_gradient_factor(_P, gamma), color=NEUTRAL, linestyle=style)
    right.axhline(0.0, color=NEUTRAL)
    _label(left, "gradient factor", "gradient factor Ψ (cross-entropy: 1)")
    left.set_ylim(bottom=0)
    _label(right, "smallest class against largest", "difference of Ψ (%)")
    handles = _legend()
    legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    largest, smallest = max(class_counts), min(class_counts)
    most = 100 * max(
        float(np.abs(gradient_factor(_P, fraction[1], omega) / gradient_factor(_P, fraction[0], omega) - 1).max())
        for omega in OMEGAS
    )
    return ReportFigure(
        name="figure1_gradient_modulation",
        caption="The factor Ψ by which a loss scales the gradient of cross-entropy on the logits, over the confidence "
        f"in the true class. Left: CCAR over cross-entropy for the smallest class of {name} ({smallest:,} of "
        f"{sum(class_counts):,} images), for several pivots ω, beside cross-entropy and the focal loss; Ψ jumps at ω. "
        f"Right: how much Ψ of the smallest class differs from Ψ of the largest one ({largest:,} images), with the "
        f"paper's class frequency n_c / N (at most {most:.2g} %), and with n_c / max n (dotted).",
        alt="Gradient factor over the confidence for several pivots, focal loss and cross-entropy, and its dependence "
        "on the class frequency",
        figure=figure,
    )


def _head_and_tail(class_counts: Sequence[int], source: str) -> tuple[float, float]:
    frequencies = class_frequencies(class_counts, source)
    return float(frequencies.max()), float(frequencies.min())


def _label(axes: Axes, title: str, quantity: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("confidence $p_t$")
    axes.set_ylabel(quantity)
    axes.set_xlim(0, 1)


def _legend() -> list[Line2D]:
    black: dict[str, Any] = {"color": "#000000"}
    return [
        *(Line2D([], [], color=colour, label=f"ω = {omega:g}") for colour, omega in zip(PALETTE, OMEGAS, strict=False)),
        Line2D([], [], color=NEUTRAL, label="cross-entropy"),
        *(
            Line2D([], [], color=NEUTRAL, linestyle=style, label=f"focal, γ = {gamma:g}")
            for gamma, style in FOCAL_STYLES.items()
        ),
        Line2D([], [], **black, label="right: $f_c = n_c / N$"),
        Line2D([], [], **black, linestyle=_DOTTED, label="right: $f_c = n_c / \\max n$"),
    ]
