"""What a record must not show: phone numbers but for their last two digits, and secrets that a message may quote. Pure.

The roles record neither. This is the net below them, for messages of programs that quote what they were given.
"""

from __future__ import annotations

import re
from typing import Any

#: As WhatsApp writes somebody's address.
_JID = re.compile(r"\b\d{7,15}(?=(?::\d+)?@(?:s\.whatsapp\.net|c\.us|lid)\b)")
#: With a plus in front; 8 or 7 in front as Russia writes them, with separators, or bare in a key, a path or an address,
#: where other bare digits may be a port, a time or a folder's name; or the bare digits.
_NUMBERS = (
    re.compile(r"(?<![\w+])\+\d(?:[\s().-]{0,2}\d){7,14}(?!\d)"),
    re.compile(r"(?<![\w.:/+-])[78][ -]?\(?\d{3}\)?[ -]?\d{3}[ -]\d{2}[ -]?\d{2}(?![\w:-])"),
    re.compile(r"(?<![0-9A-Za-z.+-])[78]\d{10}(?![0-9A-Za-z]|\.\d)"),
    re.compile(r"(?<![\w.:/+-])\d{11,15}(?![\w:/-]|\.\d)"),
)
_SECRETS = (
    # Whatever is in front of the last @ may be the password's.
    (re.compile(r"(?<=://)([^\s/:@]*):[^\s/]+@"), r"\1:[redacted]@"),
    (
        re.compile(
            r"(?i)\b(\w*(?:password|passwd|secret|token|api[_-]?key|authorization))"
            r"(\\?[\"']?\s*[:=]\s*)(?:bearer\s+|basic\s+)?(?!\[redacted\]|\{\{)"
            r"(?:'[^']*'|\"[^\"]*\"|\\\"[^\"]*\"|[^\s,;'\")\]}]+)"
        ),
        r"\1\2[redacted]",
    ),
)


def masked(text: str) -> str:
    """The text without anybody's phone number and without what stands where a password would."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    text = _JID.sub(_last_two, text)
    for pattern in _NUMBERS:
        text = pattern.sub(_last_two, text)
    return text


def masked_numbers(value: Any) -> Any:
    """Rows of which nobody knows what they hold, with each number in them that could be somebody's phone masked.

    Not for what was measured: a size or a transaction's number has as many digits.
    """
    if isinstance(value, list):
        return [masked_numbers(item) for item in value]
    if isinstance(value, dict):
        return {masked_numbers(name): masked_numbers(item) for name, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    digits = f"{abs(value):.0f}" if value == value // 1 else ""
    return "*" * (len(digits) - 2) + digits[-2:] if 10 <= len(digits) <= 15 else value


def _last_two(found: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", found[0])
    return "*" * (len(digits) - 2) + digits[-2:]
