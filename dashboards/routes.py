"""What is not a page: tables as CSV files, and the way to a run in MLflow."""

from __future__ import annotations

from dash import Dash
from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from ccar.errors import TrackingError
from ccar.reports.formats.csv_files import render_csv
from ccar.tracking.run_pages import run_page
from dashboards.desk import Desk
from dashboards.once import made_once

WAIT_SECONDS = 10.0  # for numbers of what the store has now: a file does not say that it is of a moment ago
RETRY_SECONDS = 5


def add_routes(app: Dash, desk: Desk) -> None:
    """Answer /csv/cells, /csv/trials, /csv/costs and /mlflow. Names are looked up among those of the store."""

    server: Flask = app.server

    @server.get("/csv/<kind>")
    def csv(kind: str) -> Response:
        desk.library.wake_up()
        study = request.args.get("study", "")
        edition = desk.library.edition
        if kind not in ("cells", "trials", "costs"):
            abort(404)
        if desk.library.state(study) is None:
            if desk.library.has_looked:
                abort(404)
            return _later(desk.library.problem or "The store is being read: try again.")
        text = csv_of(kind, study, edition)
        if text is None:
            return _later(desk.library.unsummed.get(study) or "The numbers are being summed up: try again.")
        named = {"Content-Disposition": f'attachment; filename="{kind}.csv"'}
        return Response(text, headers=named, mimetype="text/csv")

    @made_once(1, 10.0)
    def csv_of(kind: str, study: str, edition: str) -> str | None:
        """Made once for all who ask, until something of the library changes; None while there are no numbers of now."""
        results = desk.library.results_of_now(study, WAIT_SECONDS)
        if results is None:
            return None
        frame = {"cells": results.cells, "trials": results.trials, "costs": results.source.costs}[kind]
        return render_csv(frame)

    @server.get("/mlflow")
    def mlflow() -> AnyResponse:
        state = desk.library.state(request.args.get("study", ""))
        key = request.args.get("key", "")
        if state is None or all(trial.key != key for trial in state.trials.values()):
            abort(404)
        try:
            return redirect(run_page(desk.mlflow, state.name, key))
        except TrackingError as error:
            return Response(f"{error}\n{error.hint or ''}\n", 503, mimetype="text/plain")


def _later(why: str) -> Response:
    return Response(f"{why}\n", 503, {"Retry-After": str(RETRY_SECONDS)}, mimetype="text/plain")
