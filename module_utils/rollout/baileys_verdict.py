"""Is the WhatsApp client connected? Decided from several sources by a table of predicates. Pure.

No single source can be trusted: the endpoint is stale while a reconnect timer runs, the log may have been rotated, a
process may be online and its socket dead. So each predicate says what it needs to be true, the first that holds
decides, and the evidence for it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.rollout.baileys_health import HealthSample
from ansible.module_utils.rollout.log_events import Event

CONNECTED = "connected"
RECONNECTING = "reconnecting"
LOGGED_OUT = "logged_out"
REPLACED = "replaced"
NEEDS_PAIRING = "needs_pairing"
UNKNOWN = "unknown"

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
_LOGGED_OUT, _REPLACED, _RESTART_REQUIRED = 401, 440, 515

#: The log patterns that say something of the connection, by their names in log_patterns.
EVENTS = (
    "circuit_open",
    "connected",
    "connection_closed",
    "connection_replaced",
    "credentials_lost",
    "disconnected",
    "logged_out",
    "pairing_needed",
    "reconnecting",
    "reconnection_failed",
    "reconnects_exhausted",
    "session_in_database",
    "session_not_in_database",
)
_LOST = ("connection_closed", "disconnected")
#: A session that is begun ("Using … auth state") is not connected until it says so: its endpoint may say so before.
_NOT_CONNECTED_YET = (*_LOST, "reconnecting", "reconnection_failed", "session_in_database")

#: So many lost connections within so many seconds are a loop, although each is followed by a connection. A flap or two
#: are normal life: WhatsApp closes connections by itself.
LOOP_CLOSES = 3
LOOP_SECONDS = 120.0


@dataclass(frozen=True)
class Evidence:
    """Everything that is known at the moment of judgement.

    :ivar samples: answers of the health endpoint over the window, in order
    :ivar events: the log since the bookmark, in order
    :ivar events_before: how many of the events were there before the window began
    :ivar continuity: of the log; see log_window.CONTINUITIES. ``no_log`` when no log was looked at
    :ivar pids: processes of the service at the end of the window; None when that was not looked at
    :ivar pids_before: processes at the baseline, else at the beginning of the window; None when not looked at
    :ivar account_before: the account at the baseline; empty when there is none
    :ivar at: end of the window, seconds since 1970
    """

    samples: Sequence[HealthSample]
    events: Sequence[Event]
    events_before: int
    continuity: str
    pids: tuple[int, ...] | None
    pids_before: tuple[int, ...] | None = None
    account_before: str = ""
    at: float = 0.0

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
    def answered(self) -> bool:
        return any(sample.answered for sample in self.samples)

    @property
    def restarted(self) -> bool:
        """Whether the service has other processes than before."""
        return None not in (self.pids, self.pids_before) and self.pids != self.pids_before

    @property
    def recent_losses(self) -> int:
        """How often a connection was lost within LOOP_SECONDS. A line without a time counts as recent, and the
        restart that follows a pairing does not count."""
        losses, lost = 0, False
        for event in self.events:
            if event.name == "connected":
                lost = False
            elif event.name in _LOST and not lost:
                lost = True
                recent = event.at is None or event.at > self.at - LOOP_SECONDS
                losses += recent and event.code != _RESTART_REQUIRED
        return losses


@dataclass(frozen=True)
class Verdict:
    """The judgement, with why.

    :ivar verdict: one of the constants above
    :ivar reason: for a person
    :ivar terminal: whether somebody has to act: time does not heal it
    """

    verdict: str
    reason: str
    terminal: bool


_Predicate = Callable[[Evidence], "str | None"]


def _twice(seen: Evidence) -> str | None:
    if seen.pids is not None and len(seen.pids) > 1:
        return f"the service runs {len(seen.pids)} times; WhatsApp lets only one of them be connected"
    return None


def _logged_out(seen: Evidence) -> str | None:
    if seen.since_connected("logged_out") or seen.last_code == _LOGGED_OUT:
        return "the session was logged out (401) and no connection came after it"
    return None


def _replaced(seen: Evidence) -> str | None:
    if seen.since_connected("connection_replaced") or seen.last_code == _REPLACED:
        return "another client took the session over (440)"
    return None


def _needs_pairing(seen: Evidence) -> str | None:
    if seen.since_connected("credentials_lost"):
        return "the service found no credentials and made new ones: the session's identity is lost"
    if seen.since_connected("pairing_needed"):
        return "the service printed a QR code"
    if seen.samples and seen.samples[-1].waits_for_pairing:
        return "the health endpoint says that a QR or pairing code waits"
    return None


def _another_session(seen: Evidence) -> str | None:
    if seen.last("session_not_in_database") > seen.last("session_in_database"):
        return "the service took its session from elsewhere than the database"
    accounts = {sample.account for sample in seen.samples if sample.account}
    if seen.account_before and accounts - {seen.account_before}:
        return "the health endpoint names another WhatsApp account than at the baseline"
    return None


def _not_running(seen: Evidence) -> str | None:
    return "the service has no process" if seen.pids == () else None


def _gave_up(seen: Evidence) -> str | None:
    if seen.since_connected("reconnects_exhausted"):
        return "the service gave up reconnecting; its process goes on without a connection"
    if seen.since_connected("circuit_open"):
        return "the service's circuit breaker is open after too many failures"
    code = seen.last_code
    if code is not None and not CODES.get(code, ("", True))[1]:
        return f"the connection was closed with {code} ({CODES[code][0]}), which does not heal by itself"
    return None


def _no_connection_since(seen: Evidence) -> str | None:
    if not seen.since_connected(*_NOT_CONNECTED_YET):
        return None
    code = seen.last_code
    if seen.since_connected(*_LOST):
        told = f" with {code} ({CODES.get(code, ('unknown code', True))[0]})" if code is not None else ""
        return f"the connection was closed{told}; the service is reconnecting"
    return "the service began a session or an attempt that is not connected yet"


def _restarted(seen: Evidence) -> str | None:
    if seen.restarted and seen.last("connected") < 0:
        return "the service was restarted, and its log shows no connection since"
    return None


def _loop(seen: Evidence) -> str | None:
    losses = seen.recent_losses
    if losses >= LOOP_CLOSES:
        return (
            f"{losses} connections were lost within {LOOP_SECONDS:.0f} s: each comes back and does not last"
        )
    return None


def _not_settled(seen: Evidence) -> str | None:
    if any(event.name in (*_NOT_CONNECTED_YET, "connected") for event in seen.events[seen.events_before :]):
        return "the connection was made anew while it was watched; whether it lasts is not known yet"
    return None


def _not_all_connected(seen: Evidence) -> str | None:
    others = [sample.status for sample in seen.samples if not sample.connected]
    # not_initialized: the service has given up its session, and no line says that it will try again.
    if not others or not seen.answered or seen.samples[-1].status == "not_initialized":
        return None
    return f"{len(others)} of {len(seen.samples)} answers of the health endpoint say {others[-1]}"


def _connected(seen: Evidence) -> str | None:
    if not seen.all_connected:
        return None
    said = f"{len(seen.samples)} answers over the window say connected, and the log "
    if seen.continuity == "no_log":
        return said + "was not looked at: the answers may be stale"
    if seen.continuity == "new":
        return said + "was looked at during the window only: the answers may be stale"
    if seen.continuity == "broken":
        return said + "shows no loss, but a part of it is lost"
    return said + "shows no loss that no connection came after"


@dataclass(frozen=True)
class _Rule:
    verdict: str
    terminal: bool
    holds: _Predicate


#: The first that holds decides: what needs a person comes before what heals, and what is bad before what is good.
RULES = (
    _Rule(LOGGED_OUT, True, _logged_out),
    _Rule(REPLACED, True, _replaced),
    _Rule(NEEDS_PAIRING, True, _needs_pairing),
    _Rule(UNKNOWN, True, _not_running),
    _Rule(UNKNOWN, True, _twice),
    _Rule(UNKNOWN, True, _another_session),
    _Rule(UNKNOWN, True, _gave_up),
    _Rule(RECONNECTING, False, _no_connection_since),
    _Rule(RECONNECTING, False, _restarted),
    _Rule(RECONNECTING, False, _loop),
    _Rule(RECONNECTING, False, _not_settled),
    _Rule(RECONNECTING, False, _not_all_connected),
    _Rule(CONNECTED, False, _connected),
)


def judge(seen: Evidence) -> Verdict:
    """Apply the table; when nothing holds, the verdict is ``unknown``."""
    for rule in RULES:
        reason = rule.holds(seen)
        if reason:
            return Verdict(rule.verdict, reason, rule.terminal)
    if seen.answered:
        reason = f"the health endpoint says {seen.samples[-1].status}, and the log does not say why"
    else:
        problems = sorted({sample.problem for sample in seen.samples if sample.problem})
        reason = f"the health endpoint does not answer: {'; '.join(problems) or 'it was not asked'}"
    return Verdict(UNKNOWN, reason, terminal=False)


def as_result(seen: Evidence) -> dict[str, Any]:
    """The evidence for a module's result: nothing personal is in it."""
    return {
        "samples": [asdict(sample) for sample in seen.samples],
        "events": [
            {**asdict(event), "in_window": position >= seen.events_before}
            for position, event in enumerate(seen.events)
        ],
        "continuity": seen.continuity,
        "pids": None if seen.pids is None else list(seen.pids),
        "pids_before": None if seen.pids_before is None else list(seen.pids_before),
    }
