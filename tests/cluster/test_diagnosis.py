from __future__ import annotations

from dataclasses import replace

import pytest

from ccar.cluster.diagnosis import Survey, checks_of_machine, checks_of_survey
from ccar.cluster.node_facts import NodeFacts, gather_facts, machine_facts, probe_folder

HEALTHY = NodeFacts(
    name="driver",
    python="3.11.7",
    packages={"ray": "2.60.0", "torch": "2.15.0"},
    code="a" * 64,
    gpus=("H100",),
    gpu_error=None,
    store_error=None,
    sees_store_of_driver=True,
    free_store_bytes=2**34,
    free_temporary_bytes=2**34,
    free_shared_memory_bytes=2**33,
)


def survey(node=None, *, gpus=1.0, clock=0.0, written=True, token=True):
    """One node beside the driver."""
    return Survey(
        driver=HEALTHY,
        nodes=[node or replace(HEALTHY, name="node-1")],
        promised_gpus=[gpus],
        clock_seconds=[clock],
        written=[written],
        asks_for_token=token,
    )


def wrong(survey_):
    return [(check.where, check.what, check.found, check.remedy) for check in checks_of_survey(survey_) if not check.ok]


def node(**differs):
    return replace(HEALTHY, name="node-1", **differs)


def test_a_healthy_cluster_has_nothing_wrong_and_every_check_says_what_was_found():
    checks = list(checks_of_survey(survey()))
    assert all(check.ok and check.found for check in checks)
    of_node = [check.what for check in checks if check.where == "node-1"]
    assert of_node == ["versions", "code", "gpus", "store", "disk", "shm", "clock"]


@pytest.mark.parametrize(
    ("sick", "what", "found"),
    [
        (survey(node(python="3.12.1")), "versions", "python 3.12.1 instead of 3.11.7"),
        (survey(node(packages={"ray": "2.60.0"})), "versions", "torch missing instead of 2.15.0"),
        (survey(node(code="b" * 64)), "code", "bbbbbbbbbbbb instead of aaaaaaaaaaaa"),
        (survey(gpus=2.0), "gpus", "Ray hands out 2, torch sees 1"),
        (survey(node(gpus=None, gpu_error="driver too old")), "gpus", "driver too old"),
        (survey(node(store_error="read-only file system")), "store", "read-only file system"),
        (survey(node(sees_store_of_driver=False)), "store", "another one than the driver's"),
        (survey(written=False), "store", "another one than the driver's"),
        (survey(node(free_store_bytes=2**20)), "disk", "0.0 GiB free in the store"),
        (survey(node(free_shared_memory_bytes=64 * 2**20)), "shm", "0.1 GiB free"),
        (survey(clock=-9.0), "clock", "-9.0 s from the driver's"),
        (survey(token=False), "token", "whoever reaches a port can run code"),
    ],
)
def test_what_is_wrong_is_one_line_with_a_remedy(sick, what, found):
    [(where, found_what, found_text, remedy)] = wrong(sick)
    assert (where, found_what) == ("cluster" if what == "token" else "node-1", what)
    assert found in found_text
    assert remedy


def test_this_machine_is_looked_at_for_real_and_nothing_of_it_stays(tmp_path):
    with probe_folder(str(tmp_path / "store" / "to" / "come")) as probes:
        facts = machine_facts(str(probes))
        assert [check.what for check in checks_of_machine(facts) if not check.ok] == []
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_does_not_see_the_drivers_folder_does_not_make_one_of_its_own(tmp_path):
    facts = gather_facts("node-1", str(tmp_path / "store" / ".probe"), has_gpus=False)
    assert str(tmp_path / "store") in facts.store_error
    assert not facts.sees_store_of_driver
    assert list(tmp_path.iterdir()) == []
