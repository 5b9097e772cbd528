"""How all figures look: sizes, type, colours, and reproducible bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ccar.reports.colours import NEUTRAL as NEUTRAL
from ccar.reports.colours import PALETTE as PALETTE
from ccar.reports.colours import look_of as look_of
from ccar.reports.figures.drawing import Drawing

WIDTH = 7.2  # inches: two columns of a paper

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "svg.hashsalt": "ccar",  # else every file has other identifiers
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType: publishers refuse the default, Type 3
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFigure:
    """A figure with the words that go with it, before it is drawn."""

    name: str
    caption: str
    alt: str
    figure: Figure

    def drawn(self) -> Drawing:
        """In the formats of a report; call inside `figure_style`."""
        return Drawing(
            name=self.name,
            caption=self.caption,
            alt=self.alt,
            width_inches=float(self.figure.get_figwidth()),
            files={"svg": self.svg(), "png": self.png(), "pdf": self.pdf()},
        )

    def png(self) -> bytes:
        """200 dots per inch."""
        self.figure.set_dpi(200)
        return _printed(self.figure, FigureCanvasAgg(self.figure).print_png)

    def svg(self) -> bytes:
        """Without a date, so that equal figures are equal bytes."""
        return _printed(self.figure, FigureCanvasSVG(self.figure).print_svg, metadata={"Date": None})

    def pdf(self) -> bytes:
        """Vectors for LaTeX, without a date too."""
        return _printed(self.figure, FigureCanvasPdf(self.figure).print_pdf, metadata={"CreationDate": None})


@contextmanager
def figure_style() -> Iterator[None]:
    """Everything drawn and saved inside looks alike; nothing outside changes."""
    with mpl.rc_context(_STYLE):
        yield


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], *, title: str = "") -> None:
    """One legend for all panels, under them, where it cannot cover data; as many columns as fit."""
    width_of_label = 0.5 + 0.06 * max(len(label) for label in labels)  # inches: handle, then letters
    columns = max(1, min(len(labels), int(figure.get_figwidth() / width_of_label)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=title or None)


def _printed(figure: Figure, write: Callable[..., object], **options: Any) -> bytes:  # noqa: ANN401
    """What a canvas writes; savefig would draw each figure once more before, for a layout that it has already."""
    buffer = io.BytesIO()
    write(buffer, **options)
    figure.set_layout_engine("none")  # it is laid out now; to do so again would take as long as drawing it
    return buffer.getvalue()
