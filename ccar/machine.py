"""What this process may use of its machine: CPUs and NVIDIA GPUs. Memory is counted nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# Microseconds of CPU time that a control group gets, and in how many it gets them: of version 2, and of version 1.
_QUOTA_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def num_cpus() -> int:
    """How many CPUs this process may use; parts of one do not count, but there is at least 1.

    They are those that the scheduler gives it (`taskset`, cpusets), or fewer where its container has a quota of CPU
    time (`docker run --cpus`, `limits: {cpu: ...}` of a pod, `CPUQuota=` of systemd). Python 3.13's
    `os.process_cpu_count` and psutil know only the former, Ray by itself only the latter.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas()])))


def gpu_ids() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; CUDA is not loaded for it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    return [gpu for each in visible.split(",") if (gpu := each.strip()) not in ("", "-1")]


def _quotas() -> Iterator[float]:
    """How many CPUs' time each control group around this process allows, where it has a limit."""
    for group, files in product(_groups(), _QUOTA_FILES):
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            quota, period = map(int, " ".join((group / file).read_text() for file in files).split())
            if quota > 0:
                yield quota / period


def _groups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, up to the root: each of them may have a limit.

    In a container the path may be that on its host: then only the root is there, and is the container's.
    """
    with suppress(OSError):
        for line in _OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                mounted = _CGROUPS / "cpu" if controllers else _CGROUPS
                group = PurePosixPath(path).relative_to("/")
                yield from (mounted / each for each in (group, *group.parents))
