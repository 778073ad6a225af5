"""Periods of the calendar: where they begin, what they are called, where the calendar ends."""

import datetime

import pytest
from ansible.module_utils.rollout import partition_calendar as calendar
from ansible.module_utils.rollout.errors import RolloutError
from hypothesis import given
from hypothesis import strategies as st

DAYS = st.dates(datetime.date(1990, 1, 1), datetime.date(2100, 12, 31))
UNITS = st.sampled_from(calendar.UNITS)


@pytest.mark.parametrize(
    ("unit", "day", "begin", "following", "suffix"),
    [
        ("day", "2024-02-29", "2024-02-29", "2024-03-01", "2024_02_29"),
        ("week", "2027-01-02", "2026-12-28", "2027-01-04", "2026_w53"),
        ("month", "2026-02-28", "2026-02-01", "2026-03-01", "2026_02"),
        ("month", "2025-12-31", "2025-12-01", "2026-01-01", "2025_12"),
        ("quarter", "2025-12-31", "2025-10-01", "2026-01-01", "2025_q4"),
        ("quarter", "2025-03-31", "2025-01-01", "2025-04-01", "2025_q1"),
        ("year", "2024-02-29", "2024-01-01", "2025-01-01", "2024"),
    ],
)
def test_periods_begin_follow_and_are_named(
    unit: str, day: str, begin: str, following: str, suffix: str
) -> None:
    start = calendar.begin_of(datetime.date.fromisoformat(day), unit)
    assert (start.isoformat(), calendar.suffix(start, unit)) == (begin, suffix)
    assert calendar.later(start, unit, 1).isoformat() == following


@given(DAYS, UNITS, st.integers(0, 300))
def test_every_day_is_in_exactly_one_period(day: datetime.date, unit: str, count: int) -> None:
    start = calendar.begin_of(day, unit)
    assert start <= day < calendar.later(start, unit, 1)
    assert calendar.begin_of(start, unit) == start
    assert calendar.later(calendar.later(start, unit, count), unit, -count) == start
    found = calendar.periods(day, calendar.later(start, unit, count), unit)
    assert len(found) == count + 1 == len({calendar.suffix(one, unit) for one in found})


def test_a_mistyped_first_day_is_refused() -> None:
    with pytest.raises(RolloutError, match="more than 4000 partitions of a day"):
        calendar.periods(datetime.date(1970, 1, 1), datetime.date(2026, 1, 1), "day")
    with pytest.raises(RolloutError, match="the calendar has years 1 to 9999"):
        calendar.later(datetime.date(9999, 12, 1), "month", 1)
    for text in ("2025-13", "november", "2025-02-30", ""):
        with pytest.raises(RolloutError, match="which is no day"):
            calendar.as_day(text)
    assert calendar.as_day("2025-11") == calendar.as_day("2025-11-01") == datetime.date(2025, 11, 1)
