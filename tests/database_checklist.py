"""The database's half of the success checklist, through the Python API."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ansible.module_utils.rollout import checklist_database
from ansible.module_utils.rollout.checklist_database import Outcome
from ansible.module_utils.rollout.checklist_samples import dump
from ansible.module_utils.rollout.checklist_samples_source import load_samples
from ansible.module_utils.rollout.options import CONNECTION

from sandbox.databases import Database
from tests.runner import MIGRATIONS, PROTECTED

#: What the inventories demand of the application's schema.
DEMANDS: dict[str, Any] = {
    "tables": [
        "companies", "clients", "services", "staff", "staff_schedules", "bookings", "appointments_cache",
        "dialog_contexts", "reminders", "sync_status", "messages",
    ],
    "functions": [
        "update_updated_at_column", "cleanup_expired_dialog_contexts", "cleanup_expired_appointments_cache",
        "get_database_stats", "create_messages_partition", "maintain_messages_partitions", "get_messages_stats",
        "get_recent_messages",
    ],
    "indexes": 70,
    "triggers": 9,
    "rows": {"clients": 1299, "services": 63, "staff": 12, "staff_schedules": 56, "bookings": 38},
}  # fmt: skip
MESSAGES = {"table": "messages", "first": "2025-11", "count": 6, "ahead": 3, "alarm": 2}


@cache
def shipped_samples() -> str:
    """The samples of the role's migrations, as they travel."""
    return dump(load_samples(MIGRATIONS, {}))


@dataclass
class Checklist:
    """Runs the checklist on a database.

    :ivar given: options of ``pg_checklist_info`` that differ
    """

    database: Database
    given: dict[str, Any] = field(default_factory=dict)

    def options(self, **given: Any) -> dict[str, Any]:
        """All options, as the module has them."""
        return {
            **{name: option.get("default") for name, option in CONNECTION.items()},
            **self.database.options,
            "schema": "public",
            "ledger": "rollout",
            "state": "checked",
            "samples": shipped_samples(),
            "partitions": [MESSAGES],
            "demands": DEMANDS,
            "items": {},
            "checks": [],
            "reference": {},
            "protected_tables": list(PROTECTED),
            "lock_timeout_ms": 1500,
            "statement_timeout_ms": 10_000,
            **self.given,
            **given,
        }

    def run(self, check: bool = False, **given: Any) -> Outcome:
        """Evaluate it."""
        return checklist_database.run(self.options(**given), check=check)

    def reference(self) -> dict[str, Any]:
        """What a later run compares with."""
        return self.run(state="noted").reference


def statuses(outcome: Outcome) -> dict[str, str]:
    """Status by item."""
    return {finding["id"]: finding["status"] for finding in outcome.findings}


def finding(outcome: Outcome, item: str) -> dict[str, Any]:
    """One item's finding."""
    (found,) = [one for one in outcome.findings if one["id"] == item]
    return found
