"""Omega and its gradient over the confidence, for the study's own class counts and switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.evidence.frames import rows_of
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure, legend_below
from ccar.reports.omega_formula import (
    class_frequencies,
    focal_gradient_factor,
    gradient_factor,
    omega_weight,
    without_jump,
)
from ccar.reports.results import Results, setting_label
from ccar.study.parts import plain

MAX_OMEGAS = 5
MAX_VARIANTS = 4
_SWITCHES = ["frequency", "effective_number_beta", "phase", "gradient", "keep_z"]
_P = np.linspace(1e-4, 1.0, 600)


def weight_curves(results: Results) -> ReportFigure | None:
    """Left Omega, right Psi; head and tail class of the longest tail. None without class counts or omegas."""
    reweighted = results.cells[results.cells["omega"].notna()]
    reweighted = reweighted[~reweighted["frequency"].str.startswith("custom")]  # named by a digest only
    if reweighted.empty or not results.source.class_counts:
        return None
    factor, counts = max(results.source.class_counts.items(), key=lambda item: max(item[1]) / min(item[1]))
    variants = reweighted.drop_duplicates(_SWITCHES)
    left_out = len(variants) - MAX_VARIANTS
    variants = variants.head(MAX_VARIANTS)
    omegas = _shown_omegas(reweighted["omega"])
    figure = Figure(figsize=(WIDTH, 2.6 * len(variants) + 0.7), layout="constrained")
    grid = figure.subplots(len(variants), 2, sharex=True, squeeze=False)
    for panels, variant in zip(grid, rows_of(variants), strict=True):
        beta = variant.effective_number_beta
        frequencies = class_frequencies(
            counts, str(variant.frequency), effective_number_beta=0.99 if np.isnan(beta) else float(beta)
        )
        head, tail = float(frequencies[int(np.argmax(counts))]), float(frequencies[int(np.argmin(counts))])
        _draw(panels[0], panels[1], omegas, (head, tail), variant)
        name = _name_of(variant)
        panels[0].set_title(f"Ω: {name}")
        panels[1].set_title(f"Ψ: {name}")
    legend = _legend(omegas, counts)
    legend_below(figure, legend, [str(line.get_label()) for line in legend])
    return ReportFigure(
        name="weight_curves",
        caption="The weight Ω of an image and the factor Ψ by which it scales the gradient of cross-entropy, over the "
        "confidence in the true class; both without unit. A panel's title gives the frequency source and the "
        f"phase. Class frequencies of this study at {setting_label(plain(factor))}: solid the largest class "
        f"({max(counts):,} images), dotted the smallest ({min(counts):,}); where they coincide, class frequency "
        "has no visible effect. Ψ jumps at the pivot where the two phases differ."
        + (f" {left_out} more combinations of switches are not drawn." if left_out > 0 else ""),
        alt="Omega and gradient factor over the confidence for several pivots, with cross-entropy and focal loss",
        figure=figure,
    )


def _draw(
    left: Axes,
    right: Axes,
    omegas: Sequence[float],
    head_and_tail: tuple[float, float],
    variant: Any,  # noqa: ANN401
) -> None:
    switches: dict[str, Any] = {"phase": variant.phase, "keep_z": bool(variant.keep_z)}
    for colour, omega in zip(PALETTE, omegas, strict=False):
        for frequency, style in zip(head_and_tail, ("-", (0, (1, 1.2))), strict=True):
            weight = omega_weight(_P, frequency, omega, **switches)
            psi = gradient_factor(_P, frequency, omega, gradient=str(variant.gradient), **switches)
            left.plot(_P, weight, color=colour, linestyle=style)
            right.plot(_P, without_jump(_P, psi, omega), color=colour, linestyle=style)
    left.axhline(1.0, color=NEUTRAL, linewidth=0.9)
    right.axhline(1.0, color=NEUTRAL, linewidth=0.9)
    right.plot(_P, focal_gradient_factor(_P, 1.0), color=NEUTRAL, linestyle="--", linewidth=0.9)
    right.plot(_P, focal_gradient_factor(_P, 2.0), color=NEUTRAL, linestyle="-.", linewidth=0.9)
    for axes, label in ((left, "Ω"), (right, "Ψ")):
        axes.set_xlabel("confidence $p_t$")
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_ylabel(label)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)


def _legend(omegas: Sequence[float], counts: Sequence[int]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=colour, label=f"ω = {omega:g}") for colour, omega in zip(PALETTE, omegas, strict=False)
    ]
    black: dict[str, Any] = {"color": "#000000"}
    return [
        *lines,
        Line2D([], [], **black, label=f"largest class ({max(counts):,})"),
        Line2D([], [], **black, linestyle=(0, (1, 1.2)), label=f"smallest class ({min(counts):,})"),
        Line2D([], [], color=NEUTRAL, linewidth=0.9, label="cross-entropy"),
        Line2D([], [], color=NEUTRAL, linewidth=0.9, linestyle="--", label="focal, γ = 1"),
        Line2D([], [], color=NEUTRAL, linewidth=0.9, linestyle="-.", label="focal, γ = 2"),
    ]


def _shown_omegas(omegas: pd.Series[float]) -> list[float]:
    """All of them, or five evenly spread over their ranks."""
    distinct = np.unique(omegas)
    ranks = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), MAX_OMEGAS)).round().astype(int))
    return [float(omega) for omega in distinct[ranks]]


def _name_of(variant: Any) -> str:  # noqa: ANN401  (a row of a frame)
    """Frequency source and phase, and below them what else is not as usual."""
    unusual = [
        *([] if pd.isna(variant.effective_number_beta) else [f"beta {variant.effective_number_beta:g}"]),
        *(["Ω detached"] if variant.gradient == "detached" else []),
        *(["divided by Z"] if variant.keep_z else []),
    ]
    first = f"frequency {variant.frequency}, {variant.phase}"
    return f"{first}\n{', '.join(unusual)}" if unusual else first
