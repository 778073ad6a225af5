"""Locks that cannot be had: a bounded number of attempts, and at the end the names of those who stood in the way.

Nobody's session is ever ended. Each attempt waits ``lock_timeout`` at most, so that whoever queues behind us waits no
longer than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import StatementFailed
from ansible.module_utils.rollout.locks import mode_from_catalog

#: SQLSTATEs after which the same may succeed: lock_not_available, deadlock_detected.
_RETRIED = ("55P03", "40P01")

_HOLDERS = """
SELECT a.pid, a.application_name, a.state, round(extract(epoch FROM clock_timestamp() - a.xact_start))::int,
       l.mode, c.relname
  FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'relation' AND l.granted AND a.pid <> pg_backend_pid() AND n.nspname !~ '^pg_'
   AND c.relname = ANY(%s)
 ORDER BY a.xact_start LIMIT 10
"""
# CREATE INDEX CONCURRENTLY waits for every transaction of the database that may still see the table as it was.
_OLD_TRANSACTIONS = """
SELECT a.pid, a.application_name, a.state, round(extract(epoch FROM clock_timestamp() - a.xact_start))::int
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid()
 ORDER BY a.xact_start LIMIT 10
"""

Result = TypeVar("Result")


def with_attempts(
    session: Session,
    action: Callable[[], Result],
    *,
    attempts: int,
    pause_s: float,
    tables: Iterable[str],
) -> tuple[Result, int]:
    """Try until the locks can be had.

    :param action: is tried anew each time; its transaction is rolled back after a failure
    :param attempts: how often
    :param pause_s: pause before the second attempt, doubled before each further one, seconds
    :param tables: names of the tables that may be in the way, to ask who holds them
    :returns: what the action returned, and the number of attempts
    :raises StatementFailed: any other error at once; a lock that cannot be had after the last attempt
    """
    for attempt in range(1, attempts + 1):
        try:
            return action(), attempt
        except StatementFailed as error:
            session.rollback()
            if error.details.get("sqlstate") not in _RETRIED:
                raise
            if attempt == attempts:
                raise _explained(session, error, attempts, tables) from None
        time.sleep(pause_s * 2 ** (attempt - 1))
    raise ValueError(f"attempts must be 1 or more, not {attempts}")


def _explained(
    session: Session, error: StatementFailed, attempts: int, tables: Iterable[str]
) -> StatementFailed:
    names = sorted({table.rpartition(".")[2] for table in tables})
    holders, old = session.run([Command(_HOLDERS, (names,)), Command(_OLD_TRANSACTIONS)])
    told = [f"{_who(row)} holds {mode_from_catalog(row[4])} on {row[5]}" for row in holders]
    told += [_who(row) for row in old if not any(row[0] == holder[0] for holder in holders)]
    return StatementFailed(
        f"{error.message}\n  after {attempts} attempts; in the way: {'; '.join(told) or 'nobody any more'}",
        hint="Wait for that transaction to end, then run again. The rollout ends nobody's session.",
        details={**error.details, "blockers": told},
    )


def _who(row: tuple[Any, ...]) -> str:
    """Whoever it is, by what may be seen: PostgreSQL hides state and age of another login's session."""
    pid, name, state, age = row[:4]
    seen = [name or "unnamed"]
    if state is not None:
        seen.append(state)
    if age is not None:
        seen.append(f"transaction open for {age} s")
    return f"backend {pid} ({', '.join(seen)})"
