"""An HTTP proxy before a real server that does what networks and busy servers do, at the requests that a test names."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

LATE_SECONDS = 12.0  # more than a client waits that waits long enough for what a busy machine answers
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to which requests.

    gone: the connection ends before the server hears of it. unavailable: 503. refused: 400, for good. lost: the server
    does it, and its answer never comes. late: the answer takes `LATE_SECONDS`.
    """

    kind: Literal["gone", "unavailable", "refused", "lost", "late"]
    path: str = ""  # what the path of a request ends with
    strikes: Callable[[int], bool] = lambda number: True  # of these requests, by their number from 0
    concerns: Callable[[bytes], bool] = lambda body: True  # only those that say so count


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on; `fault` can be changed at any time."""

    def __init__(self, address: str) -> None:
        """Listen on loopback.

        Args:
            address: of the server behind it.
        """
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urllib.parse.urlsplit(address).netloc
        self.num_struck = 0
        self._fault: Fault | None = None
        self._num_met = 0
        self._turn = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        with self._turn:
            self._fault, self._num_met, self.num_struck = fault, 0, 0

    def meets(self, path: str, body: bytes) -> str | None:
        """What is to happen to a request."""
        with self._turn:
            if self._fault is None or not path.partition("?")[0].endswith(self._fault.path):
                return None
            if not self._fault.concerns(body):
                return None
            self._num_met += 1
            if not self._fault.strikes(self._num_met - 1):
                return None
            self.num_struck += 1
            return self._fault.kind


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.server.meets(self.path, body)
        if kind in ("unavailable", "refused"):
            self.send_error(503 if kind == "unavailable" else 400)
        elif kind != "gone":
            answer, content = self._answer(body)
            if kind == "late":
                time.sleep(LATE_SECONDS)
            if kind != "lost":
                self._pass_back(answer, content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.server.behind, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _pass_back(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        with suppress(ConnectionError):  # it took too long for the client
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: it is on purpose."""


@contextmanager
def faulty_proxy(address: str) -> Iterator[FaultyProxy]:
    """Run one before the server at `address`."""
    with FaultyProxy(address) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
