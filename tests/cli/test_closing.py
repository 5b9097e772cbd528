"""Where a run says to look next."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from ccar.cli.app import _closing, _ui_command
from ccar.cli.places import Places
from ccar.cli.run import _reported
from ccar.cli.study_view import StudyView
from ccar.cluster.events import RunSummary
from tests.small_disk import made_read_only
from tests.tiny_study import write_tiny_study


@pytest.mark.parametrize(
    ("tracking_uri", "variable", "option"),
    [
        (None, None, ""),
        ("http://mlflow.example:5000", None, " --tracking-uri http://mlflow.example:5000"),
        ("http://me:secret@mlflow.example", None, " --tracking-uri 'http://me:***@mlflow.example'"),
        ("http://mlflow.example:5000", "http://mlflow.example:5000", ""),
        ("http://mlflow.example:5000", "http://other.example", " --tracking-uri http://mlflow.example:5000"),
    ],
)
def test_the_pages_that_a_run_names_show_the_mlflow_that_has_its_runs(
    tmp_path, monkeypatch, tracking_uri, variable, option
):
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert _ui_command(Places.of(tmp_path / "my store", tracking_uri)) == (
        f"ccar ui --store '{tmp_path / 'my store'}'{option}"
    )


def outcome_of(folder, store_error):
    """Of a run that has trained nothing; where its store has failed, nothing can be written there."""
    view = StudyView.open(write_tiny_study(folder), Places.of(folder / "ccar-store", None))
    view.places.store.make_private()
    with made_read_only(view.places.store.root) if store_error else nullcontext():
        return _reported(view, RunSummary(store_error=store_error), view.source())


@pytest.mark.parametrize("store_error", [None, "no space left to write there"])
def test_a_report_is_named_where_it_was_written(tmp_path, capsys, store_error):
    _closing(outcome_of(tmp_path, store_error))
    said = capsys.readouterr().err
    report = tmp_path / "ccar-store" / "reports" / "tiny" / "report.html"
    assert (str(report) in said) == report.exists() == (store_error is None)
    assert "runs     ccar ui --store" in said


def test_a_run_that_has_used_up_its_device_hours_is_not_called_interrupted(tmp_path, capsys):
    outcome = replace(outcome_of(tmp_path, None), summary=RunSummary(interrupted=True))
    _closing(replace(outcome, is_spent=True))
    assert capsys.readouterr().err == (
        "ended: --max-device-hours are used up; the same command, with more of them, goes on from here\n"
    )
    _closing(outcome)
    assert capsys.readouterr().err == "interrupted; run the same command again to go on from here\n"
