"""How many CPUs and which GPUs this process may use: as the kernel writes it down in containers and outside."""

from __future__ import annotations

import pytest
import ray

from ccar import machine
from ccar.cli.plan import this_machine
from ccar.cluster.ray_session import ray_session
from ccar.machine import gpu_ids, num_cpus

ONE_AND_A_HALF = {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}


@pytest.fixture
def control_groups(tmp_path, monkeypatch):
    """Writes down the groups of this process and their limits, in place of the kernel."""

    def write(own, limits):
        (tmp_path / "own").write_text(own)
        for name, text in limits.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(text)

    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")
    return write


@pytest.mark.parametrize(
    ("own", "limits", "cpus"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker run --cpus=2
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),  # more than there are
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "350000 100000\n", "a.slice/b.scope/cpu.max": "max 100000\n"}, 3),
        ("5:cpuset:/\n4:cpu,cpuacct:/docker/0123\n0::/\n", ONE_AND_A_HALF, 1),  # the path is one of the host
        ("4:cpu,cpuacct:/\n", {**ONE_AND_A_HALF, "cpu/cpu.cfs_quota_us": "-1\n"}, 64),
        ("4:cpu,cpuacct:/job\n", {f"cpu/job/{name[4:]}": text for name, text in ONE_AND_A_HALF.items()}, 1),
        ("", {}, 64),
    ],
)
def test_as_many_cpus_are_used_as_the_scheduler_and_the_quota_of_a_container_leave(
    control_groups, monkeypatch, own, limits, cpus
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    control_groups(own, limits)
    assert num_cpus() == this_machine().cpus == cpus


def test_a_kernel_without_control_groups_has_no_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5})
    assert num_cpus() == 2


@pytest.mark.long
@pytest.mark.ray
def test_ray_of_a_run_has_no_more_cpus_than_the_container(control_groups):
    control_groups("0::/\n", {"cpu.max": "100000 100000\n"})
    with ray_session(None):
        assert ray.cluster_resources()["CPU"] == 1


@pytest.mark.parametrize(
    ("visible", "ids"),
    [("0, 2", ["0", "2"]), ("GPU-8f2,MIG-1c0", ["GPU-8f2", "MIG-1c0"]), ("", []), ("-1", [])],
)
def test_gpus_are_those_that_cuda_is_let_see(monkeypatch, visible, ids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_ids() == ids
    assert this_machine().gpus == len(ids)
