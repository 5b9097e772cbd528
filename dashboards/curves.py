"""Learning curves of trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ccar.store.records import TrialRecord
from ccar.training.result import EpochResult
from dashboards import look
from dashboards.elements import shown

_GROUPS = {"balanced (%)": "balanced_accuracy", "many (%)": "many", "medium (%)": "medium", "few (%)": "few"}
_LOSS = "training loss"
_Curves = Mapping[str, list[float | None]]
_FEW_EPOCHS = 10  # below, Plotly would write fractions of an epoch at the axis
_MOST_MARKED = 30  # epochs: beyond, marks run into each other


def learning_curves(trials: Sequence[tuple[str, TrialRecord]]) -> go.Figure:
    """A panel for all classes, for each group that has any, and for the loss; a line for each trial, by its name."""
    curves = [_curves(record.epochs) for _, record in trials]
    first, *groups = _GROUPS
    panels = [first, *(group for group in groups if any(any(map(_is_known, own[group])) for own in curves)), _LOSS]
    # Two columns, for which a telephone has room; the first has a row to itself, and the last where it is left alone.
    rows = 1 + len(panels) // 2
    specs: list[list[dict[str, int] | None]] = [[{}, {}] for _ in range(rows)]
    specs[0] = [{"colspan": 2}, None]
    if len(panels) % 2 == 0:
        specs[-1] = [{"colspan": 2}, None]
    figure = make_subplots(
        rows=rows, cols=2, specs=specs, subplot_titles=panels, vertical_spacing=0.39 / rows, horizontal_spacing=0.16
    )
    for index, ((name, record), own) in enumerate(zip(trials, curves, strict=True)):
        marker = look.marker(index, size=5)
        for place, panel in enumerate(panels):
            figure.add_scatter(
                row=1 + (place + 1) // 2,
                col=1 + (place + 1) % 2 if place else 1,
                x=[epoch.epoch for epoch in record.epochs],
                y=[value if _is_known(value) else None for value in own[panel]],
                name=shown(name),
                legendgroup=name,
                showlegend=place == 0,
                mode="lines+markers" if len(record.epochs) <= _MOST_MARKED else "lines",
                marker=marker,
                line={"color": marker["color"], "width": 1.6},
            )
    lines = sum(1 + shown(name).count("<br>") for name, _ in trials)  # of the legend, as it is on a telephone
    figure.update_layout(look.figure(height=100 + 180 * rows + 20 * lines).layout)
    few = max((len(record.epochs) for _, record in trials), default=0) < _FEW_EPOCHS
    figure.update_xaxes(dtick=1 if few else None)
    figure.update_xaxes(title="epoch", row=rows)
    return figure


def _curves(epochs: Sequence[EpochResult]) -> _Curves:
    """What each panel shows of a trial, epoch by epoch."""
    curves: dict[str, list[float | None]] = {}
    for panel, group in _GROUPS.items():
        shares = [None if epoch.validation is None else getattr(epoch.validation, group) for epoch in epochs]
        curves[panel] = [None if share is None else 100 * share for share in shares]
    return {**curves, _LOSS: [epoch.train_loss for epoch in epochs]}


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
