"""What a submission carries to the cluster."""

from __future__ import annotations

import sys

import pytest

from ccar.cli.submit import _options, plan_here, submit_study
from ccar.cluster.allowance import Limits
from ccar.cluster.submissions import environment, spelt
from ccar.errors import StudyFileError, UserError
from ccar.study.definition import load_study
from tests.tiny_study import write_tiny_study


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
