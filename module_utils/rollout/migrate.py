"""The states of ``pg_migration``: observe, plan, and either say what would be done or do it and prove it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible.module_utils.rollout import catalog, concurrent, diff, locks, plan, rehearsal, removal, repair
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import DriftFound, RemovalRefused, RolloutError, SourceError
from ansible.module_utils.rollout.execution import CatalogMismatch, Executed, Settings, execute
from ansible.module_utils.rollout.exported import rows_in
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.mending import mend
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.observation import Observation, observe
from ansible.module_utils.rollout.plan import Rehearsed, Verdict
from ansible.module_utils.rollout.removal import Removal
from ansible.module_utils.rollout.waiting import with_attempts

OpenSession = Callable[[], Session]


@dataclass
class Outcome:
    """What a module returns.

    :ivar changed: whether the database was changed, or in check mode would be
    :ivar summary: one sentence for the operator
    :ivar before: text for ``--diff``
    :ivar after: text for ``--diff``
    """

    changed: bool = False
    summary: str = ""
    migrations: list[dict[str, Any]] = field(default_factory=list)
    rehearsal: str = ""
    executed: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    server_version: str = ""
    round_trips: int = 0
    seconds: float = 0.0
    notices: list[dict[str, str]] = field(default_factory=list)
    removals: list[dict[str, Any]] = field(default_factory=list)
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class _Assessment:
    seen: Observation
    verdicts: Sequence[Verdict]
    rehearsed: Mapping[str, Rehearsed] | None
    rehearsal_locks: Mapping[str, str]

    def of(self, migration_id: str) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.migration.id == migration_id)


def rehearsed(
    open_session: OpenSession,
    migrations: Sequence[Migration],
    settings: Settings,
    *,
    check: bool,
    drift: str = "fail",
) -> Outcome:
    """``state: rehearsed``: say what stands of every migration, and rehearse what is pending.

    :param check: read only; what is pending is then compared by name
    :param drift: ``repair`` lets drift that can be mended pass, as pending
    :raises RolloutError: drift, or anything that would make the run fail
    """
    with open_session() as session:
        found = _assess(session, migrations, settings, check, given=None)
        outcome = _outcome(session, found, settings)
    drifted = [verdict for verdict in found.verdicts if verdict.state == plan.DRIFTED]
    if drift == "repair":
        _refuse_beyond_repair(drifted, found.seen, settings)
        for described in outcome.migrations:
            if described["state"] == plan.DRIFTED:
                described.update(action="repair", pending=True)
    else:
        _refuse_drift(drifted, repairable=True)
    pending = [verdict for verdict in found.verdicts if verdict.pending]
    outcome.rehearsal = dump_rehearsal(found.rehearsed or {})
    outcome.before, outcome.after = _diff_text(pending, found)
    outcome.summary = _pending_text(pending, found, settings)
    return outcome


def present(
    open_session: OpenSession,
    migrations: Sequence[Migration],
    migration_id: str,
    settings: Settings,
    *,
    check: bool,
    given: str = "",
    drift: str = "fail",
) -> Outcome:
    """``state: present``: bring one migration into force.

    :param given: the rehearsal that ``state: rehearsed`` returned; empty rehearses here
    :param drift: ``fail`` or ``repair``
    """
    with open_session() as session:
        found = _assess(
            session, migrations, settings, check, load_rehearsal(given) if given else None, alone=True
        )
        verdict = found.of(migration_id)
        earlier = [v for v in found.verdicts[: found.verdicts.index(verdict)] if v.pending]
        if earlier and verdict.pending and not check:
            raise SourceError(
                f"{verdict.migration.label} comes after {earlier[0].migration.label}, which is not applied yet",
                hint="Apply them in order.",
            )
        outcome = _outcome(session, found, settings)
        outcome.before, outcome.after = _diff_text([verdict], found)
        if verdict.state == plan.DRIFTED:
            _mend(session, verdict, found.seen, settings, outcome, check=check, allowed=drift == "repair")
        elif not verdict.pending:
            outcome.summary = f"{verdict.migration.label} is in force: nothing was sent"
        elif check:
            outcome.changed = True
            outcome.summary = f"{verdict.migration.label} is {verdict.state}: would {verdict.action}"
        else:
            done = _bring_in(open_session, session, found, migrations, verdict, settings, fresh=not given)
            outcome.changed = True
            outcome.executed = asdict(done)
            outcome.locks = done.locks
            outcome.fingerprint = done.fingerprint_after
            outcome.summary = _done_text(verdict, done, found.seen)
        _account(session, outcome)
    return outcome


def absent(
    open_session: OpenSession,
    migrations: Sequence[Migration],
    migration_id: str,
    settings: Settings,
    check: bool,
    *,
    export: str | None = None,
    keep_shared: bool = False,
) -> Outcome:
    """``state: absent``: take one migration back.

    :param export: a proven backup, by its folder or a file in it; None: no rows may be lost
    :param keep_shared: what others depend on stays
    """
    migration = next(migration for migration in migrations if migration.id == migration_id)
    with open_session() as session:
        seen = _look(session, settings, alone=not check)
        outcome = Outcome(fingerprint=fingerprint(seen.catalog.entries), server_version=seen.server_version)
        planned = removal.plan_removal(session, seen, migration, settings, keep_shared=keep_shared)
        if planned is None:
            outcome.summary = f"{migration.label} is not in force: nothing to take back"
        else:
            exported = None if export is None else rows_in(session, export)
            planned.refuse_loss(migration, exported=exported is not None)
            outcome.changed = True
            outcome.removals = [_removal(migration, planned)]
            outcome.before = "".join(f"{name}\n" for name in planned.drops)
            kept = f"; {len(planned.kept)} adopted objects stay" if planned.kept else ""
            if planned.shared:
                kept += f"; because others depend on them, these stay: {', '.join(sorted(planned.shared))}"
            if check:
                outcome.summary = f"{migration.label}: would drop {', '.join(planned.drops)}{kept}"
            else:
                done = removal.remove(open_session, session, seen, migration, planned, settings, exported)
                outcome.locks = done.locks
                outcome.fingerprint = fingerprint(done.catalog.entries)
                outcome.summary = f"{migration.label} taken back: dropped {', '.join(planned.drops)}{kept}"
                outcome.summary += "" if done.commit_verdict == "answered" else f"; {done.commit_verdict}"
        outcome.migrations = [{"id": migration.id, "name": migration.name, "action": "take back"}]
        _account(session, outcome)
    return outcome


def removable(
    open_session: OpenSession, migrations: Sequence[Migration], settings: Settings, *, keep_shared: bool
) -> Outcome:
    """``state: removable``: say of each migration in force, the newest first, what taking it back would mean.

    Each is looked at as if the newer ones were gone. Reads only.
    """
    with open_session() as session:
        seen = _look(session, settings, alone=False)
        outcome = Outcome(fingerprint=fingerprint(seen.catalog.entries), server_version=seen.server_version)
        unknown = sorted(set(seen.ledger.rows) - {migration.id for migration in migrations})
        if unknown:
            raise SourceError(
                f"the ledger has migrations without a folder: {', '.join(unknown)}",
                hint="Bring their folders back: what they are must be known before they are taken back.",
            )
        leaving: list[str] = []
        for migration in reversed([one for one in migrations if one.id in seen.ledger.rows]):
            try:
                planned = removal.plan_removal(
                    session, seen, migration, settings, leaving=tuple(leaving), keep_shared=keep_shared
                )
            except RemovalRefused as refused:
                outcome.removals.append({**_NOTHING, **_named(migration), "refusal": str(refused)})
            else:
                if planned is not None:
                    outcome.removals.append(_removal(migration, planned))
            leaving.append(migration.id)
        outcome.summary = f"{len(outcome.removals)} migrations are in force"
        _account(session, outcome)
    return outcome


_NOTHING: dict[str, Any] = {"drops": [], "kept": [], "shared": {}, "rows": {}, "values": {}, "refusal": ""}


def _named(migration: Migration) -> dict[str, Any]:
    return {"id": migration.id, "label": migration.label}


def _removal(migration: Migration, planned: Removal) -> dict[str, Any]:
    """What taking a migration back means, for a module's result."""
    return {
        **_NOTHING,
        **_named(migration),
        "drops": list(planned.drops),
        "kept": list(planned.kept),
        "shared": {name: list(reasons) for name, reasons in planned.shared.items()},
        "rows": dict(planned.rows),
        "values": dict(planned.values),
    }


def dump_rehearsal(found: Mapping[str, Rehearsed]) -> str:
    """A rehearsal as JSON text, to be handed from one task to the next."""
    return json.dumps({number: asdict(body) for number, body in found.items()}, ensure_ascii=False)


def load_rehearsal(text: str) -> dict[str, Rehearsed]:
    """The reverse of :func:`dump_rehearsal`."""

    def changes(listed: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
        return tuple(Change(**change) for change in listed)

    return {
        number: Rehearsed(
            changes=changes(body["changes"]),
            late_changes=changes(body["late_changes"]),
            late_steps=tuple(changes(step) for step in body["late_steps"]),
            seconds=body["seconds"],
            between=body["between"],
        )
        for number, body in json.loads(text).items()
    }


def _assess(
    session: Session,
    migrations: Sequence[Migration],
    settings: Settings,
    check: bool,
    given: Mapping[str, Rehearsed] | None,
    alone: bool = False,
) -> _Assessment:
    tables = {table for m in migrations for table in (*m.existing_tables, *m.grows)} | set(settings.protected)
    patient = functools.partial(
        with_attempts, session, attempts=settings.attempts, pause_s=settings.retry_pause_s, tables=tables
    )
    # Even looking waits, for somebody who holds ACCESS EXCLUSIVE on a table.
    seen, _ = patient(lambda: _look(session, settings, alone=alone and not check))
    plan.check_history(migrations, seen.ledger)
    pending = [
        m
        for m in migrations
        if m.id not in seen.ledger.rows or seen.ledger.rows[m.id].state == plan.UNFINISHED
    ]
    known: Mapping[str, Rehearsed] | None = {}
    held: Mapping[str, str] = {}
    if pending and check:
        known = None
    elif pending and given is not None and all(migration.id in given for migration in pending):
        known = given
    elif pending:
        _require_rights(seen, settings)
        chosen = frozenset(migration.id for migration in pending)
        run, _ = patient(
            lambda: rehearsal.rehearse(
                session, migrations, seen, settings.schema, settings.owner_role, chosen
            )
        )
        known, held = run.by_migration, locks.strongest(run.locks)
    verdicts = plan.decide(migrations, seen.ledger, seen.catalog, known)
    begun = [v.migration for v in verdicts if v.state == plan.DRIFTED and v.migration in pending]
    if begun and known is not None:
        # Cut in the middle, perhaps between two statements that shape the same object: look statement by statement.
        known = _with_shapes_between(session, migrations, begun, seen, settings, known)
        verdicts = plan.decide(migrations, seen.ledger, seen.catalog, known)
    return _Assessment(seen, verdicts, known, held)


def _look(session: Session, settings: Settings, alone: bool) -> Observation:
    return observe(
        session, settings.schema, settings.ledger, settings.protected, settings.owner_role, alone=alone
    )


def _with_shapes_between(
    session: Session,
    migrations: Sequence[Migration],
    begun: Sequence[Migration],
    seen: Observation,
    settings: Settings,
    known: Mapping[str, Rehearsed],
) -> dict[str, Rehearsed]:
    chosen = frozenset(migration.id for migration in begun)
    run = rehearsal.rehearse(session, migrations, seen, settings.schema, settings.owner_role, chosen, chosen)
    return {
        number: replace(body, between=plan.shapes_between(run.by_statement[number]))
        if number in chosen
        else body
        for number, body in known.items()
    }


def _require_rights(seen: Observation, settings: Settings) -> None:
    """Refuse before anything is sent what would fail for want of a right."""
    rights, login = seen.rights, seen.role
    if not rights.exists:
        raise RolloutError(f"there is no role {rights.role}", hint="Correct schema_owner_role.")
    if not rights.member:
        raise RolloutError(
            f"{login} may not act as {rights.role}, which is to own what is created",
            hint=f'As a superuser: GRANT "{rights.role}" TO "{login}".',
        )
    lacking, grants = [], []
    if not rights.create_in_schema:
        lacking.append(f"create anything in schema {settings.schema} of database {seen.database}")
        grants.append(f'GRANT CREATE ON SCHEMA "{settings.schema}" TO "{rights.role}";')
    if not rights.create_schema:
        lacking.append(f"create a schema in database {seen.database}, so nothing can be rehearsed")
        grants.append(f'GRANT CREATE ON DATABASE "{seen.database}" TO "{rights.role}";')
    if lacking:
        raise RolloutError(
            f"{rights.role} may not {'; nor '.join(lacking)}",
            hint=f"As the owner: {' '.join(grants)}",
        )
    if seen.fenced:
        raise RolloutError(
            f"database {seen.database} is fenced off against writes: default_transaction_read_only is on for {login}",
            hint="A provider does that when the disk is full, an operator during maintenance. Find out why first.",
        )


def _bring_in(
    open_session: OpenSession,
    session: Session,
    found: _Assessment,
    migrations: Sequence[Migration],
    verdict: Verdict,
    settings: Settings,
    fresh: bool,
) -> Executed:
    migration, seen = verdict.migration, found.seen
    body = (found.rehearsed or {})[migration.id]
    done = Executed(state="unfinished", fingerprint_before=fingerprint(seen.catalog.entries))
    if verdict.state != plan.UNFINISHED:
        chosen = list(enumerate(s for s in migration.statements if s.transactional))
        if verdict.state == plan.EQUAL:
            chosen = []
        elif verdict.state == plan.PARTIAL:
            each = frozenset([migration.id])
            run = rehearsal.rehearse(
                session, migrations, seen, settings.schema, settings.owner_role, each, each
            )
            missing = plan.statements_to_run(
                migration, run.by_statement[migration.id], seen.catalog, verdict.standing
            )
            chosen = [(at, statement) for at, statement in missing if statement.transactional]
        try:
            done = execute(
                open_session,
                session,
                seen,
                migration,
                verdict.state,
                body,
                chosen,
                verdict.standing,
                settings,
            )
        except CatalogMismatch:
            if fresh:
                raise
            # The rehearsal was made before the gate; the month may have turned since. Rehearse once more, here.
            again = _assess(session, migrations, settings, check=False, given=None)
            _refuse_drift(
                [v for v in again.verdicts if v.migration.id == migration.id and v.state == plan.DRIFTED]
            )
            return _bring_in(
                open_session, session, again, migrations, again.of(migration.id), settings, fresh=True
            )
    if any(not statement.transactional for statement in migration.statements):
        if session.lost:
            raise RolloutError(
                f"{migration.label}: its transaction was committed, but the connection was lost before the statements"
                " that run outside it",
                hint="Run again: the ledger says 'unfinished' and the next run goes on there.",
            )
        final = {plan.EQUAL: "adopted", plan.PARTIAL: "completed"}.get(verdict.state, "applied")
        concurrent.finish(session, seen, migration, body, final, settings, done)
    return done


def _mend(
    session: Session,
    verdict: Verdict,
    seen: Observation,
    settings: Settings,
    outcome: Outcome,
    *,
    check: bool,
    allowed: bool,
) -> None:
    if not allowed:
        _refuse_drift([verdict], repairable=verdict.migration.id in seen.ledger.rows)
    _refuse_beyond_repair([verdict], seen, settings)
    mending = repair.plan_repair(verdict.differences, seen.catalog, settings.schema)
    outcome.changed = True
    names = ", ".join(difference.object for difference in verdict.differences)
    outcome.before = diff.listing(
        {d.object: d.observed for d in verdict.differences if d.observed is not None}
    )
    outcome.after = diff.listing(
        {d.object: d.expected for d in verdict.differences if d.expected is not None}
    )
    if check:
        outcome.summary = f"{verdict.migration.label} is drifted: would repair {names}"
        return
    outcome.locks = mend(session, seen, verdict, mending, settings)
    outcome.fingerprint = fingerprint(catalog.read(session, settings.schema).entries)
    outcome.summary = f"{verdict.migration.label} repaired: {names}"


def _refuse_beyond_repair(drifted: Sequence[Verdict], seen: Observation, settings: Settings) -> None:
    """Refuse drift that cannot be mended without touching data, and shapes that no migration of ours made."""
    beyond = []
    for verdict in drifted:
        left = repair.plan_repair(verdict.differences, seen.catalog, settings.schema).beyond
        if verdict.migration.id not in seen.ledger.rows:
            left = verdict.differences
        if left:
            beyond.append(Verdict(verdict.migration, plan.DRIFTED, left))
    _refuse_drift(beyond)


def _refuse_drift(drifted: Sequence[Verdict], repairable: bool = False) -> None:
    if not drifted:
        return
    told = "\n".join(f"{v.migration.label}:\n{_indented(diff.as_text(v.differences))}" for v in drifted)
    hint = "Nothing was changed. Correct the objects named above"
    hint += (
        ", or set schema_drift: repair where only functions, triggers, indexes or comments differ."
        if (repairable)
        else ", then run again."
    )
    raise DriftFound(
        f"the schema is not what the migrations say ('-' as it is, '+' as it must be)\n{told}",
        hint=hint,
        details={"differences": [d.as_json() for verdict in drifted for d in verdict.differences]},
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _outcome(session: Session, found: _Assessment, settings: Settings) -> Outcome:
    outcome = Outcome(
        migrations=[_describe(verdict, found.rehearsed) for verdict in found.verdicts],
        fingerprint=fingerprint(found.seen.catalog.entries),
        server_version=found.seen.server_version,
        locks={**found.seen.locks, **found.rehearsal_locks},
    )
    _account(session, outcome)
    return outcome


def _account(session: Session, outcome: Outcome) -> None:
    outcome.round_trips = session.round_trips
    outcome.seconds = round(session.seconds, 4)
    outcome.notices = [asdict(notice) for notice in session.notices]


def _describe(verdict: Verdict, known: Mapping[str, Rehearsed] | None) -> dict[str, Any]:
    """A migration for the run record; of one that is in force only what identifies it, because there may be many."""
    migration = verdict.migration
    described: dict[str, Any] = {
        "id": migration.id,
        "label": migration.label,
        "checksum": migration.checksum,
        "state": verdict.state,
        "action": verdict.action,
        "pending": verdict.pending,
    }
    if verdict.state == plan.APPLIED:
        return described
    body = (known or {}).get(migration.id)
    return {
        **described,
        "description": migration.description,
        "source_sha256": migration.source_sha256,
        "variables": dict(migration.variables),
        "standing": list(verdict.standing),
        "missing": list(verdict.missing),
        "differences": [difference.as_json() for difference in verdict.differences],
        "does": diff.summary(body.all_changes) if body else "",
        "rehearsal_ms": round(body.seconds * 1000, 1) if body else None,
    }


def _diff_text(verdicts: Sequence[Verdict], found: _Assessment) -> tuple[str, str]:
    """What would be created, as text: with every attribute after a rehearsal, by name in check mode."""
    before: list[str] = []
    after: list[str] = []
    for verdict in verdicts:
        body = (found.rehearsed or {}).get(verdict.migration.id)
        if body is not None:
            missing = [change for change in body.all_changes if change.object in verdict.missing]
            before.append(diff.listing({c.object: c.before for c in missing if c.before is not None}))
            after.append(diff.listing({c.object: c.after for c in missing if c.after is not None}))
        elif verdict.pending:
            before += [f"{name}\n" for name in verdict.standing]
            after += [f"{name}\n" for name in (*verdict.standing, *verdict.missing)]
    return "".join(before), "".join(after)


def _pending_text(pending: Sequence[Verdict], found: _Assessment, settings: Settings) -> str:
    drifted = [v.migration.label for v in found.verdicts if v.state == plan.DRIFTED]
    if drifted:
        return f"to repair: {', '.join(drifted)}"
    if not pending:
        read = locks.over_budget(
            [locks.TableLock(table, mode) for table, mode in found.seen.locks.items()],
            locks.budget_for(found.seen.locks, {}),
        )
        held = ", ".join(f"{lock.mode} on {lock.table}" for lock in read)
        return (
            f"nothing to do: {len(found.verdicts)} migrations are in force in schema {settings.schema} and nothing"
            f" has drifted; no DDL was sent, {held or 'no table was locked beyond ACCESS SHARE'}"
        )
    told = []
    for verdict in pending:
        body = (found.rehearsed or {}).get(verdict.migration.id)
        if body is not None:
            does = diff.summary(body.all_changes)
            told.append(f"{verdict.migration.label} ({verdict.state}): {verdict.action}, {does}")
        else:
            told.append(
                f"{verdict.migration.label} ({verdict.state}): would {verdict.action}; {len(verdict.standing)} of its"
                f" {len(verdict.standing) + len(verdict.missing)} named objects stand (compared by name: check mode"
                " writes nothing, so shapes are compared by the rehearsal)"
            )
    return "; ".join(told)


def _done_text(verdict: Verdict, done: Executed, seen: Observation) -> str:
    protected = {table: done.locks.get(table, "none") for table in seen.protected}
    locked = ", ".join(f"{table}: {mode}" for table, mode in sorted(protected.items()))
    return (
        f"{verdict.migration.label} {done.state}: {len(done.statements)} statements"
        + (f"; locks on protected tables: {locked}" if locked else "")
        + ("" if done.commit_verdict == "answered" else f"; {done.commit_verdict}")
    )
