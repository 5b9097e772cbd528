"""Figure 2 of the CCAR paper, in 3-D: Omega over confidence and class frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.reports.figures.gradient_modulation import OMEGAS
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure
from ccar.reports.omega_formula import class_frequencies, omega_weight

_P = np.linspace(0.0, 1.0, 41)
_F = np.linspace(0.0, 1.0, 21)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_HEIGHTS = (0.5, 1.0, 1.5, 2.0, 2.5)
_VIEW = {"elev": 24, "azim": -52}
_HIGHEST = np.e  # Omega(0, 0) at omega = 1


def omega_surface(class_counts: Sequence[int], name: str) -> ReportFigure:
    """One wireframe per omega over all f_c in [0, 1]; the classes of the data set are lines on it.

    Args:
        class_counts: training images of each class.
        name: what the classes are of.
    """
    frequencies = class_frequencies(class_counts, "fraction")
    ends = {"largest": float(frequencies.max()), "smallest": float(frequencies.min())}
    figure = Figure(figsize=(WIDTH, 5.9))
    figure.subplots_adjust(left=0.0, right=0.96, bottom=0.08, top=0.98, wspace=0.0, hspace=0.06)
    p, f = np.meshgrid(_P, _F, indexing="ij")
    for index, omega in enumerate(OMEGAS):
        axes = figure.add_subplot(2, 2, index + 1, projection="3d")
        axes.plot_wireframe(
            p, f, omega_weight(p, f, omega), rstride=2, cstride=2, color=NEUTRAL, linewidth=0.5, zorder=1
        )
        axes.plot(np.full_like(_F, omega), _F, np.ones_like(_F), color="#000000", linewidth=1.2, linestyle="--")
        for colour, frequency in zip(PALETTE, ends.values(), strict=False):
            weights = omega_weight(_P, frequency, omega)
            axes.plot(_P, np.full_like(_P, frequency), weights, color=colour, linewidth=1.8)
        axes.set_title(f"ω = {omega:g}", y=0.93)
        axes.set_xlabel("confidence $p_t$", labelpad=-2)
        axes.set_ylabel("class frequency $f_c$", labelpad=0)
        axes.set_zlabel("weight Ω", labelpad=-4)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_zlim(0, _HIGHEST)
        axes.set_xticks(_TICKS)
        axes.set_yticks(_TICKS[1:])  # 0 would cover the last number of the axis that it shares a corner with
        axes.set_zticks(_HEIGHTS)
        axes.tick_params(pad=-1)
        axes.view_init(**_VIEW)
        axes.set_box_aspect((1, 1, 0.7), zoom=0.95)
    handles = [
        Line2D([], [], color=NEUTRAL, linewidth=0.8, label="Ω"),
        Line2D([], [], color="#000000", linestyle="--", label="pivot: Ω = 1"),
        *(
            Line2D([], [], color=colour, label=f"{end} class ($f_c$ = {frequency:.2g})")
            for colour, (end, frequency) in zip(PALETTE, ends.items(), strict=False)
        ),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2)
    return ReportFigure(
        name="figure2_omega_surface",
        caption="The weight Ω (no unit) over the confidence in the true class and the class frequency, for several "
        "pivots ω. Below the pivot rare classes weigh more, beyond it frequent ones weigh less. All classes of "
        f"{name} lie between the two lines: its largest class has {max(class_counts):,} of {sum(class_counts):,} "
        f"images, f_c = {ends['largest']:.2g}.",
        alt="Wireframes of Omega over confidence and class frequency, one per pivot",
        figure=figure,
    )
