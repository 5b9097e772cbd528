"""The figures of a report, in order."""

from __future__ import annotations

from ccar.reports.figures.group_bars import group_bars
from ccar.reports.figures.omega_response import omega_response
from ccar.reports.figures.style import ReportFigure
from ccar.reports.figures.weight_curves import weight_curves
from ccar.reports.results import Results


def figures_of(results: Results) -> list[ReportFigure]:
    """All figures that have something to show; call inside `figure_style`."""
    return [figure for draw in (omega_response, group_bars, weight_curves) if (figure := draw(results)) is not None]
