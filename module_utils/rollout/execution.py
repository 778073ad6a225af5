"""Run one migration for real: one transaction with its proofs and its ledger row, then COMMIT, then what must follow.

Before COMMIT two things are proven, or everything is rolled back: no protected table was locked beyond its budget, and
the catalog is what the rehearsal said it would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout import catalog, diff, ledger, locks, transaction
from ansible.module_utils.rollout.budget import check_budget
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Change, Difference
from ansible.module_utils.rollout.errors import (
    ConnectionFailed,
    DriftFound,
    RolloutError,
    StatementFailed,
)
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.ledger import Entered
from ansible.module_utils.rollout.migration import Migration, Statement, in_schema
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.plan import EQUAL, PARTIAL, Rehearsed
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts

#: How long to ask what became of a COMMIT whose answer was lost, seconds.
_VERDICT_PATIENCE_S = 15.0
_STATE_AFTER = {EQUAL: "adopted", PARTIAL: "completed"}


@dataclass(frozen=True)
class Settings:
    """What does not change from one migration to the next.

    :ivar schema: target schema
    :ivar ledger: schema of the ledger
    :ivar owner_role: role that owns what is created; empty for the login role
    :ivar protected: tables of the application that must not be locked beyond ACCESS SHARE
    :ivar run_id: the run, as the ledger and ``pg_stat_activity`` show it
    :ivar applied_from: the host that runs the module
    :ivar attempts: how often a transaction is tried that was refused a lock
    :ivar retry_pause_s: pause before the second attempt, doubled before each further one, seconds
    """

    schema: str
    ledger: str
    owner_role: str
    protected: tuple[str, ...]
    run_id: str
    applied_from: str
    attempts: int = 5
    retry_pause_s: float = 1.0


@dataclass
class Executed:
    """What happened, for the run record.

    :ivar statements: those sent, each with place, SQL and milliseconds on the server's clock
    :ivar locks: strongest mode on each relation that existed before
    :ivar budget: strongest mode that each protected table may see
    """

    state: str = ""
    statements: list[dict[str, object]] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    budget: dict[str, str] = field(default_factory=dict)
    fingerprint_before: str = ""
    fingerprint_after: str = ""
    attempts: int = 0
    commit_verdict: str = "answered"
    xid: str = ""


class CatalogMismatch(DriftFound):
    """Inside the transaction the catalog was not what the rehearsal foretold. Nothing was committed."""


def execute(
    open_session: Callable[[], Session],
    session: Session,
    seen: Observation,
    migration: Migration,
    verdict_state: str,
    rehearsed: Rehearsed,
    chosen: Sequence[tuple[int, Statement]],
    standing: Sequence[str],
    settings: Settings,
) -> Executed:
    """Apply, adopt or complete one migration.

    :param open_session: opens another session, to ask what became of a COMMIT whose answer was lost
    :param chosen: the transactional statements to send, with their positions
    :param standing: objects that stood before, made by somebody else
    :raises LockBudgetExceeded: a protected table was locked harder than allowed; rolled back
    :raises CatalogMismatch: the catalog is not what the rehearsal said; rolled back
    :raises StatementFailed: a statement failed, or no lock could be had; rolled back
    """
    done = Executed(fingerprint_before=fingerprint(seen.catalog.entries))
    done.budget = locks.budget_for(seen.protected, migration.locks)
    _check_late_budget(migration, rehearsed, seen)
    script, done.attempts = with_attempts(
        session,
        lambda: _run_statements(session, migration, chosen, settings),
        attempts=settings.attempts,
        pause_s=settings.retry_pause_s,
        tables=tables_in_the_way(migration, seen),
    )
    after = script.catalog("after")
    try:
        done.locks = locks.strongest(transaction.locks_from_rows(script.rows("held"), script.rows("known")))
        check_budget(migration, done.locks, seen.protected)
        _check_same_transaction(script)
        _check_catalog(migration, rehearsed, standing, seen.catalog, after)
    except RolloutError:
        session.rollback()
        raise
    late = [statement for statement in migration.statements if not statement.transactional]
    done.state = "unfinished" if late else _STATE_AFTER.get(verdict_state, "applied")
    done.fingerprint_after = fingerprint(after.entries)
    done.xid = script.rows("last xid")[0][0]
    done.statements = _timed(script, chosen, settings.schema)
    entered = Entered(
        migration=migration,
        schema=settings.schema,
        state=done.state,
        catalog_fingerprint=done.fingerprint_after,
        run_id=settings.run_id,
        applied_from=settings.applied_from,
        statements=len(chosen),
        duration_ms=script.elapsed("begin", "end") * 1000,
        changes=_recorded([*rehearsed.changes, *_standing_late(rehearsed, standing)], after),
        adopted=frozenset(standing),
    )
    create = [] if seen.ledger.exists else ledger.create_commands(settings.ledger)
    try:
        session.run([*create, *ledger.write_commands(settings.ledger, entered), Command("COMMIT")])
    except ConnectionFailed:
        done.commit_verdict = what_became_of(open_session, done.xid, migration)
    except StatementFailed:
        session.rollback()
        raise
    return done


def tables_in_the_way(migration: Migration, seen: Observation) -> set[str]:
    """Tables that existed before and that a migration may have to lock."""
    managed = {name.removeprefix("table ") for name in seen.ledger.expected if name.startswith("table ")}
    return {*migration.existing_tables, *migration.grows, *seen.protected, *managed}


def _run_statements(
    session: Session, migration: Migration, chosen: Sequence[tuple[int, Statement]], settings: Settings
) -> Script:
    """Everything up to, not including, the ledger row and COMMIT: one round trip."""
    script = Script()
    script.add(Command("BEGIN"), catalog.search_path(settings.schema))
    script.add(transaction.known_relations(), name="known")
    script.add(*transaction.as_role(settings.owner_role))
    script.add(Command("SELECT pg_current_xact_id()::text"), name="first xid")
    script.add_clock("begin")
    for at, statement in chosen:
        script.add(Command(in_schema(statement.text, settings.schema), place=statement.place))
        script.add_clock(at)
    script.add_clock("end")
    script.add(Command("RESET ROLE"))
    script.add(transaction.held_locks(settings.schema), name="held")
    script.add(Command("SELECT pg_current_xact_id()::text"), name="last xid")
    script.add_catalog(settings.schema, "after")
    script.run(session)
    return script


def _check_late_budget(migration: Migration, rehearsed: Rehearsed, seen: Observation) -> None:
    """Statements outside a transaction keep no locks to be read; theirs are known: SHARE UPDATE EXCLUSIVE.

    https://www.postgresql.org/docs/current/explicit-locking.html: CREATE INDEX CONCURRENTLY and its like.
    """
    held = {
        table: "SHARE UPDATE EXCLUSIVE"
        for change in rehearsed.late_changes
        for table in [catalog.table_of(change.object, change.after or change.before)]
        if table
    }
    check_budget(migration, held, seen.protected)


def _check_same_transaction(script: Script) -> None:
    first, last = script.rows("first xid")[0][0], script.rows("last xid")[0][0]
    if first != last:
        raise RolloutError(
            f"a statement ended the rollout's transaction ({first} became {last})",
            hint="Take COMMIT or ROLLBACK out of the procedure that the migration calls.",
        )


def _check_catalog(
    migration: Migration, rehearsed: Rehearsed, standing: Sequence[str], before: Catalog, after: Catalog
) -> None:
    """Prove that the transaction did what was rehearsed: that, and nothing else.

    What stood before stays as it is: a later migration, begun by hand too, may have taken it further already.
    """
    foretold = {change.object: change.after for change in rehearsed.changes if change.object not in standing}
    wrong = []
    for name in sorted(set(foretold) | set(before.entries) | set(after.entries)):
        expected = foretold[name] if name in foretold else before.entries.get(name)
        observed = after.entries.get(name)
        if expected != observed:
            kind = "missing" if observed is None else "extra" if expected is None else "changed"
            wrong.append(Difference(name, kind, expected, observed))
    if wrong:
        raise CatalogMismatch(
            f"{migration.label}: the catalog is not what the rehearsal foretold; rolled back before COMMIT:\n"
            + diff.as_text(wrong),
            hint="Somebody else changed the schema meanwhile, or the migration depends on the time. Run again.",
            details={"differences": [difference.as_json() for difference in wrong]},
        )


def _standing_late(rehearsed: Rehearsed, standing: Sequence[str]) -> list[Change]:
    """Made by somebody else before the statements outside the transaction could make them; recorded at once."""
    return [change for change in rehearsed.late_changes if change.object in standing]


def _recorded(foretold: Sequence[Change], after: Catalog) -> list[Change]:
    return [Change(change.object, change.before, after.entries.get(change.object)) for change in foretold]


def _timed(script: Script, chosen: Sequence[tuple[int, Statement]], schema: str) -> list[dict[str, object]]:
    timed: list[dict[str, object]] = []
    previous: Hashable = "begin"
    for at, statement in chosen:
        timed.append(
            {
                "place": statement.place,
                "sql": in_schema(statement.text, schema),
                "ms": round(script.elapsed(previous, at) * 1000, 2),
            }
        )
        previous = at
    return timed


def what_became_of(open_session: Callable[[], Session], xid: str, migration: Migration) -> str:
    """Ask a new session whether a transaction was committed whose COMMIT was never answered.

    :raises ConnectionFailed: it was not committed, or nobody could be asked
    """
    deadline = time.monotonic() + _VERDICT_PATIENCE_S
    last = "the database could not be reached again"
    while time.monotonic() < deadline:
        try:
            with open_session() as session:
                status = session.run([Command("SELECT pg_xact_status(%s::xid8)", (xid,))])[0][0][0]
        except ConnectionFailed as error:
            last = error.message
        else:
            if status == "committed":
                return "committed, as pg_xact_status says; its answer was lost"
            if status == "aborted":
                raise ConnectionFailed(
                    f"{migration.label}: the connection was lost in COMMIT, and the server rolled it back ({xid})",
                    hint="Nothing was changed. Run again.",
                )
            last = f"transaction {xid} is {status}"
        time.sleep(0.3)
    raise ConnectionFailed(
        f"{migration.label}: the connection was lost in COMMIT and its outcome is not known: {last}",
        hint="Run again: the ledger row was written in the same transaction and tells what happened.",
        details={"xid": xid},
    )
