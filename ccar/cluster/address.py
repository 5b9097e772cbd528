"""The address of a Ray cluster, looked at before Ray is imported."""

from __future__ import annotations

import socket

from ccar.errors import UserError

SECONDS_TO_ANSWER = 2.0


def check_address(address: str | None) -> None:
    """Ask in two seconds what Ray itself would find out in minutes.

    Args:
        address: None for this machine; `auto`, or HOST:PORT of the head of a running cluster.

    Raises:
        UserError: nobody answers there.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"cannot use the cluster address {address!r}", hint="expected HOST:PORT of its head, or auto")
    try:
        _connect(host, int(port))
    except (OSError, OverflowError) as error:
        raise unreachable(address, str(error)) from error


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there, as far as two seconds can tell."""
    try:
        _connect(host, port)
    except OSError:
        return False
    return True


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=SECONDS_TO_ANSWER).close()


def unreachable(where: str, reason: str) -> UserError:
    """The error for an address at which there is no cluster."""
    return UserError(
        f"no Ray cluster can be reached at {where}: {reason}",
        hint="start one with `ccar cluster start` and give its address, or leave --address out",
    )
