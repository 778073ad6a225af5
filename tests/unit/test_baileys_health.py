"""The health endpoint: what may be asked, what is kept of an answer, and what counts as an answer."""

import http.server
import json
import threading
import urllib.error
from collections.abc import Iterator
from email.message import Message
from typing import Any, ClassVar

import pytest
from ansible.module_utils.rollout.baileys_health import check_url, fetch, parse, sample
from ansible.module_utils.rollout.errors import RolloutError

NUMBER = "70000000001"
CONNECTED = {
    "service": "baileys-whatsapp",
    "companyId": "100001",
    "status": "connected",
    "connected": True,
    "user": {"id": f"{NUMBER}:37@s.whatsapp.net", "name": "Salon"},
    "phoneNumber": f"{NUMBER}:37",
    "hasQR": False,
    "hasPairingCode": False,
    "metrics": {"totalSessions": 1, "lastError": "invented secret"},
}
NOT_INITIALIZED = {"companyId": "100001", "status": "not_initialized", "connected": False}


def said(**changes: Any) -> bytes:
    return json.dumps({**CONNECTED, **changes}).encode()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3003/health", "http://localhost:3003/health", "http://[::1]:3003/"]
)
def test_the_service_may_be_asked(url: str) -> None:
    check_url(url, 3000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:3000/health",
        "http://localhost:3000/",
        "http://[::1]:03000/",
        "http://127.0.0.1:3000",
    ],
)
def test_the_api_is_never_asked(url: str) -> None:
    with pytest.raises(RolloutError, match="where asking sends a WhatsApp message") as caught:
        check_url(url, 3000)
    assert caught.value.details == {"reason": "forbidden_port", "port": 3000}
    # The port is an option: another application has its API elsewhere.
    check_url(url, 3001)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.invalid:3003/health",
        "https://127.0.0.1:3003/health",
        "http://127.0.0.1/health",
        "http://127.0.0.1:0/health",
        "http://127.0.0.1:99999/health",
        "http://127.0.0.1:port/health",
        "http://127.0.0.1:3003@example.invalid:80/",
        "http://127.0.0.1.example.invalid:3003/",
        "file:///etc/hostname",
        "",
    ],
)
def test_only_loopback_is_asked(url: str) -> None:
    with pytest.raises(RolloutError, match=r"is not http://127\.0\.0\.1") as caught:
        check_url(url, 3000)
    assert caught.value.details == {"reason": "bad_url"}


def test_a_password_in_the_url_is_not_printed() -> None:
    with pytest.raises(RolloutError, match="with a user in it") as caught:
        check_url("http://me:geheim@127.0.0.1:3003/health", 3000)
    assert "geheim" not in str(caught.value)


def test_nothing_personal_is_kept() -> None:
    kept = parse(said(), 1.0)
    assert (kept.status, kept.connected, kept.company, kept.waits_for_pairing) == (
        "connected", True, "100001", False
    )  # fmt: skip
    assert not [secret for secret in (NUMBER, "Salon", "secret") if secret in repr(kept)]
    # Of the account just enough to see that it is another one.
    assert len(kept.account) == 4
    assert parse(said(user={"id": "70000000002:37@s.whatsapp.net"}), 1.0).account != kept.account


@pytest.mark.parametrize(
    ("changes", "connected", "status"),
    [
        ({}, True, "connected"),
        ({"connected": False}, False, "connected"),
        ({"connected": "true"}, False, "connected"),
        ({"status": "disconnected"}, False, "disconnected"),
        ({"status": f"call {NUMBER}"}, False, "other"),
        ({"status": ["connected"]}, False, "other"),
        ({"companyId": f"call {NUMBER}"}, True, "connected"),
    ],
)
def test_both_fields_have_to_say_connected(changes: dict[str, Any], connected: bool, status: str) -> None:
    kept = parse(said(**changes), 1.0)
    assert (kept.connected, kept.status) == (connected, status)
    assert NUMBER not in repr(kept)


@pytest.mark.parametrize("field", ["hasQR", "hasPairingCode"])
def test_a_code_waits(field: str) -> None:
    assert parse(said(**{field: True}), 1.0).waits_for_pairing
    assert not parse(json.dumps(NOT_INITIALIZED).encode(), 1.0).waits_for_pairing


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>", "the answer is not JSON"),
        (b"\xff\xfe", "the answer is not JSON"),
        (b"[" * 50_000, "the answer is not JSON"),
        (b'["connected"]', "the answer has no field 'connected'"),
        (b"{}", "the answer has no field 'connected'"),
        (said(more="x" * 70_000), "the answer is too long for this endpoint"),
    ],
)
def test_another_answer_is_unreadable_and_not_quoted(body: bytes, problem: str) -> None:
    kept = parse(body, 1.0)
    assert (kept.status, kept.connected, kept.problem, kept.answered) == ("unreadable", False, problem, False)


def test_it_is_asked_again_whatever_it_answers() -> None:
    answers: list[bytes | OSError] = [
        said(),
        ConnectionRefusedError(111, "Connection refused"),
        urllib.error.URLError(TimeoutError("timed out")),
        urllib.error.HTTPError("http://127.0.0.1/", 302, "Found", Message(), None),
    ]
    pauses: list[float] = []

    def answer(_url: str, _timeout: float) -> bytes:
        next_one = answers.pop(0)
        if isinstance(next_one, OSError):
            raise next_one
        return next_one

    times = iter(range(10))
    taken = sample(
        answer, "", count=4, interval_s=2.5, timeout_s=1, clock=lambda: next(times), sleep=pauses.append
    )
    assert [(one.at, one.status, one.problem) for one in taken] == [
        (0, "connected", ""),
        (1, "unreachable", "[Errno 111] Connection refused"),
        (2, "unreachable", "timed out"),
        (3, "unreadable", "the answer has HTTP status 302"),
    ]
    assert pauses == [2.5, 2.5, 2.5]


class Endpoint(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/silent":
            threading.Event().wait(1.5)
            return
        if self.path == "/garbage":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
            return
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/health")
        self.end_headers()
        self.wfile.write(said(more="x" * 200_000) if self.path == "/long" else said())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # Whoever obeys it asks a port where nothing listens.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    Endpoint.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", "connected"),
        ("/elsewhere", "unreadable"),
        ("/long", "unreadable"),
        ("/silent", "unreachable"),
        ("/garbage", "unreachable"),
    ],
)
def test_it_is_asked_directly_and_not_followed_elsewhere(endpoint: str, path: str, status: str) -> None:
    [taken] = sample(fetch, endpoint + path, count=1, interval_s=0, timeout_s=0.5)
    assert (taken.status, NUMBER in repr(taken)) == (status, False)
    assert Endpoint.asked == [path]


def test_nobody_listens() -> None:
    [taken] = sample(fetch, "http://127.0.0.1:1/health", count=1, interval_s=0, timeout_s=0.5)
    assert (taken.status, "refused" in taken.problem) == ("unreachable", True)
