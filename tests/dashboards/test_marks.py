"""How points and fields of the page on omega are marked, as plotly is told: no browser is needed to see that."""

from __future__ import annotations

from dash import dcc, html

from ccar.reports.results import summarise
from dashboards.pages import omega
from tests.evidence.made_up_study import made_up_study
from tests.reports.conftest import input_of


def figures_in(sections):
    return [part.figure for section in sections for part in section._traverse() if isinstance(part, dcc.Graph)]


def test_an_omega_with_a_stopped_seed_is_neither_filled_nor_hollow_but_has_a_dot():
    study = made_up_study(seeds=(0, 1, 2, 3))
    stopped = study.ended(study.keys("cross_entropy+ccar(omega=0.5)")[0], "stopped", "")
    (figure,) = figures_in(omega._responses(summarise(input_of(stopped)), "made-up", "", with_tables=False))
    marks = [mark for trace in figure.data if trace.text for mark in zip(trace.text, trace.marker.symbol, strict=True)]
    (dotted,) = (text for text, symbol in marks if symbol.endswith("-open-dot"))
    assert dotted.startswith("if100/cross_entropy+ccar(omega=0.5)<br>")
    assert len(marks) == 4


def test_a_field_of_the_heat_map_says_when_seeds_are_missing():
    methods = {"bases": ["cross_entropy"], "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]}}
    study = made_up_study(methods=methods)
    broken = study.ended(study.keys("cross_entropy+ccar(omega=0.5)")[0], "failed", "the machine went away")
    (figure,) = figures_in(omega._frequencies(summarise(input_of(broken)), "made-up", ""))
    texts = [text for row in figure.data[0].text for text in row]
    assert [text.endswith("(n = 2)") for text in texts] == [True, False, False, False]


def test_the_title_of_the_gains_is_short_enough_for_a_telephone_and_the_caption_says_of_what_they_are():
    sections = list(omega._responses(summarise(input_of(made_up_study())), "made-up", "", with_tables=False))
    (figure,) = figures_in(sections)
    assert figure.layout.yaxis.title.text == "gain (points)"
    (caption,) = (part for section in sections for part in section._traverse() if isinstance(part, html.Figcaption))
    assert "gain in balanced test accuracy over the plain base loss at each ω, in points" in caption.children[0]


def test_the_legend_of_the_gains_has_only_the_losses_that_are_drawn():
    study = made_up_study(methods={"bases": ["cross_entropy", "focal"], "reweighting": {"omega": [0.5]}})
    broken = study
    for key in study.keys("focal"):
        broken = broken.ended(key, "failed", "the machine went away")
    for made, names in ((study, ["cross_entropy", "focal"]), (broken, ["cross_entropy"])):
        (figure,) = figures_in(omega._responses(summarise(input_of(made)), "made-up", "", with_tables=False))
        assert [trace.name for trace in figure.data if trace.showlegend is not False] == names


def test_the_omegas_that_were_tried_stand_at_their_axis_as_long_as_they_have_room_there():
    few, many = [0.25, 0.5, 0.75], [round(0.1 * step, 1) for step in range(1, 11)]
    for omegas, ticks in ((few, tuple(few)), (many, None)):
        study = made_up_study(methods={"bases": ["cross_entropy"], "reweighting": {"omega": omegas}})
        (figure,) = figures_in(omega._responses(summarise(input_of(study)), "made-up", "", with_tables=False))
        assert figure.layout.xaxis.tickvals == ticks
