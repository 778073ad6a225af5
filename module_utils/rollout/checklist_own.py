"""The operator's own checks: a query and what it has to return."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.findings import Verdict, failed, passed, warning
from ansible.module_utils.rollout.masking import masked_numbers

_KEYS = ("id", "title", "query", "expected", "status_if_not", "hint")
_MOST_ROWS = 100


@dataclass(frozen=True)
class Check:
    """A check of the operator's own.

    :ivar expected: rows
    :ivar status_if_not: ``failed`` or ``warning``
    """

    id: str
    title: str
    query: str
    expected: Sequence[Sequence[Any]]
    status_if_not: str
    hint: str


def own_checks(given: Sequence[Mapping[str, Any]], taken: Collection[str]) -> list[Check]:
    """The option ``checks``.

    :param taken: ids of the checklist's own items
    :raises RolloutError: a missing or unknown key, or an id that is taken
    """
    found: list[Check] = []
    for at, entry in enumerate(given):
        where = f"checks[{at}]"
        if unknown := sorted(set(entry) - set(_KEYS)):
            raise RolloutError(f"{where}: unknown key {unknown[0]!r}", hint=f"Known are: {', '.join(_KEYS)}.")
        if missing := [key for key in _KEYS[:4] if key not in entry]:
            raise RolloutError(
                f"{where}: {missing[0]} is missing", hint="id, title, query and expected are needed."
            )
        name = str(entry["id"])
        if name in taken or name in {check.id for check in found}:
            raise RolloutError(f"{where}: the id {name} is taken", hint="Choose another.")
        status = entry.get("status_if_not", "failed")
        if status not in ("failed", "warning"):
            raise RolloutError(f"{where}: status_if_not is {status!r}", hint="failed or warning.")
        expected = entry["expected"]
        if not isinstance(expected, list):
            expected = [[expected]]
        rows = [row if isinstance(row, list) else [row] for row in expected]
        found.append(
            Check(name, str(entry["title"]), str(entry["query"]), rows, status, str(entry.get("hint", "")))
        )
    return found


def evaluate(session: Session, schema: str, check: Check) -> Verdict:
    """Ask, in a transaction that the server keeps from writing and that is rolled back.

    :raises StatementFailed: the query failed
    """
    try:
        answers = session.run(
            ["BEGIN READ ONLY", catalog.search_path(schema), Command(check.query), "ROLLBACK"]
        )
    finally:
        session.rollback()
    rows = [[_plain(value) for value in row] for row in answers[2]]
    expected = [[_plain(value) for value in row] for row in check.expected]
    told = _told(expected)
    shown = masked_numbers(rows)
    evidence = {"query": check.query, "rows": shown[:_MOST_ROWS]}
    if len(rows) <= _MOST_ROWS and rows == expected:
        return passed(told, _told(shown), **evidence)
    judge = failed if check.status_if_not == "failed" else warning
    return judge(told, _told(shown), check.hint, **evidence)


def _plain(value: Any) -> Any:
    """A value as JSON and YAML know it; numbers by value."""
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return value
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _told(rows: Sequence[Sequence[Any]]) -> str:
    if len(rows) == 1 and len(rows[0]) == 1:
        return str(rows[0][0])
    text = "; ".join(", ".join(str(value) for value in row) for row in rows[:10]) or "no row"
    return text if len(rows) <= 10 else f"{text}; and {len(rows) - 10} rows more"
