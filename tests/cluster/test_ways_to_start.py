"""The files in cluster/: scripts are run on two hosts of this machine, the others are checked against schemas."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ccar.store.trial_store import TrialStore
from tests.cluster.hosts import can_make_hosts, two_hosts
from tests.tiny_study import write_tiny_study

CLUSTER = Path(__file__).parents[2] / "cluster"
SCRIPTS = ["slurm.sbatch", "static_hosts.sh", "mlflow/serve.sh", "mlflow/make_secrets.sh"]

needs_hosts = pytest.mark.skipif(not can_make_hosts(), reason="needs root and namespaces, to have two hosts")


def output(command, environment):
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_in_order(name):
    subprocess.run(["bash", "-n", CLUSTER / name], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    checked = subprocess.run(["shellcheck", CLUSTER / name], check=False, capture_output=True, text=True)
    assert checked.stdout == ""


@needs_hosts
@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_slurm_job_that_is_preempted_keeps_what_it_has_and_goes_back_into_the_queue(tmp_path):
    study = write_tiny_study(tmp_path, epochs=2000, omegas="[0.5]")
    store = TrialStore(tmp_path / "store")
    with two_hosts(tmp_path) as environment:
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
        environment |= {**slurm, "CCAR_JOB_DIR": str(tmp_path / "jobs")}
        environment |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "2"}  # the second host waits for its head no longer
        command = ["bash", CLUSTER / "slurm.sbatch", study, "--store", store.root]
        log = tmp_path / "slurm.log"  # a file: a pipe would be held open by what the second host has yet to end
        with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as job:
            deadline = time.monotonic() + 200
            while not any(record.epochs for record in store.all_records()):
                assert job.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            sent = time.time()
            os.kill(job.pid, signal.SIGTERM)
            job.wait(timeout=45)  # 25 for the study, and 20 for Ray on both hosts
    said = log.read_text()
    assert job.returncode == 75, said
    assert (tmp_path / "requeued").read_text() == "4711\n"
    assert list((tmp_path / "jobs").iterdir()) == []  # the token is gone
    records = list(store.all_records())
    assert {record.status for record in records} == {"unfinished"}
    assert all(record.claim is None and record.ended_at - sent < 25 for record in records)  # let go after a checkpoint
    assert "interrupted; run the same command again to go on from here" in said


@needs_hosts
@pytest.mark.ray
@pytest.mark.long
def test_static_hosts_become_a_cluster_and_are_let_go_again(tmp_path):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("# the head first\none\ntwo\n")
    with two_hosts(tmp_path) as environment:

        def script(command):
            words = [CLUSTER / "static_hosts.sh", command, hosts]
            return subprocess.run(words, env=environment, check=False, capture_output=True, text=True, timeout=200)

        try:
            started = script("start")
            assert started.returncode == 0, started.stdout + started.stderr
            assert script("status").stdout == "one: runs\ntwo: runs\n"
            again = script("start")
            assert (again.returncode, again.stderr) == (1, "one: runs already\n")
            address = started.stdout.split()[1]
            doctor = ["enter", "one", "ccar", "doctor", "--address", address, "--store", tmp_path / "store"]
            deadline = time.monotonic() + 100
            while "node-1 " not in (seen := output(doctor, environment)):
                assert time.monotonic() < deadline, seen
                time.sleep(1)
            assert "WRONG" not in seen
            token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
            home = tmp_path / "two.home" / ".ccar-ray"
            assert (home / "token").read_text() == token
            assert (home / "token").stat().st_mode & 0o077 == 0
            ray_dir = Path((home / "dir").read_text().strip())
            processes = output(["enter", "two", "ps", "-efww"], environment)
            assert "raylet" in processes, (home / "ray.log").read_text()
            assert token not in processes
        finally:
            stopped = script("stop")
        assert stopped.stdout == "two: stopped\none: stopped\n"
        processes = output(["enter", "two", "ps", "-e"], environment)
        assert not any(word in processes for word in ("raylet", "gcs_server", "python"))
        assert not ray_dir.exists()
        assert not home.exists()
