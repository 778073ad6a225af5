"""Precheck, tables by time: judgement on how far they take rows and on their maintenance. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.rollout.findings import Verdict, failed, not_tested, passed, warning
from ansible.module_utils.rollout.partition_plan import AHEAD
from ansible.module_utils.rollout.precheck_demands import Demands, Known


def partitions(known: Known, demands: Demands) -> Verdict:
    """Every table that is maintained takes rows for long enough, and was maintained of late.

    Too little ahead is red: soon inserts fail, whatever is rolled out. The rest is a warning: it needs somebody, and
    hinders no run. A table that is not there yet is to be made.
    """
    tables = known.database["partitions"]
    expected = "each maintained table takes rows far enough ahead, and was maintained of late"
    if not tables:
        return not_tested("", "no table is maintained (maintain_tables)")
    if not all(table["asked"] for table in tables):
        return not_tested(expected, f"a session like those of maintenance broke: {tables[0]['error']}")
    found = [finding for table in tables for finding in table["findings"]]
    short = [finding for finding in found if finding["kind"] == AHEAD]
    if short:
        told = "; ".join(str(finding["text"]) for finding in short)
        return failed(expected, told, str(short[0]["remedy"]), tables=tables)
    errors = [f"{table['table']}: {table['error']}" for table in tables if table["error"]]
    if errors or found:
        hint = str(found[0]["remedy"]) if found else "Correct maintain_tables, or look at the login's rights."
        told = "; ".join([*errors, *(str(finding["text"]) for finding in found)])
        return warning(expected, told, hint, tables=tables)
    return passed(expected, "; ".join(_told(table) for table in tables), tables=tables)


def _told(table: Mapping[str, Any]) -> str:
    if not table["exists"]:
        return f"{table['table']} is not there yet"
    last = table["last_run"]
    return (
        f"{table['table']}: last maintenance {last['days']} days ago ({last['outcome']}), covers until"
        f" {table['covered_until']}"
    )
