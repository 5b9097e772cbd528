"""Commands on a store in a bucket: as on one in a folder, and nothing secret is written anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

from ccar.cli.submit import plan_here
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from tests.cli.test_commands import CCAR, ccar
from tests.processes import command_of, end, family_of
from tests.s3_server import SECRET
from tests.store.places import bucket
from tests.tiny_study import write_tiny_study
from tests.written import files_with

__all__ = ["bucket"]
pytestmark = pytest.mark.long


@pytest.fixture
def address(bucket):
    """The address of a store that nobody has used yet."""
    return f"{bucket}/{uuid.uuid4().hex}"


def state_folder():
    return Path(os.environ["XDG_STATE_HOME"])


@pytest.mark.ray
def test_a_study_runs_into_a_bucket_and_a_second_run_trains_nothing(address, tmp_path):
    path = write_tiny_study(tmp_path, seeds="[0, 1]")
    code, out, err = ccar("run", path, "--store", address, cwd=tmp_path)
    assert code == 0, err
    assert "cross_entropy" in out
    store = TrialStore(address)
    before = list(store.all_records())
    assert [record.status for record in before] == ["finished"] * 4
    assert f"ccar ui --store {address}" in err

    report = store.root / "reports" / "tiny"
    assert str(report / "report.html") in err
    assert json.loads((report / "report.json").read_text())["study"] == "tiny"
    assert (store.root / "mlflow.db").exists()
    assert state_folder() in store.root.parents
    assert list(tmp_path.iterdir()) == [path]  # nothing beside the study

    code, _, err = ccar("run", path, "--store", address, cwd=tmp_path)
    assert code == 0
    assert "all 4 trials are in the store; nothing to train" in err
    assert list(store.all_records()) == before

    code, out, _ = ccar("list", "runs", "--json", "--store", address, cwd=tmp_path)
    assert (code, json.loads(out)[0]["finished"]) == (0, 4)
    code, out, _ = ccar("sync", "--store", address, cwd=tmp_path)
    assert "1 study, 0 trials sent" in out
    assert files_with(SECRET, state_folder(), tmp_path) == []


@pytest.mark.ray
def test_a_run_that_is_killed_goes_on_from_its_last_commit_in_a_bucket(address, tmp_path):
    path = write_tiny_study(tmp_path, epochs=40)
    store = TrialStore(address)
    with subprocess.Popen([CCAR, "run", path, "--store", address], cwd=tmp_path, stderr=subprocess.DEVNULL) as run:
        try:
            while not (begun := {r.key: r.epochs for r in store.all_records() if r.epochs}):
                assert run.poll() is None
        finally:
            processes = family_of(run.pid)
            words = [word for process in processes for word in command_of(process)]
            end(processes, seconds=0)
    assert SECRET not in words

    code, _, err = ccar("run", path, "--store", address, cwd=tmp_path)
    assert code == 0, err
    for key, epochs in begun.items():
        record = store.read(key)
        assert record.status == "finished"
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, 41))
        assert [epoch.finished_at for epoch in record.epochs[: len(epochs)]] == [one.finished_at for one in epochs]


@pytest.mark.parametrize(
    "words", [("run", "tiny.yaml"), ("plan", "tiny.yaml"), ("list", "runs"), ("sync",), ("report", "tiny.yaml")]
)
def test_every_command_says_that_a_bucket_does_not_exist(bucket, tmp_path, words):
    write_tiny_study(tmp_path)
    code, out, err = ccar(*words, "--store", "s3://another-bucket/prefix", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "there is no bucket 'another-bucket'" in err
    assert "hint: create it" in err


def test_a_malformed_address_is_refused_before_anything_else(tmp_path):
    code, _, err = ccar("list", "runs", cwd=tmp_path, CCAR_STORE="s3:/bucket")
    assert code == 2
    assert "neither a folder nor a bucket" in err


def test_the_doctor_looks_at_a_bucket(address, tmp_path):
    _, out, err = ccar("doctor", "--json", "--store", address, cwd=tmp_path)
    found = {check["what"]: check for check in json.loads(out)}
    assert found["store"]["found"] == "writable", err
    assert "free in the store" not in found["disk"]["found"]
    assert list(TrialStore(address).files.names()) == []
    _, out, _ = ccar("doctor", "--json", "--store", "s3://another-bucket", cwd=tmp_path)
    (check,) = [check for check in json.loads(out) if check["what"] == "store"]
    assert not check["ok"]
    assert "there is no bucket" in check["found"]


def test_a_laptop_that_does_not_reach_the_bucket_plans_all_the_same(tmp_path):
    study = load_study(write_tiny_study(tmp_path))
    plan = plan_here(study, "s3://another-bucket/prefix")
    assert (plan.total, plan.done) == (2, 0)
