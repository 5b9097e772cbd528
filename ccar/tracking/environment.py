"""How MLflow is to behave in our processes: quiet, at home, and quick to say that a server is away."""

from __future__ import annotations

import os
from collections.abc import Mapping

MLFLOW_ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own 7 retries of up to 120 s each block a caller for minutes when the server is down. Nothing
    # is lost by giving up early: what was not delivered stays in the outbox.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def prepare_mlflow() -> None:
    """Set the environment that MLflow reads when it is imported and called; what the user has set stays."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
