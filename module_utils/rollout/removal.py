"""``state: absent``: take back what one migration created, and nothing else.

What goes is what the ledger says was created, never more: RESTRICT, no table that holds a row, nothing that somebody
else's object depends on. What stood before the migration (``adopted``) stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import catalog, diff, ledger, locks, transaction
from ansible.module_utils.rollout.catalog import Catalog, Entry, table_of
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import DriftFound, LockBudgetExceeded, RemovalRefused, RolloutError
from ansible.module_utils.rollout.execution import Settings
from ansible.module_utils.rollout.ledger import Row
from ansible.module_utils.rollout.locks import TableLock
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.script import Script

# Whatever hangs on our relations and functions, brought back to the relation or function that a person knows it by.
_DEPENDANTS = """
WITH ours AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = ANY(%(relations)s)
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = %(schema)s AND p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY(%(functions)s)
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE n.nspname = %(schema)s AND (t.typname = ANY(%(types)s)
        OR t.typrelid IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = ANY(%(relations)s)))
), partitions AS (
    SELECT h.inhrelid AS oid FROM pg_inherits h JOIN ours ON ours.objid = h.inhparent
), hanging AS (
    SELECT d.classid, d.objid, d.objsubid,
           coalesce(o.conrelid, g.tgrelid, r.ev_class, a.adrelid, x.indrelid, y.polrelid,
                    CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END) AS relation
      FROM pg_depend d JOIN ours ON (ours.classid, ours.objid) = (d.refclassid, d.refobjid)
      LEFT JOIN pg_constraint o ON d.classid = 'pg_constraint'::regclass AND o.oid = d.objid
      LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
      LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
      LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
      LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
      LEFT JOIN pg_index x ON d.classid = 'pg_class'::regclass AND x.indexrelid = d.objid
     WHERE d.deptype = 'n'
)
SELECT DISTINCT pg_describe_object(classid, objid, objsubid) FROM hanging
 WHERE coalesce(relation, 0) NOT IN (SELECT objid FROM ours WHERE classid = 'pg_class'::regclass)
   AND coalesce(relation, 0) NOT IN (SELECT oid FROM partitions)
   AND (classid, objid) NOT IN (SELECT classid, objid FROM ours)
 ORDER BY 1
"""


@dataclass(frozen=True)
class Removal:
    """What taking a migration back means.

    :ivar drops: entry names to drop, in order
    :ivar kept: entries that the migration adopted, which stay
    :ivar commands: what will be sent
    """

    row: Row
    drops: tuple[str, ...]
    kept: tuple[str, ...]
    commands: tuple[Command, ...]
    restored: tuple[str, ...]


def plan_removal(
    session: Session, seen: Observation, migration: Migration, settings: Settings
) -> Removal | None:
    """Decide what to drop, and refuse when it would cost rows or break something. Reads only.

    :returns: None when the migration is not in force: there is nothing to do
    :raises RemovalRefused: rows, dependants, a later migration in force, or a change that cannot be undone
    """
    row = seen.ledger.rows.get(migration.id)
    if row is None:
        return None
    later = sorted(other for other in seen.ledger.rows if (len(other), other) > (len(row.id), row.id))
    if later:
        raise RemovalRefused(
            f"{migration.label} cannot be taken back while {', '.join(later)} is in force",
            hint="Take back the newest migration first.",
        )
    changes = session.run([ledger.changes_command(settings.ledger, row.seq)])[0]
    standing = seen.catalog.entries
    created = {name: after for name, action, _, after in changes if action == "created" and name in standing}
    kept = tuple(name for name, action, _, _ in changes if action == "adopted")
    restores = _restores(migration, changes)
    drops = _top_level(created, seen.catalog)
    _refuse_dependants(session, migration, created, settings)
    _refuse_rows(session, migration, drops, settings)
    commands = [*restores.values(), *_drop_commands(drops, created, settings.schema)]
    return Removal(row, tuple(drops), kept, tuple(commands), tuple(restores))


def remove(
    session: Session, seen: Observation, migration: Migration, removal: Removal, settings: Settings
) -> dict[str, str]:
    """Drop, prove, record and commit, in one transaction.

    :returns: the strongest lock on each relation that existed before and was not ours
    """
    script = Script()
    script.add(Command("BEGIN"), catalog.search_path(settings.schema))
    script.add(transaction.known_relations(), name="known")
    # Locked first, so that no row can arrive between this look and the drop.
    tables = [name.removeprefix("table ") for name in removal.drops if name.startswith("table ")]
    for table in tables:
        script.add(Command(f'LOCK TABLE "{settings.schema}"."{table}" IN ACCESS EXCLUSIVE MODE'))
        script.add(
            Command(f'SELECT EXISTS (SELECT FROM "{settings.schema}"."{table}")'), name=("rows", table)
        )
    script.add(*removal.commands)
    script.add(transaction.held_locks(settings.schema), name="held")
    script.add_catalog(settings.schema, "after")
    try:
        script.run(session)
        filled = [table for table in tables if script.rows(("rows", table))[0][0]]
        if filled:
            raise RemovalRefused(
                f"rows arrived in {', '.join(filled)} while {migration.label} was being taken back"
            )
        held = locks.strongest(transaction.locks_from_rows(script.rows("held"), script.rows("known")))
        _check_budget(migration, held, seen)
        _check_others(migration, seen.catalog, script.catalog("after"), removal)
        session.run(
            [ledger.roll_back_command(settings.ledger, removal.row.seq, settings.run_id), Command("COMMIT")]
        )
    except RolloutError:
        session.rollback()
        raise
    return held


def _check_budget(migration: Migration, held: dict[str, str], seen: Observation) -> None:
    over = locks.over_budget(
        [TableLock(table, mode) for table, mode in held.items()],
        locks.budget_for(seen.protected, migration.locks),
    )
    if over:
        told = ", ".join(f"{lock.mode} on {lock.table}" for lock in over)
        raise LockBudgetExceeded(
            f"taking {migration.label} back locks a protected table too hard: {told}; rolled back before COMMIT",
            hint="Declare the lock under 'locks' in its migration.yml if the application can bear it.",
        )


def _check_others(migration: Migration, before: Catalog, after: Catalog, removal: Removal) -> None:
    """What must still stand, stands as it was."""
    gone = set(removal.drops)
    tables = {name.removeprefix("table ") for name in gone if name.startswith("table ")}
    parents = before.partitions_of(tuple(tables))
    wrong = []
    for change in diff.changes(before, after):
        name = change.object.removeprefix("comment on ")
        owner = table_of(name, before.entries.get(name))
        if (
            name in gone
            or owner in tables | parents
            or name in removal.restored
            or change.object in removal.restored
        ):
            continue
        wrong.append(diff.Difference(change.object, "changed", change.before, change.after))
    if wrong:
        raise DriftFound(
            f"taking {migration.label} back would also change other objects; rolled back:\n{diff.as_text(wrong)}"
        )


def _restores(migration: Migration, changes: Sequence[tuple[Any, ...]]) -> dict[str, Command]:
    """Commands that give altered objects their old shape back; only functions have one that loses nothing."""
    commands = {}
    beyond = []
    for name, action, before, _ in changes:
        if action == "altered" and name.startswith("function ") and before.get("definition"):
            commands[name] = Command(before["definition"], place=name)
        elif action in ("altered", "dropped"):
            beyond.append(f"{name} ({action})")
    if beyond:
        raise RemovalRefused(
            f"{migration.label} changed what stood before it, which cannot be undone by itself: {', '.join(beyond)}",
            hint="Write a new migration that changes it back.",
        )
    return commands


def _top_level(created: dict[str, Entry], actual: Catalog) -> list[str]:
    """What has to be named in a DROP: the rest goes with its table. In an order that RESTRICT accepts."""
    tables = {name.removeprefix("table ") for name in created if name.startswith("table ")}
    partitions = {table for table in tables if created[f"table {table}"].get("parent") in tables}
    order = [
        "policy",
        "trigger",
        "view",
        "index",
        "constraint",
        "column",
        "table",
        "function",
        "sequence",
        "type",
    ]
    found = []
    for kind in order:
        for name, entry in sorted(created.items(), reverse=True):
            if not name.startswith(f"{kind} "):
                continue
            owner = table_of(name, entry)
            if kind == "table":
                if owner not in partitions:
                    found.append(name)
            elif owner not in tables:
                found.append(name)
    return [name for name in found if not _backs_constraint(name, actual)]


def _backs_constraint(name: str, actual: Catalog) -> bool:
    """An index that belongs to a constraint of the same name goes with the constraint."""
    table = table_of(name, actual.entries.get(name))
    return name.startswith("index ") and f"constraint {table}.{name.removeprefix('index ')}" in actual.entries


def _drop_commands(drops: Sequence[str], created: dict[str, Entry], schema: str) -> list[Command]:
    """One DROP for all tables together, because their foreign keys may run in circles; one for each other object."""
    commands = []
    tables = [name.removeprefix("table ") for name in drops if name.startswith("table ")]
    for name in drops:
        if not name.startswith("table "):
            commands.append(
                Command(f"{_drop(name, created[name], schema)} RESTRICT", place=f"drop of {name}")
            )
        elif tables:
            listed = ", ".join(f'"{schema}"."{table}"' for table in tables)
            commands.append(Command(f"DROP TABLE {listed} RESTRICT", place=f"drop of {len(tables)} tables"))
            tables = []
    return commands


def _drop(name: str, entry: Entry, schema: str) -> str:
    kind, _, rest = name.partition(" ")
    owner, _, part = rest.partition(".")
    if kind in ("policy", "trigger"):
        return f'DROP {kind.upper()} "{part}" ON "{schema}"."{owner}"'
    if kind in ("column", "constraint"):
        return f'ALTER TABLE "{schema}"."{owner}" DROP {kind.upper()} "{part}"'
    if kind == "function":
        word = "PROCEDURE" if entry.get("kind") == "procedure" else "FUNCTION"
        label, _, arguments = rest.partition("(")
        return f'DROP {word} "{schema}"."{label}"({arguments}'
    word = "MATERIALIZED VIEW" if entry.get("materialized") else kind.upper()
    return f'DROP {word} "{schema}"."{rest}"'


def _refuse_dependants(
    session: Session, migration: Migration, created: dict[str, Entry], settings: Settings
) -> None:
    names: dict[str, list[str]] = {"relations": [], "functions": [], "types": []}
    for name in created:
        kind, _, rest = name.partition(" ")
        if kind in ("table", "view", "sequence", "index"):
            names["relations"].append(rest)
        elif kind in ("function", "type"):
            names[f"{kind}s"].append(rest)
    found = session.run([Command(_DEPENDANTS, {"schema": settings.schema, **names})])[0]
    if found:
        listed = "\n  ".join(description for (description,) in found)
        raise RemovalRefused(
            f"{migration.label} cannot be taken back: other objects depend on what it created:\n  {listed}",
            hint="They are not ours to drop. Remove or change them first; CASCADE is never used.",
            details={"dependants": [description for (description,) in found]},
        )


def _refuse_rows(session: Session, migration: Migration, drops: Sequence[str], settings: Settings) -> None:
    tables = [name.removeprefix("table ") for name in drops if name.startswith("table ")]
    counts = session.run([Command(f'SELECT count(*) FROM "{settings.schema}"."{table}"') for table in tables])
    filled = {table: rows[0][0] for table, rows in zip(tables, counts, strict=True) if rows[0][0]}
    if filled:
        listed = ", ".join(f"{table}: {count}" for table, count in sorted(filled.items()))
        raise RemovalRefused(
            f"{migration.label} cannot be taken back: its tables hold rows ({listed})",
            hint="Save them and empty the tables, or keep the migration.",
            details={"rows": filled},
        )
