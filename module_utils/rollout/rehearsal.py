"""Run migrations in a scratch schema of the same server, inside a transaction that is rolled back.

What comes out is exact for the very server that will run them: every object with every attribute, the time, the locks.
Nothing that exists is locked beyond ACCESS SHARE: tables that a migration refers to are replaced by empty copies.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ansible.module_utils.rollout import catalog, diff, locks, transaction
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import SourceError, StatementFailed
from ansible.module_utils.rollout.locks import TableLock
from ansible.module_utils.rollout.migration import Migration, in_schema
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.plan import Rehearsed
from ansible.module_utils.rollout.script import Script

_DEFAULT_PRIVILEGES = """
SELECT d.defaclobjtype, a.grantee::regrole::text, a.privilege_type, a.is_grantable, a.grantee = 0
  FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
 WHERE n.nspname = %s AND d.defaclrole = %s::regrole
"""
_DEFAULT_PRIVILEGE_KIND = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES"}


@dataclass(frozen=True)
class Rehearsal:
    """The outcome for a whole chain of migrations.

    :ivar by_migration: what each does, by id
    :ivar by_statement: what each statement does, by id; of those asked for
    :ivar locks: on relations that exist outside the scratch schema; ACCESS SHARE at most
    """

    by_migration: dict[str, Rehearsed]
    locks: tuple[TableLock, ...] = ()
    by_statement: dict[str, list[list[Change]]] = field(default_factory=dict)


def rehearse(
    session: Session,
    migrations: Sequence[Migration],
    seen: Observation,
    schema: str,
    owner_role: str,
    pending: frozenset[str],
    each_statement: frozenset[str] = frozenset(),
) -> Rehearsal:
    """Rehearse migrations in one round trip.

    Migrations that are applied already are run too, because the pending ones stand on them; the catalog is read around
    the pending ones only.

    :param migrations: the whole chain, in order
    :param pending: ids of those whose effect is asked for
    :param seen: what was observed in this session
    :param schema: target schema
    :param owner_role: role that will own the objects; empty for the login role
    :param each_statement: ids of migrations that are looked at after every statement, for ``by_statement``
    :raises StatementFailed: a statement fails, with template and line
    :raises SourceError: a migration does not create what its migration.yml promises, or reaches past the scratch schema
    """
    # Quoted if and only if the target's name is, so that every definition differs by the bare name alone.
    scratch = (" " if seen.needs_quotes else "_").join(("rollout", "scratch", secrets.token_hex(6)))
    role = _quoted(owner_role or seen.role)
    privileges = (
        session.run([Command(_DEFAULT_PRIVILEGES, (schema, role))])[0] if seen.default_privileges else []
    )
    script = Script()
    script.add(Command("BEGIN"), *transaction.as_role(owner_role))
    script.add(transaction.known_relations(), name="known")
    script.add(Command(f'CREATE SCHEMA "{scratch}"'), *_default_privileges(privileges, scratch))
    script.add(catalog.search_path(scratch))
    # What pending migrations make may stand already: begun by hand, or an index whose build was interrupted.
    making = {name for m in migrations if m.id in pending for s in m.statements for name in s.creates}
    stubs = _stubs(migrations)
    for table in stubs:
        script.add(*_stub(table, seen.catalog, making, schema, scratch))
    if stubs:
        script.add_catalog(scratch, "stubs")
    read_already = True
    for migration in migrations:
        if migration.id not in pending:
            _add_applied(script, migration, scratch)
        else:
            if not read_already:
                script.add_catalog(scratch, (migration.id, "start"))
            _add_pending(script, migration, schema, scratch, each=migration.id in each_statement)
        read_already = migration.id in pending
    script.add(Command("ROLLBACK"))
    try:
        script.run(session)
    except StatementFailed as error:
        session.rollback()
        raise _explained(error, migrations) from None
    chosen = [migration for migration in migrations if migration.id in pending]
    return _digest(script, chosen, seen.catalog, lambda name: script.catalog(name).renamed(scratch, schema))


def _add_applied(script: Script, migration: Migration, scratch: str) -> None:
    for statement in migration.statements:
        place = f"rehearsal of {statement.place}"
        script.add(Command(in_schema(statement.rehearsal_text, scratch), place=place))


def _add_pending(script: Script, migration: Migration, schema: str, scratch: str, each: bool) -> None:
    script.add_clock((migration.id, "begin"))
    transactional = sum(statement.transactional for statement in migration.statements)
    for at, statement in enumerate(migration.statements):
        if at >= transactional:
            script.add_catalog(scratch, (migration.id, "before", at))
        place = f"rehearsal of {statement.place}"
        script.add(Command(in_schema(statement.rehearsal_text, scratch), place=place))
        if each:
            script.add_catalog(scratch, (migration.id, at))
    script.add_clock((migration.id, "end"))
    script.add(transaction.held_locks(schema), name=(migration.id, "held"))
    script.add_catalog(scratch, (migration.id, "whole"))


def _digest(
    script: Script, migrations: Sequence[Migration], live: Catalog, reading: Callable[[Hashable], Catalog]
) -> Rehearsal:
    stubs = before = reading("stubs") if script.has("stubs") else Catalog()
    by_migration: dict[str, Rehearsed] = {}
    by_statement: dict[str, list[list[Change]]] = {}
    held: list[TableLock] = []
    for migration in migrations:
        if script.has((migration.id, "start")):
            before = reading((migration.id, "start"))
        whole = reading((migration.id, "whole"))
        first_late = sum(statement.transactional for statement in migration.statements)
        late = [reading((migration.id, "before", at)) for at in range(first_late, len(migration.statements))]
        transactional = late[0] if late else whole
        by_migration[migration.id] = Rehearsed(
            changes=tuple(_onto(live, stubs, diff.changes(before, transactional))),
            late_changes=tuple(_onto(live, stubs, diff.changes(transactional, whole))),
            late_steps=tuple(
                tuple(_onto(live, stubs, diff.changes(one, other))) for one, other in pairwise([*late, whole])
            ),
            seconds=script.elapsed((migration.id, "begin"), (migration.id, "end")),
        )
        _check_promise(migration, by_migration[migration.id])
        held = transaction.locks_from_rows(script.rows((migration.id, "held")), script.rows("known"))
        _check_reach(migration, held)
        if script.has((migration.id, 0)):
            steps = _statement_changes(migration, before, reading)
            by_statement[migration.id] = [_onto(live, stubs, step) for step in steps]
        before = whole
    return Rehearsal(by_migration, tuple(held), by_statement)


def _onto(live: Catalog, stubs: Catalog, found: Sequence[Change]) -> list[Change]:
    """Changes of a stub, as changes of the table that it stands for.

    The stub has another owner, no grants and no row security; only what the migration changes about it counts.
    """
    return [
        Change(change.object, _put(change.before, change, live), _put(change.after, change, live))
        if change.object in stubs.entries and change.object in live.entries
        else change
        for change in found
    ]


def _put(shape: Entry | None, change: Change, live: Catalog) -> Entry | None:
    if shape is None:
        return None
    before, after = change.before or {}, change.after or {}
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    entry = {name: value for name, value in live.entries[change.object].items() if name not in changed}
    return {**entry, **{name: shape[name] for name in changed if name in shape}}


def _check_reach(migration: Migration, held: Sequence[TableLock]) -> None:
    """A rehearsal that locks what exists would be an attempt on the live application, not a rehearsal."""
    over = locks.over_budget(held, locks.budget_for((lock.table for lock in held), {}))
    if over:
        told = ", ".join(f"{lock.mode} on {lock.table}" for lock in over)
        raise SourceError(
            f"{migration.label} reaches past its schema while it is rehearsed: {told}; rolled back",
            hint="Write {{ schema }}. before every name, also inside DO blocks and functions that the migration calls,"
            " and list tables that somebody else made under existing_tables.",
            details={"locks": [{"table": lock.table, "mode": lock.mode} for lock in over]},
        )


def _statement_changes(
    migration: Migration, before: Catalog, reading: Callable[[Hashable], Catalog]
) -> list[list[Change]]:
    found = []
    for at in range(len(migration.statements)):
        after = reading((migration.id, at))
        found.append(diff.changes(before, after))
        before = after
    return found


def _check_promise(migration: Migration, rehearsed: Rehearsed) -> None:
    created = {change.object for change in rehearsed.all_changes if change.before is None}
    promised = [f"table {name}" for name in migration.creates.get("tables", ())]
    promised += [f"function {name}" for name in migration.creates.get("functions", ())]
    broken = [name for name in promised if name not in created]
    if broken:
        raise SourceError(
            f"{migration.label} does not create what its migration.yml promises: {', '.join(broken)}",
            hint="Correct 'creates' in migration.yml, or the SQL.",
        )


def _stubs(migrations: Sequence[Migration]) -> list[str]:
    made = {name.removeprefix("table ") for m in migrations for s in m.statements for name in s.creates}
    wanted = {table for migration in migrations for table in migration.existing_tables}
    return sorted(wanted - made)


def _stub(table: str, live: Catalog, making: set[str], schema: str, scratch: str) -> list[Command]:
    """An empty copy of a table, its constraints and indexes under their real names: a migration may drop one."""
    place = f"existing_tables: {table}"
    like = f'LIKE "{schema}"."{table}" INCLUDING ALL EXCLUDING INDEXES'
    commands = [Command(f'CREATE TABLE "{scratch}"."{table}" ({like})', place=place)]
    constraints = {
        name.partition(".")[2]: entry["definition"]
        for name, entry in live.entries.items()
        if name.startswith(f"constraint {table}.")
        and entry["definition"].startswith(("PRIMARY KEY", "UNIQUE", "EXCLUDE"))
    }
    for name, definition in constraints.items():
        text = f'ALTER TABLE "{scratch}"."{table}" ADD CONSTRAINT "{name}" {definition}'
        commands.append(Command(text, place=place))
    for name, entry in live.entries.items():
        standing = name.startswith("index ") and entry["table"] == table and name not in making
        if standing and name.removeprefix("index ") not in constraints:
            # The definition names the table once, after the first ON, with its schema.
            head, _, tail = entry["definition"].partition(" ON ")
            columns = tail[tail.index(" USING ") :]
            commands.append(Command(f'{head} ON "{scratch}"."{table}"{columns}', place=place))
    return commands


def _default_privileges(rows: Sequence[tuple[str, str, str, bool, bool]], scratch: str) -> list[Command]:
    """The target schema's default privileges, given to the scratch schema: they decide the grants of new objects."""
    return [
        Command(
            f'ALTER DEFAULT PRIVILEGES IN SCHEMA "{scratch}" GRANT {privilege} ON {_DEFAULT_PRIVILEGE_KIND[kind]}'
            f" TO {'PUBLIC' if everyone else grantee}{' WITH GRANT OPTION' if grantable else ''}"
        )
        for kind, grantee, privilege, grantable, everyone in rows
        if kind in _DEFAULT_PRIVILEGE_KIND
    ]


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


def _explained(error: StatementFailed, migrations: Sequence[Migration]) -> StatementFailed:
    """Add what an author most often forgets, to PostgreSQL's own words."""
    if error.details.get("sqlstate") == "42P01" and "rehearsal of" in str(error.details.get("place")):
        known = sorted({table for migration in migrations for table in migration.existing_tables})
        hint = (
            "A table that somebody else made must be listed under existing_tables in migration.yml"
            f" (listed are: {', '.join(known) or 'none'})."
        )
        return StatementFailed(error.message, hint=hint, details=error.details)
    return error
