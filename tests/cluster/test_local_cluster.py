"""`ccar cluster`: what is started listens on loopback, asks for its token, and is gone when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from ccar.cluster import local_nodes
from ccar.cluster.last_words import last_words
from ccar.cluster.local_cluster import _gpus_by_node, read_cluster, start_cluster, stop_cluster
from ccar.cluster.local_nodes import NodeProcess, NodeStart, end_nodes, node_ports, processes_of
from ccar.cluster.loopback import kept_on_loopback
from ccar.errors import ClusterError, UserError
from ccar.store.trial_store import TrialStore
from tests.processes import (
    alive_of,
    command_of,
    ended,
    family_of,
    listening_on,
    raylets_of,
    send,
    trial_processes,
    wait_until_gone,
    without_agents,
)
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until
from tests.written import files_with


def ccar(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "ccar", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def shared_memory_of_clusters():
    """Without that of process pools and of PostgreSQL, which other tests use at the same time."""
    of_others = ("sem.", "torch_", "PostgreSQL.")
    return {file for file in Path("/dev/shm").iterdir() if not file.name.startswith(of_others)}


@pytest.mark.ray
@pytest.mark.long
def test_what_was_started_is_gone_after_stop_even_when_half_of_it_was_killed(tmp_path):
    folder, home = tmp_path / "folder", tmp_path / "home"
    home.mkdir()
    shared_memory = shared_memory_of_clusters()
    own = {"HOME": str(home), "RAY_AUTH_TOKEN_PATH": ""}  # no token of the user's: one is made up
    began = ccar("cluster", "start", "--nodes", "2", "--folder", folder, **own)
    try:
        assert began.returncode == 0, began.stderr
        cluster = read_cluster(folder)
        assert cluster.address in began.stdout
        assert [oct(place.stat().st_mode & 0o777) for place in (folder, cluster.ray_dir)] == ["0o700", "0o700"]
        assert oct((folder / "token").stat().st_mode & 0o777) == "0o600"
        assert cluster.token not in began.stdout + began.stderr

        state = json.loads(ccar("cluster", "status", "--folder", folder, "--json", **own).stdout)
        assert (state["complete"], state["alive_to_ray"], state["cpus"]) == (True, 2, 2)

        processes = processes_of(cluster.nodes, cluster.ray_dir)
        [leader] = [node for node in cluster.nodes if node.name == "node-1"]
        raylet = raylets_of(family_of(leader.pid))[0]
        agents = raylet.children()
        assert agents
        send(signal.SIGKILL, [psutil.Process(leader.pid), raylet])
        broken = ccar("cluster", "status", "--folder", folder, **own)
        assert (broken.returncode, "node-1   is gone" in broken.stdout) == (1, True)
    finally:
        ended = ccar("cluster", "stop", "--folder", folder, **own)
    assert ended.returncode == 0, ended.stderr
    assert alive_of(processes) == []
    assert processes_of((), cluster.ray_dir) == []
    assert not cluster.ray_dir.exists()
    assert not folder.exists()
    assert list(home.iterdir()) == []
    wait_until(lambda: shared_memory_of_clusters() <= shared_memory)  # browsers have some, each for a moment
    assert "no cluster was started here" in ccar("cluster", "stop", "--folder", folder, **own).stderr


@pytest.mark.ray
@pytest.mark.long
def test_the_nodes_of_one_machine_do_not_offer_its_gpu_more_than_once(tmp_path, monkeypatch):
    """Ray counts on each node what CUDA_VISIBLE_DEVICES lets it see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    cluster = start_cluster(tmp_path / "cluster", num_nodes=2, cpus_per_node=1)
    try:
        seen = [psutil.Process(node.pid).environ()["CUDA_VISIBLE_DEVICES"] for node in cluster.nodes]
    finally:
        stop_cluster(tmp_path / "cluster")
    assert seen == ["7", ""]


def test_several_gpus_are_divided_among_the_nodes(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert [gpus["CUDA_VISIBLE_DEVICES"] for gpus in _gpus_by_node(3)] == ["0,3", "1,4", "2"]


@pytest.mark.ray
@pytest.mark.long
def test_every_process_of_a_cluster_listens_on_loopback_only(local_cluster):
    listening = listening_on(processes_of(local_cluster.nodes, local_cluster.ray_dir))
    assert listening == {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize(("token", "status"), [(None, 401), ("0" * 64, 403)])
def test_who_has_not_the_token_gets_no_answer(local_cluster, token, status):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{local_cluster.dashboard}/api/jobs/", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    refused.value.close()
    assert refused.value.code == status


@pytest.mark.ray
@pytest.mark.long
def test_the_token_is_in_no_command_line_and_in_no_log(local_cluster):
    token = local_cluster.token
    lines = [" ".join(command_of(process)) for process in processes_of(local_cluster.nodes, local_cluster.ray_dir)]
    assert len(lines) > 10
    assert not any(token in line for line in lines)
    assert files_with(token, local_cluster.ray_dir) == []
    assert token not in (local_cluster.folder / "cluster.json").read_text()


@pytest.mark.ray
@pytest.mark.long
def test_a_second_cluster_in_the_same_folder_is_refused(local_cluster):
    with pytest.raises(UserError, match="started here before"):
        start_cluster(local_cluster.folder, num_nodes=1, cpus_per_node=1)
    assert len(local_cluster.living_nodes()) == 2


def test_a_node_that_does_not_come_up_is_told_with_its_last_words(tmp_path, monkeypatch):
    (tmp_path / "ray.py").write_text("raise SystemExit('so long')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ClusterError, match="head of the cluster did not come up: so long"):
        start_cluster(tmp_path / "folder", num_nodes=2, cpus_per_node=1)
    assert not (tmp_path / "folder").exists()


def test_a_token_that_cannot_be_one_is_told_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("not a token\nat all")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(local_nodes, "RAY_DIR_PREFIX", f"ccar-{tmp_path.name}-")  # those of other tests come and go
    with pytest.raises(UserError, match="cannot be a token"):
        start_cluster(tmp_path / "folder", num_nodes=1, cpus_per_node=1)
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert list(Path("/tmp").glob(f"ccar-{tmp_path.name}-*")) == []


def test_other_machines_are_let_in_only_by_a_token_of_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no token to ask them for"):
        start_cluster(tmp_path / "folder", num_nodes=1, cpus_per_node=1, host="0.0.0.0")


@pytest.mark.parametrize("host", ["localhost", "203.0.113.7"])
def test_a_host_that_is_none_of_this_machine_is_refused(tmp_path, host):
    with pytest.raises(UserError, match=f"cannot listen on '?{host}"):
        start_cluster(tmp_path / "folder", num_nodes=1, cpus_per_node=1, host=host)


def test_a_folder_that_others_may_read_is_refused(tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(UserError, match="is open to others"):
        start_cluster(tmp_path, num_nodes=1, cpus_per_node=1)


def test_a_note_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "cluster.json").write_text('{"host": "127.0.0.1"}')
    with pytest.raises(UserError, match=r"cannot read .*cluster\.json"):
        stop_cluster(tmp_path)


def test_a_process_that_has_only_the_number_of_one_of_ours_is_left_alone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        before = NodeProcess(name="head", pid=other.pid, started=time.time() - 3600)
        assert not before.is_running
        end_nodes([before], tmp_path)
        assert other.poll() is None
        other.communicate(b"\n")


def test_an_orphan_is_known_by_where_it_works(tmp_path):
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    [orphan] = processes_of((), tmp_path)
    end_nodes((), tmp_path)
    assert alive_of([orphan]) == []


@pytest.mark.ray
@pytest.mark.long
def test_the_doctor_looks_at_every_node_and_leaves_nothing_in_the_store(local_cluster, tmp_path):
    seen = ccar("doctor", "--address", local_cluster.address, "--store", tmp_path / "store", "--json")
    checks = json.loads(seen.stdout)
    assert [check for check in checks if not check["ok"]] == []
    assert seen.returncode == 0
    checked = {(check["where"], check["what"]) for check in checks}
    everything = {"versions", "code", "gpus", "store", "disk", "shm", "clock"}
    for node in ("head 127.0.0.1", "node-1 127.0.0.1"):
        assert {what for where, what in checked if where == node} == everything
    assert ("cluster", "token") in checked
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
@pytest.mark.long
def test_the_doctor_looks_at_every_node_from_outside_too(local_cluster, tmp_path):
    seen = ccar("doctor", "--address", local_cluster.dashboard, "--store", tmp_path / "store", "--json")
    checks = json.loads(seen.stdout)
    assert [check for check in checks if not check["ok"]] == []
    nodes = {check["where"] for check in checks if check["what"] == "clock"}
    assert nodes == {"head 127.0.0.1", "node-1 127.0.0.1"}
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_answer_is_a_finding(tmp_path):
    seen = ccar("doctor", "--address", "127.0.0.1:9", "--store", tmp_path)
    assert seen.returncode == 1
    assert "WRONG  cluster" in seen.stdout
    assert "no Ray cluster can be reached at 127.0.0.1:9" in seen.stdout


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("token", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_TOKEN_PATH": "/nowhere"}])
def test_a_driver_with_no_token_or_a_wrong_one_is_refused_with_the_remedy(local_cluster, tmp_path, token):
    seen = ccar("doctor", "--address", local_cluster.address, "--store", tmp_path, HOME=str(tmp_path), **token)
    assert seen.returncode == 1
    assert "token" in seen.stdout
    assert "RAY_AUTH_TOKEN_PATH" in seen.stdout
    assert "Traceback" not in seen.stderr


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("by", ["auto", "HOST:PORT"])
def test_a_run_with_a_wrong_token_is_refused_within_15_seconds_with_the_remedy(local_cluster, tmp_path, by):
    address = local_cluster.address if by == "HOST:PORT" else by
    wrong = {"RAY_ADDRESS": local_cluster.address, "RAY_AUTH_TOKEN": "0" * 64}
    begun = time.monotonic()
    ran = ccar("run", write_tiny_study(tmp_path), "--address", address, "--store", tmp_path / "store", **wrong)
    assert time.monotonic() - begun < 15
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"the cluster at {local_cluster.address} does not accept this token" in ran.stderr
    assert "RAY_AUTH_TOKEN_PATH" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.ray
@pytest.mark.long
def test_a_minute_after_a_clusters_head_was_killed_nothing_of_it_and_of_its_studies_is_left(tmp_path):
    """Driver, feeder, trials and all other processes, on every node."""
    cluster = start_cluster(tmp_path / "cluster", num_nodes=2, cpus_per_node=1)
    store = TrialStore(tmp_path / "store")
    study = write_tiny_study(tmp_path, epochs=4000)
    command = [sys.executable, "-m", "ccar", "run", study, "--address", cluster.address, "--store", store.root]
    environment = {**os.environ, **cluster.environment}
    try:
        with ended(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)) as driver:
            wait_until(
                lambda: sum(bool(record.epochs) for record in store.all_records()) == 2,
                meanwhile=lambda: driver.poll() is None,
            )
            everything = [*family_of(driver.pid), *processes_of(cluster.nodes, cluster.ray_dir)]
            assert len(trial_processes(everything)) == 2
            os.kill(cluster.nodes[0].pid, signal.SIGKILL)
            wait_until_gone(without_agents(everything), seconds=60)
    finally:
        stop_cluster(tmp_path / "cluster")


def test_of_a_node_that_ends_the_process_that_died_and_its_last_error_are_told():
    """As Ray 2.60 writes it: a record per line of its own, and quoted tails of logs without."""
    log = """\
2026-11-24 08:54:59,100\tINFO scripts.py:980 -- Local node IP: 127.0.0.1
2026-11-24 08:55:04,001\tERR scripts.py:1305 -- Some Ray subprocesses exited unexpectedly:
2026-11-24 08:55:04,002\tERR scripts.py:87 --   raylet [exit code=-6]
2026-11-24 08:55:04,003\tERR scripts.py:115 -- ----- BEGIN raylet.out tail (exit code(s)=SIGABRT) -----
2026-11-24 08:55:04,004\tERR scripts.py:122 -- [2026-11-24 08:54:33,569 I 22 48] (raylet) agent_manager.cc:81: Monitor
[2026-11-24 08:55:03,325 C 22 22] (raylet) node_manager.cc:33:  A bug. Check failed: port Timed out waiting
*** StackTrace Information ***
2026-11-24 08:55:04,005\tERR scripts.py:128 -- ----- END raylet.out tail (exit code(s)=SIGABRT) -----
2026-11-24 08:55:04,052\tERR scripts.py:1315 -- Remaining processes will be killed.
"""
    assert last_words(log) == "its raylet ended with exit code -6: port Timed out waiting"
    assert (
        last_words("Traceback (most recent call last):\n  File\nRuntimeError: no memory\nbye")
        == "RuntimeError: no memory"
    )
    assert last_words("") == "it said nothing"


def test_clusters_that_look_for_ports_at_the_same_time_find_different_ones(monkeypatch):
    monkeypatch.setattr("random.sample", lambda population, _: list(population))  # all in the same order
    with node_ports("127.0.0.1") as one, node_ports("127.0.0.1") as other:
        assert not set(one.free) & set(other.free)


def test_what_a_run_has_told_ray_about_loopback_does_not_outlast_it(monkeypatch):
    """Else a node that is started later from the same process would refuse to join a cluster of several."""
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    before = dict(os.environ)
    with kept_on_loopback(True):
        assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert dict(os.environ) == before


@pytest.mark.ray
@pytest.mark.long
def test_a_node_with_other_libraries_is_named_and_nothing_is_trained(local_cluster, tmp_path):
    (tmp_path / "site" / "torch-0.0.1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "torch-0.0.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 0.0.1\n")
    environment = {**local_cluster.environment, "PYTHONPATH": str(tmp_path / "site")}
    start = NodeStart(host="127.0.0.1", ray_dir=local_cluster.ray_dir, cpus=1, environment=environment)
    with node_ports("127.0.0.1") as ports:
        node = start.worker("odd-one", local_cluster.address, ports)
    try:
        wait_until(lambda: len(local_cluster.living_nodes()) == 3)
        study = write_tiny_study(tmp_path)
        ran = ccar("run", study, "--address", local_cluster.address, "--store", tmp_path / "store")
    finally:
        end_nodes([node], local_cluster.ray_dir / "odd-one")
    assert ran.returncode == 2, ran.stderr
    assert "has torch 0.0.1 instead of 2." in ran.stderr
    assert "the same requirements.lock on every node" in ran.stderr
    assert not list((tmp_path / "store").glob("trials/*"))
