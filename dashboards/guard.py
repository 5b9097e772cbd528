"""Who is answered, and what a browser may do with the answer: the same for every route."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from dash import Dash
from flask import Flask, Request, Response, request

from dashboards.pace import Pace

# A page is some 30 files and answers, an open one asks 1.4 times a second: this is for ten people.
_REQUESTS_PER_SECOND = 15.0
_REQUESTS_AT_ONCE = 200
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guard(app: Dash, hosts: Sequence[str], token: str | None) -> None:
    """Refuse who calls us by another name, or lacks the token; call it when the application is complete.

    Args:
        app: all of whose routes are guarded.
        hosts: what the header Host may say, letter by letter: HOST:PORT.
        token: to be given as a bearer token, or as the password of any user; None: nobody is asked.
    """
    # Hashes, for the two scripts by which Dash begins; styles inside tags are how Plotly draws.
    scripts = " ".join(f"'{digest}'" if not digest.startswith("'") else digest for digest in app.csp_hashes())
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data: blob:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    server: Flask = app.server
    pace = Pace(_REQUESTS_PER_SECOND, _REQUESTS_AT_ONCE)

    @server.before_request
    def admit() -> Response | None:
        if request.headers.get("Host") not in hosts:
            return Response(f"This server is called {hosts[0]}.\n", 403, mimetype="text/plain")
        if token is not None and not _has_token(request, token):
            ask = {"WWW-Authenticate": 'Basic realm="ccar", charset="UTF-8"'}
            return Response("The token is missing or wrong.\n", 401, ask, mimetype="text/plain")
        pace.wait()  # of those who may ask at all
        return None

    @server.after_request
    def harden(response: Response) -> Response:
        response.headers.update(_HEADERS)
        response.headers["Content-Security-Policy"] = policy
        return response


def _has_token(asked: Request, token: str) -> bool:
    given = asked.authorization
    if given is None:
        return False
    found = given.token if given.type == "bearer" else given.password if given.type == "basic" else None
    return found is not None and secrets.compare_digest(found.encode(), token.encode())
