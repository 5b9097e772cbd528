"""The token of a Ray cluster: where it is looked for, and how it gets there."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from ccar.errors import UserError
from ccar.store.address import whole_path

TOKEN_HINT = (
    "ask whoever runs the cluster for its token, and put it into ~/.ray/auth_token (mode 600), "
    "or into a file that RAY_AUTH_TOKEN_PATH names; `ccar cluster status` says where that of a local cluster is"
)


def token_file() -> Path | None:
    """The file in which Ray would find a token, whether or not there is one; None when it is in RAY_AUTH_TOKEN.

    Raises:
        UserError: RAY_AUTH_TOKEN_PATH names a user that this machine does not have.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return whole_path(named) if named else Path.home() / ".ray" / "auth_token"


def find_token() -> str | None:
    """The token that Ray would use, by Ray's own order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Raises:
        UserError: what is in there cannot be one, or RAY_AUTH_TOKEN_PATH names a user that this machine does not have.
    """
    file = token_file()
    if file is None:
        return _checked(os.environ["RAY_AUTH_TOKEN"], "RAY_AUTH_TOKEN")
    return read_token(file)


def read_token(file: Path) -> str | None:
    """The token in a file; None when there is none.

    Raises:
        UserError: what is in there cannot be one.
    """
    try:
        return _checked(file.read_text(encoding="utf-8", errors="replace"), str(file)) or None
    except OSError:
        return None


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError(
            f"what is in {where} cannot be a token: expected one line of ASCII without spaces",
            hint="`ray get-auth-token --generate` makes one",
        )
    return token


def make_token() -> None:
    """Make sure that there is a token where Ray looks; Ray itself would make one that everybody can read."""
    file = token_file()
    if file is not None and not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # made by another run meanwhile
            write_token(file)


def write_token(file: Path) -> None:
    """Make up a token and write it to a new file that only its owner can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(32))  # as long as Ray's own
