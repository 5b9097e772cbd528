"""How plots look, on white paper; on the screen assets/dashboards.css gives ink and grid the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from ccar.reports import colours

INK, GRID = "#1b1f24", "#d5dae0"
FIELD_INK = "#333333"  # on coloured fields, which stay light in the dark
DIVERGING = "PuOr"  # told apart by colour-blind readers; its middle is no gain
_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
}
_AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "linecolor": GRID,
    "zerolinecolor": GRID,
    "automargin": True,
    "title": {"standoff": 8},
}
_COUNTS = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
# Plotly's own marks at a logarithmic axis are "2, 5, 10, 2, 5, 100".
NUM_IMAGES: Mapping[str, Any] = {
    "title": "training images of the class",
    "type": "log",
    "tickvals": _COUNTS,
    "ticktext": [f"{count:,}" for count in _COUNTS],
}
_TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "colorway": colours.PALETTE,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {"font": {"size": 13}, "namelength": -1},
        # At the foot of the plot, however many lines it has: relative to the axis it would cover that axis' title.
        "legend": {
            "orientation": "h",
            "xref": "container",
            "xanchor": "left",
            "x": 0,
            "yref": "container",
            "yanchor": "bottom",
            "y": 0,
        },
        "margin": {"l": 50, "r": 12, "t": 30, "b": 40},
    }
)


def figure(height: int = 380, **layout: Any) -> go.Figure:  # noqa: ANN401  (what Plotly's layout takes)
    """An empty plot; `uirevision` keeps what was zoomed or hidden when its numbers change."""
    return go.Figure(layout={"template": _TEMPLATE, "height": height, "uirevision": "same", **layout})


def marker(index: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401  (what Plotly's marker takes)
    """Colour and symbol of the index-th of many, as in the figures of the report."""
    colour, symbol = colours.look_of(index)
    # opacity: where sizes differ, Plotly would take 0.7, too faint for some of these colours
    return {"color": colour, "symbol": _SYMBOLS[symbol], "size": 8, "opacity": 1, **more}
