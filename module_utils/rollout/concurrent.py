"""Statements that PostgreSQL refuses inside a transaction: CREATE INDEX CONCURRENTLY and its like.

They run one by one after the migration's transaction. Until all have succeeded the ledger says ``unfinished``; the next
run goes on there, and replaces an index that an interrupted build left INVALID.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

from ansible.module_utils.rollout import catalog, diff, ledger
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Change, Difference
from ansible.module_utils.rollout.errors import DriftFound
from ansible.module_utils.rollout.execution import Executed, Settings, tables_in_the_way
from ansible.module_utils.rollout.migration import Migration, Statement, in_schema
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.plan import Rehearsed
from ansible.module_utils.rollout.waiting import with_attempts

#: Building an index on a large table takes its time; waiting for a lock does not (lock_timeout stays).
_BUILD_TIMEOUT_MS = 6 * 3600 * 1000


def finish(
    session: Session,
    seen: Observation,
    migration: Migration,
    rehearsed: Rehearsed,
    state: str,
    settings: Settings,
    done: Executed,
) -> None:
    """Run what has to run outside a transaction, and turn the ledger's ``unfinished`` into ``state``.

    :param state: ``applied``, ``adopted`` or ``completed``
    :raises StatementFailed: a statement failed; the ledger keeps saying ``unfinished`` and the next run goes on here
    :raises DriftFound: afterwards the catalog is not what the rehearsal said
    """
    # For the whole session: there is no transaction to bind it to.
    path = Command(
        "SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', false)", (settings.schema,)
    )
    session.run([Command(f"SET statement_timeout = {_BUILD_TIMEOUT_MS}"), path])
    late = [statement for statement in migration.statements if not statement.transactional]
    for statement, step in zip(late, rehearsed.late_steps, strict=True):
        _, attempts = with_attempts(
            session,
            functools.partial(_run_one, session, statement, step, settings, done),
            attempts=settings.attempts,
            pause_s=settings.retry_pause_s,
            tables=tables_in_the_way(migration, seen),
        )
        done.attempts = max(done.attempts, attempts)
    _check(session, migration, rehearsed.late_changes, settings)
    session.run(
        [
            "BEGIN",
            *ledger.finish_commands(
                settings.ledger, settings.schema, migration.id, state, rehearsed.late_changes
            ),
            "COMMIT",
        ]
    )
    done.state = state


def _run_one(
    session: Session, statement: Statement, step: Sequence[Change], settings: Settings, done: Executed
) -> None:
    """Run a statement unless its effect stands already; remove what an interrupted attempt left first."""
    live = catalog.read(session, settings.schema).entries
    if step and all(live.get(change.object) == change.after for change in step):
        return
    for change in step:
        if live.get(change.object, {}).get("invalid") and change.before is None:
            name = change.object.removeprefix("index ")
            drop = f'DROP INDEX CONCURRENTLY "{settings.schema}"."{name}"'
            session.run_alone(Command(drop, place=f"removal of the invalid {change.object}"))
    text = in_schema(statement.text, settings.schema)
    began = time.perf_counter()
    session.run_alone(Command(text, place=statement.place))
    spent = (time.perf_counter() - began) * 1000
    done.statements.append({"place": statement.place, "sql": text, "ms": round(spent, 2)})


def _check(session: Session, migration: Migration, foretold: Sequence[Change], settings: Settings) -> None:
    after = catalog.read(session, settings.schema)
    wrong = [
        Difference(change.object, "changed", change.after, after.entries.get(change.object))
        for change in foretold
        if after.entries.get(change.object) != change.after
    ]
    if wrong:
        raise DriftFound(
            f"{migration.label}: after its last statement the catalog is not what the rehearsal foretold:\n"
            + diff.as_text(wrong),
            hint="The ledger says 'unfinished'; correct the objects named above, then run again.",
            details={"differences": [difference.as_json() for difference in wrong]},
        )
