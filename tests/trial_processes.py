"""The processes of a run by the names that Ray gives them."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def trial_processes(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that hold a trial and are alive.

    tune.with_resources makes a ResourceTrainable of every trainable.
    """
    found = []
    for process in processes:
        try:
            trains = "ResourceTrainable" in " ".join(process.cmdline())
            if trains and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def without_agents(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """All but the agents of a Ray node, which give their last message to a head that is gone a minute to arrive."""
    return [process for process in processes if not _is_agent(process)]


def _is_agent(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:  # it has ended, as it should
        return False
    return bool(command) and command[0].endswith("Agent")  # one that is just ending has none
