"""What is to run on a GPU, tiny and on the CPU: from a study to trials that were trained where no store is."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import BrokenBarrierError

import numpy as np
import pytest
import torch

from benchmarks import __main__ as results
from benchmarks import gpu_table2 as script
from benchmarks.trial_pack import read_pack, write_pack
from ccar.data.image_set import fingerprint
from ccar.data.sources import load_source
from ccar.errors import CcarError
from ccar.store.trial_file import read_trials
from ccar.training.recipe import changed_recipe
from tests.cli.test_commands import REPOSITORY, ccar
from tests.data.folders import data_config, write_image

STUDY = """\
study: tiny
question: Does a trial come back from where there is no store?
data: {{name: image_folder, root: {root}, imbalance_factors: [30, 100], validation_per_class: 2}}
model: small_cnn
recipe: {{name: cifar_smoke, epochs: 2, batch_size: 32, schedule: {{name: cosine}}}}
methods: {{bases: [balanced_softmax, cross_entropy]}}
seeds: [0]
baseline: cross_entropy
"""


@pytest.fixture
def study(tmp_path) -> Path:
    """A study on two classes of noise."""
    random = np.random.default_rng(0)
    for part, number in (("train", 105), ("test", 4)):
        for name in ("apple", "pear"):
            for image in range(number):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                write_image(tmp_path / "images" / part / name / f"{image}.png", pixels)
    (tmp_path / "tiny.yaml").write_text(STUDY.format(root=tmp_path / "images"))
    return tmp_path / "tiny.yaml"


def gpu_table2(*arguments, cwd) -> str:
    command = [sys.executable, "-W", "error", "-m", "benchmarks.gpu_table2", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CCAR_CACHE": str(cwd / "cache")}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pack_has_the_pixels_of_every_image_that_a_trial_sees_and_the_most_wanted_trial_first(study, tmp_path):
    gpu_table2("pack", study, "pack.npz", cwd=tmp_path)
    pack = read_pack(tmp_path / "pack.npz")
    order = [(trial.data.imbalance_factor, trial.loss.name) for trial in pack.trials]
    assert order == [(f, name) for f in (100, 30) for name in ("cross_entropy", "balanced_softmax")]
    whole = load_source(data_config(root=tmp_path / "images"), tmp_path / "cache")
    assert pack.source.fingerprint == whole.fingerprint == fingerprint(whole.train, whole.test, whole.class_names)
    seen = pack.source.train.pixels.any(axis=(1, 2, 3))
    assert 0 < seen.sum() < len(seen)
    assert (pack.source.train.pixels[seen] == whole.train.pixels[seen]).all()
    assert (pack.source.test.pixels == whole.test.pixels).all()


@pytest.mark.long
def test_trials_that_were_trained_elsewhere_are_not_trained_again(study, tmp_path):
    gpu_table2("pack", study, "pack.npz", cwd=tmp_path)
    options = ("--seconds", 1000, "--measuring", 3, "--device", "cpu")
    section = gpu_table2("run", "pack.npz", "trials.json", *options, cwd=tmp_path)
    assert "13 losses with and without CCAR" in section
    assert "4 of 4 trials trained" in section
    code, out, _ = ccar("import", "trials.json", cwd=tmp_path)
    assert (code, out) == (0, "trials.json: 4 of 4 trials imported, 0 were there already\n")
    code, out, _ = ccar("plan", study, cwd=tmp_path, CCAR_CACHE=str(tmp_path / "cache"))
    assert code == 0
    assert "to run    0" in out


NOT_NEEDED = (
    "import sys; sys.modules |= dict.fromkeys(('ray', 'mlflow', 'pandas', 'psutil', 'scipy', 'tabulate', 'typer'))"
)


def test_it_needs_neither_ray_nor_mlflow_nor_a_store():
    code = f"{NOT_NEEDED}; import benchmarks.gpu_table2; print('ccar.store.trial_store' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_a_gpu_its_section_of_the_results_says_that_nothing_was_measured(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu_table2"])
    monkeypatch.chdir(REPOSITORY)
    results.main()
    section = results.read_sections()["gpu_table2"]
    assert "not measured, no GPU was at hand" in section
    assert ", no GPU; Python" in section
    assert "|" not in section, "a table"


def processes(pack, barriers):
    """A process of its own for one trial at a time."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, script.start, (pack, "cpu", barriers))


@pytest.mark.long
def test_a_trial_that_fails_is_told_and_holds_up_no_other(study, tmp_path, capsys):
    gpu_table2("pack", study, "pack.npz", cwd=tmp_path)
    pack = read_pack(tmp_path / "pack.npz")
    no_batch = changed_recipe(pack.trials[0].recipe, {"batch_size": 4096, "drop_last": True})
    trials = (pack.trials[0].model_copy(update={"recipe": no_batch}), *pack.trials[1:])
    write_pack(tmp_path / "bad.npz", trials, pack.source)
    barrier = multiprocessing.get_context("spawn").Barrier(2)
    with processes(tmp_path / "pack.npz", {2: barrier}) as good, processes(tmp_path / "bad.npz", {2: barrier}) as bad:
        ends = [workers.submit(script.speed_beside_others, 2, 1.0) for workers in (good, bad)]
        waiting, failing = (end.exception() for end in ends)
        assert isinstance(failing, CcarError)
        assert isinstance(waiting, BrokenBarrierError)
        script.train(bad, read_pack(tmp_path / "bad.npz"), tmp_path / "trials.json", 1, time.time() + 600)
    assert len(read_trials(tmp_path / "trials.json")) == 3
    told = capsys.readouterr().out
    assert "3 of 4 trials trained" in told
    assert "no batch" in told
