"""What a submission carries to the cluster."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from ccar.cli.submit import _options, plan_here, submit_study
from ccar.cluster.allowance import Limits
from ccar.cluster.jobs import Job
from ccar.cluster.submissions import Request, environment, spelt, submit
from ccar.errors import StudyFileError, UserError
from ccar.study.definition import load_study
from tests.tiny_study import write_tiny_study


class InMemory:
    """A job server without a cluster: what is submitted runs until `end`."""

    address = "here"

    def __init__(self):
        self._jobs = []

    def submit(self, job_id, entrypoint, *, folder, environment, metadata):
        job = Job(
            id=job_id,
            status="RUNNING",
            metadata=metadata,
            message="",
            exit_code=None,
            submitted_at=float(len(self._jobs)),
            ended_at=None,
        )
        self._jobs.append(job)
        return True

    def jobs(self):
        return list(self._jobs)

    def end(self):
        self._jobs = [dataclasses.replace(job, status="SUCCEEDED") for job in self._jobs]


def test_a_study_under_way_is_not_submitted_again_but_into_another_store_it_is():
    server = InMemory()
    first, _ = submit(server, Request(study="s", text="study: s", store="/one"))
    same = submit(server, Request(study="s", text="study: s", store="/one/"))
    other, is_new = submit(server, Request(study="s", text="study: s", store="/other"))
    assert same == (first, False)
    assert (first.id, other.id, is_new) == ("s_1", "s_2", True)


def test_a_study_under_way_is_refused_with_other_code_and_taken_once_it_has_ended(monkeypatch):
    server, request = InMemory(), Request(study="s", text="study: s")
    submit(server, request)
    monkeypatch.setattr("ccar.cluster.submissions.code_digest", lambda: "another")
    with pytest.raises(UserError, match="s_1 is under way with another version of this study, or with other code"):
        submit(server, request)
    server.end()
    assert submit(server, request)[0].id == "s_2"


def test_a_submission_has_the_next_number_of_its_own_study_whoever_took_the_others():
    server = InMemory()
    for taken in ("s_7", "s_2", "other_9", "s_x"):
        server.submit(taken, "true", folder=None, environment={}, metadata={})
    assert submit(server, Request(study="s", text="study: s"))[0].id == "s_8"


@pytest.mark.parametrize("store", ["", "ccar-store", "./trials", "~/trials", "gs://bucket/trials"])
def test_a_store_that_would_lie_in_the_folder_of_the_job_is_refused(store):
    with pytest.raises(UserError, match="named by its whole path") as error:
        environment(store)
    assert "s3://BUCKET/PREFIX" in str(error.value.hint)


@pytest.mark.parametrize("store", ["/shared/trials", "s3://bucket/trials"])
def test_a_store_that_all_nodes_know_goes_along(store):
    assert environment(store) == {"CCAR_STORE": store}


@pytest.mark.parametrize(
    ("store", "same"),
    [
        ("/shared/./trials/", "/shared/trials"),
        ("/shared//trials", "/shared/trials"),
        ("s3://b/trials/", "s3://b/trials"),
    ],
)
def test_a_store_has_one_spelling_by_which_submissions_are_compared(store, same):
    assert spelt(store) == spelt(same) == same


def test_limits_go_along_as_they_were_given():
    assert _options(Limits()) == []
    assert _options(Limits(max_device_hours=0.0)) == ["--max-device-hours=0.0"]
    assert _options(Limits(priority=1_000_000, trials_at_once=2)) == ["--trials-at-once=2", "--priority=1000000"]


def test_a_study_is_planned_where_neither_its_store_nor_its_images_may_be_looked_at(tmp_path):
    closed = (
        f"/{300 * 'x'}"  # as a folder of the cluster's nodes that is closed to this user: the question for it fails
    )
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace("name: digits,", f"name: image_folder, root: {closed},"))
    study = load_study(path)
    assert plan_here(study, closed).total == 2


def test_a_study_is_planned_where_the_library_for_its_store_is_not(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "ccar.store.bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)  # so Python says that it is not installed
    assert plan_here(load_study(write_tiny_study(tmp_path)), "s3://bucket/trials").total == 2


def test_a_study_is_planned_where_a_file_has_the_path_of_the_cluster_s_store(tmp_path):
    (tmp_path / "trials").touch()
    assert plan_here(load_study(write_tiny_study(tmp_path)), str(tmp_path / "trials")).total == 2


@pytest.mark.parametrize(("store", "message"), [("", "the store is empty"), ("s3:/bucket", "neither a folder nor a")])
def test_a_store_that_no_machine_can_have_is_refused_before_the_cluster_is_called(tmp_path, store, message):
    with pytest.raises(UserError, match=message):
        submit_study(write_tiny_study(tmp_path), "http://127.0.0.1:9", store, Limits())


def test_a_study_is_planned_where_its_weights_are_not(tmp_path):
    path = write_tiny_study(tmp_path, bases="[cross_entropy, focal]")
    path.write_text(path.read_text().replace("model: small_cnn", "model: resnet10\npretrained: /nowhere/weights.pth"))
    assert plan_here(load_study(path), str(tmp_path / "store")).total == 4


def test_images_and_weights_that_would_be_looked_for_in_the_folder_of_the_job_are_refused(tmp_path):
    path = write_tiny_study(tmp_path)
    text = path.read_text().replace("name: digits,", "name: image_folder, root: images,")
    path.write_text(text.replace("model: small_cnn", "model: resnet10\npretrained: weights.pth"))
    with pytest.raises(StudyFileError) as error:  # before anybody is called at that address
        submit_study(path, "http://127.0.0.1:9", None, Limits())
    found = [(problem.line, problem.message.partition(":")[0]) for problem in error.value.problems]
    assert found == [(3, "data.root is relative"), (5, "pretrained is relative")]
