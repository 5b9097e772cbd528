"""Learning curves of trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ccar.store.records import TrialRecord
from ccar.training.result import EpochResult
from dashboards import look
from dashboards.elements import shown

_GROUPS = ("balanced_accuracy", "many", "medium", "few")
_TITLES = ("balanced (%)", "many (%)", "medium (%)", "few (%)", "training loss")
_PLACES = ((1, 1), (2, 1), (2, 2), (3, 1), (3, 2))  # row and column; two columns, for which a telephone has room
_FEW_EPOCHS = 10  # below, Plotly would write fractions of an epoch at the axis
_MOST_MARKED = 30  # epochs: beyond, marks run into each other


def learning_curves(trials: Sequence[tuple[str, TrialRecord]]) -> go.Figure:
    """A panel for each group of classes and one for the loss; a line for each trial, by its name."""
    specs: list[list[dict[str, int] | None]] = [[{"colspan": 2}, None], [{}, {}], [{}, {}]]
    figure = make_subplots(
        rows=3, cols=2, specs=specs, subplot_titles=_TITLES, vertical_spacing=0.13, horizontal_spacing=0.16
    )
    for index, (name, record) in enumerate(trials):
        marker = look.marker(index, size=5)
        for (row, column), values in zip(_PLACES, _values(record.epochs), strict=True):
            figure.add_scatter(
                row=row,
                col=column,
                x=[epoch.epoch for epoch in record.epochs],
                y=[value if value is not None and math.isfinite(value) else None for value in values],
                name=shown(name),
                legendgroup=name,
                showlegend=row == 1,
                mode="lines+markers" if len(record.epochs) <= _MOST_MARKED else "lines",
                marker=marker,
                line={"color": marker["color"], "width": 1.6},
            )
    figure.update_layout(look.figure(height=640).layout)
    few = max((len(record.epochs) for _, record in trials), default=0) < _FEW_EPOCHS
    figure.update_xaxes(dtick=1 if few else None)
    figure.update_xaxes(title="epoch", row=3)
    return figure


def _values(epochs: Sequence[EpochResult]) -> Iterable[list[float | None]]:
    for group in _GROUPS:
        shares = [None if epoch.validation is None else getattr(epoch.validation, group) for epoch in epochs]
        yield [None if share is None else 100 * share for share in shares]
    yield [epoch.train_loss for epoch in epochs]
