"""The message that a probe lets come in: one POST to the API's webhook, on the application host's loopback.

It is what the application itself does for each message that a customer writes. What the message's fields are called is
data; their values are made here, so that no setting can put another phone into them.
"""

from __future__ import annotations

import datetime
import http.client
import json
import re
import secrets
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from ansible.module_utils.rollout.errors import RolloutError

LOOPBACK = ("127.0.0.1", "localhost", "::1")

#: A question, because thanks are answered with a reaction only; in it nothing that books, changes or cancels.
DEFAULT_TEXT = "Здравствуйте! Это проверка связи {nonce}. До которого часа вы сегодня работаете?"
#: What the booking assistant's webhook calls the fields.
DEFAULT_FIELDS = {"phone": "from", "text": "message", "id": "messageId", "time": "timestamp"}

#: Consonants that are not taken for each other: no word comes out, and no number that a bot could take for a time.
_LETTERS = "bcdfghjkmnpqrstvwxz"
#: Two halves of so many letters: 1.7e10 nonces.
_HALF = 4
#: A text with more digits might hold a phone number.
_MOST_DIGITS = 6
_PATH = re.compile(r"/[\w.~/-]+", re.ASCII)

#: Longest wait for each step of the exchange, seconds.
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """One message.

    :ivar url: of the webhook
    :ivar phone: canonical
    :ivar nonce: in the text; nobody else's message has it
    """

    url: str
    phone: str
    text: str
    nonce: str
    fields: Mapping[str, str]

    def body(self) -> bytes:
        """What is posted, JSON."""
        # With milliseconds, so that it has more digits than any phone number.
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        values = {
            "phone": self.phone,
            "text": self.text,
            "id": f"PROBE-{self.nonce}".upper(),
            "time": now.replace("+00:00", "Z"),
        }
        return json.dumps({name: values[value] for value, name in self.fields.items()}).encode()


def make_nonce() -> str:
    """Eight random letters in two groups."""
    halves = ("".join(secrets.choice(_LETTERS) for _ in range(_HALF)) for _ in range(2))
    return "-".join(halves)


def make_request(url: str, phone: str, text: str, fields: Mapping[str, str]) -> Request:
    """A message with a nonce of its own.

    :param phone: canonical
    :param text: with ``{nonce}`` in it
    :param fields: names of the message's fields by what they hold: the keys of DEFAULT_FIELDS
    :raises RolloutError: a setting is not what it must be; nothing was asked
    """
    check_url(url)
    if text.count("{nonce}") != 1 or sum(char.isdigit() for char in text) > _MOST_DIGITS:
        raise RolloutError(
            "text needs {nonce} in it once, and at most "
            f"{_MOST_DIGITS} digits: it has {text.count('{nonce}')} and {sum(char.isdigit() for char in text)}",
            hint="Such as: 'Is anybody there? This is a test, {nonce}.'",
            details={"reason": "bad_text"},
        )
    names = list(fields.values())
    if (
        not {"phone", "text"} <= set(fields) <= set(DEFAULT_FIELDS)
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) < len(names)
    ):
        raise RolloutError(
            f"fields names {', '.join(sorted(fields)) or 'nothing'}",
            hint="Give a name of its own to phone and text and, where the webhook takes them, to id and time.",
            details={"reason": "bad_fields"},
        )
    nonce = make_nonce()
    return Request(url, phone, text.replace("{nonce}", nonce), nonce, fields)


def check_url(url: str) -> None:
    """Refuse an address that is not a webhook on this machine's loopback.

    The path holds no query and no long number: the phone is said in one place only. ``/health`` is refused because on
    the API's port asking for it sends a WhatsApp message.

    :raises RolloutError: says what is wrong with it
    """
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    # A URL with a user in it is not quoted: there may be a password.
    shown = "with a user in it" if "@" in parts.netloc else repr(re.sub(r"[0-9]{7,}", "[number]", url))
    if (
        parts.scheme != "http"
        or parts.hostname not in LOOPBACK
        or not port
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or not _PATH.fullmatch(parts.path)
        or sum(char.isdigit() for char in parts.path) > _MOST_DIGITS
    ):
        raise RolloutError(
            f"webhook URL {shown} is not http://127.0.0.1:<port>/<path>",
            hint="The API listens on the application host's loopback; see api_webhook_url in the inventory.",
            details={"reason": "bad_url"},
        )
    if "health" in parts.path.lower().split("/"):
        raise RolloutError(
            f"webhook URL {shown} is a health endpoint: on the API's port each request to it sends a WhatsApp message",
            hint="api_webhook_url is where a message that came in is posted to.",
            details={"reason": "forbidden_path"},
        )


def post(request: Request, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
    """Ask, once: through no proxy, not following the answer elsewhere, and never a second time.

    :raises RolloutError: it was not taken, or nobody knows whether it was; says nothing about replies
    """
    parts = urllib.parse.urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise _could_not_ask(
                request, "unreachable", f"nobody listens ({error}); nothing was sent"
            ) from None
        try:
            connection.request("POST", parts.path, request.body(), {"Content-Type": "application/json"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            what = f"its answer was lost ({type(error).__name__}); whether it took the message is not known"
            raise _could_not_ask(request, "answer_lost", what) from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise _could_not_ask(request, "http_status", f"it answered with HTTP status {status}", status=status)


def _could_not_ask(request: Request, reason: str, what: str, **more: int) -> RolloutError:
    return RolloutError(
        f"Could not ask the bot: POST {request.url}: {what}. This says nothing about replies",
        hint="Look at the API's process and log, and at api_webhook_url in the inventory.",
        details={"reason": reason, "nonce": request.nonce, **more},
    )
