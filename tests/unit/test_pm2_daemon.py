"""The protocol of PM2's socket against a listener that misbehaves; real daemons are in tests/integration."""

import contextlib
import json
import os
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.rollout import pm2_daemon
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.pm2_daemon import DaemonUnavailable
from ansible.module_utils.rollout.pm2_services import UnexpectedAnswer

SECRET = "hunter2-is-not-a-password"

Conversation = Callable[[socket.socket], None]


@pytest.fixture
def home() -> Iterator[Path]:
    # Short: a socket's path may be 107 bytes long.
    folder = Path(tempfile.mkdtemp(prefix="pm2-"))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def listener(home: Path, converse: Conversation) -> Iterator[None]:
    """Accept one connection on rpc.sock and hand it over."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(home / "rpc.sock"))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            converse(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        server.close()


def frame(*parts: bytes) -> bytes:
    return bytes([0x10 | len(parts)]) + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def asked(connection: socket.socket) -> str:
    """Read one request and return its method; empty when the other side left without one."""
    received = connection.recv(65536)
    if not received:
        return ""
    (length,) = struct.unpack(">I", received[1:5])
    method: str = json.loads(received[5 : 5 + length].removeprefix(b"j:"))["method"]
    return method


def answers(*replies: bytes) -> Conversation:
    def converse(connection: socket.socket) -> None:
        for reply in replies:
            asked(connection)
            connection.sendall(reply)

    return converse


VERSION = frame(b'j:{"args":["7.0.4"]}', b"s:1")
NOTHING = frame(b'j:{"args":[[]]}', b"s:2")


def test_a_conversation(home: Path) -> None:
    """The control of all others: with these answers nothing is wrong."""
    with listener(home, answers(VERSION, NOTHING)):
        daemon, processes = pm2_daemon.read(str(home))
    # The kernel says who listens: this process.
    assert (daemon.pid, daemon.uid, daemon.version) == (os.getpid(), os.geteuid(), "7.0.4")
    assert processes == []


def test_only_methods_that_read_are_asked(home: Path) -> None:
    methods = []

    def converse(connection: socket.socket) -> None:
        for reply in (VERSION, NOTHING):
            methods.append(asked(connection))
            connection.sendall(reply)

    with listener(home, converse):
        pm2_daemon.read(str(home))
    assert methods == list(pm2_daemon.METHODS) == ["getVersion", "getMonitorData"]
    connection = pm2_daemon._Connection(socket.socket(socket.AF_UNIX), time.monotonic() + 1)
    with connection, pytest.raises(ValueError, match="restartProcessId is not among"):
        connection.ask("restartProcessId")


@pytest.mark.parametrize(
    "conversation",
    [
        pytest.param(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="another protocol"),
        pytest.param(answers(b"\x12" + struct.pack(">I", 2**32 - 1)), id="a length of 4 GB"),
        pytest.param(answers(frame(b'j:{"args":["7.0.4"]}', b"s:99")), id="an answer to another question"),
        pytest.param(answers(frame(b"s:7.0.4", b"s:1")), id="text instead of JSON"),
        pytest.param(answers(frame()), id="no parts"),
        pytest.param(answers(frame(json.dumps({"args": [SECRET * 9]}).encode())), id="no id"),
        pytest.param(
            answers(frame(b'j:{"error":"%s"}' % SECRET.encode(), b"s:1")), id="an error instead of a version"
        ),
        pytest.param(answers(frame(b'j:{"args":["%s"]}' % (SECRET * 9).encode(), b"s:1")), id="no version"),
        pytest.param(answers(VERSION, frame(b'j:{"error":"%s"}' % SECRET.encode(), b"s:2")), id="an error"),
    ],
)
def test_what_is_not_pm2_is_an_error_that_quotes_nothing(home: Path, conversation: Conversation) -> None:
    with listener(home, conversation), pytest.raises(UnexpectedAnswer) as caught:
        pm2_daemon.read(str(home))
    assert caught.value.details["reason"] == "unexpected_answer"
    assert SECRET not in str(caught.value) + repr(caught.value.details)


@pytest.mark.parametrize("sent", [b"", VERSION[:9], VERSION + NOTHING[:-1]])
def test_a_daemon_that_hangs_up(home: Path, sent: bytes) -> None:
    with (
        listener(home, answers(sent)),
        pytest.raises(DaemonUnavailable, match="closed the connection") as caught,
    ):
        pm2_daemon.read(str(home))
    assert caught.value.details["reason"] == "connection_lost"


def test_an_answer_that_trickles_ends_at_the_deadline(home: Path) -> None:
    """Each byte comes in time; a limit for each wait alone would let this go on for a minute."""

    def trickle(connection: socket.socket) -> None:
        asked(connection)
        for byte in VERSION * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    begun = time.monotonic()
    with listener(home, trickle), pytest.raises(DaemonUnavailable) as caught:
        pm2_daemon.read(str(home), timeout=0.4)
    assert caught.value.details["reason"] == "timeout"
    assert time.monotonic() - begun < 3
    assert "did not answer within 0.4 s" in str(caught.value)


def test_a_full_queue_of_connections_is_a_timeout(home: Path) -> None:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(home / "rpc.sock"))
    server.listen(0)
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
    try:
        for client in waiting:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(home / "rpc.sock"))
        with pytest.raises(DaemonUnavailable, match="accepts no connection") as caught:
            pm2_daemon.read(str(home), timeout=0.3)
        assert caught.value.details["reason"] == "timeout"
    finally:
        for opened in (server, *waiting):
            opened.close()


def test_a_home_that_is_none(home: Path) -> None:
    (home / "file").touch()
    for wrong in (home / "nowhere", home / "file", home / "file/below"):
        with pytest.raises(DaemonUnavailable, match="is not a folder") as caught:
            pm2_daemon.read(str(wrong))
        assert caught.value.details["reason"] == "no_home"
    assert sorted(path.name for path in home.iterdir()) == ["file"]


def test_a_path_too_long_for_a_socket(home: Path) -> None:
    long = home / ("x" * 120)
    long.mkdir()
    with pytest.raises(DaemonUnavailable, match="cannot be connected to") as caught:
        pm2_daemon.read(str(long))
    assert "107 bytes" in str(caught.value)


def test_an_unknown_user_is_an_error(home: Path) -> None:
    with (
        listener(home, answers(VERSION, NOTHING)),
        pytest.raises(RolloutError, match="no user nobody-at-all") as caught,
    ):
        pm2_daemon.read(str(home), user="nobody-at-all")
    assert caught.value.details["reason"] == "no_such_user"


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("PM2 v5.4.3: God Daemon (/srv/app/.pm2)        ", ("5.4.3", "/srv/app/.pm2")),
        ("PM2 v7.0.4: God Daemon (/srv/a (b)/.pm2)", ("7.0.4", "/srv/a (b)/.pm2")),
        ("PM2 v7.0.4: God Daemon (/srv/cut-o", ("7.0.4", "/srv/cut-o")),
        ("grep PM2 v7.0.4: God Daemon (/srv/app/.pm2)", None),
        ("node /srv/app/api.js", None),
    ],
)
def test_the_title_of_a_daemon(title: str, found: tuple[str, str] | None) -> None:
    match = pm2_daemon.TITLE.match(title)
    assert (match and (match["version"], match["home"])) == found
