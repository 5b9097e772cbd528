"""What the page Plan says of a file: all that can be told without opening what it names."""

from __future__ import annotations

import json

import pytest
from plotly.io.json import to_json_plotly

from ccar.store.trial_store import TrialStore
from dashboards.desk import Desk
from dashboards.library import Library
from dashboards.pages import studies
from dashboards.pages.plan import _START, planned


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("name: image_folder", "image_folder needs a root"),
        ("name: digits, download: true", "download has no effect"),
        ("name: image_folder, root: ~no-such-user-here/images", "begins with an unknown user"),
    ],
)
def test_a_file_that_every_command_refuses_is_no_plan(tmp_path, data, message):
    desk = Desk.on(Library(TrialStore(tmp_path / "store")), tmp_path, "")
    said = to_json_plotly(planned(desk, _START.replace("data: {name: digits", f"data: {{{data}")))
    assert message in said
    assert "1 mistake" in said
    assert "ccar run" not in said


def test_a_plan_counts_the_trials_that_a_search_has_yet_to_suggest(tmp_path):
    desk = Desk.on(Library(TrialStore(tmp_path / "store")), tmp_path, "")
    text = _START.replace("  reweighting: {omega: [0.5, 1.0]}\n", "  reweighting: {omega: null}\n")
    search = "search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}\n"
    assert "36: 3 seeds x 12 cells" in to_json_plotly(planned(desk, text + search))


def test_what_is_to_be_typed_names_the_store_that_the_pages_show(tmp_path):
    store = TrialStore(tmp_path / "store")
    library = Library(store)
    library.refresh()
    desk = Desk.on(library, tmp_path, "")
    for said in (planned(desk, _START), studies.results(desk, {})):
        assert f"--store {store.root}" in json.dumps(json.loads(to_json_plotly(said)))
    library.close()
