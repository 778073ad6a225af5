"""Fixtures for tests that break the connection between the runner and the server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sandbox.databases import Database
from sandbox.proxy import TcpProxy
from sandbox.server import ADDRESS, PostgresServer


@pytest.fixture
def make_proxy(server: PostgresServer) -> Iterator[Callable[..., TcpProxy]]:
    """Start proxies in front of the server; ``make_proxy(round_trip_ms=30)``. Ended after the test."""
    with ExitStack() as running:

        def make(round_trip_ms: float = 0) -> TcpProxy:
            return running.enter_context(TcpProxy(ADDRESS, server.port, round_trip_ms))

        yield make


@pytest.fixture
def proxy(make_proxy: Callable[..., TcpProxy]) -> TcpProxy:
    """A proxy in front of the server that adds no distance."""
    return make_proxy()


@pytest.fixture
def plain_options(database: Database, proxy: TcpProxy) -> dict[str, Any]:
    """libpq keywords of gen_user through the proxy without TLS: the proxy can read what the client sends."""
    options = database.options | {"port": proxy.port, "sslmode": "disable"}
    options.pop("sslrootcert", None)
    return options
