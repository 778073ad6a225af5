"""What of a log line may be copied into a result: little. Pure.

Log lines of a messenger hold phone numbers, customers' words and, when libsignal prints a session, private keys. So a
sample is not a line with some things taken out: it is the message before any object, with everything that could be
somebody's replaced, and of the object a few fields whose values are checked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Longest sample, characters.
SAMPLE_LENGTH = 200

WITHHELD = "[withheld: may hold a key]"

#: A line with one of these is not copied at all.
KEY_MATERIAL = re.compile(
    r"SessionEntry|privKey|private|rootKey|chainKey|ephemeralKey|noiseKey|identityKey|<Buffer|BEGIN [A-Z ]*KEY",
    re.IGNORECASE,
)

#: Fields of a line's object that may be copied, with what they have to look like.
FIELDS = {
    "statusCode": re.compile(r"\d{3}"),
    "disconnectReason": re.compile(r"[A-Za-z]{1,40}"),
    "code": re.compile(r"[A-Z][A-Z_]{2,30}|[0-9A-Z]{5}"),
}

TIMESTAMP = re.compile(r'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"')

_CONTROL = re.compile(r"\x1b\[[\d;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f\ufffd]+")
#: A quoted text stays only where PostgreSQL's messages have the name of something of the schema.
_QUOTED = re.compile(
    r"""(?P<of>\b(?:relation|table|column|index|constraint|function|trigger|type|schema|role|view|sequence)\ )?"""
    r"""["'`«„“](?:(?P<name>[A-Za-z_][\w.$]{0,62})["'`»“”]|[^"'`»“”]*["'`»“”]?)"""
)
_RULES = (
    (re.compile(r"://[^\s/@]+@"), "://[redacted]@"),
    (re.compile(r"\?\S+"), "?[redacted]"),
    (
        re.compile(
            r"(?i)\b(\w*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie))"
            r"\s*[:=]\s*(?:bearer\s+|basic\s+)?\S+"
        ),
        r"\1=[redacted]",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+\S{8,}"), r"\1 [redacted]"),
    (re.compile(r"[\w.+:-]+@[\w.-]+"), "[address]"),
    (re.compile(r"\b[0-9A-Fa-f]{16,}\b"), "[token]"),
    # Mixed letters and digits without the underscores of a table's name.
    (
        re.compile(
            r"\b(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])(?:[A-Za-z0-9+/=-]{20,}|(?=\w*[A-Z])[\w+/=-]{20,})"
        ),
        "[token]",
    ),
    (re.compile(r"\+?\(?\d(?:[\s().-]{0,2}\d){6,}"), "[number]"),
)


def sample(message: str) -> str:
    """The part of a message that may be copied.

    :param message: a log line without its time and level
    """
    if KEY_MATERIAL.search(message):
        return WITHHELD
    text = _CONTROL.sub(" ", message.partition("{")[0][: 4 * SAMPLE_LENGTH])
    for pattern, replacement in _RULES[:2]:
        text = pattern.sub(replacement, text)
    text = _QUOTED.sub(_quoted, text)
    for pattern, replacement in _RULES[2:]:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())[:SAMPLE_LENGTH]


def _quoted(match: re.Match[str]) -> str:
    of = match["of"] or ""
    return f'{of}"{match["name"]}"' if of and match["name"] else f'{of}"[text]"'


def fields(data: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a line's object that may be copied, as text.

    :param data: the object at the end of a winston line, or a whole pino line
    """
    return {
        name: str(data[name])
        for name, shape in FIELDS.items()
        if isinstance(data.get(name), int | str) and shape.fullmatch(str(data[name]))
    }
