"""Where a server listens: a port that is free, on an address that is this machine's."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from ccar.errors import TrackingError, UserError
from ccar.tracking.web_server import LOOPBACK, free_port, running

NO_HTTP = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"220 ready for mail")
    connection.close()
print("nobody asks for mail")
"""


def test_a_port_that_is_found_is_none_that_the_system_gives_to_connections_before_a_server_is_up():
    with socket.create_server((LOOPBACK, 0)) as taken:
        default = taken.getsockname()[1]
        found = [free_port(LOOPBACK), free_port(LOOPBACK, None, default)]
    assert max(found) < 32_768  # from there on Linux gives them


def test_the_default_port_is_found_when_it_is_free():
    default = free_port(LOOPBACK)
    assert free_port(LOOPBACK, None, default) == default


@pytest.mark.parametrize(
    ("host", "reason"),
    [("203.0.113.7", "Cannot assign requested address"), ("::1", "Address family for hostname not supported")],
)
def test_an_address_that_is_not_this_machines_is_told_as_that_and_not_as_a_port_that_is_taken(host, reason):
    for wanted in (None, 6000):
        with pytest.raises(UserError) as told:
            free_port(host, wanted, 5000)
        assert str(told.value) == f"cannot listen on {host}, port {wanted or 5000}: {reason}"
        assert told.value.hint == "expected an IPv4 address of this machine, and a port that this user may have"


def test_a_server_that_answers_otherwise_than_by_http_has_not_come_up():
    port = free_port(LOOPBACK)
    command = [sys.executable, "-c", NO_HTTP, str(port)]
    with (
        running(command, os.environ, "the server", f"http://{LOOPBACK}:{port}") as server,
        pytest.raises(TrackingError, match="the server did not come up: nobody asks for mail"),
    ):
        server.wait_until_it_answers("/health")
