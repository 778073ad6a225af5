"""The database before a restore: what is there of the backup's tables, and what therefore has to be done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout import backup_contents, catalog, restore_plan
from ansible.module_utils.rollout.backup_archive import Archive, Item
from ansible.module_utils.rollout.backup_contents import Outline, TableRows, identifier, sql_name
from ansible.module_utils.rollout.backup_manifest import Manifest
from ansible.module_utils.rollout.catalog import Entry
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import RestoreRefused
from ansible.module_utils.rollout.restore_plan import Catalogs, Name, Plan, RestoreSettings, label
from ansible.module_utils.rollout.transfer import TransferSession

_REFERENCES = """
SELECT n.nspname, c.relname, m.nspname, f.relname FROM pg_constraint o
  JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class f ON f.oid = o.confrelid JOIN pg_namespace m ON m.oid = f.relnamespace
 WHERE o.contype = 'f'
"""
# What would stay behind with a table that is moved aside, and go on using it: foreign keys and views of others.
_DEPENDANTS = """
WITH moved AS (
    SELECT c.oid, c.reltype FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(tables)s::name[]))
)
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM pg_depend d
  LEFT JOIN pg_constraint o ON d.classid = 'pg_constraint'::regclass AND o.oid = d.objid
  LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
 WHERE ((d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM moved))
     OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT reltype FROM moved)))
   AND ((d.classid = 'pg_constraint'::regclass AND o.contype = 'f' AND o.conrelid NOT IN (SELECT oid FROM moved))
     OR (d.classid = 'pg_rewrite'::regclass AND w.ev_class NOT IN (SELECT oid FROM moved))
     OR (d.classid = 'pg_proc'::regclass AND d.deptype = 'n'))
 ORDER BY 1
"""
_ROWS = """
SELECT count(*), coalesce(sum(hashtextextended(ROW({columns})::text, 0)), 0)::text FROM ONLY {table}
"""


@dataclass(frozen=True)
class Target:
    """The database as it is, and what of the backup is to go into it.

    :ivar catalogs: of the database, before anything is done
    :ivar items: of the archive, that are to be made
    """

    outline: Outline
    catalogs: Catalogs
    decided: Plan
    items: tuple[Item, ...]


def look(
    session: TransferSession,
    settings: RestoreSettings,
    manifest: Manifest,
    recorded: Catalogs,
    archive: Archive,
) -> Target:
    """Read the database and decide. Inside a transaction."""
    outline = backup_contents.outline(session)
    catalogs = {schema: read_catalog(session, schema) for schema in outline.schemas}
    by_label = {f"{schema}.{table}": (schema, table) for schema, table in restore_plan.tables_of(recorded)}
    protected = {by_label[label] for label in settings.protected if label in by_label}
    wanted = settings.tables or manifest.selected_tables
    chosen = restore_plan.with_partitions(
        restore_plan.named(wanted, recorded) if wanted else _all_with_rows(manifest, recorded), recorded
    )
    rows = _recorded_rows(manifest, recorded)
    counted = [name for name in sorted(chosen) if name in rows and _is_table(name, catalogs)]
    found = _count(session, counted, recorded, catalogs)
    decided = restore_plan.plan(
        chosen,
        recorded,
        catalogs,
        rows,
        found,
        references_of(session),
        protected=protected,
        named_by_hand=bool(settings.tables),
        replace=settings.replace,
    )
    if decided.replace:
        _refuse_dependants(session, decided.replace)
    moved = set(decided.replace)
    after_moving = {
        schema: {
            name: entry
            for name, entry in entries.items()
            if (schema, catalog.table_of(name, entry) or "") not in moved
        }
        for schema, entries in catalogs.items()
    }
    items = restore_plan.items_for(archive, decided, after_moving, everything=not settings.tables)
    return Target(outline, catalogs, decided, tuple(items))


def read_catalog(session: TransferSession, schema: str) -> dict[str, Entry]:
    answers = session.run([catalog.search_path(schema), *catalog.commands(schema)])
    return dict(catalog.from_rows(answers[1:]).entries)


def _is_table(name: Name, catalogs: Catalogs) -> bool:
    return f"table {name[1]}" in catalogs.get(name[0], {})


def _all_with_rows(manifest: Manifest, recorded: Catalogs) -> set[Name]:
    """The tables whose rows are in the backup, and the partitioned tables above them."""
    tables = restore_plan.tables_of(recorded)
    found = set(_recorded_rows(manifest, recorded))
    if not manifest.selected_tables:
        found |= {name for name, entry in tables.items() if entry.get("partition_key")}
    return found


def _recorded_rows(manifest: Manifest, recorded: Catalogs) -> dict[Name, TableRows]:
    return {
        name: manifest.tables[label(name)]
        for name in restore_plan.tables_of(recorded)
        if label(name) in manifest.tables
    }


def _count(
    session: TransferSession, names: Sequence[Name], recorded: Catalogs, live: Catalogs
) -> dict[Name, TableRows]:
    """Rows and checksums over the recorded columns."""
    usable = [name for name in names if _has_columns(name, recorded, live)]
    answers = session.run([count_command(name, recorded) for name in usable])
    found = {name: TableRows(rows[0][0], 0, rows[0][1]) for name, rows in zip(usable, answers, strict=True)}
    for name in set(names) - set(usable):
        # Told apart by its columns; only whether it is empty matters.
        ((count,),) = session.run([f"SELECT count(*) FROM ONLY {sql_name(*name)}"])[0]
        found[name] = TableRows(count, 0, "")
    return found


def _has_columns(name: Name, recorded: Catalogs, live: Catalogs) -> bool:
    schema, table = name
    return all(
        f"column {table}.{column}" in live[schema]
        for column in restore_plan.columns(name, recorded, generated=True)
    )


def count_command(name: Name, recorded: Catalogs) -> Command:
    listed = ", ".join(identifier(column) for column in restore_plan.columns(name, recorded, generated=True))
    return Command(_ROWS.format(columns=listed, table=sql_name(*name)), place=f"count of {'.'.join(name)}")


def _refuse_dependants(session: TransferSession, moved: Collection[Name]) -> None:
    arguments = {"schemas": [schema for schema, _ in moved], "tables": [table for _, table in moved]}
    found = [row[0] for row in session.run([Command(_DEPENDANTS, arguments)])[0]]
    if found:
        raise RestoreRefused(
            "these objects use the tables that would be moved aside, and would go on using the old ones:\n  "
            + "\n  ".join(found),
            hint="Restore their tables too (restore_tables), or remove these objects first.",
            details={"dependants": found},
        )


def references_of(session: TransferSession) -> list[tuple[Name, Name]]:
    """Foreign keys of the database: (referring, referenced)."""
    return [((a, b), (c, d)) for a, b, c, d in session.run([_REFERENCES])[0]]
