"""What `ccar plan` and `ccar run` note about the images of a study."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext

import pytest
from rich.console import Console

from ccar.cli import run
from ccar.cli.places import Places
from ccar.cluster.allowance import Limits
from ccar.cluster.events import RunSummary
from ccar.cluster.interruption import Interruption
from tests.cli.test_commands import ccar
from tests.tiny_study import write_tiny_study

NOTE = "20 validation images: accuracy moves in steps of 5.0 points; omega cannot be chosen on them"


@pytest.fixture
def coarse(tmp_path):
    """A study of ten classes that holds out two images of each."""
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace("validation_per_class: 10", "validation_per_class: 2"))
    return path


def test_a_plan_notes_validation_images_too_few_to_choose_omega_on(coarse, tmp_path):
    code, out, _ = ccar("plan", coarse, cwd=tmp_path)
    assert code == 0
    assert out.splitlines()[-1] == f"  note      {NOTE}"
    assert json.loads(ccar("plan", coarse, "--json", cwd=tmp_path)[1])["note"] == NOTE
    assert "note" not in ccar("plan", write_tiny_study(tmp_path), cwd=tmp_path)[1]


def test_a_run_notes_them_on_one_line_before_it_trains(coarse, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_feeding", lambda *_: nullcontext())
    monkeypatch.setattr(run, "_train", lambda view, *_: run.RunOutcome(view, RunSummary(), None, None))
    talk = Console(file=io.StringIO(), width=60)
    run.run_study(coarse, Places.of(tmp_path / "store", None), None, talk, Interruption(lambda: None), Limits())
    assert talk.file.getvalue().splitlines()[-1] == f"note: {NOTE}"
