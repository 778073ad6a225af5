"""The WhatsApp service's own word on its health: ``GET /health`` on its port, on the application host's loopback.

The endpoint answers 200 whatever it says, keeps saying ``connected`` for up to a minute while a reconnect timer runs,
and its answer holds personal data. So it is sampled over a window, never believed alone, and only what is listed here
is kept of it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.urls import open_url  # type: ignore[import-untyped]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: An answer that is longer is not this endpoint's; bytes.
_LONGEST_ANSWER = 64 * 1024
#: What the endpoint may say of itself. Anything else is not copied.
STATUSES = ("connected", "disconnected", "not_initialized")
_COMPANY = re.compile(r"[\w.-]{1,64}")
#: Hexadecimal digits kept of the account's hash. Enough to notice another account; too few to find a phone number by
#: hashing all there are, for some hundred thousand share each value.
_ACCOUNT_DIGITS = 4

#: Fetches a URL: (url, timeout in seconds) -> body. Raises OSError when there is no proper answer.
Fetch = Callable[[str, float], bytes]


@dataclass(frozen=True)
class HealthSample:
    """One answer, without what is personal in it.

    :ivar at: when it was asked for, seconds since 1970
    :ivar status: one of STATUSES, or ``other``; ``unreachable`` or ``unreadable`` when there was no such answer
    :ivar connected: what the service itself says
    :ivar company: the id that the service uses; empty when it does not say
    :ivar account: the beginning of a hash of the WhatsApp account, to see whether it is still the same one; empty when
        not logged in
    :ivar waits_for_pairing: it shows a QR or a pairing code
    :ivar problem: why there is no answer
    """

    at: float
    status: str
    connected: bool = False
    company: str = ""
    account: str = ""
    waits_for_pairing: bool = False
    problem: str = ""

    @property
    def answered(self) -> bool:
        return self.status not in ("unreachable", "unreadable")


def check_url(url: str, never_port: int) -> None:
    """Refuse what must never be polled.

    :param never_port: the API's port: each ``GET /health`` there ends in a real WhatsApp message
    :raises RolloutError: not HTTP on loopback, or the forbidden port
    """
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or not port or "@" in parts.netloc:
        # A URL with a user in it is not quoted: there may be a password.
        shown = "with a user in it" if "@" in parts.netloc else repr(url)
        raise RolloutError(
            f"baileys health URL {shown} is not http://127.0.0.1:<port>/...",
            hint="The service listens on the application host's loopback; see baileys_health_url in the inventory.",
            details={"reason": "bad_url"},
        )
    if port == never_port:
        raise RolloutError(
            f"baileys health URL {url!r} is on port {port}, where asking sends a WhatsApp message",
            hint="That is the API's port. baileys_health_url is the port of the WhatsApp service.",
            details={"reason": "forbidden_port", "port": port},
        )


def fetch(url: str, timeout_s: float) -> bytes:
    """Ask the endpoint itself: through no proxy, and not following it elsewhere.

    :param timeout_s: longest wait, seconds
    :raises OSError: no answer, or none with status 200
    """
    deadline = time.monotonic() + timeout_s
    body = b""
    try:
        with open_url(
            url, timeout=timeout_s, use_proxy=False, follow_redirects="none", use_netrc=False
        ) as answer:
            # The time-out of urllib is that of each reading; an answer may also come drop by drop.
            while len(body) <= _LONGEST_ANSWER and (chunk := answer.read1(8192)):
                body += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer ({type(error).__name__})") from None
    return body


def parse(body: bytes, at: float) -> HealthSample:
    """Keep what decides, drop what is personal."""
    if len(body) > _LONGEST_ANSWER:
        return HealthSample(at, "unreadable", problem="the answer is too long for this endpoint")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return HealthSample(at, "unreadable", problem="the answer is not JSON")
    if not isinstance(answer, dict) or "connected" not in answer:
        return HealthSample(at, "unreadable", problem="the answer has no field 'connected'")
    status, company, user = answer.get("status"), answer.get("companyId"), answer.get("user")
    account = user.get("id") if isinstance(user, dict) else None
    digest = hashlib.sha256(str(account).encode()).hexdigest()
    return HealthSample(
        at=at,
        status=status if status in STATUSES else "other",
        # Both have to say so: an endpoint that contradicts itself is not connected.
        connected=answer["connected"] is True and status == "connected",
        company=str(company) if _COMPANY.fullmatch(str(company or "")) else "",
        account=digest[:_ACCOUNT_DIGITS] if account else "",
        waits_for_pairing=bool(answer.get("hasQR") or answer.get("hasPairingCode")),
    )


def sample(
    fetch: Fetch,
    url: str,
    *,
    count: int,
    interval_s: float,
    timeout_s: float,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> list[HealthSample]:
    """Ask several times; a refusal or a time-out is a sample too.

    :param count: how often
    :param interval_s: pause between two questions, seconds
    :param timeout_s: longest wait for one answer, seconds
    """
    taken: list[HealthSample] = []
    for number in range(count):
        if number:
            sleep(interval_s)
        at = clock()
        try:
            body = fetch(url, timeout_s)
        except urllib.error.HTTPError as error:
            taken.append(HealthSample(at, "unreadable", problem=f"the answer has HTTP status {error.code}"))
        except OSError as error:
            taken.append(HealthSample(at, "unreachable", problem=_reason(error)))
        else:
            taken.append(parse(body, at))
    return taken


def _reason(error: OSError) -> str:
    inner: Any = getattr(error, "reason", error)
    return str(inner)[:200]
