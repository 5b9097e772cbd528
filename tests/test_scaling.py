"""The simulation of a large cluster runs a real driver, on a cluster of two nodes here, and measures what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

from benchmarks.scaling import of_the_living, pauses, write_study
from ccar.store.records import TrialRecord
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of


@pytest.mark.parametrize("num_trials", [10, 50, 100, 1000])
def test_a_study_has_as_many_trials_as_were_asked_for(tmp_path, num_trials):
    study = load_study(write_study(num_trials, tmp_path, epochs=2, gpus=1))
    assert len(cells_of(study)) * len(study.seeds) == num_trials


def test_a_number_that_no_grid_has_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="not a multiple"):
        write_study(7, tmp_path, epochs=2, gpus=1)


def test_a_pause_is_from_the_end_of_a_trial_to_the_next_claim_of_the_same_worker():
    def trial(pid, started_at, ended_at):
        return TrialRecord(key="", status="finished", worker={"pid": pid}, started_at=started_at, ended_at=ended_at)

    assert pauses([trial(1, 5.0, 6.0), trial(2, 0.0, 9.0), trial(1, 0.0, 4.5)]) == [0.5]


def test_a_process_that_has_ended_is_left_out_of_what_is_measured():
    with subprocess.Popen([sys.executable, "-c", ""]) as short:
        gone = psutil.Process(short.pid)
    found = of_the_living([gone, psutil.Process()], lambda process: process.memory_full_info().pss)
    assert found.keys() == {psutil.Process()}


@pytest.mark.ray
@pytest.mark.long
def test_a_small_simulation_trains_nothing_and_finishes_every_trial(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scaling", "--nodes", "2", "--gpus-per-node", "1", "--seconds", "0.1"]
    command += ["--run", "10", "--stored", "10", "--json", str(tmp_path / "figures.json")]
    command += ["--figure", str(tmp_path / "figure.svg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "2 simulated nodes with 2 GPUs" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    [run], [stored] = figures["runs"], figures["stored"]
    assert (run["trials"], run["slots"], run["ideal_seconds"]) == (10, 2, 0.5)
    assert run["driver_cpu_ms"] > 0
    assert 0 < run["between_ms"] <= run["between_p95_ms"]
    assert stored["trials"] == 10
    assert 10 * 7 < stored["inodes"] <= 10 * 8 + 1  # trials whose keys begin alike share a folder
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
