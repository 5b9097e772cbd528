from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ccar.cli.places import Places
from ccar.cli.progress import ProgressDisplay
from ccar.cli.replay import ReplayedTrial, find_cell, replay, replay_text
from ccar.cli.study_view import StudyView
from ccar.cluster.in_process import run_in_process
from ccar.cluster.trial_worker import TrialWorker
from ccar.errors import UserError
from ccar.reports.content import content_of
from ccar.reports.formats.json_file import render_json
from ccar.reports.report_file import Report
from ccar.reports.results import summarise
from ccar.study.plan import Difference
from tests.cli.test_commands import ccar
from tests.reports.conftest import EVIL
from tests.tiny_study import write_tiny_study

CRT = "methods:\n  extra: [{label: cRT, procedure: crt, recipe: {epochs: 1}}]"
TALK = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """report.json of the tiny study with cRT: all that is left of it."""
    folder = tmp_path_factory.mktemp("replay")
    path = write_tiny_study(folder, seeds="[0, 1]")
    path.write_text(path.read_text().replace("methods:", CRT))
    places = Places.of(folder / "store", None)
    view = StudyView.open(path, places)
    source = view.source()
    worker = TrialWorker(places.store, places.cache_dir, device=torch.device("cpu"), threads=1)
    with ProgressDisplay(TALK, source.num_trials, 0) as display:
        run_in_process(source, worker, display)
    results = summarise(view.report_input(source.known))
    return render_json(results, content_of(results, []))


def replayed(report: str, cell: str, seed: int | None = None):
    content = Report.model_validate_json(report)
    return replay(content, find_cell(content, cell), seed, Places.of(Path("unused"), None).cache_dir, TALK)


def test_a_cell_trained_again_from_the_report_alone_is_equal_bit_for_bit(report, tmp_path):
    (tmp_path / "report.json").write_text(report)
    code, out, err = ccar("replay", "report.json", "if10/cross_entropy+ccar(omega=0.5)", cwd=tmp_path)
    assert (code, len(out.splitlines())) == (0, 2), out + err
    assert all("all equal, bit for bit" in line for line in out.splitlines())
    assert "leaked" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_cell_with_a_stage_one_trains_that_first(report):
    (trial,) = replayed(report, "cRT", seed=1)
    assert (trial.seed, trial.unequal, trial.circumstances) == (1, (), ())
    assert trial.compared > 20


def test_a_number_that_differs_is_named_with_what_may_be_why(report):
    changed = json.loads(report)
    (row,) = [row for row in changed["trials"] if (row["cell"], row["seed"]) == ("if10/cross_entropy", 0)]
    row["test_accuracy"] += 0.25
    (cost,) = [cost for cost in changed["costs"]["trials"] if cost["key"] == row["key"]]
    cost["processor"] = "another one"
    text = replay_text("if10/cross_entropy", replayed(json.dumps(changed), "if10/cross_entropy", seed=0))
    assert "1 differ" in text
    assert re.search(r"test_accuracy: 0\.\d+ -> 0\.\d+ \(-0\.25\)", text)
    assert "not as it was: processor: another one -> " in text


def test_what_a_report_of_another_version_lacks_is_not_compared(report):
    changed = json.loads(report)
    (whole,) = replayed(report, "if10/cross_entropy", seed=0)
    for row in changed["trials"]:
        del row["test_accuracy"]
    changed["costs"]["trials"] = []
    (trial,) = replayed(json.dumps(changed), "if10/cross_entropy", seed=0)
    assert (trial.unequal, trial.compared) == ((), whole.compared - 1)
    assert {part.stored for part in trial.circumstances} == {None}


def test_a_report_without_cells_is_told(report):
    with pytest.raises(UserError, match="the report has no cell 'cRT'"):
        replayed(json.dumps({**json.loads(report), "cells": []}), "cRT")


def test_names_of_a_report_cannot_steer_the_terminal():
    unequal = Difference(path="status", stored=EVIL, current="finished")
    circumstance = Difference(path="processor", stored=EVIL, current=None)
    trial = ReplayedTrial(seed=0, compared=1, unequal=(unequal,), circumstances=(circumstance,))
    text = replay_text(EVIL, [trial])
    assert text.count("\N{REPLACEMENT CHARACTER}[31m") == 3
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("cell", "seed", "message", "hint"),
    [
        ("if10/cros_entropy", None, "has no cell 'if10/cros_entropy'", "did you mean 'if10/cross_entropy'?"),
        ("if10/cross_entropy", 7, "has no seed 7", "choose from 0, 1"),
    ],
)
def test_what_the_report_does_not_have_is_told(report, cell, seed, message, hint):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        replayed(report, cell, seed)
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("data: {name: digits", "data: {name: image_folder, root: /nowhere"), "/nowhere"),
        (('"data_fingerprint": "', '"data_fingerprint": "0'), "the images here are not those of the report"),
        (("omega: [0.5]", "omega: [0.75]"), "makes no cell"),
    ],
)
def test_a_study_that_cannot_be_trained_again_here_is_told(report, change, message):
    assert change[0] in report
    with pytest.raises(UserError, match=message):
        replayed(report.replace(*change), "cross_entropy+ccar(omega=0.5)")


def test_a_cell_that_never_ended_has_nothing_to_compare(report):
    with pytest.raises(UserError, match="seed 0 failed, seed 1 failed"):
        replayed(report.replace('"status": "finished"', '"status": "failed"'), "cRT")


def test_a_report_of_another_version_is_told_by_the_command(report, tmp_path):
    (tmp_path / "report.json").write_text(report.replace('"schema_version": 1', '"schema_version": 99'))
    code, _, err = ccar("replay", "report.json", "if10/cross_entropy", cwd=tmp_path)
    assert code == 2
    assert "schema version 99 is unknown" in err
