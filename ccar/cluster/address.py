"""The address of a Ray cluster, looked at before Ray is started."""

from __future__ import annotations

import socket

from ccar.errors import UserError

SECONDS_TO_ANSWER = 2.0


def find_cluster(address: str) -> str:
    """Ask in seconds what Ray itself would find out in minutes, before anything is begun.

    Args:
        address: `auto`, or HOST:PORT of the head of a running cluster.

    Returns:
        HOST:PORT.

    Raises:
        UserError: nobody answers there, or not to this machine's token.
    """
    if address == "auto":
        from ccar.cluster.ray_session import address_of_this_machine  # Ray takes a second to import

        address = address_of_this_machine()
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"cannot use the cluster address {address!r}", hint="expected HOST:PORT of its head, or auto")
    try:
        _connect(host, int(port))
    except (OSError, OverflowError) as error:
        raise unreachable(address, str(error)) from error
    from ccar.cluster.admission import check_admission  # gRPC takes a moment, too

    check_admission(address)
    return address


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
