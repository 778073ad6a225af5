"""A TCP proxy that adds distance and faults between a client and the server.

``python -m sandbox.proxy --target PORT --round-trip-ms 30`` runs it by hand.
"""

import argparse
import asyncio
import contextlib
import selectors
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar

LOCAL = "127.0.0.1"
CONNECT_TIMEOUT_S = 10
# Linger on, for zero seconds: closing sends RST instead of FIN.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

T = TypeVar("T")


class End(Enum):
    """How a stream ends: FIN (no more bytes) or RST (connection is gone)."""

    FINISHED = "finished"
    RESET = "reset"


Piece = bytes | End


class TcpProxy:
    """Listens on 127.0.0.1 and carries each connection to one target; a context manager.

    Half of the round trip is added in each direction. Bytes keep their order and their spacing: what was sent together
    arrives together, however long the way is. A new connection costs one round trip more, as a TCP handshake does.
    The way has room for any number of bytes: a sender is never slowed down.

    :param target_host: name or address of the server.
    :param target_port: its TCP port.
    :param round_trip_ms: added latency in milliseconds, both directions together.
    :param listen_port: port to listen on; 0 takes a free one, see ``port``.
    """

    def __init__(
        self, target_host: str, target_port: int, round_trip_ms: float = 0, listen_port: int = 0
    ) -> None:
        self.target = (target_host, target_port)
        self.round_trip_s = round_trip_ms / 1000
        self.port = listen_port
        self.replies_dropped = False
        self.in_black_hole = False
        self.fatal_pattern: bytes | None = None
        self.fatal_delay_s = 0.0
        self._accepted: list[_Connection] = []
        # select() waits with microseconds, epoll rounds up to milliseconds.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._in_loop(self._loop.create_server(self._accept, LOCAL, self.port))
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return len(self._accepted)

    @property
    def open_connections(self) -> int:
        """How many of them still have a client that may speak."""
        return sum(connection.is_open for connection in self._accepted)

    @property
    def byte_count(self) -> int:
        """Bytes received from both sides so far."""
        return sum(connection.byte_count for connection in self._accepted)

    @property
    def round_trips(self) -> int:
        """How often a client spoke again after it had heard an answer; the first time counts too."""
        return sum(connection.round_trips for connection in self._accepted)

    def drop_replies(self) -> None:
        """From now on discard what the server answers; the client's bytes still arrive."""
        self.replies_dropped = True

    def drop_replies_when(self, pattern: bytes, close_after_s: float = 0.2) -> None:
        """Lose the answer to one request: the server gets it and answers, the client only sees its connection end.

        From the moment a client's bytes contain the pattern, that connection's replies are discarded; after
        ``close_after_s`` its client side is closed. The server's side stays open until the server has answered, so
        that it does not notice and give up half-way. Needs a connection without TLS.

        :param pattern: bytes such as b"COMMIT"; also found when they arrive in two pieces.
        """
        self.fatal_delay_s = close_after_s
        self.fatal_pattern = pattern

    def lose_answers(self) -> None:
        """The same for all present connections, whatever they have just asked for; TLS does not matter."""
        for connection in self._accepted:
            self._loop.call_soon_threadsafe(connection.lose_answer)

    def black_hole(self) -> None:
        """Keep all connections open, also new ones, and forward nothing in either direction."""
        self.in_black_hole = True

    def cut(self) -> None:
        """Reset all connections, to the client and to the server. New ones are accepted."""
        self._in_loop(self._reset_all())

    def restore(self) -> None:
        """End all faults. Existing connections are reset, since bytes may be missing in them."""
        self.replies_dropped = self.in_black_hole = False
        self.fatal_pattern = None
        self.cut()

    def _accept(self) -> asyncio.Protocol:
        connection = _Connection(self, self._loop)
        self._accepted.append(connection)
        return connection.client

    async def _reset_all(self) -> None:
        for connection in self._accepted:
            connection.reset()

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._reset_all()
        # Aborted connections report their end in the loop's next round.
        await asyncio.sleep(0)

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Way:
    """One direction of a connection: each piece is delivered a fixed time after it was sent, in order."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay_s: float, deliver: Callable[[Piece], None]
    ) -> None:
        self._loop = loop
        self._delay_s = delay_s
        self._deliver = deliver
        self._under_way: deque[tuple[float, Piece]] = deque()

    def send(self, piece: Piece, not_before: float = 0.0) -> float:
        """Take a piece and return the moment (the loop's clock, seconds) of its delivery."""
        arrival = max(self._loop.time(), not_before) + self._delay_s
        self._under_way.append((arrival, piece))
        if len(self._under_way) == 1:
            self._loop.call_at(arrival, self._arrive)
        return arrival

    def _arrive(self) -> None:
        now = self._loop.time()
        while self._under_way and self._under_way[0][0] <= now:
            self._deliver(self._under_way.popleft()[1])
        if self._under_way:
            self._loop.call_at(self._under_way[0][0], self._arrive)


class _Side(asyncio.Protocol):
    """One end of a connection: passes on what happens, and sends what it is told."""

    def __init__(self, made: Callable[[], None], received: Callable[[Piece], None]) -> None:
        self._made = made
        self._received = received
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._made()

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def eof_received(self) -> bool:
        self._received(End.FINISHED)
        return True  # keep the other direction open

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._received(End.RESET)

    def send(self, piece: Piece) -> None:
        """Send bytes, FIN or RST; nothing happens when this end is gone already."""
        if self._transport is None or self._transport.is_closing():
            return
        if piece is End.RESET:
            with contextlib.suppress(OSError):  # the peer was faster: no socket is left to reset
                self._transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
                )
            self._transport.abort()
        elif piece is End.FINISHED:
            with contextlib.suppress(OSError):  # the peer closed the connection already
                self._transport.write_eof()
        else:
            self._transport.write(piece)

    def close(self) -> None:
        """Close after everything was sent."""
        if self._transport is not None:
            self._transport.close()


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: TcpProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.byte_count = 0
        self.round_trips = 0
        self.is_open = True
        self.client = _Side(self._client_came, self._from_client)
        self._server = _Side(lambda: None, self._from_server)
        self._proxy = proxy
        self._loop = loop
        self._requests = _Way(loop, proxy.round_trip_s / 2, self._to_server)
        self._replies = _Way(loop, proxy.round_trip_s / 2, self._to_client)
        self._handshake_ends = loop.time() + proxy.round_trip_s
        self._waiting: list[Piece] | None = []
        self._client_spoke_last = False
        self._last_bytes = b""
        self._was_reset = False
        self._answer_lost = False
        self._answered = False
        self._ended: set[str] = set()

    def reset(self) -> None:
        """Send RST to both ends."""
        self.is_open = False
        self._was_reset = True
        self.client.send(End.RESET)
        self._server.send(End.RESET)

    def _client_came(self) -> None:
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            connecting = self._loop.create_connection(lambda: self._server, *self._proxy.target)
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except OSError:  # TimeoutError is one
            self.reset()
            return
        waiting, self._waiting = self._waiting or [], None
        for piece in waiting:
            self._to_server(piece)
        if self._was_reset:
            self._server.send(End.RESET)

    def _from_client(self, piece: Piece) -> None:
        if isinstance(piece, End):
            self.is_open = False
            if not self._answer_lost:
                self._requests.send(piece)
            return
        self.byte_count += len(piece)
        if not self._client_spoke_last:
            self._client_spoke_last = True
            self.round_trips += 1
        arrival = self._requests.send(piece, self._handshake_ends)
        pattern = self._proxy.fatal_pattern
        if pattern is not None and not self._answer_lost:
            seen = self._last_bytes + piece
            self._last_bytes = seen[-len(pattern) + 1 :] if len(pattern) > 1 else b""
            if pattern in seen:
                self._answer_lost = True
                self._loop.call_at(arrival + self._proxy.fatal_delay_s, self._lose_client)

    def _from_server(self, piece: Piece) -> None:
        if isinstance(piece, bytes):
            self.byte_count += len(piece)
            self._client_spoke_last = False
        if not self._answer_lost:
            self._replies.send(piece)
            return
        self._answered = True
        self._release_server()
        if isinstance(piece, End):
            self._server.close()

    def _to_server(self, piece: Piece) -> None:
        if self._waiting is not None:
            self._waiting.append(piece)
        elif not self._proxy.in_black_hole:
            self._server.send(piece)
            self._end("requests", piece)

    def _to_client(self, piece: Piece) -> None:
        if self._proxy.in_black_hole or self._answer_lost:
            return
        if isinstance(piece, bytes) and self._proxy.replies_dropped:
            return
        self.client.send(piece)
        self._end("replies", piece)

    def _end(self, direction: str, piece: Piece) -> None:
        """Close both ends once both directions are finished."""
        if isinstance(piece, End):
            self._ended.add(direction)
            if len(self._ended) == 2:
                self.client.close()
                self._server.close()

    def lose_answer(self) -> None:
        """End the client's side; the server's stays open until it has answered what it was asked."""
        self._answer_lost = True
        self._lose_client()

    def _lose_client(self) -> None:
        self.is_open = False
        self.client.close()
        self._release_server()

    def _release_server(self) -> None:
        """Send FIN once the lost answer was given: whatever the server got before it, it still carries out."""
        if self._answered and not self.is_open:
            self._server.send(End.FINISHED)


def main(arguments: list[str] | None = None) -> int:
    """Run a proxy until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.proxy", description="Add distance to a local server."
    )
    parser.add_argument(
        "--target", type=int, required=True, metavar="PORT", help="port of the server on 127.0.0.1"
    )
    parser.add_argument(
        "--round-trip-ms", type=float, default=0, help="added latency, both directions together"
    )
    parser.add_argument(
        "--listen", type=int, default=0, metavar="PORT", help="port to listen on (default: a free one)"
    )
    chosen = parser.parse_args(arguments)
    with TcpProxy(LOCAL, chosen.target, chosen.round_trip_ms, chosen.listen) as proxy:
        print(
            f"listening on {LOCAL}:{proxy.port}, {chosen.round_trip_ms:g} ms from port {chosen.target}",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
