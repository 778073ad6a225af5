"""The message of a probe: its text and fields, where it may be posted to, and what becomes of the question."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.probe_request import (
    DEFAULT_FIELDS,
    DEFAULT_TEXT,
    Request,
    check_url,
    make_nonce,
    make_request,
    post,
)

URL = "http://127.0.0.1:3000/webhook/whatsapp/batched"
PHONE = "12025550199"


def make(url: str = URL, text: str = DEFAULT_TEXT, fields: dict[str, Any] | None = None) -> Request:
    return make_request(url, PHONE, text, DEFAULT_FIELDS if fields is None else fields)


def test_the_message_is_what_the_application_itself_posts() -> None:
    request = make()
    body = json.loads(request.body())
    assert set(body) == {"from", "message", "messageId", "timestamp"}
    assert body["from"] == PHONE
    assert request.nonce in body["message"]
    assert "{nonce}" not in body["message"]


def test_a_nonce_is_new_each_time_and_holds_no_number() -> None:
    nonces = {make_nonce() for _ in range(200)}
    assert len(nonces) == 200
    assert all(nonce.replace("-", "").isalpha() and len(nonce) == 9 for nonce in nonces)


@pytest.mark.parametrize(
    "text", ["", "no nonce", "{nonce} {nonce}", "{nonce} 12025550198", "{nonce} 1 2-0.2 5a5b5"]
)
def test_a_text_without_nonce_or_with_a_number_is_refused(text: str) -> None:
    with pytest.raises(RolloutError) as error:
        make(text=text)
    assert error.value.details["reason"] == "bad_text"
    assert make(text="Phase 0.8 probe {nonce} at 10:30").text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"phone": "from"},
        {"phone": "from", "text": "from"},
        {"phone": "from", "text": ""},
        {"phone": "from", "text": 5},
        {"phone": "from", "text": "message", "to": "recipient"},
    ],
)
def test_fields_that_could_hold_another_number_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RolloutError) as error:
        make(fields=fields)
    assert error.value.details["reason"] == "bad_fields"
    assert json.loads(make(fields={"phone": "a", "text": "b"}).body())["a"] == PHONE


@pytest.mark.parametrize("exchanged", [("phone", "text"), ("phone", "time"), ("phone", "id")])
def test_no_other_field_can_pass_for_a_phone_number(exchanged: tuple[str, str]) -> None:
    fields = dict(DEFAULT_FIELDS)
    fields[exchanged[0]], fields[exchanged[1]] = fields[exchanged[1]], fields[exchanged[0]]
    request = make(text="{nonce} 123456", fields=fields)
    digits = "".join(char for char in json.loads(request.body())["from"] if char.isdigit())
    assert not 8 <= len(digits) <= 15


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:3000/health", "forbidden_path"),
        ("http://127.0.0.1:3000/Health/", "forbidden_path"),
        ("http://localhost:3000/api/health/deep", "forbidden_path"),
        ("https://127.0.0.1:3000/webhook", "bad_url"),
        ("http://example.invalid:3000/webhook", "bad_url"),
        ("http://127.0.0.1.example.invalid:3000/webhook", "bad_url"),
        ("http://127.0.0.1/webhook", "bad_url"),
        ("http://127.0.0.1:99999/webhook", "bad_url"),
        ("http://127.0.0.1:3000", "bad_url"),
        ("http://127.0.0.1:3000/", "bad_url"),
        ("http://127.0.0.1:3000/webhook?from=12025550198", "bad_url"),
        ("http://127.0.0.1:3000/send/12025550198", "bad_url"),
        ("http://127.0.0.1:3000/web hook", "bad_url"),
        ("http://127.0.0.1:3000/%68ealth", "bad_url"),
        ("http://somebody:geheim@127.0.0.1:3000/webhook", "bad_url"),
        ("", "bad_url"),
    ],
)
def test_only_a_webhook_on_loopback_is_asked(url: str, reason: str) -> None:
    with pytest.raises(RolloutError) as error:
        check_url(url)
    assert error.value.details == {"reason": reason}
    assert "geheim" not in str(error.value)
    assert "12025550198" not in str(error.value)
    check_url(URL)


class Listener:
    """Takes one connection, reads the request and gives one answer.

    :param answer: bytes; None: the connection is closed without any
    """

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.received = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/webhook"
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while b"\r\n\r\n" not in self.received or not self.received.endswith(b"}"):
                self.received += connection.recv(65536)
            if self.answer:
                connection.sendall(self.answer)

    @contextmanager
    def serving(self) -> Iterator[None]:
        self.thread.start()
        try:
            yield
        finally:
            self.thread.join()
            self._socket.close()


def test_a_success_of_any_kind_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that the environment names is not used: nobody listens there.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    listener = Listener(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    with listener.serving():
        post(make(listener.url))
    assert listener.received.startswith(b"POST /webhook HTTP/1.1\r\n")
    assert json.loads(listener.received.partition(b"\r\n\r\n")[2])["from"] == PHONE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "answer_lost"),
        (b"220 mail.example.invalid ESMTP\r\n", "answer_lost"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "http_status"),
        (b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/webhook\r\n\r\n", "http_status"),
    ],
)
def test_what_could_not_be_asked_says_nothing_about_replies(answer: bytes | None, reason: str) -> None:
    listener = Listener(answer)
    request = make(listener.url)
    with listener.serving(), pytest.raises(RolloutError) as error:
        post(request)
    assert error.value.details["reason"] == reason
    assert error.value.details["nonce"] == request.nonce
    assert "says nothing about replies" in str(error.value)
    assert PHONE not in str(error.value)


def test_a_port_where_nobody_listens_was_not_asked() -> None:
    with pytest.raises(RolloutError, match="nothing was sent") as error:
        post(make("http://127.0.0.1:1/webhook"))
    assert error.value.details["reason"] == "unreachable"


def test_a_silent_api_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/webhook"
        with pytest.raises(RolloutError) as error:
            post(make(url), timeout_s=0.1)
    assert error.value.details["reason"] == "answer_lost"
