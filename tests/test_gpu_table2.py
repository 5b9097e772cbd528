"""What is to run on a GPU, tiny and on the CPU: from a study to trials that were trained where no store is."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import BrokenBarrierError
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from benchmarks import __main__ as results
from benchmarks import cuda_graphs, gpu_check, gpu_losses, gpu_training
from benchmarks import gpu_table2 as script
from benchmarks.cuda_graphs import CapturedTraining
from benchmarks.trial_pack import read_pack, write_pack
from ccar.data.image_set import fingerprint
from ccar.data.sources import load_source
from ccar.errors import CcarError
from ccar.losses import LOSSES
from ccar.store.trial_file import read_trials
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of
from ccar.training.randomness import deterministic
from ccar.training.recipe import changed_recipe
from tests.cli.test_commands import REPOSITORY, ccar
from tests.data.folders import data_config, write_image
from tests.training.tiny import CPU, tiny_config, tiny_recipe, tiny_source

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
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
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
def test_a_pack_can_be_of_some_trials_alone_and_says_how_large_it_is(study, tmp_path):
    whole = gpu_table2("pack", study, "whole.npz", cwd=tmp_path)
    told = gpu_table2("pack", study, "part.npz", "--factors", 100, "--seeds", 0, cwd=tmp_path)
    mebibytes = (tmp_path / "part.npz").stat().st_size / 2**20
    assert told == f"part.npz: 2 trials, {mebibytes:.1f} MiB\n"
    assert whole.startswith("whole.npz: 4 trials")
    assert (tmp_path / "part.npz").stat().st_size < (tmp_path / "whole.npz").stat().st_size
    trials = read_pack(tmp_path / "part.npz").trials
    assert {(trial.data.imbalance_factor, trial.seed) for trial in trials} == {(100, 0)}
    with pytest.raises(SystemExit, match="no trial with these"):
        script.pack(study, tmp_path / "none.npz", seeds=[7])


@pytest.mark.long
@pytest.mark.skipif(
    "CCAR_CIFAR100_ROOT" not in os.environ,
    reason="set CCAR_CIFAR100_ROOT to a folder with CIFAR-100 as train/<class>/* and test/<class>/*",
)
def test_what_one_call_can_train_of_table_ii_leaves_room_for_the_repository_beside_it(tmp_path):
    study = (REPOSITORY / "studies" / "table2_cifar100_lt.yaml").read_text()
    root = os.environ["CCAR_CIFAR100_ROOT"]
    (tmp_path / "study.yaml").write_text(study.replace("download: true", f"root: {root}"))
    told = gpu_table2("pack", "study.yaml", "pack.npz", "--factors", 100, "--seeds", 0, cwd=tmp_path)
    assert float(re.search(r"([0-9.]+) MiB", told)[1]) < 50


@pytest.mark.long
def test_trials_that_were_trained_elsewhere_are_not_trained_again(study, tmp_path):
    gpu_table2("pack", study, "pack.npz", cwd=tmp_path)
    options = ("--seconds", 1000, "--measuring", 3, "--device", "cpu")
    section = gpu_table2("run", "pack.npz", "trials.json", *options, cwd=tmp_path)
    assert "13 losses with and without CCAR" in section
    assert "4 of 4 trials trained" in section
    for row in (
        "cross_entropy + CCAR",
        "reference loop",
        "one forward pass for all (vmap)",
        "trials at once, a process",
    ):
        assert f"| {row}" in section
    assert "Ended here" not in section
    assert "two runs give the same bits" in section
    code, out, _ = ccar("import", "trials.json", cwd=tmp_path)
    assert (code, out) == (0, "trials.json: 4 of 4 trials imported, 0 were there already\n")
    code, out, _ = ccar("plan", study, cwd=tmp_path, CCAR_CACHE=str(tmp_path / "cache"))
    assert code == 0
    assert "to run    0" in out


def test_as_many_trials_share_the_device_as_lets_most_of_them_end_in_time():
    totals, images = {1: 60_000.0, 8: 100_000.0}, 6_300_000
    assert script.best_at_once(totals, images, 250) == 1, "of eight together none would end"
    assert script.best_at_once(totals, images, 3_000) == 8
    assert script.best_at_once(totals, images, 10) == 1
    assert script.best_at_once({}, images, 3_000) == 1


def test_what_cublas_must_know_is_said_before_anything_runs(monkeypatch, capsys):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(sys, "argv", ["gpu_table2"])
    script.main()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.long
def test_training_keeps_its_promises_on_the_device_that_is_checked(capsys):
    gpu_check.check_training("cpu", 600.0)
    found = dict(rows(capsys.readouterr().out)[1:])
    assert found.keys() == gpu_check.checks(CPU).keys()
    assert set(found.values()) == {"yes"}


def test_a_promise_that_is_not_kept_is_told(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "same_weights", lambda one, other: False)
    assert gpu_check.repeats(gpu_check.SOFTMAX, CPU) == "NO"
    gpu_check.check_training("cpu", 0.0)
    assert {cells[1] for cells in rows(capsys.readouterr().out)[1:]} == {"no time left"}


@pytest.mark.parametrize("found", [float("nan"), RuntimeError("not on this device")])
def test_a_loss_that_is_wrong_or_fails_is_told_whatever_comes_after_it(monkeypatch, capsys, found):
    right = gpu_losses.loss_and_gradient

    def wrong_in_float32(loss, logits, labels):
        value, gradient = right(loss, logits, labels)
        if logits.dtype == torch.float32 and type(loss.base) is LOSSES["cross_entropy"]:  # the first one
            if isinstance(found, Exception):
                raise found
            gradient[0, 0] = found
        return value, gradient

    assert gpu_losses.check_losses(CPU)
    monkeypatch.setattr(gpu_losses, "loss_and_gradient", wrong_in_float32)
    assert not gpu_losses.check_losses(CPU)
    told = capsys.readouterr().out.splitlines()[-1]
    assert "(cross_entropy, 10 classes" in told
    assert ("not on this device" in told) == isinstance(found, Exception)
    assert "DISAGREE" in told


NOT_THERE = ("ray", "mlflow", "pandas", "psutil", "scipy", "tabulate", "triton", "typer")
NOT_NEEDED = f"import sys; sys.modules |= dict.fromkeys({NOT_THERE})"


@pytest.mark.long
def test_it_needs_neither_ray_nor_mlflow_nor_a_store():
    code = f"{NOT_NEEDED}; import benchmarks.gpu_table2; print('ccar.store.trial_store' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.long
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


@pytest.mark.long
def test_processes_that_hang_are_ended_with_the_time_there_is(study, tmp_path, capsys):
    gpu_table2("pack", study, "pack.npz", cwd=tmp_path)
    for_nobody = multiprocessing.get_context("spawn").Barrier(2)
    with processes(tmp_path / "pack.npz", {1: for_nobody}) as workers:
        assert script.time_at_once(workers, read_pack(tmp_path / "pack.npz"), 1.0, time.time() + 1) == {}
    assert "took too long" in capsys.readouterr().out


@pytest.fixture
def tiny_pack(tmp_path):
    """One trial on colour images of the reference loop's size."""
    source = tiny_source(num_channels=3, size=32)
    write_pack(tmp_path / "tiny.npz", [tiny_config(recipe=tiny_recipe(augmentation=("crop",)))], source)
    return tmp_path / "tiny.npz"


def test_a_trial_that_would_not_end_in_time_is_not_begun(tiny_pack, tmp_path, capsys):
    nobody = SimpleNamespace()
    script.train(nobody, read_pack(tiny_pack), tmp_path / "trials.json", 1, time.time() + 100, expected=200)
    told = capsys.readouterr().out
    assert "0 of 1 trials trained" in told
    assert "1 were not begun: at 200 s each" in told


def test_a_trial_that_hangs_is_told_when_the_time_is_over(tiny_pack, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "LAST_SECONDS", 0.1)
    hanging = SimpleNamespace(submit=lambda *_: Future())
    script.train(hanging, read_pack(tiny_pack), tmp_path / "trials.json", 1, time.time() + 0.3)
    assert "TimeoutError: did not end in time" in capsys.readouterr().out


def test_the_row_of_a_trial_says_all_that_tells_its_method_from_the_others():
    cells = cells_of(load_study(REPOSITORY / "studies" / "table2_cifar100_lt.yaml"))
    assert len({script.row_of(cell.config) for cell in cells}) == len(cells)


def rows(told) -> list[list[str]]:
    """Cells of the tables in what was printed, without their heads."""
    lines = re.findall(r"^\| .* \|$", told, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def is_number(cell) -> bool:
    return re.fullmatch(r"[0-9.,]+", cell) is not None


@pytest.fixture
def compiled_by_nobody(monkeypatch):
    """torch.compile without its compiler, which takes a minute here: what it would be given is run as it is."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))


def test_every_form_of_a_loss_is_timed_beside_cross_entropy(monkeypatch, capsys, compiled_by_nobody):
    monkeypatch.setattr(gpu_losses, "SHAPES", ((8, 4),))
    monkeypatch.setattr(gpu_losses, "time", SimpleNamespace(time=lambda: 0.0, perf_counter=time.perf_counter))
    gpu_losses.time_losses("cpu", 1.0)  # a clock that stands leaves each its share, however busy the machine is
    _, *found = rows(capsys.readouterr().out)
    assert len(found) == len(gpu_losses.EAGER) * len(gpu_losses.TYPES)
    for _, _, _, own, other, ratio, number, *as_a_graph in found:
        assert all(map(is_number, (own, other, ratio, number)))
        assert as_a_graph[0] == "no graph on a CPU"
    for name in gpu_losses.COMPILED:
        own, other, ratio, number, *_ = gpu_losses.cells_of_loss(name, (8, 4), torch.float32, CPU, 0.0)
        assert all(map(is_number, (own, other, ratio, number)))


def test_every_form_of_the_training_step_has_a_speed(tiny_pack, compiled_by_nobody):
    pack = read_pack(tiny_pack)
    config = pack.trials[0]
    assert gpu_training.training_speed(pack, config, CPU, 0.0, kind=CapturedTraining) > 0
    assert gpu_training.network_alone(pack, config, CPU, 0.0, compiled=True, captured=True) > 0


def test_what_is_compared_with_training_runs_as_deterministically(tiny_pack, monkeypatch):
    modes = []

    def noted(*_):
        modes.append(torch.get_deterministic_debug_mode())

    def of_nothing(counts):
        return lambda logits, labels: noted() or logits.sum()

    monkeypatch.setitem(gpu_losses.VARIANTS, "noted", of_nothing)
    gpu_losses.cells_of_loss("noted", (8, 4), torch.float32, CPU, 0.0)
    pack = read_pack(tiny_pack)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(noted)
    try:
        gpu_training.network_alone(pack, pack.trials[0], CPU, 0.0)
    finally:
        hook.remove()
    with deterministic(CPU):
        assert set(modes) == {torch.get_deterministic_debug_mode()}


def test_without_the_reference_loop_nothing_else_is_the_reference(tiny_pack, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no worker processes")

    monkeypatch.setattr(gpu_training, "reference_loop", fails)
    gpu_training.time_loops(tiny_pack, "cpu", 0.0)
    _, reference, *others = rows(capsys.readouterr().out)
    assert "no worker processes" in reference[1]
    assert len(others) == 2
    for _, speed, ratio in others:
        assert is_number(speed)
        assert ratio == ""


@pytest.fixture
def no_gpu_at_all(monkeypatch):
    """torch.cuda, as far as a capture calls it, without a GPU; the calls are noted."""
    calls = MagicMock()
    calls.get_sync_debug_mode.return_value = 0
    calls.stream.return_value = calls.graph.return_value = nullcontext()
    for name in ("Stream", "current_stream", "default_stream", "CUDAGraph", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(calls, name))
    for name in ("get_sync_debug_mode", "set_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, getattr(calls, name))
    return calls


def test_what_waits_for_the_gpu_fails_before_it_is_captured(no_gpu_at_all):
    def mode():
        return no_gpu_at_all.set_sync_debug_mode.call_args.args[0]

    def waits():
        if mode() == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    torch.cuda.set_sync_debug_mode(0)
    with pytest.raises(RuntimeError, match="synchronizing"):
        cuda_graphs.graph_of(waits)
    no_gpu_at_all.graph.assert_not_called()
    assert mode() == 0
    modes = []
    cuda_graphs.graph_of(lambda: modes.append(mode()))
    assert modes == [0, 0, "error", 0], "the last one is captured"


def test_a_thread_captures_on_its_own_stream_where_it_has_one(no_gpu_at_all):
    cuda_graphs.graph_of(lambda: None)
    own, default = no_gpu_at_all.current_stream(), no_gpu_at_all.default_stream()
    assert no_gpu_at_all.graph.call_args.kwargs["stream"] is own
    no_gpu_at_all.current_stream.return_value = default
    cuda_graphs.graph_of(lambda: None)
    assert no_gpu_at_all.graph.call_args.kwargs["stream"] is no_gpu_at_all.Stream.return_value


def test_each_wait_of_the_host_for_the_gpu_is_counted(tiny_pack, monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)

    class Waiting(gpu_training.Training):
        def _step(self, batch, generator):
            if modes == ["warn"]:
                warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
                warnings.warn("something else", stacklevel=1)
            return super()._step(batch, generator)

    pack = read_pack(tiny_pack)
    assert gpu_training.host_waits(gpu_training.training_of(pack, pack.trials[0], CPU, Waiting)) == 6
    assert modes == ["warn", 0]


def test_every_way_to_share_a_device_in_one_process_is_measured(tiny_pack, capsys):
    gpu_training.time_in_one_process(tiny_pack, "cpu", 0.0)
    head, *found = rows(capsys.readouterr().out)
    assert head[-1] == "trials an hour"
    assert [(row[0], row[1]) for row in found] == [
        ("1", "a thread and a stream each"),
        ("2", "a thread and a stream each"),
        ("2", "one forward pass for all (vmap)"),
    ]
    assert all(is_number(cell) for row in found for cell in row[2:])


def test_trials_an_hour_count_each_image_as_often_as_a_trial_trains_on_it(tiny_pack):
    pack = read_pack(tiny_pack)
    assert gpu_training.images_of_a_trial(pack, pack.trials[0]) == 6 * 44
    assert gpu_training.trials_an_hour(pack, 6 * 44 / 3600) == pytest.approx(1.0)


def test_what_fails_on_a_gpu_is_told_in_its_row_and_ends_nothing(tiny_pack, monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(gpu_losses, "SHAPES", ((8, 4),))
    gpu_losses.time_losses("cuda", 60.0)
    gpu_training.time_loops(tiny_pack, "cuda", 0.0)
    gpu_training.time_in_one_process(tiny_pack, "cuda", 0.0)
    told = capsys.readouterr().out
    assert "The fused kernel does not run: " in told
    assert told.index("Times that the host waits") < told.index("| reference loop"), (
        "behind what a compiler may hold up"
    )
    without_heads = [row for row in rows(told) if not re.search(r"images/s|cross-entropy us", " ".join(row))]
    losses = (len(gpu_losses.EAGER) + len(gpu_losses.COMPILED)) * len(gpu_losses.TYPES)
    assert len(without_heads) == losses + 11 + 1 + 4 * len(gpu_training.AT_ONCE)
    for row in without_heads:
        assert re.search(r"Error|CUDA|cuda", " ".join(row)), row


@pytest.mark.long
def test_a_measurement_that_hangs_is_ended_and_one_that_crashes_is_told(capfd):
    began = time.time()
    script.apart(time.sleep, seconds=100.0, end=began + 2)
    assert time.time() < began + 20
    script.apart(os._exit, seconds=3, end=began + 100)
    told = capfd.readouterr().out
    assert "Ended here: it took too long." in told
    assert "exit code 3" in told
