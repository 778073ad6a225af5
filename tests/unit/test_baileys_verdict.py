"""The table of predicates: each with the evidence that makes it hold, and with evidence that looks like it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import log_events
from ansible.module_utils.rollout.baileys_health import HealthSample
from ansible.module_utils.rollout.baileys_verdict import (
    CODES,
    EVENTS,
    LOOP_CLOSES,
    LOOP_SECONDS,
    RULES,
    Evidence,
    as_result,
    judge,
)
from ansible.module_utils.rollout.log_bookmark import take
from ansible.module_utils.rollout.log_events import Event
from ansible.module_utils.rollout.log_patterns import DEFAULTS, compile_patterns

NOW = 1_000_000.0
UP = HealthSample(NOW, "connected", connected=True, company="100001", account="a683")
DOWN = HealthSample(NOW, "disconnected")
GIVEN_UP = HealthSample(NOW, "not_initialized")
WAITING = HealthSample(NOW, "disconnected", waits_for_pairing=True)
REFUSED = HealthSample(NOW, "unreachable", problem="[Errno 111] Connection refused")
OTHER = replace(UP, account="0000")

OPEN = Event("connected")
BEGUN = Event("session_in_database")
RETRY = Event("reconnecting")


def closed(code: int | None, at: float = NOW - 600) -> Event:
    return Event("connection_closed", at, code)


def seen(*events: Event, **others: Any) -> Evidence:
    """Healthy, besides what is said."""
    found: dict[str, Any] = {
        "samples": [UP, UP, UP],
        "events": events,
        "events_before": len(events),
        "continuity": "proven",
        "pids": (7,),
        "pids_before": (7,),
        "account_before": "a683",
        "at": NOW,
    }
    return Evidence(**{**found, **others})


FLAP = [closed(428), closed(None), Event("disconnected", NOW - 600, 428), RETRY, BEGUN, OPEN]
RECENT_FLAP = [replace(event, at=NOW - 10) for event in FLAP]

# What was seen, the verdict, whether somebody has to act, and a part of the reason.
CASES: dict[str, tuple[Evidence, str, bool, str]] = {
    "healthy": (seen(), "connected", False, "shows no loss"),
    "started while it was looked at before": (seen(BEGUN, OPEN), "connected", False, "shows no loss"),
    "flap and back": (seen(*FLAP), "connected", False, "shows no loss"),
    "one flap just now, and back before the window": (seen(*RECENT_FLAP), "connected", False, "no loss"),
    "rotated log of a healthy service": (seen(continuity="unproven"), "connected", False, "shows no loss"),
    "flushed log of a healthy service": (seen(continuity="broken"), "connected", False, "a part of it is lost"),
    "no log": (seen(continuity="no_log"), "connected", False, "not looked at: the answers may be stale"),
    "no bookmark": (seen(continuity="new"), "connected", False, "during the window only"),
    "nobody asked PM2": (seen(pids=None, pids_before=None), "connected", False, "shows no loss"),
    "restart right after pairing": (seen(closed(515), OPEN), "connected", False, "shows no loss"),
    "restarted, and connected again": (seen(BEGUN, OPEN, pids=(8,)), "connected", False, "shows no loss"),
    # logged out
    "logged out": (seen(Event("logged_out"), samples=[GIVEN_UP]), "logged_out", True, "(401)"),
    "401 alone": (seen(closed(401)), "logged_out", True, "(401)"),
    "logged out, and paired again": (seen(closed(401), Event("logged_out"), OPEN), "connected", False, ""),
    "logged out is told before the QR code that follows": (
        seen(Event("logged_out"), Event("pairing_needed"), samples=[WAITING]), "logged_out", True, "(401)"
    ),
    # replaced
    "replaced": (seen(Event("connection_replaced"), samples=[GIVEN_UP]), "replaced", True, "(440)"),
    "440 alone": (seen(closed(440)), "replaced", True, "(440)"),
    "replaced, and taken back": (seen(closed(440), Event("connection_replaced"), OPEN), "connected", False, ""),
    # pairing
    "QR code in the log": (seen(Event("pairing_needed")), "needs_pairing", True, "printed a QR code"),
    "QR code at the endpoint": (seen(samples=[UP, WAITING]), "needs_pairing", True, "code waits"),
    "QR code scanned": (seen(Event("pairing_needed"), OPEN), "connected", False, ""),
    "QR code no longer waiting": (seen(samples=[WAITING, UP]), "reconnecting", False, "1 of 2 answers"),
    "new credentials": (seen(Event("credentials_lost")), "needs_pairing", True, "identity is lost"),
    # somebody has to act
    "not running": (seen(pids=(), samples=[REFUSED]), "unknown", True, "no process"),
    "runs twice": (seen(pids=(7, 8)), "unknown", True, "runs 2 times"),
    "session from elsewhere": (
        seen(Event("session_not_in_database"), OPEN), "unknown", True, "elsewhere than the database"
    ),
    "session from elsewhere, and back": (
        seen(Event("session_not_in_database"), BEGUN, OPEN), "connected", False, ""
    ),
    "another account": (seen(samples=[UP, OTHER]), "unknown", True, "another WhatsApp account"),
    "account without a baseline": (seen(samples=[OTHER], account_before=""), "connected", False, ""),
    "gave up": (seen(*FLAP[:4], Event("reconnects_exhausted")), "unknown", True, "gave up reconnecting"),
    "gave up, and started again": (seen(Event("reconnects_exhausted"), OPEN), "connected", False, ""),
    "circuit open": (seen(Event("circuit_open")), "unknown", True, "circuit breaker is open"),
    "circuit closed again": (seen(Event("circuit_open"), OPEN), "connected", False, ""),
    "bad session": (seen(closed(500)), "unknown", True, "500 (bad session)"),
    "forbidden": (seen(closed(403)), "unknown", True, "403 (forbidden)"),
    # reconnecting
    "stale answers, closed": (seen(closed(428)), "reconnecting", False, "428 (connection closed)"),
    "closed after it was connected": (seen(OPEN, closed(408)), "reconnecting", False, "408 (timed out"),
    "service unavailable": (seen(closed(503), RETRY), "reconnecting", False, "503 (service unavailable)"),
    "restart required, not back yet": (seen(closed(515)), "reconnecting", False, "515 (restart required"),
    "a code that nobody knows": (seen(closed(499)), "reconnecting", False, "499 (unknown code)"),
    "closed without a code": (seen(closed(None)), "reconnecting", False, "connection was closed; the"),
    "disconnected is not connected": (seen(Event("disconnected")), "reconnecting", False, "was closed"),
    "waiting for its next attempt": (seen(RETRY), "reconnecting", False, "not connected yet"),
    "an attempt failed": (seen(Event("reconnection_failed")), "reconnecting", False, "not connected yet"),
    "just begun": (seen(BEGUN), "reconnecting", False, "not connected yet"),
    "restarted, no connection told": (seen(pids=(8,)), "reconnecting", False, "restarted"),
    "back during the window": (
        seen(*RECENT_FLAP, events_before=3), "reconnecting", False, "made anew while it was watched"
    ),
    "a loop": (seen(*RECENT_FLAP * LOOP_CLOSES), "reconnecting", False, "3 connections were lost within 120 s"),
    "a loop without times": (
        seen(*[Event("disconnected"), OPEN] * LOOP_CLOSES), "reconnecting", False, "3 connections"
    ),
    "almost a loop": (seen(*RECENT_FLAP * (LOOP_CLOSES - 1)), "connected", False, ""),
    "flaps of a whole day": (seen(*FLAP * 50), "connected", False, ""),
    "restarts after pairings are no loop": (
        seen(*[closed(515, NOW - 10), OPEN] * LOOP_CLOSES), "connected", False, ""
    ),
    "one answer of three": (seen(samples=[UP, DOWN, UP]), "reconnecting", False, "1 of 3 answers"),
    "starting to listen": (seen(samples=[REFUSED, UP]), "reconnecting", False, "say unreachable"),
    # nobody knows
    "unreachable": (seen(samples=[REFUSED, REFUSED]), "unknown", False, "does not answer: [Errno 111]"),
    "given up while it was watched": (seen(samples=[UP, GIVEN_UP]), "unknown", False, "log does not say why"),
    "given up before the bookmark": (seen(samples=[GIVEN_UP]), "unknown", False, "log does not say why"),
    "not asked": (seen(samples=[]), "unknown", False, "it was not asked"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_verdict(name: str) -> None:
    evidence, verdict, terminal, reason = CASES[name]
    found = judge(evidence)
    assert (found.verdict, found.terminal) == (verdict, terminal), found
    assert reason in found.reason


def test_every_rule_decides_a_case() -> None:
    deciding = {
        next((at for at, rule in enumerate(RULES) if rule.holds(evidence)), None)
        for evidence, *_ in CASES.values()
    }
    assert deciding == {*range(len(RULES)), None}


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_judged_until_a_connection_follows(code: int) -> None:
    name, heals = CODES[code]
    found = judge(seen(closed(code)))
    assert found.terminal is not heals, name
    assert found.verdict != "connected"
    assert judge(seen(closed(code), OPEN)).verdict == "connected"


def test_losses_are_counted_within_a_time() -> None:
    old, new = closed(428, NOW - LOOP_SECONDS - 1), closed(428, NOW - LOOP_SECONDS + 1)
    assert seen(old, OPEN, new, Event("disconnected"), RETRY, closed(503), OPEN).recent_losses == 1
    assert seen(old, OPEN, old).recent_losses == 0


def test_the_evidence_says_what_happened_in_the_window() -> None:
    told = as_result(seen(closed(428), OPEN, events_before=1))
    assert [(event["name"], event["code"], event["in_window"]) for event in told["events"]] == [
        ("connection_closed", 428, False),
        ("connected", None, True),
    ]
    assert (told["pids"], as_result(seen(pids=None))["pids"]) == ([7], None)


def test_events_are_patterns_of_the_log() -> None:
    assert set(EVENTS) <= {entry["name"] for entry in DEFAULTS}


INFO, WARN, ERROR = ("\x1b[32minfo\x1b[39m: ", "\x1b[33mwarn\x1b[39m: ", "\x1b[31merror\x1b[39m: ")
REST = '"env":"production","service":"ai-admin","timestamp":"2025-11-09T18:30:00.000Z"}'
LINES = {
    INFO + '✅ WhatsApp connected for company 100001 {"user":{"id":"70000000001:37@s.whatsapp.net"},' + REST: (
        "connected"
    ),
    INFO + "✅ WhatsApp connected for company company_100001 {" + REST: "connected",
    WARN + "⚠️ WhatsApp disconnected {" + REST: "reconnecting",
    WARN + 'Connection closed for company 100001 {"statusCode":428,' + REST: "reconnecting",
    WARN + 'Connection closed for company 100001 {"statusCode":401,' + REST: "logged_out",
    INFO + "🔄 Reconnecting company 100001 in 5000ms (attempt 1/5) {" + REST: "reconnecting",
    ERROR + "Reconnection failed for company 100001: {" + REST: "reconnecting",
    ERROR + "Max reconnection attempts reached for company 100001 {" + REST: "unknown",
    ERROR + "⚠️ Connection replaced (error 440) for company 100001. Another device took over. {" + REST: "replaced",
    WARN + "❌ Session logged out, will need to re-authenticate {" + REST: "logged_out",
    ERROR + "Circuit breaker open for company 100001. Too many failures. Retry in 280 seconds.": "unknown",
    INFO + "📱 QR Code generated for company 100001 (attempt 1) {" + REST: "needs_pairing",
    INFO + "📝 No existing credentials for 100001, creating new {" + REST: "needs_pairing",
    INFO + "📦 Using Supabase auth state for company 100001 {" + REST: "unknown",
    INFO + "📁 Using file auth state for company 100001 {" + REST: "unknown",
    "Closing stale open session for new outgoing prekey bundle": "connected",
    '{"level":50,"err":{"type":"PreKeyError","message":"Invalid PreKey ID"},"msg":"x"}': "connected",
    # A customer's words are nothing.
    INFO + '💬 Processing message from 70000000003: "Session logged out" {' + REST: "connected",
}  # fmt: skip


@pytest.mark.parametrize("dated", ["2025-11-09 21:30:00: ", ""])
@pytest.mark.parametrize("line", LINES)
def test_from_the_line_to_the_verdict(tmp_path: Path, line: str, dated: str) -> None:
    """As the service prints it, while the endpoint goes on saying connected."""
    log = tmp_path / "out.log"
    log.write_text("old\n")
    known = take(str(log)).as_result()
    with log.open("a") as file:
        file.write(f"{dated}{line}\n")
    found = log_events.read_events([str(log)], [known], compile_patterns(), EVENTS)
    assert judge(seen(*found.events)).verdict == LINES[line]
    assert "70000" not in repr(found.events)
