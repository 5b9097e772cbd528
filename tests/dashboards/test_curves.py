"""The panels of learning curves, as plotly is told: no browser is needed to see that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ccar.store.trial_store import TrialStore
from dashboards.curves import learning_curves
from dashboards.elements import shown
from tests.dashboards.made_up_store import finish, put_study


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    store = TrialStore(tmp_path_factory.mktemp("store"))
    trial = put_study(store)[0]
    finish(store, trial)
    return store.read(trial.key)


def without(record, *groups):
    """The record of a trial on classes of which none belongs to these groups."""
    lacking = dict.fromkeys(groups)
    epochs = [replace(epoch, validation=replace(epoch.validation, **lacking)) for epoch in record.epochs]
    return replace(record, epochs=tuple(epochs))


def panels_of(figure):
    return [said.text for said in figure.layout.annotations]


def test_all_groups_of_classes_have_a_panel_of_their_own(record):
    figure = learning_curves([("one", record)])
    assert panels_of(figure) == ["balanced (%)", "many (%)", "medium (%)", "few (%)", "training loss"]
    assert len(figure.data) == 5


@pytest.mark.parametrize("groups", [("many",), ("many", "few"), ("many", "medium", "few")])
def test_a_group_without_classes_has_no_empty_panel(record, groups):
    panels = panels_of(learning_curves([("one", without(record, *groups))]))
    assert set(panels) == {"balanced (%)", "many (%)", "medium (%)", "few (%)", "training loss"} - {
        f"{group} (%)" for group in groups
    }
    both = learning_curves([("one", without(record, *groups)), ("two", record)])
    assert len(panels_of(both)) == 5


@pytest.mark.parametrize("groups", [(), ("many",), ("many", "few"), ("many", "medium", "few")])
def test_panels_fill_both_columns_and_the_lowest_name_the_epoch(record, groups):
    figure = learning_curves([("one", without(record, *groups))])
    axes = [figure.layout[f"xaxis{place or ''}"] for place in (0, *range(2, len(figure.data) + 1))]
    lowest = [axis for axis in axes if axis.title.text == "epoch"]
    assert max(axis.domain[1] for axis in lowest) == pytest.approx(1)
    assert len(lowest) == (1 if len(axes) % 2 == 0 else 2)


def test_the_names_of_many_trials_take_no_room_from_the_panels(record):
    name = "if50/logit_adjustment+ccar(omega=0.75) seed {}"
    one, six = (learning_curves([(name.format(seed), record) for seed in range(number)]) for number in (1, 6))
    assert six.layout.height - one.layout.height == 5 * 2 * 20


def test_a_long_name_of_a_cell_is_broken_before_its_re_weighting():
    assert shown("if50/logit_adjustment+ccar(omega=0.75) seed 2") == "if50/logit_adjustment<br>+ccar(omega=0.75) seed 2"
