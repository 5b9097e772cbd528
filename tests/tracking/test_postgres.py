"""What MLflow's tables in PostgreSQL refuse, where SQLite takes it: a real server of it, and none of MLflow's."""

from __future__ import annotations

import pytest

from ccar.errors import TrackingError
from ccar.store.trial_store import TrialStore
from ccar.tracking.outbox import sync
from tests.tracking.examples import ALL_POINTS, finished_study
from tests.tracking.postgres import is_installed, postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not is_installed(), reason="PostgreSQL is not installed: `make system` installs it"),
]

LONGEST = 157  # of the address of a study's files: MLflow keeps 200 characters of a run's, and adds 43


@pytest.fixture(scope="module")
def uri():
    with postgres("secret", "mlflow") as port:
        yield f"postgresql+psycopg://ccar:secret@127.0.0.1:{port}/mlflow"


def store_with_files_at(folder, length):
    """A finished study whose files in MLflow are at an address of so many characters, with a name of its own."""
    name = f"study-of-{length}"
    missing = length - len((folder / "mlartifacts" / name).as_uri())
    return finished_study(folder.with_name(folder.name + "x" * missing), name, seeds=(0,))


def test_files_at_the_longest_address_that_is_taken_arrive(uri, tmp_path):
    assert sync(store_with_files_at(tmp_path / "store", LONGEST), uri).points == ALL_POINTS


def test_an_address_of_files_that_is_too_long_is_told_before_anything_is_made(uri, tmp_path):
    from mlflow.tracking import MlflowClient

    store = store_with_files_at(tmp_path / "store", LONGEST + 1)
    with pytest.raises(TrackingError, match=f"found file://.*, expected {LONGEST} characters at most") as refused:
        sync(store, uri)
    assert "shorter" in refused.value.hint
    assert MlflowClient(uri).get_experiment_by_name(f"study-of-{LONGEST + 1}") is None


def test_what_the_database_says_is_told_and_not_what_sqlalchemy_remarks(uri, tmp_path):
    from mlflow.tracking import MlflowClient

    MlflowClient(uri).create_experiment("elsewhere", f"s3://bucket/{'x' * 190}")
    with pytest.raises(TrackingError, match="value too long for type character varying"):
        sync(finished_study(tmp_path / "store", "elsewhere", seeds=(0,)), uri)


def test_of_a_store_that_was_moved_no_file_is_to_be_deleted_that_is_not_there(uri, tmp_path):
    sync(finished_study(tmp_path / "store", "moved", seeds=(0,)), uri)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(TrackingError, match="which is not there") as refused:
        sync(TrialStore(tmp_path / "elsewhere"), uri, trust_cursor=False)
    assert "another name" in refused.value.hint
