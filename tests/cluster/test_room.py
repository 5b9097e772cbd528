"""Clusters that change under a running study: nodes that join, wrong ones too, and an autoscaler that starts them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray

from benchmarks.stand_in import StandIn
from ccar.cluster import room
from ccar.cluster.local_nodes import LOOPBACK, NodeProcess, NodeStart, end_nodes, make_ray_dir, node_ports
from ccar.cluster.loopback import STAY_ON_LOOPBACK
from ccar.cluster.tune_runner import Place, run_on_ray, trial_worker
from ccar.errors import UserError
from ccar.store.trial_store import TrialStore
from ccar.study.definition import Resources, load_study
from ccar.study.expansion import load_data
from ccar.study.search import trial_source
from tests.changed_module import put_site
from tests.cluster.test_trial_worker import Silent
from tests.tiny_study import write_tiny_study
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.long]


class Listens(Silent):
    """Calls `on_first` when a first trial starts, `on_wait` when one is missing, and remembers what was waited for."""

    def __init__(self, on_first=lambda: None, on_wait=lambda: None):
        super().__init__()
        self.waited_for = []
        self._on_first = on_first
        self._on_wait = on_wait

    def started(self, trial):
        self._on_first()
        self._on_first = lambda: None

    def waits_for(self, what):
        self.waited_for.append(what)
        self._on_wait()


class Meets(StandIn):
    """Its trials wait for each other: so many have to be under way at once."""

    def __init__(self, workplace, folder, count):
        super().__init__(workplace, seconds=0.1)
        self._folder = folder
        self._count = count

    def run(self, config, key, *, every_epoch=False):
        (self._folder / key).touch()
        while len(list(self._folder.iterdir())) < self._count:
            time.sleep(0.05)
        yield from super().run(config, key, every_epoch=every_epoch)


@pytest.fixture
def meeting(tmp_path):
    """The folder in which trials meet."""
    folder = tmp_path / "meeting"
    folder.mkdir()
    return folder


def run(path, store, listener, address, new_worker):
    study, cache = load_study(path), Path(os.environ["CCAR_CACHE"])
    source = trial_source(study, load_data(study, cache), store.search_log(study.name))
    place = Place(store=store.address, cache_dir=cache, resources=study.resources, address=address)
    return run_on_ray(source, place, None, listener, new_worker=new_worker)


@contextmanager
def another_node(cluster, name, environment, cpus=1):
    """Yields what starts one more node; at the end it is gone."""
    nodes = []

    def start():
        with node_ports(LOOPBACK) as ports:
            begin = NodeStart(host=LOOPBACK, ray_dir=cluster.ray_dir, cpus=cpus, environment=environment)
            nodes.append(begin.worker(name, cluster.address, ports))

    thread = threading.Thread(target=start)
    try:
        yield thread.start
    finally:
        thread.join()
        end_nodes(nodes, cluster.ray_dir / name)


def test_a_node_that_joins_a_running_study_gets_trials_and_has_a_cache_of_its_own(tmp_path, local_cluster, meeting):
    path = write_tiny_study(tmp_path, omegas="[0.25, 0.5]")
    environment = {**local_cluster.environment, "CCAR_CACHE": str(tmp_path / "cache")}
    with another_node(local_cluster, "late", environment) as join:
        store = TrialStore(tmp_path / "store")
        new_worker = partial(Meets, folder=meeting, count=3)
        summary = run(path, store, Listens(join), local_cluster.address, new_worker)
    assert (summary.finished, summary.failures) == (3, [])
    assert (tmp_path / "cache").is_dir()


def test_a_study_that_loses_the_last_node_for_its_trials_says_so_and_goes_on_with_another(tmp_path, local_cluster):
    path = write_tiny_study(tmp_path, epochs=300, more="resources: {cpus: 2}")  # the node is to go before they end
    large = {"cluster": local_cluster, "environment": local_cluster.environment, "cpus": 2}
    with another_node(name="other", **large) as start, ExitStack() as first:
        first.enter_context(another_node(name="first", **large))()
        wait_until(lambda: len(local_cluster.living_nodes()) == 3)
        leaves = threading.Thread(target=first.close)
        listener = Listens(on_first=leaves.start, on_wait=start)
        summary = run(path, TrialStore(tmp_path / "store"), listener, local_cluster.address, trial_worker)
        leaves.join()
    assert listener.waited_for == ["a node with 2 CPUs and 0 GPUs; the last one that had them has gone"]
    assert (summary.finished, summary.failures) == (2, [])


OTHER_CODE = ("ccar.store.key", 'module.code_digest = lambda: "0" * 64')
OTHER_IMAGES = ("ccar.cluster.trial_worker", 'module.data_fingerprint = lambda *given: "0" * 64')


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (OTHER_CODE, "has code of ccar 000000000000 instead of "),
        (OTHER_IMAGES, "differ from the driver's"),
    ],
    ids=["code", "images"],
)
def test_a_node_that_joins_with_something_else_is_named_and_spoils_no_trial(tmp_path, local_cluster, difference, words):
    put_site(tmp_path / "site", *difference)
    path = write_tiny_study(tmp_path, epochs=40, bases="[cross_entropy, focal]", seeds=str(list(range(40))))
    store = TrialStore(tmp_path / "store")
    environment = {**local_cluster.environment, "PYTHONPATH": str(tmp_path / "site")}
    with another_node(local_cluster, "odd", environment) as join:
        summary = run(path, store, Listens(join), local_cluster.address, trial_worker)
    assert summary.failures == []
    assert words in summary.refusal
    assert f"node {os.uname().nodename} " in summary.refusal
    assert not summary.interrupted
    records = [store.read(key) for key in store.keys()]  # noqa: SIM118
    assert {record.status for record in records} <= {"absent", "finished", "unfinished"}
    assert all(record.claim is None for record in records)


@pytest.fixture(scope="module")
def growing_cluster(tmp_path_factory):
    """The address of a cluster of no CPU, whose autoscaler starts up to two nodes with one CPU each, on this machine.

    Its nodes are made by Ray's own stand-in for a cloud; `ray.cluster_utils.AutoscalingCluster` would end every Ray of
    the machine, and lacks a file.
    """
    worker = {"resources": {"CPU": 1, "object_store_memory": 128 * 2**20}, "node_config": {}, "max_workers": 2}
    ray_dir = make_ray_dir()
    with node_ports(LOOPBACK) as ports:
        gcs, dashboard, client, *agents = ports.free
        address = f"{LOOPBACK}:{gcs}"
        provider = {"type": "fake_multinode", "gcs_address": address, "use_node_id_as_ip": True}
        provider |= {"disable_node_updaters": True, "disable_launch_config_check": True}
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        config = {
            "cluster_name": "fake",
            "max_workers": 2,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 10,
            "provider": provider,
            "auth": {},
            "available_node_types": {"ray.head.default": head, "worker": worker},
            "head_node_type": "ray.head.default",
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            **{f"{name}_commands": [] for name in lists},
        }
        (ray_dir / "cluster.json").write_text(json.dumps(config))
        command = [sys.executable, "-m", "ccar.cluster.loopback", "start", "--head", "--block", "--disable-usage-stats"]
        command += [f"--node-ip-address={LOOPBACK}", "--num-cpus=0", f"--object-store-memory={128 * 2**20}"]
        command += [f"--port={gcs}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"]
        command += [f"--autoscaling-config={ray_dir / 'cluster.json'}", f"--temp-dir={ray_dir / 'ray'}"]
        command += [f"--dashboard-agent-listen-port={agents[0]}", f"--metrics-export-port={agents[1]}"]
        patience = {"RAY_agent_register_timeout_ms": "120000", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        fake = {
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_METRIC_PORT": str(agents[2]),
            "DASHBOARD_METRIC_PORT": str(agents[3]),
        }
        with (ray_dir / "head.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=ray_dir,
                stdout=log,
                stderr=log,
                env={**os.environ, **patience, **fake, **STAY_ON_LOOPBACK},
                start_new_session=True,
                pass_fds=[ports.guard.fileno()],
            )
    node = NodeProcess(name="head", pid=process.pid, started=psutil.Process(process.pid).create_time())
    try:
        log_file = ray_dir / "head.log"
        wait_until(
            lambda: "Ray runtime started" in log_file.read_text(),
            meanwhile=lambda: process.poll() is None,
            told=log_file.read_text,
        )
        yield address
    finally:
        end_nodes([node], ray_dir)
        process.wait()
        shutil.rmtree(ray_dir, ignore_errors=True)


def test_more_than_any_node_of_a_growing_cluster_could_have_is_refused(tmp_path, growing_cluster, monkeypatch):
    monkeypatch.setattr(room, "SECONDS_TO_BEGIN", 10.0)
    path = write_tiny_study(tmp_path, more="resources: {cpus: 2}")
    listener = Listens()
    with pytest.raises(UserError, match=r"no node has the 2 CPUs .*, and the cluster's autoscaler starts none"):
        run(path, TrialStore(tmp_path / "store"), listener, growing_cluster, trial_worker)
    assert listener.waited_for == ["a node with 2 CPUs and 0 GPUs; the cluster's autoscaler is asked for it"]


def test_a_cluster_without_nodes_grows_for_a_study_as_far_as_it_may(tmp_path, growing_cluster, meeting):
    path = write_tiny_study(tmp_path, seeds="[0, 1]")
    listener = Listens()
    store = TrialStore(tmp_path / "store")
    summary = run(path, store, listener, growing_cluster, partial(Meets, folder=meeting, count=2))
    assert (summary.finished, summary.failures) == (4, [])
    assert listener.waited_for == ["a node with 1 CPUs and 0 GPUs; the cluster's autoscaler is asked for it"]


def test_a_head_that_does_not_answer_for_a_moment_changes_nothing(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    there = room.Room(Resources(), is_fixed=False)

    def is_away():
        raise ray.exceptions.RpcError("failed to connect")

    for name, owner in (("nodes", ray), ("autoscaler", room)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, is_away)
            patched.setattr(there, "_next_look", 0.0)
            assert there.follow(lambda: 1) == 2
