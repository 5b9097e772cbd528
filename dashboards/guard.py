"""Who is answered, and what a browser may do with the answer: the same for every route."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from dash import Dash
from flask import Flask, Request, Response, request

from dashboards.pace import Pace

# A page is some 30 files and answers, an open one asks 1.4 times a second: this is for ten people.
_REQUESTS_PER_SECOND = 12.0
_REQUESTS_AT_ONCE = 100
_PORT_OF_HTTP = 80
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guard(app: Dash, names: Sequence[str], port: int, password: str | None) -> None:
    """Refuse who calls us by another name, or lacks the password; call it when the application is complete.

    Args:
        app: all of whose routes are guarded.
        names: by which this server may be called: IP addresses, or names in lower case, as browsers write them.
        port: where it listens.
        password: to be given as that of any user, or as a bearer token; None: nobody is asked.
    """
    # Hashes, for the two scripts by which Dash begins; styles inside tags are how Plotly draws.
    scripts = " ".join(f"'{digest}'" if not digest.startswith("'") else digest for digest in app.csp_hashes())
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data: blob:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    hosts = [f"{name}:{port}" for name in names]  # what the header Host may say
    if port == _PORT_OF_HTTP:
        hosts += names  # browsers leave it out
    server: Flask = app.server
    pace = Pace(_REQUESTS_PER_SECOND, _REQUESTS_AT_ONCE)

    @server.before_request
    def admit() -> Response | None:
        if request.headers.get("Host") not in hosts:
            return Response(f"This server is called {hosts[0]}.\n", 403, mimetype="text/plain")
        if password is not None and not _has_password(request, password):
            ask = {"WWW-Authenticate": 'Basic realm="ccar", charset="UTF-8"'}
            return Response("The password is missing or wrong.\n", 401, ask, mimetype="text/plain")
        pace.wait()  # of those who may ask at all
        return None

    @server.after_request
    def harden(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["Content-Security-Policy"] = policy
        return response


def _has_password(asked: Request, password: str) -> bool:
    given = asked.authorization
    if given is None:
        return False
    found = given.token if given.type == "bearer" else given.password if given.type == "basic" else None
    return found is not None and secrets.compare_digest(found.encode(), password.encode())
