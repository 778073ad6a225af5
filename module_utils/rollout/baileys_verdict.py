"""Is the WhatsApp client connected? Decided from several sources by a table of predicates. Pure.

No single source can be trusted: the endpoint is stale while a reconnect timer runs, the log may have been rotated, a
process may be online and its socket dead. So each predicate says what it needs to be true, the first that holds
decides, and the evidence for it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.baileys_health import HealthSample

CONNECTED = "connected"
RECONNECTING = "reconnecting"
LOGGED_OUT = "logged_out"
REPLACED = "replaced"
NEEDS_PAIRING = "needs_pairing"
UNKNOWN = "unknown"

#: Verdicts that time does not heal: somebody has to act.
TERMINAL = (LOGGED_OUT, REPLACED, NEEDS_PAIRING)

#: What a disconnect code means: name, and whether the client comes back by itself. Seen live, and Baileys'
#: DisconnectReason.
CODES = {
    401: ("logged out", False),
    403: ("forbidden", False),
    405: ("version refused", True),
    408: ("timed out or connection lost", True),
    428: ("connection closed", True),
    440: ("replaced by another client", False),
    500: ("bad session", False),
    503: ("service unavailable", True),
    515: ("restart required, normal right after pairing", True),
}


@dataclass(frozen=True)
class LogEvent:
    """An event in the service's log since the bookmark.

    :ivar name: ``connected``, ``closed``, ``reconnecting``, ``logged_out``, ``replaced``, ``gave_up``, ``qr``,
        ``new_credentials``, ``circuit_open`` or ``other_auth_backend``
    :ivar code: disconnect code where the line has one
    """

    name: str
    code: int | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that is known at the moment of judgement.

    :ivar samples: answers of the health endpoint over the window, in order
    :ivar events: the log since the bookmark, in order
    :ivar pid: process id now; None when the service does not run
    :ivar pid_before: process id at the baseline; None when there is no baseline
    """

    samples: Sequence[HealthSample]
    events: Sequence[LogEvent]
    pid: int | None
    pid_before: int | None = None

    def last(self, *names: str) -> int:
        """Position of the last event of these names, -1 when there is none."""
        return max((at for at, event in enumerate(self.events) if event.name in names), default=-1)

    def since_connected(self, *names: str) -> bool:
        """Whether such an event happened and no connection was made after it."""
        return self.last(*names) > self.last("connected")

    @property
    def last_code(self) -> int | None:
        """The newest disconnect code that no connection came after."""
        codes = [event.code for event in self.events[self.last("connected") + 1 :] if event.code is not None]
        return codes[-1] if codes else None

    @property
    def all_connected(self) -> bool:
        return bool(self.samples) and all(sample.connected for sample in self.samples)

    @property
    def unanswered(self) -> bool:
        return not self.samples or all(
            sample.status in ("unreachable", "unreadable") for sample in self.samples
        )


@dataclass(frozen=True)
class Verdict:
    """The judgement, with why.

    :ivar verdict: one of the constants above
    :ivar reason: for a person
    :ivar terminal: whether somebody has to act
    """

    verdict: str
    reason: str
    terminal: bool


_Predicate = Callable[[Evidence], "str | None"]


def _logged_out(seen: Evidence) -> str | None:
    if seen.since_connected("logged_out") or seen.last_code == 401:
        return "the session was logged out (401) and no connection came after it"
    return None


def _replaced(seen: Evidence) -> str | None:
    if seen.since_connected("replaced") or seen.last_code == 440:
        return "another client took the session over (440)"
    return None


def _needs_pairing(seen: Evidence) -> str | None:
    if seen.since_connected("new_credentials"):
        return "the service found no credentials and made new ones: the session's identity is lost"
    if seen.since_connected("qr"):
        return "the service printed a QR code"
    if seen.samples and seen.samples[-1].waits_for_pairing:
        return "the health endpoint says that a QR or pairing code waits"
    return None


def _gave_up(seen: Evidence) -> str | None:
    if seen.since_connected("gave_up"):
        return "the service gave up reconnecting; its process goes on without a connection"
    if seen.since_connected("circuit_open"):
        return "the service's circuit breaker is open after too many failures"
    code = seen.last_code
    if code is not None and not CODES.get(code, ("", True))[1]:
        return f"the connection was closed with {code} ({CODES[code][0]}), which does not heal by itself"
    return None


def _not_running(seen: Evidence) -> str | None:
    return "the service has no process" if seen.pid is None else None


def _reconnecting(seen: Evidence) -> str | None:
    if seen.since_connected("closed", "reconnecting"):
        code = seen.last_code
        told = f" with {code} ({CODES.get(code, ('unknown code', True))[0]})" if code is not None else ""
        return f"the connection was closed{told}; the service is reconnecting"
    disconnected = [sample for sample in seen.samples if not sample.connected]
    if disconnected and not seen.unanswered:
        count = f"{len(disconnected)} of {len(seen.samples)}"
        return f"{count} answers of the health endpoint say {disconnected[-1].status}"
    return None


def _connected(seen: Evidence) -> str | None:
    if not seen.all_connected:
        return None
    restarted = seen.pid_before is not None and seen.pid != seen.pid_before
    if restarted and seen.last("connected") < 0:
        return None
    return f"{len(seen.samples)} answers over the window say connected, and the log shows no close after it"


#: The first that holds decides: what needs a person comes before what heals, and what is bad before what is good.
PREDICATES: list[tuple[str, _Predicate]] = [
    (LOGGED_OUT, _logged_out),
    (REPLACED, _replaced),
    (NEEDS_PAIRING, _needs_pairing),
    (UNKNOWN, _not_running),
    (UNKNOWN, _gave_up),
    (RECONNECTING, _reconnecting),
    (CONNECTED, _connected),
]


def judge(seen: Evidence) -> Verdict:
    """Apply the table; nothing that holds is ``unknown``."""
    for verdict, predicate in PREDICATES:
        reason = predicate(seen)
        if reason:
            return Verdict(verdict, reason, verdict in TERMINAL or predicate in (_gave_up, _not_running))
    problems = sorted({sample.problem for sample in seen.samples if sample.problem})
    return Verdict(UNKNOWN, f"no source says more: {'; '.join(problems) or 'no answers'}", terminal=False)


def as_json(seen: Evidence) -> dict[str, Any]:
    """The evidence for the run record."""
    return {
        "samples": [
            {
                "status": s.status,
                "connected": s.connected,
                "waits_for_pairing": s.waits_for_pairing,
                "problem": s.problem,
            }
            for s in seen.samples
        ],
        "events": [{"name": event.name, "code": event.code} for event in seen.events],
        "pid": seen.pid,
        "pid_before": seen.pid_before,
    }
