"""Two hosts lose each other while a study runs on both, and the store is in a bucket that one of them serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ccar.store.trial_store import TrialStore
from tests.changed_training import change_training
from tests.cluster.hosts import can_make_hosts, cut, heal, two_hosts
from tests.cluster.look_at_store import look
from tests.cluster.test_tune_runner import run_here
from tests.processes import ended
from tests.s3_server import BUCKET, s3_server
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until

STATIC_HOSTS = Path(__file__).parents[2] / "cluster" / "static_hosts.sh"
NUM_EPOCHS = 80
# The trial on the host that is cut off must not be over by then, which takes some looks at the store.
SLOW_UNTIL_THEN = """\
if not os.path.exists({path!r}):
    time.sleep(1)
"""
# Ray's own patience with a node that does not answer is a minute.
SETTINGS = {
    "CCAR_LEASE_SECONDS": "6",
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 1}',  # one trial on each host
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@contextmanager
def cluster_of_two_hosts(folder, environment):
    """Ray on both; yields its address once they know each other."""
    hosts = folder / "hosts.txt"
    hosts.write_text("one\ntwo\n")
    begun = subprocess.run([STATIC_HOSTS, "start", hosts], env=environment, check=True, capture_output=True, text=True)
    try:
        address = begun.stdout.split()[1]
        count = f"import ray; ray.init({address!r}, logging_level='ERROR'); print(len(ray.nodes()))"
        wait_until(lambda: output(environment, "one", sys.executable, "-c", count) == "2")
        yield address
    finally:
        subprocess.run([STATIC_HOSTS, "stop", hosts], env=environment, check=True, capture_output=True)


def output(environment, host, *command):
    """What a command prints on a host."""
    done = subprocess.run(["enter", host, *command], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


@pytest.mark.skipif(not can_make_hosts(), reason="needs root and namespaces, to have two hosts")
@pytest.mark.ray
@pytest.mark.long
def test_a_network_that_is_cut_past_the_lease_and_healed_costs_no_epoch_and_changes_no_result(tmp_path, monkeypatch):
    """The other host trains on what the lost one had begun; what that one still sends when it is back is refused."""
    study = write_tiny_study(tmp_path, epochs=NUM_EPOCHS)
    undisturbed = TrialStore(tmp_path / "undisturbed")
    assert run_here(study, undisturbed).finished == 2
    change_training(SLOW_UNTIL_THEN.format(path=str(tmp_path / "is_cut")), tmp_path, monkeypatch)
    with two_hosts(tmp_path) as hosts:
        serving = s3_server(
            monkeypatch, f"--host={(tmp_path / 'one.ip').read_text()}", inside=["enter", "one"], **hosts
        )
        with serving:
            aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            environment = {**hosts, **SETTINGS, **aws, "XDG_STATE_HOME": str(tmp_path / "state")}
            store = f"s3://{BUCKET}/store"

            def seen():
                return json.loads(
                    output(environment, "one", sys.executable, "-m", "tests.cluster.look_at_store", store)
                )

            def begun_on_two():
                return any(trial["claims"][-1:] == [two] and trial["committed"] for trial in seen().values())

            def taken_over_by_one():
                return any(two in trial["claims"][:-1] for trial in seen().values())

            with cluster_of_two_hosts(tmp_path, environment) as address, (tmp_path / "said").open("wb") as said:
                machine = "from ccar.store.liveness import this_process; print(this_process()['machine'])"
                two = output(environment, "two", sys.executable, "-c", machine)
                command = ["enter", "one", "ccar", "run", study, "--address", address, "--store", store]
                with ended(subprocess.Popen(command, env=environment, stdout=said, stderr=said)) as driver:
                    wait_until(begun_on_two)
                    cut(tmp_path, "two")
                    (tmp_path / "is_cut").touch()
                    wait_until(taken_over_by_one)
                    heal(tmp_path, "two")
                    assert driver.wait() == 0, (tmp_path / "said").read_text()
                after = seen()
    assert len(after) == 2
    reference = look(undisturbed.address)
    for key, trial in after.items():
        assert trial["status"] == "finished"
        assert trial["committed"] == sorted(set(trial["committed"]))
        assert trial["results"] == reference[key]["results"]
