"""What a driver asks of every node before it hands out trials."""

from __future__ import annotations

import pytest

from ccar.cluster import same_software, survey
from ccar.cluster.ray_session import ray_session
from ccar.errors import ClusterError

pytestmark = [pytest.mark.ray, pytest.mark.long]

GONE = {"NodeID": "ab" * 28, "NodeManagerAddress": "127.0.0.9", "Resources": {}, "Alive": True}


def test_a_node_that_dies_while_it_is_asked_does_not_end_the_study(monkeypatch):
    times = []

    def with_one_that_has_just_died():
        times.append(len(times))
        living = survey.living_nodes()
        return [*living, GONE] if len(times) == 1 else living

    monkeypatch.setattr(same_software, "living_nodes", with_one_that_has_just_died)
    with ray_session(None):
        same_software.check_nodes()
    assert times == [0, 1, 2]  # asked all, seen that one is gone, asked the others


def test_a_node_that_lives_and_cannot_be_asked_ends_the_study(monkeypatch):
    monkeypatch.setattr(same_software, "living_nodes", lambda: [*survey.living_nodes(), GONE])
    with ray_session(None), pytest.raises(ClusterError, match="a node could not be looked at"):
        same_software.check_nodes()
