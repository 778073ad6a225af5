"""The proxy against a small echo server: order, spacing, distance, and each fault with its opposite."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.proxy import LOCAL, TcpProxy, main


class EchoServer(socketserver.ThreadingTCPServer):
    """Answers each piece with itself and remembers what came and how connections ended."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[str] = []
        super().__init__((LOCAL, 0), _Echo)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Echo(socketserver.BaseRequestHandler):
    server: EchoServer

    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.server.received += data
                self.request.sendall(data)
            self.server.ends.append("finished")
        except ConnectionError:
            self.server.ends.append("reset")


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def connect(proxy: TcpProxy) -> socket.socket:
    client = socket.create_connection((LOCAL, proxy.port), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return receive(client, len(request))


def receive(client: socket.socket, size: int) -> bytes:
    answer = b""
    while len(answer) < size:
        piece = client.recv(size - len(answer))
        if not piece:
            break
        answer += piece
    return answer


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def test_carries_and_counts(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port) as proxy:
        with connect(proxy) as first, connect(proxy) as second:
            assert ask(first, b"one") == b"one"
            assert ask(first, b"two") == b"two"
            assert ask(second, b"three") == b"three"
            assert (proxy.connections, proxy.open_connections) == (2, 2)
            assert proxy.byte_count == 2 * len(b"onetwothree")
            assert proxy.round_trips == 3
        wait_for(lambda: proxy.open_connections == 0, "both clients gone")
        assert proxy.connections == 2
        wait_for(lambda: echo.ends == ["finished", "finished"], "the server saw both ends")


def test_a_large_stream_arrives_whole_and_in_order(echo: EchoServer) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    with TcpProxy(LOCAL, echo.port, round_trip_ms=5) as proxy, connect(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(content,))
        sender.start()
        assert receive(client, len(content)) == content
        sender.join()


def test_half_closed_connection_still_gets_its_answer(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port, round_trip_ms=20) as proxy, connect(proxy) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 100) == b"last words"


def test_distance_is_paid_once_by_what_is_sent_together(echo: EchoServer) -> None:
    round_trip_s = 0.030
    with TcpProxy(LOCAL, echo.port, round_trip_ms=round_trip_s * 1000) as proxy, connect(proxy) as client:
        ask(client, b"warm")
        started = time.perf_counter()
        for _ in range(20):
            ask(client, b"alone")
        one_by_one = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(20):
            client.sendall(b"crowd")
        receive(client, 100)
        together = time.perf_counter() - started
    assert 20 * round_trip_s <= one_by_one < 2 * 20 * round_trip_s
    assert round_trip_s <= together < 5 * round_trip_s


def test_spacing_is_kept(echo: EchoServer) -> None:
    """A second piece that is sent 40 ms after the first arrives 40 ms after it, not a round trip later."""
    with TcpProxy(LOCAL, echo.port, round_trip_ms=200) as proxy, connect(proxy) as client:
        ask(client, b"warm")
        client.sendall(b"a")
        time.sleep(0.040)
        client.sendall(b"b")
        receive(client, 1)
        first = time.perf_counter()
        receive(client, 1)
        assert 0.020 < time.perf_counter() - first < 0.190


def test_a_new_connection_costs_a_round_trip_more(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port, round_trip_ms=100) as proxy:
        started = time.perf_counter()
        with connect(proxy) as client:
            ask(client, b"hello")
        assert 0.200 <= time.perf_counter() - started < 1.0


def test_drop_replies(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port) as proxy, connect(proxy) as client:
        assert ask(client, b"heard") == b"heard"
        proxy.drop_replies()
        client.sendall(b"unanswered")
        wait_for(lambda: echo.received == b"heardunanswered", "the request arrived")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.mark.parametrize("pieces", [[b"END; COMMIT;"], [b"END; COM", b"MIT;"]])
def test_the_answer_to_one_request_is_lost(echo: EchoServer, pieces: list[bytes]) -> None:
    with TcpProxy(LOCAL, echo.port) as proxy, connect(proxy) as client, connect(proxy) as bystander:
        proxy.drop_replies_when(b"COMMIT", close_after_s=0.1)
        assert ask(client, b"INSERT;") == b"INSERT;"
        heard_before = b""
        for piece in pieces:
            client.sendall(piece)
            if piece is not pieces[-1]:
                heard_before += receive(client, len(piece))
        assert client.recv(100) == b""
        wait_for(lambda: echo.ends == ["finished"], "the server saw an orderly end")
        assert echo.received == b"INSERT;END; COMMIT;"
        assert ask(bystander, b"still here") == b"still here"


def test_the_server_is_left_alone_until_it_has_answered() -> None:
    """The client loses its connection at once; a server that still works on the request notices nothing."""
    with socket.create_server((LOCAL, 0)) as listener, TcpProxy(LOCAL, listener.getsockname()[1]) as proxy:
        proxy.drop_replies_when(b"COMMIT", close_after_s=0.05)
        with connect(proxy) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"COMMIT")
                assert server.recv(100) == b"COMMIT"
                assert client.recv(100) == b""
                server.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    server.recv(100)
                server.sendall(b"done")
                server.settimeout(5)
                assert server.recv(100) == b""


def test_cut_resets_both_ends(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port) as proxy, connect(proxy) as client:
        assert ask(client, b"heard") == b"heard"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_for(lambda: echo.ends == ["reset"], "the server saw a reset")
        with connect(proxy) as another:
            assert ask(another, b"again") == b"again"


def test_black_hole_keeps_connections_and_forwards_nothing(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port) as proxy, connect(proxy) as client:
        assert ask(client, b"heard") == b"heard"
        proxy.black_hole()
        with connect(proxy) as newcomer:
            for waiting in (client, newcomer):
                waiting.sendall(b"lost")
                waiting.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    waiting.recv(1)
            assert proxy.open_connections == 2
            assert echo.received == b"heard"
            assert echo.ends == []
        proxy.restore()
        with connect(proxy) as another:
            assert ask(another, b"again") == b"again"


def test_a_client_that_resets_resets_the_server(echo: EchoServer) -> None:
    with TcpProxy(LOCAL, echo.port, round_trip_ms=20) as proxy:
        client = connect(proxy)
        ask(client, b"heard")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        wait_for(lambda: echo.ends == ["reset"], "the server saw a reset")


def test_no_server_behind_it_means_a_reset() -> None:
    with socket.create_server((LOCAL, 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    # The reset may come as early as in the client's own connect(): the kernel accepts before the proxy is asked.
    with TcpProxy(LOCAL, port) as proxy, pytest.raises(ConnectionError), connect(proxy) as client:
        client.sendall(b"anyone?")
        client.recv(1)
        client.recv(1)


def test_leaves_no_thread_and_no_port(echo: EchoServer) -> None:
    before = threading.active_count()
    with TcpProxy(LOCAL, echo.port) as proxy, connect(proxy) as client:
        ask(client, b"heard")
        handlers = threading.active_count() - before - 1
    wait_for(lambda: threading.active_count() <= before + handlers, "the proxy's thread ended")
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_command_line_needs_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--target" in capsys.readouterr().err
