"""The benchmark's server as seen from near and from far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.proxy import LOCAL, TcpProxy
from sandbox.server import PostgresServer

#: Milliseconds for one round trip: the same machine, and production, whose database is 20 to 50 ms away.
NEAR, FAR = 0, 30


@dataclass(frozen=True)
class Way:
    """A way to the server.

    :ivar port: to connect to, on the server's own host name
    :ivar proxy: what makes it long; None for a direct connection
    """

    port: int
    proxy: TcpProxy | None

    @property
    def round_trips(self) -> int:
        """How often clients waited for an answer so far, connecting included; 0 where nobody counts."""
        return self.proxy.round_trips if self.proxy else 0


@contextmanager
def way_to(server: PostgresServer, round_trip_ms: int) -> Iterator[Way]:
    """A way of a given length. Near is a direct connection: a proxy would cost whoever makes more round trips more."""
    if round_trip_ms == NEAR:
        yield Way(server.port, None)
        return
    with TcpProxy(LOCAL, server.port, round_trip_ms) as proxy:
        yield Way(proxy.port, proxy)
