"""Carry out a repair, under the same discipline as a migration: attempts, budget of locks, proof afterwards."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ansible.module_utils.rollout import catalog, diff, locks, transaction
from ansible.module_utils.rollout.budget import check_budget
from ansible.module_utils.rollout.catalog import table_of
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import DriftFound, RolloutError
from ansible.module_utils.rollout.execution import Settings, tables_in_the_way
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.plan import Verdict
from ansible.module_utils.rollout.repair import Repair
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts


def mend(
    session: Session, seen: Observation, verdict: Verdict, mending: Repair, settings: Settings
) -> dict[str, str]:
    """Send a repair and prove that nothing differs any more.

    :returns: strongest lock on each relation
    :raises LockBudgetExceeded: a protected table would be locked harder than its budget; nothing was kept
    :raises DriftFound: something is still not as it must be
    """
    migration = verdict.migration
    built = {
        table: "SHARE UPDATE EXCLUSIVE"  # what CREATE INDEX CONCURRENTLY takes
        for difference in verdict.differences
        if mending.concurrent and difference.object.startswith("index ")
        for table in [table_of(difference.object, difference.expected)]
        if table
    }
    check_budget(migration, built, seen.protected, "repairing ")
    held = _in_transaction(session, seen, migration, mending.transactional, settings)
    for command in mending.concurrent:
        with_attempts(
            session,
            functools.partial(session.run_alone, command),
            attempts=settings.attempts,
            pause_s=settings.retry_pause_s,
            tables=tables_in_the_way(migration, seen),
        )
    held = {**built, **held, **_in_transaction(session, seen, migration, mending.comments, settings)}
    after = catalog.read(session, settings.schema)
    left = [d for d in verdict.differences if d.expected != after.entries.get(d.object)]
    if left:
        raise DriftFound(
            f"{migration.label}: still not as it must be after the repair:\n{diff.as_text(left)}"
        )
    return held


def _in_transaction(
    session: Session, seen: Observation, migration: Migration, commands: Sequence[Command], settings: Settings
) -> dict[str, str]:
    if not commands:
        return {}
    script = Script()
    script.add(Command("BEGIN"), catalog.search_path(settings.schema), *commands)
    script.add(transaction.held_locks(settings.schema), name="held")
    with_attempts(
        session,
        functools.partial(script.run, session),
        attempts=settings.attempts,
        pause_s=settings.retry_pause_s,
        tables=tables_in_the_way(migration, seen),
    )
    held = locks.strongest(transaction.locks_from_rows(script.rows("held")))
    try:
        check_budget(migration, held, seen.protected, "repairing ")
    except RolloutError:
        session.rollback()
        raise
    session.run([Command("COMMIT")])
    return held
