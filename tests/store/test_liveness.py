"""Who lives, on a machine where one user does not see what another one runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ccar.store.disk_folder import DiskFolder
from ccar.store.liveness import LEASE_SECONDS, Watch, _started, is_alive, this_process
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
NOBODY = "65534"
# With a /proc as on the nodes of many clusters, and without the rights of root to look into it and to send signals.
AS_A_USER = f"""
mount -t proc -o "hidepid=$1,gid={NOBODY}" proc /proc && shift &&
exec setpriv --bounding-set -sys_ptrace,-kill --inh-caps -sys_ptrace,-kill "$@"
"""
LOOK = """
import json, sys
from ccar.store.disk_folder import DiskFolder
from ccar.store.liveness import is_alive
from pathlib import Path
folder, now = DiskFolder(Path(sys.argv[1])), float(sys.argv[2])
print(json.dumps([is_alive(process, folder, "heartbeat", now=now) for process in json.loads(sys.argv[3])]))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a fresh heartbeat."""
    made = DiskFolder(tmp_path)
    made.touch("heartbeat")
    return made


@pytest.fixture
def of_another_user():
    """The facts of a process that another user runs."""
    with subprocess.Popen(["setpriv", "--reuid", NOBODY, "--clear-groups", "sleep", "100"]) as process:
        try:
            yield {**this_process(), "pid": process.pid, "process_started": _started(psutil.Process(process.pid))}
        finally:
            process.kill()


def ended():
    """The facts of a process of this machine that has ended."""
    code = "import json; from ccar.store.liveness import this_process; print(json.dumps(this_process()))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def as_a_user(hidepid, *command):
    """What a command says that does not see the processes of other users; skips where that cannot be had."""
    unshared = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_A_USER, "sh", hidepid]
    if subprocess.run([*unshared, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and a /proc of its own")
    return subprocess.run([*unshared, *command], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize("hidepid", ["1", "2"])
def test_of_another_user_s_process_that_proc_hides_the_heartbeat_tells(folder, of_another_user, hidepid):
    processes = json.dumps([of_another_user, ended()])
    fresh, stale = time.time(), time.time() + LEASE_SECONDS
    seen = [
        json.loads(as_a_user(hidepid, sys.executable, "-c", LOOK, str(folder), str(now), processes))
        for now in (fresh, stale)
    ]
    assert seen == [[True, False], [False, False]]


@pytest.mark.parametrize("error", [psutil.NoSuchProcess, psutil.AccessDenied])
def test_a_process_that_may_not_be_looked_at_is_alive_as_long_as_its_heart_beats(folder, monkeypatch, error):
    """As on such a machine, where nobody is root."""

    def hidden(pid):
        raise error(pid)

    def refused(pid, signal):
        raise PermissionError

    us = this_process()
    monkeypatch.setattr(psutil, "Process", hidden)
    monkeypatch.setattr(os, "kill", refused)
    assert is_alive(us, folder, "heartbeat")
    assert not is_alive(us, folder, "heartbeat", now=time.time() + LEASE_SECONDS)


def test_a_process_of_this_machine_that_has_ended_is_dead_at_once(folder):
    assert not is_alive(ended(), folder, "heartbeat")
    assert is_alive(this_process(), folder, "heartbeat")


def test_a_heartbeat_that_is_not_renewed_is_believed_for_the_lease_by_whoever_watches_it(folder, monkeypatch):
    watch, begun = Watch(), time.monotonic()
    os.utime(folder.path / "heartbeat", (0, time.time() + 1000))  # by a clock that is far ahead
    assert watch.is_alive(this_process(), folder, "heartbeat")
    monkeypatch.setattr(time, "monotonic", lambda: begun + LEASE_SECONDS + 60)
    assert not watch.is_alive(this_process(), folder, "heartbeat")
    folder.touch("heartbeat")
    assert watch.is_alive(this_process(), folder, "heartbeat")


def test_who_watches_a_heartbeat_takes_a_process_of_this_machine_that_has_ended_for_dead_at_once(folder):
    assert not Watch().is_alive(ended(), folder, "heartbeat")


def test_a_process_that_has_come_by_the_number_of_one_that_ended_is_not_that_one(folder):
    us = this_process()
    assert not is_alive({**us, "process_started": us["process_started"] - 5}, folder, "heartbeat")


def test_a_process_that_has_ended_and_for_which_nobody_has_waited_is_dead(folder):
    with subprocess.Popen(["true"]) as process:
        found = psutil.Process(process.pid)
        wait_until(lambda: found.status() == psutil.STATUS_ZOMBIE)
        facts = {**this_process(), "pid": process.pid, "process_started": _started(found)}
        assert not is_alive(facts, folder, "heartbeat")


def test_a_heartbeat_that_is_renewed_is_believed_however_far_behind_the_clock_of_its_place_is(folder):
    watch, behind = Watch(), time.time() - 1000
    os.utime(folder.path / "heartbeat", (0, behind))
    assert not watch.is_alive(this_process(), folder, "heartbeat")  # at the first look only our clock tells
    os.utime(folder.path / "heartbeat", (0, behind + 5))
    assert watch.is_alive(this_process(), folder, "heartbeat")
