"""The figures of a report, in order."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from ccar.machine import num_cpus
from ccar.reports.results import Results

if TYPE_CHECKING:
    from ccar.reports.figures.drawing import Drawing
    from ccar.reports.figures.style import ReportFigure

# By name, since whoever lets other processes draw need not wait for matplotlib.
FIGURES = tuple(
    f"ccar.reports.figures.{name}"
    for name in (
        "omega_response:omega_response",
        "omega_by_frequency:omega_by_frequency",
        "group_bars:group_bars",
        "trade_off:trade_off",
        "reliability:reliability_diagrams",
        "average_ranks:rank_diagram",
        "weight_curves:weight_curves",
    )
)

Map = Callable[..., Iterable[Any]]  # `map`, or that of an executor


def figures_of(results: Results) -> list[ReportFigure]:
    """All figures that have something to show, not drawn yet; call inside `figure_style`."""
    return [figure for name in FIGURES if (figure := resolve_name(name)(results)) is not None]


def drawings_of(results: Results, each: Map = map) -> Iterator[Drawing]:
    """All figures that have something to show.

    Args:
        results: the numbers.
        each: what draws them one by one: `map`, or that of `drawing_processes`, which begins at once.
    """
    return (drawing for drawing in each(partial(_drawn, results), FIGURES) if drawing is not None)


@contextmanager
def drawing_processes() -> Iterator[Map]:
    """A `map` over processes of their own, one per processor, which import meanwhile what drawing takes.

    For whoever has to read a store first: half of the time of a report goes into its figures.
    """
    # Not forked from this process, which would hand its locks on, but from one that has imported everything once.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([name.partition(":")[0] for name in FIGURES])
    with ProcessPoolExecutor(
        num_cpus(), mp_context=server, initializer=_begin, initargs=gc.get_threshold()
    ) as processes:
        processes.submit(int)  # so that they start now
        yield processes.map


def _begin(*thresholds: int) -> None:
    """At the end of a run MLflow is fed meanwhile, which takes longer: drawing must not keep it from that."""
    os.nice(19)
    gc.set_threshold(*thresholds)


def import_figures() -> None:
    """What drawing would import otherwise."""
    for name in FIGURES:
        resolve_name(name)


def _drawn(results: Results, name: str) -> Drawing | None:
    from ccar.reports.figures.style import figure_style

    with figure_style():
        figure: ReportFigure | None = resolve_name(name)(results)
        return None if figure is None else figure.drawn()
