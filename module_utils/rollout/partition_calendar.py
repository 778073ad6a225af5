"""Periods of the calendar that partitions are made of. Pure: dates without a zone; the server says when they begin."""

from __future__ import annotations

import datetime

from ansible.module_utils.rollout.errors import RolloutError

UNITS = ("day", "week", "month", "quarter", "year")
#: Months in a unit of months.
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
#: More partitions than this are a mistyped first day; PostgreSQL plans slowly long before.
MOST_PERIODS = 4000


def begin_of(day: datetime.date, unit: str) -> datetime.date:
    """First day of the period that holds a day; weeks begin on Monday (ISO 8601).

    :param unit: one of :data:`UNITS`
    """
    if unit == "day":
        return day
    if unit == "week":
        return day - datetime.timedelta(days=day.weekday())
    months = _MONTHS[unit]
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def later(start: datetime.date, unit: str, count: int) -> datetime.date:
    """First day of the period that many periods after the one which begins at ``start``.

    :param start: as :func:`begin_of` gives it
    :param count: may be negative
    :raises RolloutError: the calendar ends before (years 1 to 9999)
    """
    try:
        if unit in _DAYS:
            return start + datetime.timedelta(days=count * _DAYS[unit])
        years, month = divmod(start.month - 1 + count * _MONTHS[unit], 12)
        return start.replace(year=start.year + years, month=month + 1)
    except (ValueError, OverflowError):
        raise RolloutError(
            f"there is no {unit} {count} after {start}: the calendar has years 1 to 9999"
        ) from None


def periods(first: datetime.date, last: datetime.date, unit: str) -> list[datetime.date]:
    """First days of all periods from the one that holds ``first`` to the one that holds ``last``.

    :raises RolloutError: more than :data:`MOST_PERIODS`
    """
    found = [begin_of(first, unit)]
    end = begin_of(last, unit)
    while found[-1] < end:
        if len(found) == MOST_PERIODS:
            raise RolloutError(
                f"from {first} to {last} there are more than {MOST_PERIODS} partitions of a {unit}",
                hint="Correct the first day, the number ahead, or take a longer unit.",
            )
        found.append(later(found[-1], unit, 1))
    return found


def suffix(start: datetime.date, unit: str) -> str:
    """What a partition's name ends with: ``2025_11_30``, ``2025_w07`` (ISO), ``2025_11``, ``2025_q4``, ``2025``."""
    if unit == "week":
        year, week, _ = start.isocalendar()
        return f"{year:04}_w{week:02}"
    if unit == "quarter":
        return f"{start.year:04}_q{(start.month + 2) // 3}"
    return {
        "day": f"{start.year:04}_{start.month:02}_{start.day:02}",
        "month": f"{start.year:04}_{start.month:02}",
        "year": f"{start.year:04}",
    }[unit]


def as_day(text: str) -> datetime.date:
    """``2025-11`` or ``2025-11-01`` as a date.

    :raises RolloutError: neither
    """
    try:
        return datetime.date.fromisoformat(f"{text}-01" if text.count("-") == 1 else text)
    except ValueError:
        raise RolloutError(
            f"the first period is {text!r}, which is no day", hint="Write it as 2025-11 or 2025-11-01."
        ) from None
