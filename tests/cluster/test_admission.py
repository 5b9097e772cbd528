"""What is told, and to whom, before Ray is started."""

from __future__ import annotations

import socket

import pytest

from ccar.cluster.admission import check_admission


def test_the_token_of_a_cluster_passes_by_every_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.socket() as nobody:
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("grpc_proxy", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        nobody.bind(("127.0.0.1", 0))
        check_admission(f"127.0.0.1:{nobody.getsockname()[1]}")  # Ray will tell that nobody answers there
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
