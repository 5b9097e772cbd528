"""`gpus: auto`: how many trials share a GPU is measured, noted, and halved when memory runs out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ray.util.placement_group import placement_group, remove_placement_group

from ccar.cluster import gpu_probe
from ccar.cluster.control import Unlimited
from ccar.cluster.packing import Load, Packing, trials_per_gpu
from ccar.cluster.ray_session import ray_session
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.tune_runner import Place, run_on_ray
from ccar.cluster.turn import Turn
from ccar.errors import UserError
from ccar.store.gpu_notes import GpuNote
from ccar.store.trial_store import TrialStore
from ccar.study.definition import Resources, load_study
from ccar.study.expansion import load_data
from ccar.study.plan import Capacity
from ccar.study.search import trial_source
from tests.changed_training import change_training
from tests.cluster.test_trial_worker import Silent
from tests.tiny_study import write_tiny_study
from tests.waiting import SECONDS


def gpu(*, full_at, memory_of_one):
    """A GPU that is fully used by so many trials; more only share it."""

    def load(count):
        memory = count * memory_of_one
        return None if memory > 1 else Load(1000.0 * min(count, full_at), memory)

    return load


@pytest.mark.parametrize(
    ("full_at", "memory_of_one", "most", "found"),
    [
        (1, 0.1, 16, 1),  # one trial fills it
        (4, 0.1, 16, 4),  # the fifth would only take from the others
        (64, 0.01, 6, 4),  # the CPUs beside it cannot feed eight
        (64, 0.3, 16, 2),  # four would not fit
        (64, 0.24, 16, 2),  # four would fit by a hair
        (64, 0.6, 16, 1),
    ],
)
def test_as_many_trials_share_a_gpu_as_pay_and_fit(full_at, memory_of_one, most, found):
    assert trials_per_gpu(gpu(full_at=full_at, memory_of_one=memory_of_one), most) == found


@pytest.mark.parametrize(("of_two", "found"), [(1090.0, 1), (1110.0, 2)])
def test_twice_as_many_trials_have_to_get_through_a_tenth_more(of_two, found):
    loads = {1: Load(1000.0, 0.1), 2: Load(of_two, 0.2), 4: Load(of_two, 0.4)}
    assert trials_per_gpu(loads.__getitem__, 16) == found


def test_what_would_not_fit_is_not_tried():
    loads = {1: Load(1000.0, 0.46)}
    assert trials_per_gpu(loads.__getitem__, 16) == 1


def test_a_trial_that_needs_more_when_it_has_company_is_left_alone():
    loads = {1: Load(1000.0, 0.1), 2: None}
    assert trials_per_gpu(loads.__getitem__, 16) == 1


def test_a_trial_that_fits_no_gpu_is_refused():
    with pytest.raises(UserError, match="one trial alone runs out"):
        trials_per_gpu(gpu(full_at=1, memory_of_one=2.0), 16)


class FourFit:
    """A probe of a GPU for four; counts how often it is asked."""

    asked = 0

    def __init__(self, trial, cpus, say, kind="A100"):
        self.kind = kind

    def most(self):
        return self.kind, 8

    def load(self, count):
        FourFit.asked += 1
        return gpu(full_at=4, memory_of_one=0.05)(count)


@pytest.fixture
def study(tmp_path):
    return load_study(write_tiny_study(tmp_path, more="resources: {cpus: 0.5, gpus: auto}"))


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "store")


def source_of(study, store):
    return trial_source(study, load_data(study, Path(os.environ["CCAR_CACHE"])), store.search_log(study.name))


def packing_of(study, store, said):
    return Packing(study.resources, source_of(study, store).known[0].config, store.gpu_notes, said.append)


def test_what_was_measured_is_remembered_for_this_kind_of_gpu_and_halved_when_memory_runs_out(study, store):
    said = []
    packing = packing_of(study, store, said)
    assert packing.known.gpus == "auto"
    assert not packing.back_off()
    FourFit.asked = 0
    assert packing.measured(FourFit) == Resources(cpus=0.5, gpus=0.25)
    assert FourFit.asked == 4  # with 1, 2, 4 and 8
    assert packing_of(study, store, said).measured(FourFit) == Resources(cpus=0.5, gpus=0.25)
    assert FourFit.asked == 4
    packing.measured(lambda *given: FourFit(*given, kind="H100"))
    assert FourFit.asked == 8
    assert packing.back_off()
    assert packing.known == Resources(cpus=0.5, gpus=0.5)
    assert packing.back_off()
    assert not packing.back_off()  # it is one already
    assert packing.known == Resources(cpus=0.5, gpus=1)
    assert said[-1] == "gpus: auto: out of memory; from now on 1 on each GPU"


def test_two_clusters_with_other_gpus_keep_their_numbers_in_one_store(study, store):
    here, there = packing_of(study, store, []), packing_of(study, store, [])
    here.measured(FourFit)
    there.measured(lambda *given: FourFit(*given, kind="H100"))
    assert there.back_off()
    FourFit.asked = 0
    assert packing_of(study, store, []).measured(FourFit) == Resources(cpus=0.5, gpus=0.25)
    assert FourFit.asked == 0
    assert packing_of(study, store, []).known == Resources(cpus=0.5, gpus=0.5)


def test_a_number_in_the_study_file_is_taken_as_it_is(tmp_path, store):
    study = load_study(write_tiny_study(tmp_path, more="resources: {gpus: 0.25}"))
    packing = packing_of(study, store, [])
    assert packing.known == packing.measured(FourFit) == study.resources
    assert not packing.back_off()


# A GPU that Ray hands out and torch does not see: trials train on the CPU, and share it as they would a real one.
ONE_GPU = {"RAY_OVERRIDE_RESOURCES": '{"GPU": 1}'}


def run(study, store, said, monkeypatch, control=None):
    for name, value in ONE_GPU.items():
        monkeypatch.setenv(name, value)
    cache = Path(os.environ["CCAR_CACHE"])
    packing = packing_of(study, store, said)
    place = Place(store=store.address, cache_dir=cache, resources=study.resources, packing=packing)
    source = RemainingTrials(source_of(study, store), store, stops_early=False)
    return run_on_ray(source, place, None, Silent(), control)


@pytest.mark.long
@pytest.mark.ray
def test_a_run_measures_with_trials_of_its_own_and_keeps_nothing_of_them(study, store, monkeypatch):
    monkeypatch.setattr(gpu_probe, "SECONDS_TO_WARM_UP", 0.1)
    monkeypatch.setattr(gpu_probe, "SECONDS_TO_MEASURE", 0.5)
    said = []
    summary = run(study, store, said, monkeypatch)
    assert (summary.finished, summary.failures) == (2, [])
    assert said[0] == "gpus: auto: measuring how many trials share a GPU (unknown kind), at most 4"
    (note,) = store.gpu_notes.read(source_of(study, store).known[0].config, 0.5)
    assert note.trials_per_gpu in (1, 2, 4)  # by what else this machine does
    assert [store.read(key).status for key in store.keys()] == ["finished"] * 2  # noqa: SIM118


class SharedCluster(Unlimited):
    """Others train there at first; what is measured takes the place of a trial, and somebody pauses the run by then."""

    def __init__(self):
        self.told = []
        self.is_over = False

    def begin(self, cluster, slots, devices):
        self.told.append(("begins", slots, devices))

    def trials_at_once(self, running, left, unplaced):
        self.told.append((running, left, unplaced))
        if running > unplaced:
            threading.Timer(2.0, lambda: setattr(self, "is_over", True)).start()
        return 0 if self.told.count((0, 1, 0)) < 3 else 1


@pytest.mark.long
@pytest.mark.ray
def test_a_measurement_waits_for_the_turn_of_its_study_and_ends_with_it(study, store, monkeypatch):
    monkeypatch.setattr(gpu_probe, "SECONDS_TO_MEASURE", 600.0)
    control = SharedCluster()
    summary = run(study, store, [], monkeypatch, control)
    waits, is_placed = [(0, 1, 0)] * 3, [(1, 0, 1), (1, 0, 0)]
    assert control.told == [("begins", 1, 1.0), *waits, *is_placed, (0, 1, 0)]
    assert summary.interrupted
    assert store.gpu_notes.read(source_of(study, store).known[0].config, 0.5) == []
    assert store.keys() == []


@pytest.mark.long
@pytest.mark.ray
def test_trials_that_diverge_are_measured_like_others_and_end_so(tmp_path, store, monkeypatch):
    monkeypatch.setattr(gpu_probe, "SECONDS_TO_WARM_UP", 0.1)
    monkeypatch.setattr(gpu_probe, "SECONDS_TO_MEASURE", 0.5)
    study = load_study(write_tiny_study(tmp_path, learning_rate="1.0e+30", more="resources: {cpus: 0.5, gpus: auto}"))
    summary = run(study, store, [], monkeypatch)
    assert (summary.diverged, summary.failures) == (2, [])
    assert len(store.gpu_notes.read(source_of(study, store).known[0].config, 0.5)) == 1


@pytest.mark.long
@pytest.mark.ray
def test_ray_has_room_for_as_many_trials_on_a_gpu_as_are_counted(monkeypatch):
    """Its amounts are rounded: of 1/32 a GPU has 31."""
    for name, value in ONE_GPU.items():
        monkeypatch.setenv(name, value)
    auto = Resources(gpus="auto")
    shares = {count: auto.with_trials_per_gpu(count).gpu_share for count in (1, 2, 4, 8, 16, 32, 64, 128)}
    by_hand = Resources(gpus=0.142857)
    with ray_session(None):
        for count, share in {**shares, Capacity(cpus=64, gpus=1).slots(by_hand): by_hand.gpu_share}.items():
            assert Capacity(cpus=128, gpus=1).slots(Resources(gpus=share)) == count
            group = placement_group([{"GPU": share}] * count)
            assert group.wait(SECONDS)
            remove_placement_group(group)


# A trial with omega runs out of memory where it has to share its GPU.
NEEDS_A_WHOLE_GPU = """\
import ray, torch
share = ray.get_runtime_context().get_assigned_resources()["GPU"]
if self.config.reweighting is not None and share < 1:
    raise torch.OutOfMemoryError("CUDA out of memory")
"""


@pytest.mark.long
@pytest.mark.ray
def test_trials_that_run_out_of_memory_run_again_with_less_company(study, store, tmp_path, monkeypatch):
    change_training(NEEDS_A_WHOLE_GPU, tmp_path, monkeypatch)
    store.gpu_notes.write(source_of(study, store).known[0].config, 0.5, GpuNote("unknown kind", 2))
    for name, value in ONE_GPU.items():
        monkeypatch.setenv(name, value)

    def ccar(*words):
        command = [sys.executable, "-m", "ccar", *words, str(tmp_path / "tiny.yaml"), "--store", str(store.root)]
        return subprocess.run(command, check=True, capture_output=True, text=True)

    assert "(2 on each GPU, as measured)" in ccar("plan").stdout
    said = [line for line in ccar("run").stderr.splitlines() if line.startswith("gpus: auto")]
    assert said == [
        "gpus: auto: 2 on each GPU",
        "gpus: auto: out of memory; from now on 1 on each GPU",
        "gpus: auto: 1 on each GPU",
    ]
    assert {store.read(key).status for key in store.keys()} == {"finished"}  # noqa: SIM118
    assert "(1 on each GPU, as measured)" in ccar("plan").stdout


@pytest.mark.long
@pytest.mark.ray
def test_a_probe_says_that_it_waits_for_a_gpu_and_what_its_trial_died_of(study, store, tmp_path, monkeypatch):
    change_training("import os\nos._exit(7)", tmp_path, monkeypatch)
    for name, value in ONE_GPU.items():
        monkeypatch.setenv(name, value)
    said = []

    def say(text):
        said.append(text)
        threading.Timer(1.5, lambda: remove_placement_group(other)).start()  # after some more looks

    trial = source_of(study, store).known[0].config
    cache, turn = Path(os.environ["CCAR_CACHE"]), Turn(Unlimited())
    probe = gpu_probe.GpuProbe(trial, 0.5, say, cache_dir=cache, turn=turn)
    with ray_session(None):
        other = placement_group([{"GPU": 1}])
        assert other.wait(SECONDS)
        monkeypatch.setattr(gpu_probe, "SECONDS_TO_PLACE", 0.5)
        with pytest.raises(UserError, match="gpus: auto: the trial that was to be measured died: ") as death:
            probe.load(1)
        monkeypatch.setattr(gpu_probe, "SECONDS_TO_PLACE", 300)  # for the first one's processes to go
        assert probe.load(2) is None
    assert "gpus: 1" in death.value.hint
    assert len(said) == 1
    assert said[0].startswith("gpus: auto: waits for a free GPU and 0.5 CPUs beside it, to measure on")
