"""Figures 1 and 2 of the CCAR paper: what is drawn, and that nothing covers anything."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ccar.evidence.benchmarks import benchmark_class_counts
from ccar.reports.figures.gradient_modulation import OMEGAS, gradient_modulation
from ccar.reports.figures.omega_contours import omega_contours
from ccar.reports.figures.omega_surface import omega_surface
from ccar.reports.figures.style import PALETTE, figure_style
from tests.reports.figures.test_figures import check_labels

COUNTS = {
    "cifar100_lt": benchmark_class_counts("cifar100_lt", 100),
    "cifar10_lt": benchmark_class_counts("cifar10_lt", 100),
    "inaturalist2018": benchmark_class_counts("inaturalist2018"),
    "balanced": [50] * 10,
}


@pytest.mark.parametrize("draw", [gradient_modulation, omega_contours])
@pytest.mark.parametrize("name", COUNTS)
def test_no_label_is_clipped_and_none_covers_another(draw, name):
    with figure_style():
        check_labels(draw(COUNTS[name], name))


def test_no_number_of_the_surface_is_clipped_and_none_covers_another():
    with figure_style():
        shown = omega_surface(COUNTS["inaturalist2018"], "x")
        for axes in shown.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set_visible(False)  # slanted: its box is far larger than its letters
        check_labels(shown)


def curve(axes, colour, place=0):
    line = [line for line in axes.get_lines() if line.get_color() == colour][place]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_the_gradient_factor_is_that_of_lemma_1():
    left, right = gradient_modulation(COUNTS["cifar100_lt"], "x").figure.axes
    f_tail, f_head = 5 / 10847, 500 / 10847
    for colour, omega in zip(PALETTE, OMEGAS, strict=False):
        p, drawn = curve(left, colour)

        def psi(f, p=p, omega=omega):
            gamma = np.e - np.where(p < omega, f, 1 - f)
            return gamma ** (omega - p) * (1 - p * np.log(gamma) * np.log(p))

        shown = np.isfinite(drawn)
        assert drawn[shown] == pytest.approx(psi(f_tail)[shown], rel=1e-6)
        _, added = curve(right, colour)
        expected = 100 * (psi(f_tail) / psi(f_head) - 1)
        assert added[shown] == pytest.approx(expected[shown], rel=1e-4, abs=1e-6)


def test_the_jump_at_the_pivot_is_a_gap_and_not_a_slope():
    left, _ = gradient_modulation(COUNTS["cifar100_lt"], "x").figure.axes
    p, drawn = curve(left, PALETTE[OMEGAS.index(0.75)])
    (missing,) = np.flatnonzero(np.isnan(drawn))
    assert p[missing] == pytest.approx(0.75, abs=0.002)
    assert not np.isnan(curve(left, PALETTE[OMEGAS.index(1.0)])[1]).any()


@pytest.mark.parametrize(("name", "most"), [("cifar100_lt", 2.2), ("inaturalist2018", 0.2), ("cifar10_lt", 25.0)])
def test_the_caption_says_how_small_the_class_term_is(name, most):
    caption = gradient_modulation(COUNTS[name], name).caption
    stated = float(caption.split("(at most ")[1].split(" %")[0])
    assert 0 < stated < most


def test_all_real_classes_lie_between_the_lines_on_the_surface():
    figure = omega_surface(COUNTS["cifar10_lt"], "x").figure
    for axes, omega in zip(figure.axes, OMEGAS, strict=True):
        lines = {line.get_color(): line.get_data_3d() for line in axes.get_lines()}
        for colour, frequency in zip(PALETTE, (5000 / 12406, 50 / 12406), strict=False):
            p, f, weight = lines[colour]
            assert np.asarray(f) == pytest.approx(frequency)
            assert weight[0] == pytest.approx((math.e - frequency) ** omega)
            assert weight[-1] == pytest.approx((math.e - 1 + frequency) ** (omega - 1) if omega < 1 else 1.0)
            assert list(p[[0, -1]]) == [0.0, 1.0]


def test_real_classes_are_hatched_among_all_frequencies():
    figure = omega_contours(COUNTS["cifar100_lt"], "x").figure
    above, below = figure.axes[0], figure.axes[len(OMEGAS)]
    (band,) = above.patches
    assert band.get_y() == pytest.approx(5 / 10847)
    assert band.get_y() + band.get_height() == pytest.approx(500 / 10847)
    assert below.get_ylim() == pytest.approx((5 / 10847, 500 / 10847))
    assert below.get_yscale() == "log"


def test_the_same_classes_give_the_same_bytes():
    with figure_style():
        first, second = (gradient_modulation(COUNTS["balanced"], "x") for _ in range(2))
        assert first.pdf() == second.pdf()
        assert first.svg() == second.svg()
