"""Statements that PostgreSQL refuses inside a transaction: CREATE INDEX CONCURRENTLY and its like.

They run one by one after the migration's transaction. Until all have succeeded the ledger says ``unfinished``; the next
run finishes what is left, and replaces an index that an interrupted build left INVALID.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ansible.module_utils.rollout import catalog, diff, ledger
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import DriftFound
from ansible.module_utils.rollout.execution import Executed, Settings
from ansible.module_utils.rollout.migration import Migration, Statement, in_schema

#: Building an index on a large table takes its time; waiting for a lock does not (lock_timeout stays).
_BUILD_TIMEOUT_MS = 6 * 3600 * 1000


def finish(
    session: Session,
    migration: Migration,
    late_changes: Sequence[Change],
    state: str,
    settings: Settings,
    done: Executed,
) -> None:
    """Run what has to run outside a transaction, and turn the ledger's ``unfinished`` into ``state``.

    :param late_changes: what these statements do to the catalog, from the rehearsal
    :param state: ``applied``, ``adopted`` or ``completed``
    :raises StatementFailed: a statement failed; the ledger keeps saying ``unfinished`` and the next run goes on here
    :raises DriftFound: afterwards the catalog is not what the rehearsal said
    """
    before = catalog.read(session, settings.schema)
    # For the whole session: there is no transaction to bind it to.
    path = Command(
        "SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', false)", (settings.schema,)
    )
    session.run([Command(f"SET statement_timeout = {_BUILD_TIMEOUT_MS}"), path])
    for statement in migration.statements:
        if not statement.transactional:
            _run_one(session, statement, late_changes, before, settings, done)
    after = catalog.read(session, settings.schema)
    wrong = [
        diff.Difference(change.object, "changed", change.after, after.entries.get(change.object))
        for change in late_changes
        if after.entries.get(change.object) != change.after
    ]
    if wrong:
        raise DriftFound(
            f"{migration.label}: after its last statement the catalog is not what the rehearsal foretold:\n"
            + diff.as_text(wrong),
            hint="The ledger says 'unfinished'; correct the objects named above, then run again.",
            details={"differences": [difference.as_json() for difference in wrong]},
        )
    session.run(
        [
            "BEGIN",
            *ledger.finish_commands(settings.ledger, settings.schema, migration.id, state, late_changes),
            "COMMIT",
        ]
    )
    done.state = state


def _run_one(
    session: Session,
    statement: Statement,
    late_changes: Sequence[Change],
    before: Catalog,
    settings: Settings,
    done: Executed,
) -> None:
    made = [change for change in late_changes if change.object in statement.creates]
    if made and all(before.entries.get(change.object) == change.after for change in made):
        return
    for change in made:
        if before.entries.get(change.object, {}).get("invalid"):
            _drop_invalid(session, change.object, settings)
    text = in_schema(statement.text, settings.schema)
    began = time.perf_counter()
    session.run_alone(Command(text, place=statement.place))
    done.statements.append(
        {"place": statement.place, "sql": text, "ms": round((time.perf_counter() - began) * 1000, 2)}
    )


def _drop_invalid(session: Session, name: str, settings: Settings) -> None:
    index = name.removeprefix("index ")
    session.run_alone(
        Command(f'DROP INDEX CONCURRENTLY "{settings.schema}"."{index}"', place=f"repair of {name}")
    )
