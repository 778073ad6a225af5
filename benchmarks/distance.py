"""The benchmark's server as seen from near and from far."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from sandbox.proxy import LOCAL, TcpProxy
from sandbox.server import PostgresServer

#: Milliseconds for one round trip: the same machine, and production, whose database is 20 to 50 ms away.
NEAR, FAR = 0, 30


@dataclass(frozen=True)
class Way:
    """A way to the server.

    :ivar port: to connect to, on the server's own host name
    :ivar proxy: to the process that makes the way long; None for a direct connection
    """

    port: int
    proxy: Connection | None = None

    @property
    def round_trips(self) -> int:
        """How often clients waited for an answer so far, connecting included; 0 where nobody counts."""
        if self.proxy is None:
            return 0
        self.proxy.send("count")
        return int(self.proxy.recv())


@contextmanager
def way_to(server: PostgresServer, round_trip_ms: int) -> Iterator[Way]:
    """A way of a given length. Near is a direct connection: a proxy would cost whoever makes more round trips more.

    The proxy is a process of its own: beside a contestant that runs in this one it would wait for the interpreter.
    """
    if round_trip_ms == NEAR:
        yield Way(server.port)
        return
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(server.port, round_trip_ms, there), daemon=True)
    process.start()
    # Only the child keeps its end, so that a child that died is an error here and not a wait without end.
    there.close()
    try:
        yield Way(int(here.recv()), here)
    finally:
        here.close()
        process.join()


def _serve(port: int, round_trip_ms: int, questions: Connection) -> None:
    """Run a proxy and tell how many round trips it saw, until the other side hangs up."""
    with TcpProxy(LOCAL, port, round_trip_ms) as proxy:
        questions.send(proxy.port)
        while True:
            try:
                questions.recv()
            except EOFError:
                return
            questions.send(proxy.round_trips)
