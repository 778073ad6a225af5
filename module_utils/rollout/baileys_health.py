"""The WhatsApp service's own word on its health: ``GET /health`` on its port, on the application host's loopback.

The endpoint answers 200 whatever it says, keeps saying ``connected`` for up to a minute while a reconnect timer runs,
and its answer holds personal data. So it is sampled over a window, never believed alone, and only what is listed here
is kept of it.
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: An answer that is longer is not this endpoint's.
_LONGEST_ANSWER = 64 * 1024

#: Fetches a URL: (url, timeout in seconds) -> body. Raises OSError when nothing answers.
Fetch = Callable[[str, float], bytes]


@dataclass(frozen=True)
class HealthSample:
    """One answer, without what is personal in it.

    :ivar status: ``connected``, ``disconnected``, ``not_initialized``; ``unreachable`` or ``unreadable`` when there was
        no such answer
    :ivar connected: what the service itself says
    :ivar company: the id that the service uses; empty when it does not say
    :ivar user_hash: hash of the WhatsApp account, to see whether it is still the same one; empty when not logged in
    :ivar waits_for_pairing: it shows a QR or a pairing code
    :ivar problem: why there is no answer
    """

    at: float
    status: str
    connected: bool = False
    company: str = ""
    user_hash: str = ""
    waits_for_pairing: bool = False
    problem: str = ""


def check_url(url: str, forbidden_ports: tuple[int, ...]) -> None:
    """Refuse what must never be polled.

    :param forbidden_ports: the API's port: each ``GET /health`` there ends in a real WhatsApp message
    :raises RolloutError: not HTTP on loopback, or a forbidden port
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or not parts.port:
        raise RolloutError(
            f"baileys health URL {url!r} is not http://127.0.0.1:<port>/...",
            hint="The service listens on the application host's loopback; see baileys_health_url in the inventory.",
        )
    if parts.port in forbidden_ports:
        raise RolloutError(
            f"baileys health URL {url!r} is on port {parts.port}, where asking sends a WhatsApp message",
            hint="That is the API's port. baileys_health_url is the port of the WhatsApp service.",
        )


def parse(body: bytes, at: float) -> HealthSample:
    """Keep what decides, drop what is personal."""
    try:
        answer = json.loads(body)
    except ValueError:
        return HealthSample(at, "unreadable", problem="the answer is not JSON")
    if not isinstance(answer, dict) or "connected" not in answer:
        return HealthSample(at, "unreadable", problem="the answer has no field 'connected'")
    user = answer.get("user")
    account = user.get("id") if isinstance(user, dict) else None
    return HealthSample(
        at=at,
        status=str(answer.get("status", ""))[:40],
        connected=answer["connected"] is True,
        company=str(answer.get("companyId", ""))[:80],
        user_hash=hashlib.sha256(str(account).encode()).hexdigest()[:16] if account else "",
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
        except OSError as error:
            taken.append(HealthSample(at, "unreachable", problem=_reason(error)))
        else:
            taken.append(parse(body[:_LONGEST_ANSWER], at))
    return taken


def _reason(error: OSError) -> str:
    inner: Any = getattr(error, "reason", error)
    return str(inner)[:200]
