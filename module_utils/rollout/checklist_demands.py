"""What the inventory demands of the database and of its partitions, checked before anybody is asked. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import partition_calendar as calendar
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_calendar import as_day
from ansible.module_utils.rollout.partition_plan import Desired

_LISTS, _COUNTS, _ROWS = ("tables", "functions"), ("indexes", "triggers"), "rows"
_BOUNDS = ("at_least", "at_most")
#: Keys of an entry of the option ``partitions``, and what they are unless given. Those of None are needed elsewhere.
_KEYS: dict[str, Any] = {
    "table": None,
    "schema": "",
    "unit": "month",
    "zone": "UTC",
    "first": "",
    "ahead": 3,
    "alarm": 1,
    "retention": 0,
    "count": 0,
    "max_age_days": 3,
    "archive_dir": "",
    "drop_archived": False,
}
_NUMBERS = ("ahead", "alarm", "retention", "count", "max_age_days")


@dataclass(frozen=True)
class Wanted:
    """What a partitioned table has to take.

    :ivar count: so many periods from the first must exist, beside those around the present
    :ivar max_age_days: a last maintenance longer ago is a warning
    """

    schema: str
    desired: Desired
    zone: str
    count: int
    max_age_days: int


def require_demands(demands: Any, place: str = "demands") -> None:
    """Refuse demands that nobody can keep: misspelt, one would hold whatever is there.

    :param place: the variable that holds them
    :raises RolloutError: naming each
    """
    if problems := list(_problems(demands, place)):
        raise RolloutError(
            "\n".join(problems),
            hint=f"Correct {place}. It takes tables and functions (lists of names), indexes and triggers (numbers), and"
            " rows: for each table a number, or {at_least: …, at_most: …}.",
        )


def _problems(demands: Any, place: str) -> Iterator[str]:
    if not isinstance(demands, Mapping):
        yield f"{place} is {demands!r}, not a mapping"
        return
    yield from _unknown(demands, (*_LISTS, *_COUNTS, _ROWS), place)
    for name in _LISTS:
        names = demands.get(name, [])
        if not isinstance(names, list | tuple) or not all(isinstance(one, str) and one for one in names):
            yield f"{place}: {name} is {names!r}, not a list of names"
    for name in _COUNTS:
        if not _is_number(demands.get(name, 0)):
            yield f"{place}: {name} is {demands[name]!r}, not a number of 0 or more"
    rows = demands.get(_ROWS, {})
    if not isinstance(rows, Mapping):
        yield f"{place}: rows is {rows!r}, not a mapping of tables"
        return
    for table, demand in rows.items():
        yield from _problems_of_rows(demand, f"{place}: rows: {table}")


def _problems_of_rows(demand: Any, place: str) -> Iterator[str]:
    if not isinstance(demand, Mapping):
        if not _is_number(demand):
            yield f"{place} is {demand!r}, not a number of 0 or more"
        return
    if not demand:
        yield f"{place} names neither at_least nor at_most"
    yield from _unknown(demand, _BOUNDS, place)
    wrong = [name for name in _BOUNDS if name in demand and not _is_number(demand[name])]
    yield from (f"{place}: {name} is {demand[name]!r}, not a number of 0 or more" for name in wrong)
    if not wrong and int(demand.get("at_least", 0)) > int(demand.get("at_most", demand.get("at_least", 0))):
        yield f"{place}: at_least is {demand['at_least']}, more than at_most, {demand['at_most']}"


def _unknown(given: Mapping[str, Any], known: Collection[str], place: str) -> Iterator[str]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{place}: unknown key {name!r}{meant}"


def _is_number(value: Any) -> bool:
    """Whether it is a whole number of 0 or more; a template may have made a text of it."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def wanted(given: Any, schema: str, place: str = "partitions") -> list[Wanted]:
    """The option ``partitions``, checked.

    :param schema: of tables that name none
    :param place: the variable that holds it
    :raises RolloutError: an unknown key, a missing table, or a value that cannot be
    """
    if not isinstance(given, list | tuple) or not all(isinstance(entry, Mapping) for entry in given):
        raise RolloutError(f"{place} is {given!r}, not a list of mappings", hint=f"Correct {place}.")
    return [_wanted(entry, schema, place) for entry in given]


def _wanted(entry: Mapping[str, Any], schema: str, place: str) -> Wanted:
    if unknown := list(_unknown(entry, _KEYS, place)):
        raise RolloutError("\n".join(unknown), hint=f"Known are: {', '.join(_KEYS)}.")
    if not entry.get("table"):
        raise RolloutError(f"{place}: {dict(entry)!r} names no table", hint="Add table.")
    values = {**_KEYS, **entry}
    if values["unit"] not in calendar.UNITS:
        raise RolloutError(
            f"{place}: {values['table']}: unit is {values['unit']!r}",
            hint=f"One of {', '.join(calendar.UNITS)}.",
        )
    for name in _NUMBERS:
        if not _is_number(values[name]):
            raise RolloutError(
                f"{place}: {values['table']}: {name} is {values[name]!r}, not a number of 0 or more",
                hint=f"Whole numbers are: {', '.join(_NUMBERS)}.",
            )
    desired = Desired(
        str(values["table"]),
        str(values["unit"]),
        as_day(str(values["first"])) if values["first"] else None,
        int(values["ahead"]),
        int(values["retention"]),
        int(values["alarm"]),
    )
    return Wanted(
        str(values["schema"] or schema),
        desired,
        str(values["zone"]),
        int(values["count"]),
        int(values["max_age_days"]),
    )
