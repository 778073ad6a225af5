"""How times, sizes and lists are written for people. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
# Named here, because a locale would name them otherwise.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def size(count: float) -> str:
    """Bytes, such as ``9.8 MiB``."""
    value, unit = float(count), 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    digits = 0 if unit == 0 or abs(value) >= 100 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Such as ``130 ms``, ``4.2 s``, ``38 s``, ``5 min 12 s``, ``2 h 3 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def day(moment: datetime.datetime) -> str:
    """Such as ``22 Nov 2026, 21:51 UTC``."""
    month = _MONTHS[moment.month - 1]
    return f"{moment.day} {month} {moment.year}, {moment:%H:%M} UTC"


def listed(names: Iterable[str]) -> str:
    """Such as ``a, b and c``."""
    every = list(names)
    return " and ".join(filter(None, [", ".join(every[:-1]), *every[-1:]]))


def counted(number: int, one: str, several: str = "") -> str:
    """Such as ``1 check``, ``2 checks``."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def objects(number: int, kind: str) -> str:
    """Objects of a database, such as ``2 indexes``."""
    return counted(number, kind, {"index": "indexes", "policy": "policies"}.get(kind, ""))


def first_line(told: str, most: int = 200) -> str:
    """The first line that says something, shortened at a word."""
    line = next((part.strip() for part in told.splitlines() if part.strip()), "")
    if len(line) <= most:
        return line
    return line[:most].rsplit(" ", 1)[0].rstrip(" ,;:") + " …"


def tally(counts: Sequence[tuple[int, str]]) -> str:
    """Such as ``40 passed, 3 not tested``: nothing that is zero."""
    return ", ".join(f"{number} {word}" for number, word in counts if number)
