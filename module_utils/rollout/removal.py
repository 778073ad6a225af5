"""``state: absent``: take back what one migration created, and nothing else.

What goes is what the ledger says was created, never more: RESTRICT, no table that holds a row, unless exactly these
rows were exported, and nothing that somebody else's object depends on. What stood before the migration (``adopted``)
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout import catalog, diff, ledger, locks, removal_order, transaction
from ansible.module_utils.rollout.backup_contents import ROWS_AND_CHECKSUM
from ansible.module_utils.rollout.budget import check_budget
from ansible.module_utils.rollout.catalog import Catalog, Entry, table_of
from ansible.module_utils.rollout.comments import comment_command
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import (
    ConnectionFailed,
    DriftFound,
    RemovalRefused,
    RolloutError,
    StatementFailed,
)
from ansible.module_utils.rollout.execution import Settings, tables_in_the_way, what_became_of
from ansible.module_utils.rollout.ledger import Row
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.observation import Observation
from ansible.module_utils.rollout.removal_order import Dependant
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts

# What depends on our relations, functions and types: which catalog it is in, the relation and the name by which it is
# an entry of the catalog reading, PostgreSQL's own description of it, and the name of what it depends on.
_DEPENDANTS = """
WITH ours AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid, c.relname::text AS label
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = ANY(%(relations)s)
    UNION ALL
    SELECT 'pg_type'::regclass, c.reltype, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = ANY(%(relations)s)
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = %(schema)s AND p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY(%(functions)s)
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE n.nspname = %(schema)s AND t.typname = ANY(%(types)s)
)
SELECT DISTINCT
       CASE d.classid WHEN 'pg_trigger'::regclass THEN 'trigger' WHEN 'pg_constraint'::regclass THEN 'constraint'
                      WHEN 'pg_policy'::regclass THEN 'policy' WHEN 'pg_attrdef'::regclass THEN 'column'
                      WHEN 'pg_proc'::regclass THEN 'function' WHEN 'pg_class'::regclass THEN 'relation' ELSE '' END,
       CASE WHEN r.relnamespace = 0 OR n.nspname = %(schema)s THEN r.relname ELSE n.nspname || '.' || r.relname END,
       coalesce(g.tgname::text, o.conname, y.polname, a.attname,
                p.proname || '(' || oidvectortypes(p.proargtypes) || ')', ''),
       coalesce(r.relispartition, false),
       pg_describe_object(d.classid, d.objid, d.objsubid),
       ours.label
  FROM pg_depend d JOIN ours ON (ours.classid, ours.objid) = (d.refclassid, d.refobjid)
  LEFT JOIN pg_constraint o ON d.classid = 'pg_constraint'::regclass AND o.oid = d.objid
  LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
  LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
  LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
  LEFT JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
  LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
  LEFT JOIN pg_index x ON d.classid = 'pg_class'::regclass AND x.indexrelid = d.objid
  LEFT JOIN pg_class r ON r.oid = coalesce(o.conrelid, g.tgrelid, w.ev_class, f.adrelid, y.polrelid, x.indrelid,
                                           CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
  LEFT JOIN pg_namespace n ON n.oid = r.relnamespace
 WHERE d.deptype = 'n' AND d.classid <> 'pg_default_acl'::regclass
 ORDER BY 5
"""


@dataclass(frozen=True)
class Removal:
    """What taking a migration back means.

    :ivar drops: entry names to drop, in order
    :ivar kept: entries that the migration adopted, which stay
    :ivar shared: entries that it created and that stay, because others depend on them -> who does
    :ivar rows: rows by table that would go; tables without rows are left out
    :ivar values: values by column that would go with it, ``table.column``
    :ivar commands: what will be sent
    :ivar touched: every entry that the migration created or altered: these may change, nothing else may
    """

    row: Row
    drops: tuple[str, ...]
    kept: tuple[str, ...]
    commands: tuple[Command, ...]
    touched: frozenset[str]
    rows: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def refuse_loss(self, migration: Migration, *, exported: bool) -> None:
        """Refuse to lose rows, or values in a column that the migration added to somebody else's table.

        :param exported: whether the rows of the tables are in a proven backup
        :raises RemovalRefused: with the number of each
        """
        filled = {**({} if exported else self.rows), **{f"column {c}": n for c, n in self.values.items()}}
        if filled:
            listed = ", ".join(f"{name}: {count}" for name, count in sorted(filled.items()))
            raise RemovalRefused(
                f"{migration.label} cannot be taken back: what it made holds rows ({listed})",
                hint="To export them first, prove the export, and take it back then: ansible-playbook"
                " playbooks/rollback.yml -i <inventory> -e rollback_confirm=<name of the database>."
                if not self.values
                else "Save the values and set the columns to NULL, or keep the migration.",
                details={"rows": filled},
            )


@dataclass(frozen=True)
class Removed:
    """What happened.

    :ivar locks: the strongest lock on each relation that existed before
    :ivar commit_verdict: ``answered``, or how it became known that COMMIT took effect
    :ivar catalog: the schema afterwards
    """

    locks: dict[str, str]
    commit_verdict: str
    catalog: Catalog


def plan_removal(
    session: Session,
    seen: Observation,
    migration: Migration,
    settings: Settings,
    *,
    leaving: Collection[str] = (),
    keep_shared: bool = False,
) -> Removal | None:
    """Decide what to drop, and refuse when it would break something. Reads only. Rows are counted, not judged.

    :param leaving: ids of later migrations that will have been taken back before
    :param keep_shared: what others depend on stays, instead of being a reason to refuse
    :returns: None when the migration is not in force: there is nothing to do
    :raises RemovalRefused: dependants, a later migration in force, or a change that cannot be undone
    """
    row = seen.ledger.rows.get(migration.id)
    if row is None:
        return None
    later = sorted(other for other in seen.ledger.rows if (len(other), other) > (len(row.id), row.id))
    if later := [other for other in later if other not in leaving]:
        raise RemovalRefused(
            f"{migration.label} cannot be taken back while {', '.join(later)} is in force",
            hint="Take back the newest migration first.",
        )
    changes = session.run([ledger.changes_command(settings.ledger, row.seq)])[0]
    standing = seen.catalog.entries
    created = {name: after for name, action, _, after in changes if action == "created" and name in standing}
    kept = tuple(name for name, action, _, _ in changes if action == "adopted")
    restores = _restores(migration, changes)
    gone = {
        name
        for other in leaving
        if other in seen.ledger.rows
        for name, action, _, _ in session.run(
            [ledger.changes_command(settings.ledger, seen.ledger.rows[other].seq)]
        )[0]
        if action == "created"
    }
    hanging = [one for one in _dependants(session, created, settings) if not _is_among(one, gone)]
    foreign = _not_ours(hanging, seen, migration, created, gone)
    shared: dict[str, tuple[str, ...]] = {}
    if foreign and keep_shared:
        shared = _kept_for_others(foreign, hanging, created)
        created = {name: entry for name, entry in created.items() if name not in shared}
    elif foreign:
        _refuse_what_is_not_ours(foreign, migration)
    drops = removal_order.in_order(_top_level(created, seen.catalog), hanging, _tables_of_parts(created))
    named = [name for group in drops for name in group]
    rows, values = _count_rows(session, named, settings)
    commands = [
        *restores.values(),
        *_comment_commands(created, seen.catalog, settings.schema),
        *_drop_commands(drops, created, settings.schema),
    ]
    touched = frozenset([*created, *restores])
    return Removal(row, tuple(named), kept, tuple(commands), touched, rows, values, shared)


def remove(
    open_session: Callable[[], Session],
    session: Session,
    seen: Observation,
    migration: Migration,
    removal: Removal,
    settings: Settings,
    exported: Mapping[str, Mapping[str, Any]] | None = None,
) -> Removed:
    """Drop, prove, record and commit, in one transaction.

    :param open_session: opens another session, to ask what became of a COMMIT whose answer was lost
    :param exported: what a proven backup holds, by quoted name of the table: ``rows`` and ``checksum``. The tables must
        hold exactly that. None: they must be empty
    """
    script = Script()
    script.add(Command("BEGIN"), catalog.search_path(settings.schema))
    script.add(transaction.known_relations(), name="known")
    script.add(Command("SET LOCAL row_security = off"))
    # Locked first, so that no row can arrive between this look and the drop.
    tables = [name.removeprefix("table ") for name in removal.drops if name.startswith("table ")]
    for table in tables:
        script.add(Command(f'LOCK TABLE "{settings.schema}"."{table}" IN ACCESS EXCLUSIVE MODE'))
    script.add(Command("SET LOCAL search_path = pg_catalog"))
    holding = _holding_rows(tables, seen.catalog)
    for table in holding:
        script.add(
            _contents_command(settings.schema, table, exact=exported is not None), name=("rows", table)
        )
    script.add(catalog.search_path(settings.schema), *removal.commands)
    script.add(transaction.held_locks(settings.schema), name="held")
    script.add(Command("SELECT pg_current_xact_id()::text"), name="xid")
    script.add_catalog(settings.schema, "after")
    try:
        with_attempts(
            session,
            lambda: script.run(session),
            attempts=settings.attempts,
            pause_s=settings.retry_pause_s,
            tables=[*tables, *tables_in_the_way(migration, seen)],
        )
        _refuse_other_rows([script.rows(("rows", table))[0] for table in holding], migration, exported)
        held = locks.strongest(transaction.locks_from_rows(script.rows("held"), script.rows("known")))
        check_budget(migration, held, seen.protected, "taking back ")
        _check_others(migration, seen.catalog, script.catalog("after"), removal)
    except RolloutError:
        session.rollback()
        raise
    marking = ledger.roll_back_command(settings.ledger, removal.row.seq, settings.run_id)
    verdict = "answered"
    try:
        session.run([marking, Command("COMMIT")])
    except ConnectionFailed:
        verdict = what_became_of(open_session, script.rows("xid")[0][0], migration)
    except StatementFailed:
        session.rollback()
        raise
    return Removed(held, verdict, script.catalog("after"))


def _check_others(migration: Migration, before: Catalog, after: Catalog, removal: Removal) -> None:
    """What must still stand, stands as it was."""
    tables = {name.removeprefix("table ") for name in removal.drops if name.startswith("table ")}
    tables |= before.partitions_of(tuple(tables))
    wrong = []
    for change in diff.changes(before, after):
        name = change.object.removeprefix("comment on ")
        owner = table_of(name, before.entries.get(name))
        if not (change.object in removal.touched or name in removal.touched or owner in tables):
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


def _comment_commands(created: dict[str, Entry], actual: Catalog, schema: str) -> list[Command]:
    """Comments that the migration put on what stood before; those on its own objects go with them."""
    return [
        comment_command(name, None, actual, schema)
        for name in sorted(created)
        if name.startswith("comment on ")
        and name.removeprefix("comment on ") not in created
        and name.removeprefix("comment on ") in actual.entries
    ]


def _top_level(created: dict[str, Entry], actual: Catalog) -> list[str]:
    """What has to be named in a DROP: the rest goes with its table or view. In an order that RESTRICT accepts."""
    relations = {
        name.removeprefix("foreign ").partition(" ")[2]
        for name in created
        if name.startswith(("table ", "foreign table ", "view "))
    }
    order = ["policy", "trigger", "statistics", "view", "index", "constraint", "column"]
    order += ["table", "foreign table", "function", "sequence", "type"]
    found = []
    for kind in order:
        for name, entry in sorted(created.items(), reverse=True):
            if not name.startswith(f"{kind} "):
                continue
            if kind in ("table", "foreign table"):
                # By the live parent: a partition that was detached since stands by itself.
                goes_along = actual.entries[name].get("parent") in relations
            else:
                goes_along = table_of(name, entry) in relations
            if not goes_along and not _backs_constraint(name, actual):
                found.append(name)
    return found


def _tables_of_parts(created: dict[str, Entry]) -> dict[str, str]:
    """For what goes along with a table (its indexes and sequences): the entry of the table."""
    return {
        name.partition(" ")[2]: f"table {owner}"
        for name, entry in created.items()
        if name.startswith(("index ", "sequence "))
        for owner in [table_of(name, entry)]
        if owner
    }


def _backs_constraint(name: str, actual: Catalog) -> bool:
    """An index that belongs to a constraint of the same name goes with the constraint."""
    table = table_of(name, actual.entries.get(name))
    return name.startswith("index ") and f"constraint {table}.{name.removeprefix('index ')}" in actual.entries


def _drop_commands(drops: Sequence[Sequence[str]], created: dict[str, Entry], schema: str) -> list[Command]:
    """One DROP for tables whose foreign keys run in circles, one for each other object."""
    commands = []
    for group in drops:
        tables = [name.removeprefix("table ") for name in group if name.startswith("table ")]
        if tables:
            listed = ", ".join(f'"{schema}"."{table}"' for table in tables)
            commands.append(Command(f"DROP TABLE {listed} RESTRICT", place=f"drop of {', '.join(tables)}"))
        for name in group:
            if not name.startswith("table "):
                commands.append(
                    Command(f"{_drop(name, created[name], schema)} RESTRICT", place=f"drop of {name}")
                )
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
    if kind == "foreign":
        return f'DROP FOREIGN TABLE "{schema}"."{rest.partition(" ")[2]}"'
    word = "MATERIALIZED VIEW" if entry.get("materialized") else kind.upper()
    return f'DROP {word} "{schema}"."{rest}"'


def _dependants(session: Session, created: dict[str, Entry], settings: Settings) -> list[Dependant]:
    names: dict[str, list[str]] = {"relations": [], "functions": [], "types": []}
    for name in created:
        kind, _, rest = name.removeprefix("foreign ").partition(" ")
        if kind in ("table", "view", "sequence", "index"):
            names["relations"].append(rest)
        elif kind in ("function", "type"):
            names[f"{kind}s"].append(rest)
    rows = session.run(
        [
            Command("BEGIN READ ONLY"),
            catalog.search_path(settings.schema),
            Command(_DEPENDANTS, {"schema": settings.schema, **names}),
            Command("COMMIT"),
        ]
    )[2]
    return [Dependant(*row) for row in rows]


def _is_among(dependant: Dependant, entries: Collection[str]) -> bool:
    """Whether a dependant is one of these entries, or a part of one."""
    owners = {
        f"{kind} {dependant.relation}" for kind in ("table", "foreign table", "view", "sequence", "index")
    }
    return bool({dependant.as_function, dependant.as_part, *owners} & set(entries))


@dataclass(frozen=True)
class _Foreign:
    """Somebody else's object that depends on one of ours, or stands on it.

    :ivar on: name of our relation or type, or our function with its arguments
    """

    description: str
    on: str


def _not_ours(
    hanging: Sequence[Dependant],
    seen: Observation,
    migration: Migration,
    created: Mapping[str, Entry],
    gone: Collection[str],
) -> list[_Foreign]:
    """Others' objects that depend on ours, or stand on our tables and would go with them."""
    relations = {
        name.removeprefix("foreign ").partition(" ")[2]
        for name in created
        if name.startswith(("table ", "foreign table ", "view ", "sequence ", "index "))
    }
    found = [
        _Foreign(dependant.description, dependant.on)
        for dependant in hanging
        if dependant.relation not in relations
        and not dependant.is_partition
        and not created.keys() & {dependant.as_function, dependant.as_part}
    ]
    grows = (*migration.grows, *seen.ledger.grows)
    for extra in diff.extras({**created, **{name: {} for name in gone}}, list(created), seen.catalog, grows):
        entry = seen.catalog.entries[extra.object]
        plain = extra.object.removeprefix("comment on ")
        owner = entry.get("parent") or table_of(plain, entry) or plain.partition(" ")[2]
        found.append(_Foreign(extra.object, str(owner)))
    return found


def _kept_for_others(
    foreign: Sequence[_Foreign], hanging: Sequence[Dependant], created: Mapping[str, Entry]
) -> dict[str, tuple[str, ...]]:
    """Entries of ours that have to stay, each with who needs it: what others depend on, and what that depends on."""
    needs: dict[str, list[str]] = {}
    waiting = [(one.on, one.description) for one in foreign]
    while waiting:
        name, why = waiting.pop()
        for entry_name, entry in created.items():
            plain = entry_name.removeprefix("comment on ")
            own = plain.partition(" ")[2]
            # A partition belongs to its table: without it the table would have lost rows.
            if name not in (own, table_of(plain, entry), entry.get("parent")):
                continue
            reasons = needs.setdefault(entry_name, [])
            if why in reasons:
                continue
            reasons.append(why)
            others = {own, table_of(plain, entry), entry.get("parent")} - {None, name}
            waiting += [(str(other), why) for other in others]
        for dependant in hanging:
            if (
                dependant.relation == name
                and dependant.on != name
                and why not in _reasons(needs, dependant.on)
            ):
                waiting.append((dependant.on, why))
    return {name: tuple(sorted(reasons)) for name, reasons in needs.items()}


def _reasons(needs: Mapping[str, Sequence[str]], name: str) -> set[str]:
    return {why for entry, reasons in needs.items() if entry.partition(" ")[2] == name for why in reasons}


def _refuse_what_is_not_ours(foreign: Sequence[_Foreign], migration: Migration) -> None:
    found = sorted({one.description for one in foreign})
    listed = "\n  ".join(found)
    raise RemovalRefused(
        f"{migration.label} cannot be taken back: these objects are not its own, and depend on what it created or"
        f" stand on it:\n  {listed}",
        hint="They are not ours to drop. Remove or change them first; CASCADE is never used. With"
        " -e rollback_keep_shared=true, playbooks/rollback.yml leaves what they need and takes back the rest.",
        details={"dependants": found},
    )


def _count_rows(
    session: Session, drops: Sequence[str], settings: Settings
) -> tuple[dict[str, int], dict[str, int]]:
    """Rows by table, and values by column, that would be lost; what is empty is left out."""
    asked: dict[str, Command] = {}
    for name in drops:
        kind, _, rest = name.partition(" ")
        table, _, column = rest.partition(".")
        if kind == "table":
            asked[name] = Command(f'SELECT count(*) FROM "{settings.schema}"."{rest}"')
        elif kind == "column":
            asked[name] = Command(f'SELECT count("{column}") FROM "{settings.schema}"."{table}"')
    # Row security would hide rows, from the owner too where it is forced; off, PostgreSQL raises an error instead.
    visible = [Command("BEGIN READ ONLY"), Command("SET LOCAL row_security = off")]
    counts = session.run([*visible, *asked.values(), Command("COMMIT")])[2:-1]
    filled = {name: rows[0][0] for name, rows in zip(asked, counts, strict=True) if rows[0][0]}
    tables, columns = (
        {name.partition(" ")[2]: count for name, count in filled.items() if name.startswith(kind)}
        for kind in ("table ", "column ")
    )
    return tables, columns


def _holding_rows(tables: Sequence[str], actual: Catalog) -> list[str]:
    """The tables and all their partitions, also those of partitions."""
    found: list[str] = []
    waiting = list(tables)
    while waiting:
        table = waiting.pop()
        found.append(table)
        waiting += sorted(actual.partitions_of((table,)))
    return found


def _contents_command(schema: str, table: str, *, exact: bool) -> Command:
    """Quoted name, number of rows and checksum; without ``exact``, one stands for any number of rows."""
    relation = f'"{schema}"."{table}"'.replace("%", "%%")  # the command has parameters
    if not exact:
        return Command(
            f"SELECT format('%%I.%%I', %s::text, %s::text), EXISTS (SELECT FROM ONLY {relation})::int, ''",
            (schema, table),
        )
    return Command(
        "SELECT format('%%I.%%I', %s::text, %s::text)," + ROWS_AND_CHECKSUM.format(table=relation),
        (schema, table),
    )


def _refuse_other_rows(
    found: Sequence[tuple[str, int, str]],
    migration: Migration,
    exported: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """Refuse when a table holds anything that is not in the export."""
    other = []
    for label, rows, checksum in found:
        known = (exported or {}).get(label, {"rows": 0, "checksum": "0"})
        if (rows, checksum or known["checksum"]) != (known["rows"], str(known["checksum"])):
            other.append(f"{label} (exported {known['rows']}, now {rows})" if exported is not None else label)
    if other:
        raise RemovalRefused(
            f"rows arrived or changed in {', '.join(other)} while {migration.label} was being taken back",
            hint="Nothing was dropped. Keep the application from writing there, then run again.",
        )
