"""Reading a record whose sections may be of any shape: what is not what it should be is taken for absent. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

#: More than there are bytes or seconds of anything.
_BEYOND = 1e18


def text(value: Any) -> str:
    """A scalar as text; empty for what is none."""
    if value is None or isinstance(value, Mapping | list | tuple):
        return ""
    return str(value)


def number(value: Any) -> float | None:
    """A finite number of a size that something can have, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _BEYOND and math.isfinite(value) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; empty for what is none."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; empty for what is none."""
    return [item for item in listing(value) if isinstance(item, Mapping)]


def listing(value: Any) -> Sequence[Any]:
    """A list; empty for what is none."""
    return value if isinstance(value, list | tuple) else ()


def texts(value: Any) -> list[str]:
    """The scalars of a list as texts."""
    return [told for item in listing(value) if (told := text(item))]


def moment(value: Any) -> datetime.datetime | None:
    """A moment, of ISO 8601 or of seconds since 1970, in UTC; None for anything else."""
    seconds = number(value)
    try:
        if seconds is not None:
            return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        found = datetime.datetime.fromisoformat(text(value))
    except (ValueError, OverflowError, OSError):
        return None
    return found.astimezone(datetime.timezone.utc) if found.tzinfo else None


def seconds_of(section: Mapping[str, Any]) -> float:
    """How long a section took: one number, or the sum of several."""
    given = section.get("seconds")
    if isinstance(given, Mapping):
        return sum(number(part) or 0.0 for part in given.values())
    return number(given) or 0.0
