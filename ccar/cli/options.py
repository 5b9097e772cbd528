"""Arguments and options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A study file, e.g. studies/digits_lt.yaml.", show_default=False)
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="CCAR_STORE",
        metavar="DIR",
        help="Folder of trials, or s3://BUCKET/PREFIX; shared by studies and people.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        metavar="URI",
        help="Where MLflow is; default: an SQLite file in the store.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
MaxDeviceHours = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS",
        help="Most hours of GPUs (or CPUs) that the rest of the study may take: more is refused; used up, it ends.",
        min=0,
        show_default=False,
    ),
]

Priority = Annotated[
    int,
    typer.Option(metavar="N", help="Among studies that share the cluster; higher goes first, equals share it equally."),
]
TrialsAtOnce = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Most trials of the study at once; default: as many as fit.", min=1, show_default=False
    ),
]

DEFAULT_STORE = "ccar-store"

talk = Console(stderr=True)


def store_here(given: str | None) -> str:
    """The store that this machine sees: the one that was given, or that of CCAR_STORE, or ccar-store."""
    return given if given is not None else os.environ.get("CCAR_STORE") or DEFAULT_STORE
