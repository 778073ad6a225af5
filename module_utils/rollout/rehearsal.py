"""Run migrations in a scratch schema of the same server, inside a transaction that is rolled back.

What comes out is exact for the very server that will run them: every object with every attribute, the time, the locks.
Nothing that exists is locked beyond ACCESS SHARE: tables that a migration refers to are replaced by empty copies.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout import catalog, diff, transaction
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import RolloutError, SourceError, StatementFailed
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
    :ivar by_statement: what each statement does, by id; only from :func:`rehearse_statements`
    :ivar locks: on relations that exist outside the scratch schema; ACCESS SHARE at most
    """

    by_migration: dict[str, Rehearsed]
    locks: tuple[TableLock, ...] = ()
    by_statement: dict[str, list[list[Change]]] = field(default_factory=dict)


def rehearse(
    session: Session, migrations: Sequence[Migration], seen: Observation, schema: str, owner_role: str
) -> Rehearsal:
    """Rehearse all migrations from the first to the last, in one round trip.

    Migrations that are applied already are run too: the pending ones stand on them.

    :param migrations: the whole chain, in order
    :param seen: what was observed in this session
    :param schema: target schema
    :param owner_role: role that will own the objects; empty for the login role
    :raises StatementFailed: a statement fails, with template and line
    :raises SourceError: a migration does not create what its migration.yml promises
    """
    return _run(session, migrations, seen, schema, owner_role, each_statement=frozenset())


def rehearse_statements(
    session: Session,
    migrations: Sequence[Migration],
    seen: Observation,
    schema: str,
    owner_role: str,
    migration_id: str,
) -> list[list[Change]]:
    """What each single statement of one migration does to the catalog; for a migration that stands in part."""
    rehearsal = _run(session, migrations, seen, schema, owner_role, each_statement=frozenset([migration_id]))
    return rehearsal.by_statement[migration_id]


def _run(
    session: Session,
    migrations: Sequence[Migration],
    seen: Observation,
    schema: str,
    owner_role: str,
    each_statement: frozenset[str],
) -> Rehearsal:
    if not seen.may_create_schema:
        raise RolloutError(
            f"{seen.role} may not create a schema in database {seen.database}, so nothing can be rehearsed",
            hint=f'As the database\'s owner: GRANT CREATE ON DATABASE "{seen.database}" TO "{seen.role}".',
        )
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
    script.add(catalog.search_path(scratch), *(_stub(table, schema, scratch) for table in _stubs(migrations)))
    script.add_catalog(scratch, "stubs")
    for migration in migrations:
        _add_migration(script, migration, scratch, each=migration.id in each_statement)
    script.add(transaction.held_locks(schema), name="held")
    script.add(Command("ROLLBACK"))
    try:
        script.run(session)
    except StatementFailed as error:
        session.rollback()
        raise _explained(error, migrations) from None
    return _digest(script, migrations, lambda name: script.catalog(name).renamed(scratch, schema))


def _add_migration(script: Script, migration: Migration, scratch: str, each: bool) -> None:
    script.add_clock((migration.id, "begin"))
    transactional = sum(statement.transactional for statement in migration.statements)
    for at, statement in enumerate(migration.statements):
        if at == transactional:
            script.add_catalog(scratch, (migration.id, "transactional"))
        place = f"rehearsal of {statement.place}"
        script.add(Command(in_schema(statement.rehearsal_text, scratch), place=place))
        if each:
            script.add_catalog(scratch, (migration.id, at))
    script.add_clock((migration.id, "end"))
    script.add_catalog(scratch, (migration.id, "whole"))


def _digest(
    script: Script, migrations: Sequence[Migration], reading: Callable[[Hashable], Catalog]
) -> Rehearsal:
    before = reading("stubs")
    by_migration: dict[str, Rehearsed] = {}
    by_statement: dict[str, list[list[Change]]] = {}
    for migration in migrations:
        whole = reading((migration.id, "whole"))
        middle = (migration.id, "transactional")
        transactional = reading(middle) if script.has(middle) else whole
        by_migration[migration.id] = Rehearsed(
            changes=tuple(diff.changes(before, transactional)),
            late_changes=tuple(diff.changes(transactional, whole)),
            seconds=script.elapsed((migration.id, "begin"), (migration.id, "end")),
        )
        _check_promise(migration, by_migration[migration.id])
        if script.has((migration.id, 0)):
            by_statement[migration.id] = _statement_changes(migration, before, reading)
        before = whole
    locks = transaction.locks_from_rows(script.rows("held"), script.rows("known"))
    return Rehearsal(by_migration, tuple(locks), by_statement)


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


def _stub(table: str, schema: str, scratch: str) -> Command:
    text = f'CREATE TABLE "{scratch}"."{table}" (LIKE "{schema}"."{table}" INCLUDING ALL)'
    return Command(text, place=f"existing_tables: {table}")


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
