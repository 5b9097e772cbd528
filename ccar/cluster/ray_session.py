"""Ray on this machine for the time of a run, or a cluster that is already there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import services, worker

from ccar.cluster.address import answers, unreachable
from ccar.cluster.local_nodes import LOOPBACK, PATIENCE_WITH_A_LOST_HEAD
from ccar.cluster.loopback import kept_on_loopback
from ccar.cluster.scratch import scratch_folder
from ccar.cluster.token import make_token
from ccar.machine import num_cpus

# The store keeps what must last, and ccar draws its own progress.
SETTINGS = {
    # Tune gives its actors an environment of their own, which the workers that Ray would start ahead do not have:
    # they would be started for nothing, 0.35 s CPU each.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the old output prints nothing at all
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see interruption.py
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # our searcher says how many there may be; not processes one by one
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # After so long without a trial Tune says whose resources may be missing, and breaks off where there was none yet:
    # a study may wait for hours until it is its turn.
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "inf",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER": "inf",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def ray_session(address: str | None) -> Iterator[Callable[[], None]]:
    """Ray on this machine for the time of a run, or the cluster at `address`.

    Args:
        address: None for this machine; HOST:PORT of the head of a cluster that answers (see `find_cluster`).

    Yields:
        What begins to let Ray go and returns at once. Leaving the block waits until it has gone.

    Raises:
        UserError: Ray cannot be started here, or does not get in there.
    """
    os.environ.update({**PATIENCE_WITH_A_LOST_HEAD, **os.environ, **SETTINGS})
    if address is None:
        make_token()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    whereabouts = kept_on_loopback(address is None or _is_on_loopback_only(address))
    with whereabouts, scratch_folder() as ray_dir:
        try:
            if address is None:
                ray.init("local", num_cpus=num_cpus(), include_dashboard=False, _temp_dir=str(ray_dir / "ray"), **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:  # of all kinds; a bare one where this machine is too slow for Ray to start in time
            raise unreachable(address or "this machine", str(error).partition("\n")[0]) from error
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray takes them for itself, and would abort at once
                signal.signal(number, handler)
        # Not a daemon: whatever happens to the main thread, no process of Ray's outlives this one.
        goodbye = threading.Thread(target=ray.shutdown, name="ccar-ray-shutdown")
        try:
            yield goodbye.start
        finally:
            if goodbye.ident is None:
                goodbye.start()
            goodbye.join()


def cluster_id() -> str:
    """The id of the cluster to which this process is connected: the same by whatever address it got there."""
    return str(worker.global_worker.node.cluster_id.hex())


def address_of_this_machine() -> str:
    """Where Ray would find a cluster by itself: at RAY_ADDRESS, or by the processes of this machine.

    Raises:
        UserError: nowhere.
    """
    try:
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        raise unreachable("auto", str(error).splitlines()[0]) from error


def _is_on_loopback_only(address: str) -> bool:
    """Whether the cluster's head listens on 127.0.0.1 and nowhere else, as those of `ccar cluster start` do."""
    host, _, port = address.rpartition(":")
    with kept_on_loopback(False):
        outside = services.get_node_ip_address()
    return host in (LOOPBACK, "localhost") and not answers(outside, int(port))
