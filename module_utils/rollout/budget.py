"""Refuse a transaction that locked a protected table harder than it may, before it commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible.module_utils.rollout import locks
from ansible.module_utils.rollout.errors import LockBudgetExceeded
from ansible.module_utils.rollout.locks import TableLock
from ansible.module_utils.rollout.migration import Migration


def check_budget(
    migration: Migration, held: Mapping[str, str], protected: Iterable[str], doing: str = ""
) -> None:
    """Compare the locks that a transaction holds with what the migration may take.

    :param held: strongest mode on each relation
    :param protected: tables of the application, as ``pg_locks`` names them
    :param doing: what the transaction does, when it is not applying the migration
    :raises LockBudgetExceeded: naming every lock that is too strong; the caller rolls back
    """
    budget = locks.budget_for(protected, migration.locks)
    over = locks.over_budget([TableLock(table, mode) for table, mode in held.items()], budget)
    if over:
        told = "; ".join(f"{lock.mode} on {lock.table} (allowed: {budget[lock.table]})" for lock in over)
        raise LockBudgetExceeded(
            f"{doing}{migration.label} locks a protected table too hard: {told}. It was rolled back before COMMIT.",
            hint="Take the foreign key or trigger out, or declare the lock under 'locks' in its migration.yml.",
            details={"locks": [{"table": lock.table, "mode": lock.mode} for lock in over]},
        )
