"""The processes that train, as Ray names them: tune.with_resources makes a ResourceTrainable of every trainable."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def trial_processes(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that hold a trial and are alive."""
    found = []
    for process in processes:
        try:
            trains = "ResourceTrainable" in " ".join(process.cmdline())
            if trains and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
