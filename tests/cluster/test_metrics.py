"""What Prometheus scrapes of a study on a real cluster, and whether every panel for Grafana finds its metric there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import yaml

from ccar.cluster.events import TrialProgress
from ccar.cluster.local_cluster import start_cluster, stop_cluster
from ccar.cluster.metrics import RunMetrics
from ccar.tracking.web_server import free_port
from tests.tiny_study import write_tiny_study
from tests.waiting import SECONDS, wait_until

FOLDER = Path(__file__).parents[2] / "dashboards" / "cluster"
PANELS = json.loads((FOLDER / "grafana.json").read_text())["panels"]
EPOCHS, TRIALS = 3, 10
DIVERGING = 2  # trials more, of a method whose loss explodes

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus (make system)"),
]


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """Asks for the highest value of each series of a query, while a study ran on a cluster that was scraped."""
    folder = tmp_path_factory.mktemp("scraped")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")  # start_cluster hands it on to the nodes
        cluster = start_cluster(folder, num_nodes=2, cpus_per_node=1)
        try:
            with prometheus(cluster.ray_dir, folder) as address:
                began = time.time()
                explodes = "{label: explodes, base: cross_entropy, recipe: {learning_rate: 1.0e+30}}"
                study = write_tiny_study(
                    folder,
                    epochs=EPOCHS,
                    bases=f"[cross_entropy]\n  extra: [{explodes}]",
                    omegas="[0.25, 0.5, 0.75, 1]",
                    seeds="[0, 1]",
                )
                command = [sys.executable, "-m", "ccar", "run", study, "--address", cluster.address]
                subprocess.run(
                    [*map(str, command), "--store", str(folder / "store")],
                    check=True,
                    env={**os.environ, **cluster.environment},
                    stdout=subprocess.DEVNULL,
                )
                yield lambda query: highest(address, query, began)
        finally:
            stop_cluster(folder)


@contextlib.contextmanager
def prometheus(ray_dir, folder):
    """Debian's Prometheus on loopback with the shipped configuration, but for Ray's folder and the pace."""
    settings = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    found = settings["scrape_configs"][0]["file_sd_configs"][0]
    found["files"] = [str(next(ray_dir.rglob(Path(found["files"][0]).name)))]
    found["refresh_interval"] = settings["global"]["scrape_interval"] = "1s"
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port('127.0.0.1', None, 19090)}"
    command = ["prometheus", f"--config.file={path}", f"--web.listen-address={address}"]
    with subprocess.Popen(
        [*command, f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=error"], stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def highest(address, query, began):
    """By labels, as Grafana would draw it for all studies since then."""
    asked = query.replace("$study", ".*").replace("$__rate_interval", "4s")
    span = {"query": asked, "start": began, "end": time.time(), "step": 0.5}
    answer = requests.get(f"{address}/api/v1/query_range", params=span, timeout=60).json()
    assert answer["status"] == "success", answer
    return {
        tuple(sorted(series["metric"].items())): max(float(value) for _, value in series["values"])
        for series in answer["data"]["result"]
    }


def test_the_shipped_configuration_is_one_of_prometheus():
    subprocess.run(["promtool", "check", "config", FOLDER / "prometheus.yaml"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_panel_has_something_to_draw(panel, peaks):
    if "Empty on a cluster without GPUs" in panel["description"]:
        assert peaks("ray_node_cpu_utilization")  # of the same exporter
        return
    for target in panel["targets"]:
        assert peaks(target["expr"]), target["expr"]


def test_what_was_counted_is_what_was_trained(peaks):
    by_state = {dict(labels)["state"]: value for labels, value in peaks("sum by (state) (ray_ccar_trials)").items()}
    assert by_state["finished"] == TRIALS
    assert by_state["waiting"] <= TRIALS + DIVERGING
    assert 1 <= by_state["running"] <= 2
    assert by_state["diverged"] == DIVERGING
    assert by_state["failed"] == by_state["stopped"] == 0
    epochs, commits, images = (
        peaks(f"sum (ray_ccar_{name}_total)")[()] for name in ("epochs", "store_commits", "images")
    )
    assert epochs == TRIALS * EPOCHS
    assert commits >= TRIALS
    assert images > TRIALS * EPOCHS


def test_what_went_wrong_is_counted_by_its_reason(peaks):
    assert peaks("sum by (reason) (ray_ccar_failures_total)") == {(("reason", "diverged"),): DIVERGING}


def test_a_trial_that_ran_out_of_memory_counts_as_failed():
    metrics = RunMetrics("tiny", num_trials=2, num_done=0, outbox_depth=lambda: 0)
    metrics.started()
    metrics.progressed(TrialProgress(key="0", status="out_of_memory"))
    assert {state: count for state, count in metrics._counts.items() if count} == {"waiting": 1, "failed": 1}


def test_a_slow_look_at_the_outbox_keeps_nobody_waiting():
    looks, may_end = [], threading.Event()

    def slow():
        looks.append(threading.current_thread())
        may_end.wait(SECONDS)
        return 7

    metrics = RunMetrics("tiny", num_trials=2, num_done=0, outbox_depth=slow)
    told = []
    metrics._outbox.set = told.append
    for _ in range(3):
        metrics.progressed(TrialProgress(key="0", status="running"))
    wait_until(lambda: looks)
    assert told == []
    may_end.set()
    (look,) = looks
    look.join()
    assert told == [7]


def test_a_trial_whose_process_died_waits_until_it_has_another_one():
    metrics = RunMetrics("tiny", num_trials=2, num_done=1, outbox_depth=lambda: 0)
    metrics.started()
    metrics.lost_worker()
    assert {state: count for state, count in metrics._counts.items() if count} == {"waiting": 2, "finished": 1}
    metrics.started()
    assert {state: count for state, count in metrics._counts.items() if count} == {
        "waiting": 1,
        "running": 1,
        "finished": 1,
    }
