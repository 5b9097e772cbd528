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
from tests.processes import ended
from tests.tiny_study import write_tiny_study
from tests.waiting import SECONDS, wait_until

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
def test_a_slurm_job_near_its_time_limit_keeps_what_it_has_and_goes_back_into_the_queue(tmp_path):
    study = write_tiny_study(tmp_path, epochs=2000, omegas="[0.5]")
    store = TrialStore(tmp_path / "store")
    with two_hosts(tmp_path) as environment:
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
        environment |= {**slurm, "CCAR_JOB_DIR": str(tmp_path / "jobs")}
        environment |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}  # the second host waits for its head no longer
        command = ["bash", CLUSTER / "slurm.sbatch", study, "--store", store.root]
        log = tmp_path / "slurm.log"  # a file: a pipe would be held open by what the second host has yet to end
        with log.open("wb") as out, ended(subprocess.Popen(command, env=environment, stdout=out, stderr=out)) as job:
            wait_until(
                lambda: any(record.epochs for record in store.all_records()),
                meanwhile=lambda: job.poll() is None,
                told=log.read_text,
            )
            sent = time.time()
            os.kill(job.pid, signal.SIGTERM)
            job.wait()
    said = log.read_text()
    assert job.returncode == 75, said
    assert (tmp_path / "requeued").read_text() == "4711\n"
    assert list((tmp_path / "jobs").iterdir()) == []  # the token is gone
    records = list(store.all_records())
    assert {record.status for record in records} == {"unfinished"}
    assert all(record.claim is None and record.ended_at - sent < 25 for record in records)  # let go after a checkpoint
    assert "interrupted; run the same command again to go on from here" in said


# In place of Slurm where it is the script alone that counts: one node, and a step that does what the test says.
_SRUN = """\
while [[ $1 == --* ]]; do shift; done
case $1 in
  ray) eval "$TEST_STEP" ;;
  *) exec "$@" ;;
esac
"""
_SCONTROL = """\
case "$1 $2" in
  "show hostnames") echo node1 ;;
  "show job") eval "$TEST_MEANWHILE"; echo "JobId=$3 $TEST_STATE SuspendTime=None" ;;
  "requeue "*) echo 'requeued' ;;
esac
"""
_HOSTNAME = """\
case $1 in
  --ip-address) echo 127.0.1.1 ;;
  --all-ip-addresses) echo "$TEST_ADDRESSES" ;;
esac
"""
# As `scontrol show job` has it.
RUNNING = "JobState=RUNNING Reason=None PreemptEligibleTime=2026-11-30T12:00:00 PreemptTime=None"
PREEMPTED = "JobState=RUNNING Reason=None PreemptEligibleTime=2026-11-30T12:00:00 PreemptTime=2026-11-30T13:00:00"
CANCELLED = "JobState=COMPLETING Reason=None PreemptEligibleTime=2026-11-30T12:00:00 PreemptTime=None"


def programs(folder, **texts):
    """Scripts on PATH, in place of programs of the same names; returns the environment with them."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text("#!/usr/bin/env bash\n" + text)
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


def slurm_job(folder, step, state=RUNNING, addresses="10.0.0.7 fe80::1", meanwhile=""):
    environment = programs(folder / "bin", srun=_SRUN, scontrol=_SCONTROL, hostname=_HOSTNAME)
    environment |= {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1"}
    environment |= {"CCAR_JOB_DIR": str(folder / "jobs"), "TEST_STEP": step, "TEST_STATE": state}
    environment |= {"TEST_ADDRESSES": addresses, "TEST_MEANWHILE": meanwhile}
    command = ["bash", CLUSTER / "slurm.sbatch", "study.yaml"]
    return subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS, umask=0o027
    )


# The study notes its process id, and goes on for a moment when it is told to end.
TELL_THE_SCRIPT = 'trap : TERM; echo $$ >"$CCAR_JOB_DIR/4711/pid"; kill -TERM $PPID; sleep 0.5; '


@pytest.mark.parametrize(
    ("step", "state", "code"),
    [
        ("exit 0", RUNNING, 0),
        ("exit 1", RUNNING, 1),  # trials have failed: they would again
        ("exit 143", PREEMPTED, 75),  # in the grace time; only the step has been told
        ("exit 0", PREEMPTED, 0),
        (TELL_THE_SCRIPT + "exit 130", RUNNING, 75),  # the time limit is near
        (TELL_THE_SCRIPT + "exit 0", RUNNING, 0),  # and the study was done just then
        (TELL_THE_SCRIPT + "exit 143", CANCELLED, 143),  # SIGTERM to everybody
    ],
)
def test_a_slurm_job_goes_back_into_the_queue_unless_it_is_done_has_failed_or_was_cancelled(
    tmp_path, step, state, code
):
    job = slurm_job(tmp_path, step, state)
    assert job.returncode == code, job.stderr
    assert ("requeued" in job.stdout) == (code == 75)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_study_that_is_done_while_its_slurm_job_looks_how_it_stands_is_done(tmp_path):
    is_done = 'while [ -d "/proc/$(cat "$CCAR_JOB_DIR/4711/pid")" ]; do sleep 0.01; done'
    job = slurm_job(tmp_path, 'echo $$ >"$CCAR_JOB_DIR/4711/pid"; kill -TERM $PPID; exit 0', meanwhile=is_done)
    assert (job.returncode, "requeued" in job.stdout) == (0, False), job.stderr


@pytest.mark.long
def test_a_slurm_job_that_comes_again_after_a_crash_does_not_signal_a_process_of_its_former_node(tmp_path):
    (tmp_path / "jobs" / "4711").mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (tmp_path / "jobs" / "4711" / "pid").write_text(f"{stranger.pid}\n")
        job = slurm_job(tmp_path, "kill -TERM $PPID; sleep 5")
        assert stranger.poll() is None
        stranger.kill()
    assert job.returncode == 75  # the step was ended instead


def test_a_slurm_job_finds_an_address_on_debian_where_the_name_of_a_machine_stands_for_loopback(tmp_path):
    job = slurm_job(tmp_path, 'echo "$@"')
    assert "ray symmetric-run --address 10.0.0.7:24711 " in job.stdout, job.stderr


def test_a_slurm_job_without_an_address_says_so(tmp_path):
    job = slurm_job(tmp_path, "exit 0", addresses="fe80::1")
    assert (job.returncode, job.stderr) == (1, "node1 knows of no IPv4 address of its own but loopback\n")


def test_what_a_slurm_job_makes_in_the_store_is_for_whom_its_owner_makes_files(tmp_path):
    assert slurm_job(tmp_path, "umask").stdout == "0027\n"


_SSH = """\
[ "$1 $2" = "-o BatchMode=yes" ] || exit 9
export HOME="$TEST_HOMES/$3" TEST_HOST=$3
mkdir -p "$HOME"
exec bash -c "$4"
"""
_RAY = """\
if [ "$TEST_HOST" = broken ]; then echo 'no such library'; exit 1; fi
echo 'Ray runtime started.'
exec sleep 600
"""


@pytest.fixture
def static_hosts(tmp_path):
    """Calls the script for hosts of which the second may be broken; what it has started is stopped."""
    environment = programs(tmp_path / "bin", ssh=_SSH, ray=_RAY)
    environment |= {"TEST_HOMES": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    (tmp_path / "token").write_text("first")
    hosts = tmp_path / "hosts.txt"

    def script(command, *names):
        hosts.write_text("\n".join(names))
        words = [CLUSTER / "static_hosts.sh", command, hosts]
        return subprocess.run(
            words, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS, umask=0o027
        )

    yield script
    script("stop", *hosts.read_text().split())


@pytest.mark.long
def test_who_asks_how_hosts_stand_or_stops_them_leaves_nothing_there(static_hosts, tmp_path):
    assert static_hosts("status", "one", "two").stdout == "one: does not run\ntwo: does not run\n"
    assert list((tmp_path / "one").iterdir()) == []
    assert static_hosts("stop", "one", "two").stdout == "two: stopped\none: stopped\n"
    assert list((tmp_path / "one").iterdir()) == []


@pytest.mark.long
def test_hosts_that_run_keep_the_token_that_they_were_started_with(static_hosts, tmp_path):
    assert static_hosts("start", "one").returncode == 0
    (tmp_path / "token").write_text("second")
    again = static_hosts("start", "one")
    assert (again.returncode, again.stderr) == (1, "one: runs already\n")
    assert (tmp_path / "one" / ".ccar-ray" / "token").read_text() == "first"


@pytest.mark.long
def test_a_host_that_does_not_come_up_is_named_with_its_last_words(static_hosts):
    started = static_hosts("start", "one", "broken")
    assert (started.returncode, started.stdout.split()[0]) == (1, "address")
    assert started.stderr == "broken: Ray has not started; its log ends with\nno such library\n"
    assert static_hosts("status", "one", "broken").stdout == "one: runs\nbroken: does not run\n"


@pytest.mark.long
def test_a_head_that_does_not_come_up_is_named_with_its_last_words(static_hosts):
    started = static_hosts("start", "broken", "one")
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr == "broken: Ray has not started; its log ends with\nno such library\n"


@pytest.mark.long
def test_what_static_hosts_make_in_the_store_is_for_whom_their_owner_makes_files(static_hosts, tmp_path):
    static_hosts("start", "one")
    folder = tmp_path / "one" / ".ccar-ray"
    modes = [oct(path.stat().st_mode & 0o777) for path in (folder, folder / "token", folder / "ray.log")]
    assert modes == ["0o700", "0o600", "0o640"]  # the log is made as Ray's processes make files


@needs_hosts
@pytest.mark.ray
@pytest.mark.long
def test_static_hosts_become_a_cluster_and_are_let_go_again(tmp_path):
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("# the head first\none\ntwo\n")
    with two_hosts(tmp_path) as environment:

        def script(command):
            words = [CLUSTER / "static_hosts.sh", command, hosts]
            return subprocess.run(words, env=environment, check=False, capture_output=True, text=True, timeout=SECONDS)

        try:
            started = script("start")
            assert started.returncode == 0, started.stdout + started.stderr
            assert script("status").stdout == "one: runs\ntwo: runs\n"
            again = script("start")
            assert (again.returncode, again.stderr) == (1, "one: runs already\n")
            address = started.stdout.split()[1]
            doctor = ["enter", "one", "ccar", "doctor", "--address", address, "--store", tmp_path / "store"]
            deadline = time.monotonic() + 300
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
