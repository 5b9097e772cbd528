"""What others on the machine notice of the pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from ccar.tracking.web_server import free_port, running


def test_trials_on_the_same_machine_go_first(tmp_path):
    port = free_port("127.0.0.1", None, 0)
    command = [sys.executable, "-m", "dashboards", "--store", str(tmp_path), "--port", str(port)]
    with running(command, os.environ, "the dashboard", f"http://127.0.0.1:{port}") as server:
        server.wait_until_it_answers("/")
        (dashboard,) = [process for process in psutil.Process().children() if str(port) in process.cmdline()]
        assert dashboard.nice() == 19
        group = Path(f"/proc/{dashboard.pid}/autogroup")
        assert not group.exists() or group.read_text().endswith(" nice 10\n")
