from __future__ import annotations

import shutil

import pytest

from ccar.tracking.environment import prepare_mlflow


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database with its tables and nothing in them: making one takes over a second."""
    prepare_mlflow()
    from ccar.tracking.mlflow_projection import Projection

    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    Projection(f"sqlite:///{file}", None, "")
    return file


@pytest.fixture
def database(empty_database, tmp_path):
    """A fresh MLflow database, where the store in tmp_path/"store" has it by default."""
    (tmp_path / "store").mkdir()
    return shutil.copy(empty_database, tmp_path / "store" / "mlflow.db")


@pytest.fixture
def uri(database):
    return f"sqlite:///{database}"


@pytest.fixture
def client(uri):
    """MLflow's own client: what a user would look with."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)
