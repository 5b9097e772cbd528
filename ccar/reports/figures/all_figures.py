"""The figures of a report, in order."""

from __future__ import annotations

from ccar.reports.figures.critical_difference import critical_difference_diagram
from ccar.reports.figures.group_bars import group_bars
from ccar.reports.figures.omega_by_frequency import omega_by_frequency
from ccar.reports.figures.omega_response import omega_response
from ccar.reports.figures.reliability import reliability_diagrams
from ccar.reports.figures.style import ReportFigure
from ccar.reports.figures.trade_off import trade_off
from ccar.reports.figures.weight_curves import weight_curves
from ccar.reports.results import Results


def figures_of(results: Results) -> list[ReportFigure]:
    """All figures that have something to show; call inside `figure_style`."""
    makers = (
        omega_response,
        omega_by_frequency,
        group_bars,
        trade_off,
        reliability_diagrams,
        critical_difference_diagram,
        weight_curves,
    )
    return [figure for draw in makers if (figure := draw(results)) is not None]
