"""What a submission carries to the cluster."""

from __future__ import annotations

import pytest

from ccar.cli.places import Places
from ccar.cli.submit import _options, plan_here
from ccar.cluster.allowance import Limits
from ccar.cluster.submissions import environment, spelt
from ccar.errors import UserError
from ccar.study.definition import load_study
from tests.tiny_study import write_tiny_study


@pytest.mark.parametrize("store", ["ccar-store", "./trials", "~/trials", "gs://bucket/trials"])
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
    assert plan_here(study, Places.of(closed, None)).total == 2
