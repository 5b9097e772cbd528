"""Where MLflow is: tracking URIs, the artifacts that belong to them, and whether anybody answers there."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path

from ccar.errors import TrackingUnreachable, UserError

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SQLITE = "sqlite:///"
_ALLOWED = "http://HOST:PORT, sqlite:///FILE, or postgresql://..., mysql://..., mssql://..."
_SECONDS_TO_ANSWER = 2.0
# Whoever did not escape a /, ? or # in it has a password all the same, and databases take it.
_PASSWORD = re.compile(r"(://[^:/?#@]*):([^/?#]*|[^@]*)@")
_CREDENTIALS = re.compile(r"^([^/?#]*://)([^/?#]*)@")
_ESCAPE = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_OPTION = re.compile(r"=[^&;]*")


def default_tracking_uri(store_root: Path) -> str:
    """An SQLite file inside the trial store: what is used when nobody says otherwise."""
    return _uri_of(store_root.resolve() / "mlflow.db")


def artifact_root(store_root: Path, tracking_uri: str) -> str | None:
    """Where files of runs go, as a URI; None when a server decides.

    Without one, MLflow would put them in ./mlruns of whatever folder the process happens to run in.
    """
    return None if is_server(tracking_uri) else (store_root / "mlartifacts").resolve().as_uri()


def is_server(tracking_uri: str) -> bool:
    """Whether this is the address of an MLflow server, and not of a database."""
    return tracking_uri.startswith(tuple(f"{scheme}://" for scheme in _SERVERS))


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file behind an SQLite URI, absolute; None for every other URI."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(urllib.parse.unquote(tracking_uri.removeprefix(_SQLITE).partition("?")[0])).resolve()


def absolute(tracking_uri: str) -> str:
    """The same address for every working directory: relative SQLite paths are resolved."""
    file = sqlite_file(tracking_uri)
    return tracking_uri if file is None else _uri_of(file) + "".join(tracking_uri.partition("?")[1:])


def _uri_of(file: Path) -> str:
    """The URI by which SQLAlchemy finds an SQLite file: it would take what is in there for escapes, or for options."""
    return _SQLITE + _ESCAPE.sub("%25", str(file)).replace("?", "%3F")


def shown(tracking_uri: str) -> str:
    """The address as it may be printed: without a password, and without what options say, which may be one too."""
    address, mark, options = _PASSWORD.sub(r"\1:***@", tracking_uri).partition("?")
    return address + mark + _OPTION.sub("=***", options)


def without_secrets(text: str, tracking_uri: str) -> str:
    """What somebody else says of the address, as it may be printed; see `shown`."""
    text = text.replace(tracking_uri.rstrip("/"), shown(tracking_uri).rstrip("/"))
    if (found := _PASSWORD.search(tracking_uri)) is not None:
        plain = urllib.parse.unquote(found[2])
        for spelling in (found[2], plain, urllib.parse.quote(plain), urllib.parse.quote(plain, safe="")):
            text = text.replace(f":{spelling}@", ":***@")
    return text


def digest(tracking_uri: str) -> str:
    """A short name for the place that can be a folder's name: the same for all its users, and however it is spelt."""
    address, _ = without_credentials(absolute(tracking_uri))
    if is_server(address):
        address = re.sub("^[^/]*//[^/]*", lambda host: host[0].lower(), address).rstrip("/")
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def check_tracking(tracking_uri: str, *, seconds: float = _SECONDS_TO_ANSWER) -> None:
    """Make sure, in a moment and without importing MLflow, that this address can be used.

    A server must answer within `seconds`; an SQLite file must be in a folder that can be written, or that can
    be created. Other databases are only checked for how the address is written.

    Raises:
        TrackingUnreachable: nobody answers there, or not as MLflow would.
        UserError: what is wrong with the address.
    """
    scheme = tracking_uri.partition("://")[0].partition("+")[0]
    if is_server(tracking_uri):
        _check_server(tracking_uri, seconds)
    elif scheme not in _DATABASES or "://" not in tracking_uri:
        raise UserError(f"cannot use the tracking URI {shown(tracking_uri)!r}", hint=f"expected {_ALLOWED}")
    elif scheme == "sqlite":
        _check_sqlite(tracking_uri)


def _check_server(tracking_uri: str, seconds: float) -> None:
    address, credentials = without_credentials(tracking_uri.rstrip("/"))
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=seconds):
            pass
        _check_admission(address, credentials, seconds)
        return
    except urllib.error.HTTPError as error:
        reason = f"answered {error.code} {error.reason}: is it an MLflow server?"
    except (OSError, ValueError, http.client.HTTPException) as error:  # refused, no such host, not a URL, not HTTP
        reason = f"does not answer: {getattr(error, 'reason', error)}"
    raise TrackingUnreachable(
        f"the tracking server {shown(tracking_uri)} {reason}",
        hint="start it or give another --tracking-uri; runs can be sent to it later with `ccar sync`",
    )


def _check_admission(address: str, credentials: str | None, seconds: float) -> None:
    """Make sure that the server answers to us, and not only that it lives: everybody may ask for its health.

    Raises:
        UserError: it asks for a password that we do not have, or may not be called by this name.
    """
    request = api_request(address, credentials, "experiments/get-by-name?experiment_name=Default")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        with error:
            code, words = error.code, error.read(200).decode(errors="replace")
    if code == HTTPStatus.UNAUTHORIZED:
        raise UserError(
            f"the tracking server {address} does not let this user in",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    if code == HTTPStatus.FORBIDDEN:
        raise UserError(
            f"the tracking server {address} does not answer under this name: {words}",
            hint="call it by a name that it knows, or start it with --allowed-hosts (MLFLOW_SERVER_ALLOWED_HOSTS)",
        )
    # Any other answer: somebody has deleted the default experiment, or a proxy has ideas of its own. MLflow will tell.


def api_request(address: str, credentials: str | None, path: str, body: object = None) -> urllib.request.Request:
    """A request to a server's API, by whoever MLflow's client would say that we are.

    Args:
        address: of the server, without credentials.
        credentials: USER:PASSWORD; None: those in MLflow's variables, if any.
        path: of the call, and its query.
        body: what is sent, as JSON; None: nothing.
    """
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if (header := _authorization(credentials)) is not None:
        request.add_header("Authorization", header)
    return request


def _authorization(credentials: str | None) -> str | None:
    """The header that MLflow's client would send, from the address or from its variables."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if credentials is None and user and password:
        credentials = f"{user}:{password}"
    if credentials is not None:
        return f"Basic {base64.b64encode(credentials.encode()).decode()}"
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return f"Bearer {token}" if token else None


def without_credentials(address: str) -> tuple[str, str | None]:
    """An address, and the USER:PASSWORD that was in it."""
    found = _CREDENTIALS.match(address)
    if found is None:
        return address, None
    return found[1] + address[found.end() :], urllib.parse.unquote(found[2])


def _check_sqlite(tracking_uri: str) -> None:
    file = sqlite_file(tracking_uri)
    if file is None or file.is_dir():
        raise UserError(f"cannot use the tracking URI {tracking_uri!r}", hint=f"expected {_SQLITE}FILE")
    existing = file
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK) or not (existing.is_dir() or existing == file):
        raise UserError(
            f"cannot write the tracking database {file}",
            hint="choose another file: --tracking-uri sqlite:///FILE",
        )
