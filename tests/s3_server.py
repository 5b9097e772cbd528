"""An S3 server, on loopback unless told otherwise, in a process of its own: moto, which keeps its objects in memory.

    python -m tests.s3_server [--ignores-conditions] [--loses-answers] [--is-slow] [--host=ADDRESS]

With --is-slow an object whose name ends in "slow" takes SECONDS_OF_SLOW to come, a bit at a time, and of one whose name
ends in "stalled" only the first half comes. Prints its address; ends when its standard input does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "trials"
SECRET = "a-secret-that-must-not-be-written-anywhere"
SECONDS_OF_SLOW = 12.0
_PIECES = 24


@contextmanager
def s3_server(
    patch: pytest.MonkeyPatch, *options: str, inside: Sequence[str] = (), **environment: str
) -> Iterator[None]:
    """Run a server with one empty bucket; `patch` sets the variables that lead to it, for as long as it lives.

    Args:
        patch: of the test.
        options: see above.
        inside: the beginning of a command that runs the rest of it elsewhere.
        environment: more variables for the server.
    """
    with subprocess.Popen(
        [*inside, sys.executable, "-W", "ignore", "-m", "tests.s3_server", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        variables = {
            "AWS_ENDPOINT_URL": process.stdout.readline().strip(),
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            process.stdin.close()


def _serve(*, ignores_conditions: bool, loses_answers: bool, is_slow: bool, host: str) -> None:
    import logging

    from moto.backends import get_backend
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application: Any = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()  # moto looks and then writes: two puts with a condition could both succeed
    lost: set[str] = set()  # objects whose first conditional put was done and answered by an error

    def one_at_a_time(environment: dict[str, Any], start: Any) -> Any:
        condition = environment.get("HTTP_IF_NONE_MATCH")
        if ignores_conditions:
            environment.pop("HTTP_IF_NONE_MATCH", None)
        with turn:
            if loses_answers and condition and environment["PATH_INFO"] not in lost:
                lost.add(environment["PATH_INFO"])
                list(application(environment, lambda *_: None))
                start("500 Internal Server Error", [])
                return [b""]
            answer = application(environment, start)
        path = environment["PATH_INFO"]
        if is_slow and environment["REQUEST_METHOD"] == "GET" and path.endswith(("slow", "stalled")):
            return _in_pieces(b"".join(answer), stalls=path.endswith("stalled"))
        return answer

    get_backend("s3")["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")
    server = make_server(host, 0, one_at_a_time, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://{host}:{server.server_port}", flush=True)
    sys.stdin.read()


def _in_pieces(body: bytes, *, stalls: bool) -> Iterator[bytes]:
    size = -(-len(body) // _PIECES)
    for number in range(_PIECES):
        if stalls and number == _PIECES // 2:
            threading.Event().wait()
        time.sleep(SECONDS_OF_SLOW / _PIECES)
        yield body[number * size : (number + 1) * size]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ignores-conditions", action="store_true")
    parser.add_argument("--loses-answers", action="store_true")
    parser.add_argument("--is-slow", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    _serve(**vars(parser.parse_args()))
