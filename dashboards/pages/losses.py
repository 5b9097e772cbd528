"""What Omega does to a loss: weight and gradient over the confidence, for the classes of a real data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import plotly.graph_objects as go
from dash import dcc, html

from ccar.evidence.benchmarks import (
    BENCHMARKS,
    benchmark_class_counts,
    largest_imbalance_factor,
    needs_imbalance_factor,
)
from ccar.reports.colours import NEUTRAL, PALETTE
from ccar.reports.omega_formula import (
    Curve,
    class_frequencies,
    focal_gradient_factor,
    gradient_factor,
    omega_weight,
    without_jump,
)
from ccar.training.config import Frequency, Phase
from dashboards import look
from dashboards.desk import Desk
from dashboards.elements import Content, choice, control_id, facts, field, plot, section

Fields = Mapping[str, str]
PHASES: tuple[str, ...] = get_args(Phase)
FREQUENCY_SOURCES: tuple[str, ...] = get_args(Frequency)
_P = np.linspace(1e-4, 1.0, 400)
_SURFACE_P = np.linspace(1e-4, 1.0, 101)
_F = np.linspace(0.0, 1.0, 61)
# Told apart by colour-blind readers, and light enough for dark labels everywhere; white is no weight.
_AROUND_ONE = ((0.0, "#a99ccf"), (0.5, "#ffffff"), (1.0, "#f2a44c"))
_DEFAULTS = {"data": "cifar100_lt", "imbalance": "100", "omega": "0.5", "frequency": "fraction", "phase": "dual"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is looked at, within the ranges that the losses allow."""

    data: str
    imbalance_factor: float
    omega: float
    frequency: str
    phase: str

    @classmethod
    def of(cls, fields: Fields) -> Choice:
        """What the address says; the usual where it says something else than one may choose."""
        said = {name: fields.get(name, default) for name, default in _DEFAULTS.items()}
        data = said["data"] if said["data"] in BENCHMARKS else _DEFAULTS["data"]
        most = largest_imbalance_factor(data) if needs_imbalance_factor(data) else 1
        return cls(
            data=data,
            imbalance_factor=_within(said["imbalance"], 1.0, float(most), 100.0),
            omega=_within(said["omega"], 0.01, 1.0, 0.5),
            frequency=said["frequency"] if said["frequency"] in FREQUENCY_SOURCES else "fraction",
            phase=said["phase"] if said["phase"] in PHASES else "dual",
        )

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class."""
        return benchmark_class_counts(self.data, self.imbalance_factor if needs_imbalance_factor(self.data) else None)

    @property
    def words(self) -> str:
        """The data in words."""
        factor = f" at IF {self.imbalance_factor:g}" if needs_imbalance_factor(self.data) else ""
        return f"{self.data}{factor}"


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Whose classes, and the switches of Omega."""
    usual = _DEFAULTS["data"]
    return [
        choice("/losses", fields, "data", "Classes of", [(one, one) for one in sorted(BENCHMARKS, key=usual.__ne__)]),
        choice("/losses", fields, "frequency", "Class frequency", [(one, _words(one)) for one in FREQUENCY_SOURCES]),
        choice("/losses", fields, "phase", "Phase", [(one, _words(one)) for one in PHASES]),
    ]


def controls(desk: Desk, fields: Fields) -> list[Content]:
    """Omega, and how long the tail is."""
    chosen = Choice.of(fields)
    omega: Any = control_id("omega", _DEFAULTS["omega"])
    imbalance: Any = control_id("imbalance", _DEFAULTS["imbalance"])
    return [
        field(
            "pivot ω",
            dcc.Input(id=omega, type="range", min=0.01, max=1, step=0.01, value=f"{chosen.omega:g}"),
        ),
        field(
            "Imbalance factor",
            dcc.Input(id=imbalance, type="number", min=1, step="any", value=chosen.imbalance_factor, debounce=0.3),
        ),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def results(desk: Desk, fields: Fields) -> list[Content]:
    """Figures 1 and 2 of the paper for what was chosen."""
    chosen = Choice.of(fields)
    counts = chosen.class_counts
    frequencies = class_frequencies(counts, chosen.frequency)
    head, tail = float(frequencies[int(np.argmax(counts))]), float(frequencies[int(np.argmin(counts))])
    most = _class_effect(chosen, head, tail)
    return [
        html.P(
            f"At ω = {chosen.omega:g}, the gradient factor of the smallest class of {chosen.words} differs from that "
            f"of the largest by at most {most:.2g} %.",
            id="class-effect",
            className="question",
        ),
        facts(
            [
                ("Classes", f"{len(counts):,}"),
                ("Images of the largest", f"{max(counts):,}"),
                ("of the smallest", f"{min(counts):,}"),
                ("f of the largest", f"{head:.3g}"),
                ("f of the smallest", f"{tail:.3g}"),
            ]
        ),
        section("Gradient", plot("gradient", _gradient(chosen, head, tail), _GRADIENT_WORDS)),
        section("Weight", plot("weight", _weight(chosen, head, tail), _WEIGHT_WORDS)),
        section("All class frequencies", plot("surface", _surface(chosen, head, tail), _SURFACE_WORDS)),
    ]


_GRADIENT_WORDS = (
    "The factor Ψ by which a loss scales the gradient of cross-entropy on the logits, over the confidence in the true "
    "class; cross-entropy itself has 1. It jumps at the pivot where the two phases differ."
)
_WEIGHT_WORDS = "The weight Ω of an image over the confidence in its true class."
_SURFACE_WORDS = (
    "Contours of the weight Ω over confidence and class frequency, orange above 1 and purple below. Between the dashed "
    "lines lie the classes of the data; where contours are upright, class frequency has no effect."
)


def _class_effect(chosen: Choice, head: float, tail: float) -> float:
    """In per cent."""
    factors = [gradient_factor(_P, frequency, chosen.omega, phase=chosen.phase) for frequency in (tail, head)]
    return 100 * float(np.abs(factors[0] / factors[1] - 1).max())


def _gradient(chosen: Choice, head: float, tail: float) -> go.Figure:
    figure = _over_confidence("gradient factor Ψ")
    for colour, dash, name, frequency in _ends(head, tail):
        psi = gradient_factor(_P, frequency, chosen.omega, phase=chosen.phase)
        _curve(figure, without_jump(_P, psi, chosen.omega), name, colour, dash)
    _curve(figure, np.ones_like(_P), "cross-entropy", NEUTRAL, "solid")
    _curve(figure, focal_gradient_factor(_P, 1.0), "focal, γ = 1", NEUTRAL, "dash")
    _curve(figure, focal_gradient_factor(_P, 2.0), "focal, γ = 2", NEUTRAL, "dashdot")
    return figure


def _weight(chosen: Choice, head: float, tail: float) -> go.Figure:
    figure = _over_confidence("weight Ω")
    for colour, dash, name, frequency in _ends(head, tail):
        _curve(figure, omega_weight(_P, frequency, chosen.omega, phase=chosen.phase), name, colour, dash)
    _curve(figure, np.ones_like(_P), "no weight", NEUTRAL, "solid")
    return figure


def _surface(chosen: Choice, head: float, tail: float) -> go.Figure:
    p, f = np.meshgrid(_SURFACE_P, _F)
    weights = omega_weight(p, f, chosen.omega, phase=chosen.phase)
    furthest = float(np.abs(weights - 1).max())
    step = 0.1 if furthest < 0.8 else 0.2
    reach = step * np.ceil(furthest / step)
    figure = look.figure(
        height=430,
        xaxis={"title": "confidence p_t", "range": [0, 1]},
        yaxis={"title": "class frequency f_c", "range": [0, 1]},
    )
    figure.add_contour(
        x=_SURFACE_P,
        y=_F,
        z=weights,
        colorscale=_AROUND_ONE,
        contours={
            "start": 1 - reach,  # as far below 1 as above, which the middle of the colours then stands for
            "end": 1 + reach,
            "size": step,
            "showlabels": True,
            "labelfont": {"color": look.FIELD_INK},
        },
        colorbar={"title": {"text": "Ω"}, "thickness": 12},
        line={"width": 0.8, "color": look.FIELD_INK},
    )
    for value in sorted({head, tail}):
        figure.add_hline(value, line={"color": look.FIELD_INK, "dash": "dash", "width": 2})
    # Above the fields: at the pivot itself runs the contour of weight 1, with its label.
    figure.add_annotation(x=chosen.omega, y=1, yanchor="bottom", text="pivot ω", showarrow=False)
    return figure


def _ends(head: float, tail: float) -> Sequence[tuple[str, str, str, float]]:
    return (
        (PALETTE[0], "solid", f"largest class (f = {head:.3g})", head),
        (PALETTE[1], "dash", f"smallest class (f = {tail:.3g})", tail),
    )


def _over_confidence(quantity: str) -> go.Figure:
    return look.figure(
        xaxis={"title": "confidence p_t", "range": [0, 1]}, yaxis={"title": quantity, "rangemode": "tozero"}
    )


def _curve(figure: go.Figure, values: Curve, name: str, colour: str, dash: str) -> None:
    figure.add_scatter(x=_P, y=values, name=name, mode="lines", line={"color": colour, "dash": dash, "width": 2})


def _within(text: str, low: float, high: float, usual: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return min(max(usual, low), high)
    return min(max(value, low), high) if value == value else usual
