from __future__ import annotations

import pytest

from ccar.cluster.local_cluster import start_cluster, stop_cluster


@pytest.fixture(scope="module")
def local_cluster(tmp_path_factory):
    """A real Ray cluster of two nodes with one CPU each: starting one takes seconds, so a module shares it."""
    folder = tmp_path_factory.mktemp("cluster")
    folder.chmod(0o700)
    try:
        yield start_cluster(folder, num_nodes=2, cpus_per_node=1)
    finally:
        stop_cluster(folder)
