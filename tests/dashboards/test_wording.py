"""What the pages call best, equal and unfinished, as they are made: no browser is needed to read that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from dash import html

from ccar.evidence.selection import CRITERION
from ccar.store.trial_store import TrialStore
from dashboards import progress
from dashboards.desk import Desk
from dashboards.library import Library
from dashboards.pages import studies, study
from dashboards.pages.trial import best_and_worst
from tests.dashboards.made_up_store import begin, finish, put_study
from tests.evidence.made_up_study import made_up_study


def text_of(content):
    """All words below a component, in order."""
    if isinstance(content, list | tuple):
        return "".join(map(text_of, content))
    return content if isinstance(content, str) else text_of(getattr(content, "children", None) or "")


def best_of(validation):
    return [text_of(line) for line in studies._best(SimpleNamespace(name="made-up", validation=validation))]


def test_where_several_cells_are_best_on_validation_the_list_counts_them():
    frame = made_up_study().validation
    frame[CRITERION] = 1 / 6
    (line,) = best_of(frame)
    assert line == f"{frame['cell'].nunique()} cells at 16.67 %, among them if100/cross_entropy"
    frame.loc[frame["cell"] == "if100/cross_entropy", CRITERION] = 0.2
    assert best_of(frame) == ["if100/cross_entropy 20.00 %"]


def test_a_cell_that_has_the_same_mean_over_fewer_seeds_is_not_counted_among_the_best():
    whole = made_up_study()
    broken = whole.ended(whole.keys("cross_entropy+ccar(omega=0.5)")[0], "failed", "the machine went away")
    frame = broken.validation
    frame.loc[frame["status"] == "finished", CRITERION] = 0.5
    (line,) = best_of(frame)
    assert line.startswith(f"{frame['cell'].nunique() - 1} cells at 50.00 %")


def test_equal_cells_are_counted_at_each_imbalance_factor_apart():
    frame = made_up_study(imbalance_factors=[100, 50]).validation
    frame[CRITERION] = 0.5
    half = frame["cell"].nunique() // 2
    assert [line.partition(",")[0] for line in best_of(frame)] == [f"{half} cells at 50.00 %"] * 2


def test_the_legend_of_the_cells_has_words_and_no_number_that_could_be_taken_for_a_count(tmp_path):
    store = TrialStore(tmp_path / "store")
    finished, failed, stopped, *_ = put_study(store, bases=["focal"], omegas=[0.5], baseline="focal")
    finish(store, finished)
    begin(store, failed).fail("OSError: the disk is gone")
    begin(store, stopped).stop("behind the others")
    library = Library(store)
    library.refresh()
    page = html.Div(study.results(Desk.on(library, tmp_path, ""), {"study": "made-up"}))
    library.close()
    (legend,) = (part for part in page._traverse() if getattr(part, "className", None) == "legend")
    states = ("failed", "waiting", "stopped", "finished")
    assert [text_of(item) for item in legend.children] == [f"{word} {progress.MEANING[word]}" for word in states]
    assert not any(sign.isdigit() for sign in text_of(legend))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((0.0, 0.0, 0.5, 0.0, 0.0, 0.0), {2: "", 0: "", 1: "", 3: "", 4: "", 5: ""}),
        ((0.1, 0.2), {1: "", 0: ""}),
        (
            (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
            {6: "best", 5: "best", 4: "best", 2: "worst", 1: "worst", 0: "worst"},
        ),
        (
            (0.5, *[0.0] * 6),
            {0: "best", **dict.fromkeys((4, 5, 6), "worst, with 3 more")},
        ),
        ((0.9, *[0.5] * 5, 0.1), {0: "best", **dict.fromkeys((1, 2), "best, with 3 more"), 6: "worst"}),
        ((0.5,) * 7, {}),
        ((), {}),
    ],
    ids=["six", "two", "all different", "most at 0", "most in the middle", "all equal", "not kept"],
)
def test_no_class_is_called_best_and_worst_at_once_nor_shown_twice_and_ties_are_said(found, words):
    assert list(best_and_worst(found).items()) == list(words.items())
