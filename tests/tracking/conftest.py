from __future__ import annotations

import shutil
import urllib.error
import urllib.request

import pytest

from ccar.tracking.address import artifact_root
from ccar.tracking.environment import prepare_mlflow
from ccar.tracking.ui import serve
from ccar.tracking.web_server import LOOPBACK, free_port


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


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory, empty_database):
    """A folder with the database of the server below."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def server(server_folder):
    """A real MLflow server on loopback: starting one takes seconds, so the tests share it."""
    uri = f"sqlite:///{server_folder / 'mlflow.db'}"
    with serve(uri, artifact_root(server_folder, uri), port=free_port(LOOPBACK)) as running:
        process = running._process
        with urllib.request.urlopen(f"{running.address}/api/2.0/mlflow/experiments/search?max_results=1"):
            pass  # with the first request it opens its database, which is slow
        yield running
    assert process.poll() is not None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{running.address}/health", timeout=1)
