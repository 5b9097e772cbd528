"""Parallel coordinates: what the cells of a setting are made of and what they reach, a line for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from ccar.reports.colours import NEUTRAL
from ccar.reports.variants import frequency_names
from ccar.reports.wording import percent
from dashboards import look
from dashboards.elements import shown

PLAIN = "plain"  # what a cell without omega has for it, and for its class frequency


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: by cell how far along it lies (0 to 1) and in words; whether only its ends are labelled."""

    name: str
    places: Sequence[float]
    texts: Sequence[str]
    is_measure: bool


class _Label(NamedTuple):
    """What is written at an axis, where along it, and on which side of that place."""

    axis: str
    place: float
    text: str
    position: str


def parallel_coordinates(cells: pd.DataFrame, picked: Sequence[str], measures: Mapping[str, str]) -> go.Figure:
    """An axis below the other, so that their labels have room on a narrow screen; settings first, then measures.

    Drawn by hand: Plotly's own needs WebGL, tells lines apart by colour alone, and ignores the colours of the page.

    Args:
        cells: of one setting, a row each.
        picked: those that are drawn in colour and whose settings are named at the axes; the others are grey.
        measures: column and words of each measure, a share whose mean is in `column_mean`.
    """
    axes = [*_settings(cells), *_measures(cells, measures)]
    names = [axis.name for axis in axes]
    figure = look.figure(
        height=90 + 52 * len(axes) + 20 * len(picked),
        xaxis={"visible": False, "range": [-0.05, 1.05]},
        yaxis={"type": "category", "categoryarray": names, "range": [len(axes) - 0.6, -0.6]},
        hovermode="closest",
    )
    row_of = {cell: row for row, cell in enumerate(cells["cell"])}
    others = [row for cell, row in row_of.items() if cell not in picked]
    if others:
        figure.add_scatter(
            x=[place for row in others for place in (*(axis.places[row] for axis in axes), None)],
            y=[name for _ in others for name in (*names, None)],
            name="other cells",
            mode="lines",
            line={"color": NEUTRAL, "width": 0.6},
            hoverinfo="skip",
        )
    for index, cell in enumerate(picked):
        row, marker = row_of[cell], look.marker(index)
        figure.add_scatter(
            x=[axis.places[row] for axis in axes],
            y=names,
            name=shown(str(cells["method"].iloc[row])),
            mode="lines+markers",
            marker=marker,
            line={"color": marker["color"], "width": 2},
            text=[axis.texts[row] for axis in axes],
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    labels = [label for axis in axes for label in _labels(axis, [row_of[cell] for cell in picked])]
    figure.add_scatter(
        x=[label.place for label in labels],
        y=[label.axis for label in labels],
        text=[label.text for label in labels],
        textposition=[label.position for label in labels],
        mode="text",
        textfont={"size": 12},
        showlegend=False,
        hoverinfo="skip",
    )
    return figure


def _settings(cells: pd.DataFrame) -> Iterator[_Axis]:
    """Base loss, omega and class frequency, as far as the cells differ in them."""
    has_omega = cells["omega"].notna()
    yield from _named("base loss", list(cells["family"]), list(dict.fromkeys(cells["family"])))
    omegas = [f"{omega:g}" for omega in sorted(cells.loc[has_omega, "omega"].unique())]
    yield from _named("ω", [f"{omega:g}" if omega == omega else PLAIN for omega in cells["omega"]], [PLAIN, *omegas])
    frequencies = frequency_names(cells).where(has_omega, PLAIN)
    sources = list(dict.fromkeys(frequencies[has_omega]))
    if len(sources) > 1:
        yield from _named("class frequency", list(frequencies), [PLAIN, *sources])


def _named(name: str, values: Sequence[str], order: Sequence[str]) -> Iterator[_Axis]:
    """An axis of names at equal distances, where there are several."""
    found = [value for value in order if value in set(values)]
    if len(found) > 1:
        place_of = {value: place / (len(found) - 1) for place, value in enumerate(found)}
        yield _Axis(name, [place_of[value] for value in values], [shown(value) for value in values], is_measure=False)


def _measures(cells: pd.DataFrame, measures: Mapping[str, str]) -> Iterator[_Axis]:
    """Those that differ, from the lowest to the highest mean."""
    for column, words in measures.items():
        means = cells[f"{column}_mean"]
        low, high = means.min(), means.max()
        if high > low:
            texts = [percent(mean) for mean in means]
            yield _Axis(f"{words} (%)", list((means - low) / (high - low)), texts, is_measure=True)


def _labels(axis: _Axis, picked: Sequence[int]) -> list[_Label]:
    """Above the axis: the ends of a measure, or the names of what the picked cells have."""
    text_of = dict(zip(axis.places, axis.texts, strict=True))
    named = [0.0, 1.0] if axis.is_measure else dict.fromkeys(axis.places[row] for row in picked)
    return [_Label(axis.name, place, text_of[place], f"top {_towards_the_middle(place)}") for place in named]


def _towards_the_middle(place: float) -> str:
    return "right" if place < 1 / 3 else "left" if place > 2 / 3 else "center"
