"""The one phone that a probe may write to. Pure.

Two spellings of a number are the same number; two numbers are never taken for one. What is not certainly a number in
international form is refused, and no text here holds more of one than its last two digits.
"""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

#: International form (ITU-T E.164: fifteen digits at most, none begins with 0), its prefix and separators taken off.
_NUMBER = re.compile(r"[1-9][0-9]{7,14}")
_PREFIX = re.compile(r"\+|00")
#: No dot: it would turn a YAML float (12025550199.0) into a longer number.
_SEPARATORS = re.compile(r"[\s()-]+")
#: Digits of a number that may be shown.
_SHOWN = 2


def canonical(value: Any, what: str) -> str:
    """A number's digits, as WhatsApp and the application's logs write them; empty for an empty one.

    :param value: text or a whole number; None is empty
    :param what: where it comes from, for the message
    :raises RolloutError: it is not a number in international form
    """
    text = "" if value is None else _SEPARATORS.sub("", str(value))
    if not text:
        return ""
    prefix = _PREFIX.match(text)
    digits = text[prefix.end() :] if prefix else text
    if not _NUMBER.fullmatch(digits):
        raise RolloutError(
            f"{what} is not a phone number ({len(text)} characters)",
            hint="Write it in international form: country code first, 8 to 15 digits.",
            details={"reason": "bad_phone"},
        )
    return digits


def masked(number: str) -> str:
    """A canonical number as it may be shown: its last two digits."""
    return "*" * (len(number) - _SHOWN) + number[-_SHOWN:] if number else ""


def require_configured(configured: Any, asked: Any, what: str) -> None:
    """Refuse any number but the configured one. An empty one is let through: it reaches nobody.

    :param configured: the configured number; empty: there is none
    :param asked: what somebody wants to write to
    :param what: where that comes from, for the message
    :raises RolloutError: it is another one, or one of the two is not a number
    """
    allowed, wanted = canonical(configured, "the configured test_phone"), canonical(asked, what)
    if wanted and wanted != allowed:
        known = (
            f"the configured test phone is {masked(allowed)}" if allowed else "no test phone is configured"
        )
        raise RolloutError(
            f"{what} is {masked(wanted)}, but {known}; nothing was sent",
            hint="A probe writes to the inventory's test_phone only. To test another one, change it there (vault.yml).",
            details={"reason": "second_number"},
        )


def require_same(configured: Any, asked: Any) -> str:
    """The number that is both configured and asked for, canonical; empty when there is neither.

    :raises RolloutError: they are not the same
    """
    require_configured(configured, asked, "phone")
    allowed, wanted = canonical(configured, "the configured test_phone"), canonical(asked, "phone")
    if allowed and not wanted:
        raise RolloutError(
            f"phone is empty, and the configured test phone is {masked(allowed)}; nothing was sent",
            hint="Give the same number as phone and as test_phone.",
            details={"reason": "bad_phone"},
        )
    return wanted
