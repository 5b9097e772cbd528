from __future__ import annotations

import dataclasses
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ccar.reports.figures.all_figures import drawing_processes, drawings_of, figures_of
from ccar.reports.figures.average_ranks import rank_diagram
from ccar.reports.figures.group_bars import group_bars
from ccar.reports.figures.omega_by_frequency import omega_by_frequency
from ccar.reports.figures.omega_response import omega_response
from ccar.reports.figures.reliability import reliability_diagrams
from ccar.reports.figures.style import figure_style
from ccar.reports.figures.trade_off import trade_off
from ccar.reports.figures.weight_curves import weight_curves
from ccar.reports.results import summarise
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import BASES, input_of

GRID = {"omega": [0.25, 0.5, 0.75], "frequency": ["fraction", "max_normalised"], "phase": ["dual", "standard_only"]}
STUDIES = {
    "four imbalance factors": {"imbalance_factors": (200, 100, 50, 10)},
    "many switches": {"methods": {"bases": BASES[:2], "reweighting": GRID}},
    "all base losses": {
        "methods": {
            "bases": [
                *["cross_entropy", "focal", "class_balanced", "class_balanced_focal", "ldam", "logit_adjustment"],
                *["balanced_softmax", "focal_logit_adjustment", "focal_balanced_softmax"],
            ],
            "reweighting": {"omega": [0.5, 0.75]},
        },
    },
    "one seed, searched omega": {
        "methods": {"bases": BASES[:2], "reweighting": {"omega": [n / 40 for n in range(2, 40)]}},
        "seeds": (0,),
    },
    "no validation part": {"validation_per_class": 0, "imbalance_factors": ("natural",)},
}


def labels_of(figure, renderer):
    """Every text that is drawn, with its box; ticks outside the limits of their axes are not drawn."""
    texts = []
    for axes in figure.axes:
        if axes.get_visible():
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown] + [
        ("legend", legend.get_window_extent(renderer)) for legend in figure.legends
    ]


def check_labels(shown):
    """No label of a figure is clipped, and none covers another."""
    canvas = FigureCanvasAgg(shown.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    page = shown.figure.bbox.padded(1)
    labels = labels_of(shown.figure, renderer)
    for text, box in labels:
        assert page.containsx(box.x0), f"{shown.name}: {text!r} is clipped"
        assert page.containsx(box.x1), f"{shown.name}: {text!r} is clipped"
        assert page.containsy(box.y0), f"{shown.name}: {text!r} is clipped"
        assert page.containsy(box.y1), f"{shown.name}: {text!r} is clipped"
    for (text, box), (other, other_box) in itertools.combinations(labels, 2):
        overlap = box.intersection(box, other_box)
        assert overlap is None or overlap.width < 1 or overlap.height < 1, f"{shown.name}: {text!r}, {other!r}"


@pytest.mark.parametrize("options", STUDIES.values(), ids=STUDIES)
def test_no_label_is_clipped_and_none_covers_another(options):
    results = summarise(input_of(made_up_study(**options)))
    with figure_style():
        for shown in figures_of(results):
            check_labels(shown)


@pytest.fixture(scope="module")
def results(source):
    """The numbers of the study with one diverged and one failed seed."""
    return summarise(source)


def test_there_is_a_panel_per_imbalance_factor_with_a_line_per_base_loss(results):
    panels = omega_response(results).figure.axes
    assert [axes.get_title() for axes in panels] == ["IF 100", "IF 50"]
    assert panels[0].get_legend_handles_labels()[1] == BASES


def test_points_are_gains_over_the_plain_base_loss_with_their_paired_interval(results):
    axes = omega_response(results).figure.axes[0]
    cells = results.cells[results.cells["imbalance_factor"] == "100"].set_index("method")
    own = cells.loc[[f"cross_entropy+ccar(omega={omega})" for omega in (0.25, 0.5, 0.75)]]
    line, bars = axes.containers[0].lines[0], axes.containers[0].lines[2][0]
    assert line.get_ydata() == pytest.approx(100 * own["test_balanced_accuracy_versus_plain_mean"].to_numpy())
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert ends == pytest.approx(
        100 * own[["test_balanced_accuracy_versus_plain_low", "test_balanced_accuracy_versus_plain_high"]].to_numpy()
    )


def test_an_omega_that_validation_shows_to_be_worse_is_hollow(results):
    worse = next(cell for cell in results.cells["cell"] if cell.startswith("if100/cross_entropy+ccar(omega=0.25"))
    flat = pd.Series({worse: False}, dtype="boolean")
    marked = omega_response(dataclasses.replace(results, flat=flat)).figure
    hollow = [line for line in marked.axes[0].get_lines() if line.get_markerfacecolor() == "#FFFFFF"]
    assert sum(len(line.get_xdata()) for line in hollow) == 1
    assert "worse on validation" in [text.get_text() for text in marked.legends[0].get_texts()]


def test_an_omega_with_a_stopped_seed_is_neither_filled_nor_hollow():
    study = made_up_study(seeds=(0, 1, 2, 3))
    stopped = study.ended(study.keys("cross_entropy+ccar(omega=0.5)")[0], "stopped", "")
    results = summarise(input_of(stopped))
    shown = omega_response(results).figure
    half = [line for line in shown.axes[0].get_lines() if line.get_fillstyle() == "bottom" and len(line.get_xdata())]
    (gain,) = results.cells.loc[
        results.cells["method"] == "cross_entropy+ccar(omega=0.5)", "test_balanced_accuracy_versus_plain_mean"
    ]
    assert [list(line.get_ydata()) for line in half] == [[100 * gain]]
    assert "cannot be told on validation" in [text.get_text() for text in shown.legends[0].get_texts()]


def test_the_heat_map_has_a_row_per_frequency_source_and_frames_the_choice():
    methods = {
        "bases": BASES[:2],
        "reweighting": [{"omega": [0.5, 0.75], "frequency": ["fraction", "none"]}, {"omega": 0.5, "phase": "constant"}],
    }
    results = summarise(input_of(made_up_study(methods=methods)))
    panels = omega_by_frequency(results).figure.axes
    assert [axes.get_title() for axes in panels[:2]] == ["IF 100: cross_entropy", "IF 100: focal"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["fraction", "none"]
    assert len(panels[0].texts) == 4
    assert len(panels[0].patches) == 1


def test_a_field_of_the_heat_map_says_when_seeds_are_missing():
    methods = {"bases": BASES[:1], "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]}}
    study = made_up_study(methods=methods)
    broken = study.ended(study.keys("cross_entropy+ccar(omega=0.5)")[0], "failed", "the machine went away")
    axes = omega_by_frequency(summarise(input_of(broken))).figure.axes[0]
    assert [text.get_text().endswith("\n(n = 2)") for text in axes.texts] == [True, False, False, False]


def test_a_heat_map_too_fine_for_numbers_still_says_when_seeds_are_missing():
    omegas = [n / 20 for n in range(2, 18)]
    methods = {"bases": BASES[:1], "reweighting": {"omega": omegas, "frequency": ["fraction", "none"]}}
    study = made_up_study(methods=methods)
    broken = study.ended(study.keys("cross_entropy+ccar(omega=0.5)")[0], "failed", "the machine went away")
    axes = omega_by_frequency(summarise(input_of(broken))).figure.axes[0]
    assert sum(text.get_text().endswith("n") for text in axes.texts) == 1


def test_one_frequency_source_makes_no_heat_map(results):
    assert omega_by_frequency(results) is None


def test_the_trade_off_shows_every_method_on_head_and_tail(results):
    axes = trade_off(results).figure.axes[0]
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines()}
    cells = results.cells[results.cells["imbalance_factor"] == "100"]
    assert points == {(100 * many, 100 * few) for many, few in cells[["test_many_mean", "test_few_mean"]].to_numpy()}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("many-shot accuracy (%)", "few-shot accuracy (%)")


def test_a_cell_that_lacks_seeds_is_faint_in_the_trade_off_and_not_on_the_front(study):
    best = "balanced_softmax+ccar(omega=0.75)"
    broken = study.ended(study.keys(best)[0], "failed", "the machine went away")
    results = summarise(input_of(broken))
    axes = trade_off(results).figure.axes[0]
    cell = results.cells.set_index("cell").loc[f"if100/{best}"]
    here = [line for line in axes.get_lines() if line.get_xdata()[0] == 100 * cell["test_many_mean"]]
    assert [line.get_alpha() for line in here] == [0.35]


def test_reliability_is_drawn_for_plain_and_chosen_with_their_calibration_errors(results):
    axes = reliability_diagrams(results).figure.axes[0]
    (text,) = axes.texts
    assert text.get_text() == "ECE\nplain: 0.060\nω: 0.060"
    assert len(axes.collections) == 2


def test_ranks_need_settings_enough():
    assert rank_diagram(summarise(input_of(made_up_study()))) is None
    results = summarise(input_of(made_up_study(imbalance_factors=(200, 100, 50, 10))))
    axes = rank_diagram(results).figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(results.ranks.mean.index)


def test_many_lines_get_a_row_of_panels_per_base_loss():
    study = made_up_study(methods={"bases": BASES[:2], "reweighting": GRID})
    panels = omega_response(summarise(input_of(study))).figure.axes
    assert [axes.get_title() for axes in panels] == ["IF 100: cross_entropy", "IF 100: focal"]
    assert "max_normalised, standard_only" in panels[0].get_legend_handles_labels()[1]


def test_bars_pair_every_base_loss_with_its_chosen_omega(results):
    axes = group_bars(results).figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["cross_entropy", "ω = 0.75", "focal"]
    width = axes.patches[0].get_width()
    assert width == pytest.approx(100 * results.cells.iloc[0]["test_many_mean"])


def test_no_axis_of_accuracies_goes_beyond_a_hundred_per_cent(results):
    wide = results.cells.assign(test_few_half_width=0.85)
    panels = {axes.get_title(): axes for axes in group_bars(dataclasses.replace(results, cells=wide)).figure.axes}
    assert panels["IF 100: few-shot"].get_xlim() == (0, 100)
    assert panels["IF 100: many-shot"].get_xlim()[1] < 100


def test_bars_over_fewer_seeds_than_planned_say_how_many(results):
    labels = [label.get_text() for axes in group_bars(results).figure.axes for label in axes.get_yticklabels()]
    assert "focal (n = 2)" in labels  # at IF 50 a seed failed
    assert "focal" in labels


def test_curves_need_class_counts(results, study):
    assert weight_curves(results) is not None
    assert weight_curves(summarise(input_of(study, class_counts={}))) is None


def test_one_omega_makes_no_response_curve():
    study = made_up_study(methods={"bases": BASES, "reweighting": {"omega": [0.5]}})
    assert omega_response(summarise(input_of(study))) is None


def test_a_study_that_never_ran_has_no_figure_of_results():
    study = made_up_study()
    nothing = summarise(input_of(study.never_ran, class_counts={}))
    assert figures_of(nothing) == []


@pytest.mark.long
def test_processes_of_their_own_draw_the_same_figures(results):
    with drawing_processes() as each:
        assert list(drawings_of(results, each)) == list(drawings_of(results))


def test_drawing_leaves_the_settings_of_others_alone(results):
    before = mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]
    with figure_style():
        omega_response(results)
    assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == before
