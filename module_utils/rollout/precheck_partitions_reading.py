"""Precheck, tables by time: how far each takes rows, and when it was maintained last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.module_utils.rollout import partition_record
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.partition_calendar import as_day
from ansible.module_utils.rollout.partition_plan import AHEAD, Desired, shown, too_few_ahead
from ansible.module_utils.rollout.partition_reading import look, quoted
from ansible.module_utils.rollout.partitions import late


def read(
    options: ConnectionOptions,
    application_name: str,
    ledger: str,
    tables: Sequence[Mapping[str, Any]],
    max_age_days: int,
) -> list[dict[str, Any]]:
    """A row for each table: table, asked, exists, error, ahead, covered_until, last_run, findings.

    :param ledger: schema of the ledger
    :param tables: each with schema, table, unit, zone, first, ahead, alarm and retention, as in ``pg_partitions``
    :param max_age_days: a last maintenance longer ago is a finding
    """
    if not tables:
        return []
    try:
        with Session(options, application_name, read_only=True) as session:
            return [_read(session, ledger, given, max_age_days) for given in tables]
    except RolloutError as error:
        return [_row(given, asked=False, error=error.message) for given in tables]


def _read(session: Session, ledger: str, given: Mapping[str, Any], max_age_days: int) -> dict[str, Any]:
    schema, name = str(given["schema"]), str(given["table"])
    found = session.run([Command("SELECT to_regclass(%s) IS NOT NULL", (quoted(schema, name),))])
    if not found[0][0][0]:
        return _row(given)
    try:
        first = as_day(str(given["first"])) if given["first"] else None
        wanted = Desired(name, given["unit"], first, given["ahead"], given["retention"], given["alarm"])
        seen = look(session, schema, wanted, given["zone"])
        last = partition_record.last_run(session, ledger, schema, name)
    except RolloutError as error:
        if session.lost:
            raise
        session.rollback()
        return _row(given, exists=True, error=error.message)
    until, ahead = seen.plan.standing
    findings = [finding for finding in seen.plan.alarming if finding.kind != AHEAD]
    if ahead < wanted.alarm:
        findings.append(too_few_ahead(wanted, until, ahead))
    findings += late(f"{schema}.{name}", last, max_age_days)
    return {
        **_row(given, exists=True),
        "ahead": ahead,
        "covered_until": "" if until is None else shown(until),
        "last_run": last,
        "findings": [asdict(finding) for finding in findings],
    }


def _row(
    given: Mapping[str, Any], *, asked: bool = True, exists: bool = False, error: str = ""
) -> dict[str, Any]:
    name = f"{given['schema']}.{given['table']}"
    empty = {"ahead": 0, "covered_until": "", "last_run": {}, "findings": []}
    return {"table": name, "asked": asked, "exists": exists, "error": error, **empty}
