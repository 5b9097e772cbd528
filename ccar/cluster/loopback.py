"""Keeps Ray on 127.0.0.1.

By itself Ray puts the host's address in the place of loopback, and its GCS and raylets then listen on every
interface. On macOS and Windows it stays on loopback, by a setting that works on Linux as well: all but for
`ray start` of a second node, which it then refuses. So that command is run through here:

    python -m ccar.cluster.loopback start --head ...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray._private import ray_constants, services

from ccar.cluster.local_nodes import LOOPBACK

STAY_ON_LOOPBACK: Mapping[str, str] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def kept_on_loopback(only_loopback: bool) -> Iterator[None]:
    """Let Ray in this process, and in those that it starts meanwhile, use loopback only, or every interface."""
    former = {name: os.environ.get(name) for name in STAY_ON_LOOPBACK}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update({name: value if only_loopback else "1" for name, value in STAY_ON_LOOPBACK.items()})
    ray_constants.ENABLE_RAY_CLUSTER = not only_loopback  # Ray has read the setting already, when it was imported
    try:
        yield
    finally:  # whoever is started from here later would refuse to be the second node of a cluster
        variables, ray_constants.ENABLE_RAY_CLUSTER = former
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> int:
    """`ray` with the same arguments, on loopback, whatever the number of nodes."""
    from ray.scripts import scripts  # drivers import this module for the other function only

    os.environ.update(STAY_ON_LOOPBACK)  # for the processes of the node
    services.get_node_ip_address = lambda address=None: LOOPBACK
    ray_constants.ENABLE_RAY_CLUSTER = True
    exit_code: int = scripts.main()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
