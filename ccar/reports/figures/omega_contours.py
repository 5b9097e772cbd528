"""Figure 2 of the CCAR paper, as contours: all class frequencies, and those that a real data set has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ccar.reports.figures.gradient_modulation import OMEGAS
from ccar.reports.figures.style import ReportFigure
from ccar.reports.omega_formula import Curve, class_frequencies, omega_weight

LEVELS = np.array([0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5])
_P = np.linspace(0.0, 1.0, 121)
_WIDTH = 8.6  # inches: four panels beside each other


def omega_contours(class_counts: Sequence[int], name: str) -> ReportFigure:
    """Above f_c from 0 to 1 with the range of real classes hatched; below that range alone, on a log axis.

    Args:
        class_counts: training images of each class.
        name: what the classes are of.
    """
    frequencies = class_frequencies(class_counts, "fraction")
    smallest, largest = float(frequencies.min()), float(frequencies.max())
    figure = Figure(figsize=(_WIDTH, 4.6), layout="constrained")
    grid = figure.subplots(2, len(OMEGAS), sharex=True, sharey="row")
    for column, omega in enumerate(OMEGAS):
        above, below = grid[:, column]
        _contours(above, np.linspace(0.0, 1.0, 81), omega)
        above.axhspan(smallest, largest, facecolor="none", edgecolor="#000000", hatch="////", linewidth=0.6)
        above.set_title(f"ω = {omega:g}")
        below.set_yscale("log")
        shaded = _contours(below, _log_range(smallest, largest), omega)
        below.set_xlabel("confidence $p_t$")
    grid[0, 0].set_ylabel("class frequency $f_c$")
    grid[1, 0].set_ylabel("$f_c$ of the real classes")
    bar = figure.colorbar(shaded, ax=list(grid.flat), label="weight Ω", ticks=LEVELS, aspect=40, pad=0.01)
    bar.ax.tick_params(length=2)
    total = sum(class_counts)
    return ReportFigure(
        name="figure2_omega_contours",
        caption="Contours of the weight Ω (no unit) over the confidence in the true class and the class frequency f_c, "
        "for several pivots ω (dashed; there Ω = 1). Above: all class frequencies; hatched: those that the classes of "
        f"{name} have. Below: these alone, from {min(class_counts):,} to {max(class_counts):,} of {total:,} images, "
        "on a logarithmic axis. Where contours are upright, class frequency has no effect.",
        alt="Contours of Omega over confidence and class frequency, one column per pivot",
        figure=figure,
    )


def _contours(axes: Axes, frequencies: Curve, omega: float) -> Any:  # noqa: ANN401  (what matplotlib draws a colour bar of)
    p, f = np.meshgrid(_P, frequencies)
    weight = omega_weight(p, f, omega)
    shaded = axes.contourf(p, f, weight, LEVELS, cmap="cividis", extend="both")
    axes.contour(p, f, weight, LEVELS, colors="#FFFFFF", linewidths=0.5)
    axes.axvline(omega, color="#000000", linestyle="--", linewidth=1.0)
    axes.grid(visible=False)
    return shaded


def _log_range(smallest: float, largest: float) -> Curve:
    """From the smallest class to the largest; a little wider where all classes have one size."""
    if smallest == largest:
        smallest, largest = smallest / 1.05, min(1.0, largest * 1.05)
    return np.geomspace(smallest, largest, 41)
