"""What a log line says: its level, its message, and which known pattern it is. Pure; the patterns are data.

The application's services log with winston, as ``<time>: ESC[32minfoESC[39m: <message> {json}``, and with pino, as one
JSON object a line; both may have PM2's time before them, in any format or none. All levels of winston go to standard
output, so the level is taken from the line and never from the file. Patterns match at the beginning of the message,
after decoration such as emoji: a customer's words, which the services quote within a line, match none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

#: In the order in which they are tried. Noise comes after what is fatal, so that it cannot hide it.
KINDS = ("fatal", "noise", "problem", "sign")

#: Winston's npm levels and pino's, together; ``none`` is a line without one, such as a stack trace's.
LEVELS = ("fatal", "error", "warn", "info", "http", "verbose", "debug", "silly", "trace", "none")
PINO_LEVELS = {60: "fatal", 50: "error", 40: "warn", 30: "info", 20: "debug", 10: "trace"}

_LEVELLED = [level for level in LEVELS if level != "none"]
_COMPLAINTS = ["fatal", "error", "warn"]

#: What the booking assistant's services print. Inventory data of the same shape is added to it, or replaces an entry.
DEFAULTS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "reconnects_exhausted",
        "kind": "fatal",
        "regex": r"Max reconnection attempts",
        "levels": _LEVELLED,
    },
    {"name": "connection_replaced", "kind": "fatal", "regex": r"Connection replaced", "levels": _LEVELLED},
    {"name": "logged_out", "kind": "fatal", "regex": r"Session logged out", "levels": _LEVELLED},
    {"name": "pairing_needed", "kind": "fatal", "regex": r"QR Code generated", "levels": _LEVELLED},
    {"name": "circuit_open", "kind": "fatal", "regex": r"Circuit breaker open", "levels": _LEVELLED},
    {
        "name": "credentials_lost",
        "kind": "fatal",
        "regex": r"No existing credentials for .{1,60}, creating new",
        "levels": _LEVELLED,
    },
    {
        "name": "session_not_in_database",
        "kind": "fatal",
        "regex": r"Using (?:Supabase|file) auth state",
        "levels": _LEVELLED,
    },
    {"name": "out_of_memory", "kind": "fatal", "regex": r"FATAL ERROR: .*(?:heap|memory)"},
    # libsignal's console; "Closing session: SessionEntry {" goes on with private keys.
    {"name": "stale_session", "kind": "noise", "regex": r"Closing stale open session"},
    {"name": "session_dump", "kind": "noise", "regex": r"Closing session: SessionEntry"},
    # pino, level 50: messages of devices that the service no longer has a session with.
    {"name": "invalid_prekey", "kind": "noise", "regex": r"PreKeyError: Invalid PreKey ID"},
    {"name": "no_matching_session", "kind": "noise", "regex": r"SessionError: No matching sessions found"},
    {"name": "connection_closed", "kind": "problem", "regex": r"Connection closed"},
    {"name": "disconnected", "kind": "problem", "regex": r"WhatsApp disconnected"},
    {"name": "reconnecting", "kind": "problem", "regex": r"Reconnecting company"},
    {"name": "reconnection_failed", "kind": "problem", "regex": r"Reconnection failed"},
    # The job behind it still ends as "completed".
    {"name": "reply_failed", "kind": "problem", "regex": r"Bot response to \S+ \(error\)"},
    {"name": "processing_error", "kind": "problem", "regex": r"Processing error"},
    {
        "name": "database_error",
        "kind": "problem",
        "regex": (
            r".*?(?:(?:relation|column|function|operator|type|schema|table) .{1,200}? does not exist"
            r"|permission denied for |violates [a-z -]+ constraint|null value in column|invalid input syntax for"
            # A prepared SELECT * after ADD COLUMN (0A000).
            r"|cached plan must not change result type"
            r"|deadlock detected|canceling statement due to|remaining connection slots|too many (?:clients|connections)"
            r"|terminating connection|[Cc]onnection terminated)"
        ),
        "levels": _COMPLAINTS,
    },
    # Of any peer: the database's, or of a service elsewhere that nobody here can do anything about.
    {
        "name": "network_error",
        "kind": "problem",
        "regex": r".*?(?:ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN)",
        "levels": _COMPLAINTS,
    },
    {
        "name": "exception",
        "kind": "problem",
        "regex": r"(?:Uncaught |Unhandled|\[UnhandledPromiseRejection|[A-Z]?\w*Error(?: \[\w+\])?: )",
        "levels": ["fatal", "error", "none"],
    },
    {"name": "connected", "kind": "sign", "regex": r"WhatsApp connected for company", "levels": _LEVELLED},
    {"name": "connected_banner", "kind": "sign", "regex": r"WHATSAPP CONNECTED SUCCESSFULLY"},
    {"name": "session_in_database", "kind": "sign", "regex": r"Using .{0,40}PostgreSQL auth state"},
    {"name": "webhook_received", "kind": "sign", "regex": r"Webhook received request"},
    {"name": "batch_processed", "kind": "sign", "regex": r"Batch processed successfully"},
    {"name": "message_processing", "kind": "sign", "regex": r"(?:\[WHATSAPP\] )?Processing message from"},
    {"name": "reply_sending", "kind": "sign", "regex": r"Bot sending \d+ messages? to"},
    {"name": "reply_accepted", "kind": "sign", "regex": r"Message sent successfully via API"},
    {"name": "message_sent", "kind": "sign", "regex": r"Message sent to \S+@s\.whatsapp\.net"},
)

#: PM2's time before a line, in any numeric log_date_format, such as "2025-11-09 21:30:00: " or "21:30:00.123 +03:00: ".
_TIME = re.compile(r"\d[\dT:.,+/ Z-]{6,40}?: ")
#: A level of winston, coloured or not, at the beginning of what follows the time.
_COLOURED = re.compile(r"[^\x1b]{0,80}?\x1b\[[\d;]+m(\w{4,7})\x1b\[[\d;]+m: ?")
_PLAIN = re.compile(r"(fatal|error|warn|info|http|verbose|debug|silly|trace): ")
_JSON_LEVEL = re.compile(r'"level":\s*(?:(\d+)|"(\w+)")')
_ANSI = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
#: Emoji and other signs before the message. Brackets and quotes belong to it.
_DECORATION = re.compile(r"""[^\w"'`«{(\[<]*""")


@dataclass(frozen=True)
class Pattern:
    """A kind of line.

    :ivar kind: fatal, noise (counted apart), problem, or sign (of life)
    :ivar regex: matched at the beginning of the message
    :ivar levels: only lines of these levels; empty: of any
    """

    name: str
    kind: str
    regex: re.Pattern[str]
    levels: frozenset[str] = frozenset()

    def matches(self, line: Line) -> bool:
        """Whether a line is of this kind."""
        return (not self.levels or line.level in self.levels) and self.regex.match(line.message) is not None


@dataclass(frozen=True)
class Line:
    """A log line that was understood.

    :ivar level: one of LEVELS
    :ivar message: without time, level, colours and leading decoration; the object at its end included
    :ivar data: the object of a line that is one JSON object, else None
    """

    level: str
    message: str
    data: Mapping[str, Any] | None = None


def parse(raw: bytes) -> Line:
    """Understand a line. Never fails: what is not understood has the level ``none``.

    :param raw: without its newline; may be cut off, and need not be text
    """
    text = raw.decode("utf-8", "replace").rstrip("\r")
    time = _TIME.match(text)
    body = text[time.end() :] if time else text
    if body.startswith("{"):
        return _parse_object(body)
    level = _COLOURED.match(text)
    if level and level[1] in LEVELS:
        return Line(level[1], _message(text[level.end() :]))
    level = _PLAIN.match(body)
    return Line(level[1], _message(body[level.end() :])) if level else Line("none", _message(body))


def _message(text: str) -> str:
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    decoration = _DECORATION.match(text)
    return text[decoration.end() :] if decoration else text


def _parse_object(body: str) -> Line:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        # Cut off because it is huge, or not JSON after all.
        found = _JSON_LEVEL.search(body)
        return Line(_level(int(found[1]) if found[1] else found[2]) if found else "none", body)
    error = data.get("err")
    message = str(data.get("msg") or data.get("message") or "")
    if isinstance(error, Mapping):
        message = f"{error.get('type', 'Error')}: {error.get('message', '')} ({message})"
    return Line(_level(data.get("level")), _message(message), data)


def _level(value: Any) -> str:
    level = PINO_LEVELS.get(value, "none") if isinstance(value, int) else value
    return level if isinstance(level, str) and level in LEVELS else "none"


def trailing_object(line: Line) -> Mapping[str, Any]:
    """The object that a line is, or that winston appended to its message; empty when there is none."""
    if line.data is not None:
        return line.data
    start = line.message.find(' {"')
    if start < 0:
        return {}
    try:
        data = json.loads(line.message[start + 1 :])
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, Mapping) else {}


def classify(line: Line, patterns: Iterable[Pattern]) -> Pattern | None:
    """The first pattern that a line is of; patterns as :func:`compile_patterns` orders them."""
    return next((pattern for pattern in patterns if pattern.matches(line)), None)


def compile_patterns(
    additional: Iterable[Mapping[str, Any]] = (), *, defaults: bool = True
) -> tuple[Pattern, ...]:
    """The table of patterns, in the order in which they are tried.

    :param additional: entries with name, kind, regex and, optionally, levels; one with the name of a default replaces
        that
    :param defaults: whether DEFAULTS are part of the table
    :raises RolloutError: an entry is not a pattern; says which and why
    """
    table = {str(entry["name"]): entry for entry in DEFAULTS} if defaults else {}
    for number, entry in enumerate(additional):
        table[_name(entry, f"patterns[{number}]")] = entry
    compiled = [_compile(entry, f"pattern {name}") for name, entry in table.items()]
    return tuple(sorted(compiled, key=lambda pattern: KINDS.index(pattern.kind)))


def _name(entry: Mapping[str, Any], place: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise _bad(place, f"name is {name!r}", "A name consists of small letters, digits and underscores.")
    return name


def _compile(entry: Mapping[str, Any], place: str) -> Pattern:
    unknown = sorted(set(entry) - {"name", "kind", "regex", "levels"})
    if unknown:
        raise _bad(place, f"unknown key {unknown[0]!r}", "The keys are name, kind, regex and levels.")
    if entry.get("kind") not in KINDS:
        raise _bad(place, f"kind is {entry.get('kind')!r}", f"The kinds are {', '.join(KINDS)}.")
    levels = entry.get("levels") or []
    if not isinstance(levels, list) or not all(level in LEVELS for level in levels):
        raise _bad(place, f"levels is {levels!r}", f"A list of {', '.join(LEVELS)}.")
    regex = entry.get("regex")
    if not isinstance(regex, str) or not regex:
        raise _bad(
            place, "regex is missing", "Python's syntax; it is matched at the beginning of the message."
        )
    try:
        compiled = re.compile(regex)
    except re.error as error:
        raise _bad(
            place, f"regex is not one: {error}", "Python's syntax, see the documentation of re."
        ) from None
    if compiled.match(""):
        raise _bad(place, "regex matches an empty message", "It would match every line.")
    return Pattern(entry["name"], entry["kind"], compiled, frozenset(levels))


def _bad(place: str, problem: str, hint: str) -> RolloutError:
    return RolloutError(f"{place}: {problem}", hint=hint, details={"reason": "bad_pattern", "place": place})
