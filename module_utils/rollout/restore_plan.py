"""What a restore would do, decided from the backup's catalog, its list and the live catalog alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.backup_archive import Archive, Item
from ansible.module_utils.rollout.backup_contents import TableRows
from ansible.module_utils.rollout.catalog import Entry, table_of
from ansible.module_utils.rollout.errors import RestoreRefused

Catalogs = Mapping[str, Mapping[str, Entry]]
#: Schema and plain name.
Name = tuple[str, str]

#: What goes with its table, and begins its name in the list with the table's.
_NAMED_AFTER_TABLE = (
    "CHECK CONSTRAINT",
    "CONSTRAINT",
    "DEFAULT",
    "FK CONSTRAINT",
    "POLICY",
    "RULE",
    "TRIGGER",
)
#: What goes with its table and is known by depending on it.
_HANGING_ON_TABLE = ("INDEX", "ROW SECURITY", "SEQUENCE", "STATISTICS", "TABLE ATTACH")
#: What goes with whatever it depends on.
_FOLLOWING = (
    "ACL",
    "COMMENT",
    "INDEX ATTACH",
    "MATERIALIZED VIEW DATA",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
)
#: What stands by itself, and how the catalog reading calls it.
_STANDING = {
    "AGGREGATE": "function",
    "DOMAIN": "type",
    "FUNCTION": "function",
    "MATERIALIZED VIEW": "view",
    "PROCEDURE": "function",
    "SEQUENCE": "sequence",
    "TYPE": "type",
    "VIEW": "view",
}


@dataclass(frozen=True)
class RestoreSettings:
    """What to restore and how far it may go.

    :ivar source: a backup's folder, manifest or dump
    :ivar confirm: the database's name, as the operator typed it
    :ivar tables: these alone; empty for all tables that the backup was made for, and whatever else is missing
    :ivar replace: move tables that hold other rows aside instead of refusing
    :ivar protected: tables, as ``schema.table``, that are never touched where they exist
    :ivar other_database: the backup may be of another database
    :ivar scratch: ``auto``, ``database`` or ``local``
    :ivar attempts: how often the transaction is tried when a lock cannot be had
    """

    source: str
    confirm: str
    tables: tuple[str, ...] = ()
    replace: bool = False
    protected: tuple[str, ...] = ()
    other_database: bool = False
    scratch: str = "auto"
    bin_dir: str = ""
    run_id: str = "by hand"
    application_name: str = "rollout"
    lock_timeout_ms: int = 1500
    attempts: int = 5
    retry_pause_s: float = 0.2
    timeout_s: int = 3600


@dataclass(frozen=True)
class Plan:
    """What is to be done with each table.

    :ivar create: tables that are not there, parents before their partitions
    :ivar fill: tables that are there and empty; they get rows
    :ivar replace: tables that are there with other rows and are moved aside; also in ``create`` where recorded
    :ivar equal: tables that hold exactly the recorded rows already
    :ivar left_alone: protected tables that the backup holds
    """

    create: tuple[Name, ...]
    fill: tuple[Name, ...]
    replace: tuple[Name, ...]
    equal: tuple[Name, ...]
    left_alone: tuple[Name, ...]

    @property
    def nothing(self) -> bool:
        return not (self.create or self.fill or self.replace)


def named(wanted: Iterable[str], recorded: Catalogs) -> set[Name]:
    """Tables by ``schema.table`` or ``table``.

    :raises RestoreRefused: the backup has none of that name, or several
    """
    tables = tables_of(recorded)
    found: set[Name] = set()
    for name in wanted:
        matches = {table for table in tables if name == ".".join(table)} or {
            table for table in tables if name == table[1]
        }
        if len(matches) != 1:
            raise RestoreRefused(
                f"the backup has {'no table' if not matches else 'in several schemas a table'} {name}",
                hint="Name a table of the backup with its schema, such as public.messages; manifest.json lists them.",
            )
        found |= matches
    return found


def label(name: Name) -> str:
    """A table's or sequence's name in the manifest."""
    return ".".join(name)


def tables_of(catalogs: Catalogs) -> dict[Name, Entry]:
    """All tables, also partitioned ones."""
    return {
        (schema, name.removeprefix("table ")): entry
        for schema, entries in catalogs.items()
        for name, entry in entries.items()
        if name.startswith("table ")
    }


def with_partitions(chosen: Collection[Name], catalogs: Catalogs) -> set[Name]:
    """The tables and all their partitions. A partition in another schema than its parent is not followed."""
    found = set(chosen)
    while True:
        more = {
            (schema, name)
            for (schema, name), entry in tables_of(catalogs).items()
            if (schema, entry.get("parent")) in found
        }
        if more <= found:
            return found
        found |= more


def plan(
    chosen: Collection[Name],
    recorded: Catalogs,
    live: Catalogs,
    rows: Mapping[Name, TableRows],
    live_rows: Mapping[Name, TableRows],
    references: Collection[tuple[Name, Name]],
    *,
    protected: Collection[Name],
    named_by_hand: bool,
    replace: bool,
) -> Plan:
    """Decide for each table.

    :param chosen: tables to restore, with their partitions
    :param recorded: catalogs of the backup
    :param live: catalogs of the database
    :param rows: what the backup holds, of tables that are not partitioned
    :param live_rows: what the database holds, of those that are there
    :param references: foreign keys of the database: (referring, referenced)
    :param protected: never touched where they are there
    :param named_by_hand: whether the tables were asked for one by one
    :param replace: move tables with other rows aside
    :raises RestoreRefused: with every reason at once
    """
    wrong: list[str] = []
    standing = tables_of(live)
    left_alone = sorted(name for name in set(chosen) & set(protected) if name in standing)
    if left_alone and named_by_hand:
        wrong += [f"{'.'.join(name)} is protected: a restore never touches it" for name in left_alone]
    create, fill, moved, equal = [], [], [], []
    tables = tables_of(recorded)
    for name in sorted(set(chosen) - set(left_alone)):
        schema, table = name
        partitioned = bool(tables[name].get("partition_key"))
        if not partitioned and name not in rows:
            wrong.append(f"the rows of {'.'.join(name)} are not in this backup")
            continue
        entry = live.get(schema, {}).get(f"table {table}")
        if entry is None:
            taken = _occupant(table, live.get(schema, {}))
            if taken:
                wrong.append(f"{'.'.join(name)}: its name is taken by {taken}")
            create.append(name)
        elif partitioned:
            wrong += _unlike(name, recorded, live)
        elif live_rows[name].rows == rows[name].rows and live_rows[name].checksum == rows[name].checksum:
            equal.append(name)
        elif live_rows[name].rows == 0:
            wrong += _unlike(name, recorded, live)
            fill.append(name)
        elif replace:
            moved.append(name)
        else:
            wrong.append(
                f"{'.'.join(name)} holds {live_rows[name].rows} rows that are not those of the backup"
                f" ({rows[name].rows})"
            )
    whole = _moved_together(moved, set(chosen) - set(left_alone), recorded, live, references)
    if whole & set(protected):
        wrong.append("a protected table would be moved aside")
    if wrong:
        raise RestoreRefused(
            "nothing was restored:\n  " + "\n  ".join(wrong),
            hint="Tables with other rows are replaced with restore_replace: true, which keeps the old ones in a schema"
            " of their own; restore_tables chooses tables.",
            details={"refused": wrong},
        )
    again = {name for name in whole if name in tables}
    return Plan(
        create=tuple(_parents_first({*create, *again}, tables)),
        fill=tuple(name for name in fill if name not in whole),
        replace=tuple(sorted(whole)),
        equal=tuple(name for name in equal if name not in whole),
        left_alone=tuple(left_alone),
    )


def _occupant(table: str, entries: Mapping[str, Entry]) -> str | None:
    kinds = ("foreign table", "view", "sequence", "index", "type")
    return next((f"{kind} {table}" for kind in kinds if f"{kind} {table}" in entries), None)


def columns(name: Name, catalogs: Catalogs, *, generated: bool) -> list[str]:
    """Columns of a table in order.

    :param generated: whether those that PostgreSQL computes are among them
    """
    schema, table = name
    found = [
        (entry["position"], key.removeprefix(f"column {table}."))
        for key, entry in catalogs[schema].items()
        if key.startswith(f"column {table}.") and (generated or not entry.get("generated"))
    ]
    return [column for _, column in sorted(found)]


def _unlike(name: Name, recorded: Catalogs, live: Catalogs) -> list[str]:
    """Why the rows of the backup cannot go into the live table. A further column there does no harm."""
    schema, table = name
    lines = []
    for key, entry in recorded[schema].items():
        if not key.startswith(f"column {table}."):
            continue
        found = live[schema].get(key)
        if found is None:
            lines.append(f"{schema}.{table} has no {key}")
        elif found["type"] != entry["type"]:
            lines.append(f"{key} is {found['type']}, in the backup {entry['type']}")
    recorded_key = recorded[schema][f"table {table}"].get("partition_key")
    if recorded_key != live[schema][f"table {table}"].get("partition_key"):
        lines.append(f"{schema}.{table} is partitioned otherwise than in the backup")
    return lines


def _moved_together(
    moved: Sequence[Name],
    chosen: Collection[Name],
    recorded: Catalogs,
    live: Catalogs,
    references: Collection[tuple[Name, Name]],
) -> set[Name]:
    """The tables that are moved aside, with the chosen ones whose foreign keys would otherwise follow them."""
    whole = _whole_trees(moved, recorded, live)
    while True:
        following = {
            one
            for one, other in references
            if other in whole and one not in whole and one in chosen and one in tables_of(live)
        }
        if not following:
            return whole
        whole |= _whole_trees(sorted(following), recorded, live)


def _whole_trees(moved: Sequence[Name], recorded: Catalogs, live: Catalogs) -> set[Name]:
    """A partition cannot be moved aside without its parent: the whole tree goes, with partitions that came later."""
    roots = set()
    tables = {**tables_of(recorded), **tables_of(live)}
    for schema, table in moved:
        root = table
        while parent := tables.get((schema, root), {}).get("parent"):
            root = parent
        roots.add((schema, root))
    return with_partitions(roots, live)


def _parents_first(names: Collection[Name], tables: Mapping[Name, Entry]) -> list[Name]:
    def depth(name: Name) -> int:
        parent = tables[name].get("parent")
        return 1 + depth((name[0], parent)) if parent and (name[0], parent) in tables else 0

    return sorted(names, key=lambda name: (depth(name), name))


def items_for(archive: Archive, decided: Plan, live: Catalogs, *, everything: bool) -> list[Item]:
    """The entries of the archive that make the tables, what belongs to them, and what they need and is missing.

    :param live: catalogs of the database as it will be once the replaced tables are moved aside
    :param everything: also make functions, types, views and sequences that are missing though no table needs them
    :raises RestoreRefused: a table that is needed is neither there nor restored
    """
    by_id = {item.id: item for item in archive.items}
    tables = {
        item.id: _name_of(item) for item in archive.items if item.kind in ("TABLE", "MATERIALIZED VIEW")
    }
    chosen = {key for key, name in tables.items() if name in decided.create}
    if everything:
        chosen |= {item.id for item in archive.items if item.kind in _STANDING and _missing(item, live)}
    wanted = {name for key, name in tables.items() if key in chosen}
    for item in archive.items:
        on = {tables[needed] for needed in item.depends if needed in tables}
        if item.kind in _NAMED_AFTER_TABLE:
            mine = any(
                schema == item.schema and item.rest.startswith(f"{table} ") for schema, table in on & wanted
            )
        elif item.kind == "TABLE ATTACH":
            mine = _name_of(item) in wanted
        else:
            mine = item.kind in _HANGING_ON_TABLE and bool(on & wanted)
        if mine:
            chosen.add(item.id)
    pending = set(chosen)
    while pending:
        needed = {key for one in pending for key in by_id[one].depends if key in by_id} - chosen
        pending = set()
        for item in (by_id[key] for key in needed):
            if item.kind == "TABLE" and f"table {item.name}" not in live.get(item.schema, {}):
                raise RestoreRefused(
                    f"table {item.schema}.{item.name} is needed, is not there and is not restored",
                    hint="Add it to restore_tables, or restore all tables of the backup.",
                )
            if (item.kind in _STANDING and _missing(item, live)) or (
                item.kind == "SCHEMA" and item.name not in live
            ):
                pending.add(item.id)
        chosen |= pending
    while more := {
        item.id
        for item in archive.items
        if item.kind in _FOLLOWING and item.id not in chosen and item.depends and item.depends[0] in chosen
    }:
        chosen |= more
    return [item for item in archive.items if item.id in chosen]


def _name_of(item: Item) -> Name:
    return item.schema, item.name


def _missing(item: Item, live: Catalogs) -> bool:
    return f"{_STANDING[item.kind]} {item.name}" not in live.get(item.schema, {})


def made_entries(items: Sequence[Item], decided: Plan, recorded: Catalogs) -> dict[str, set[str]]:
    """Names of the recorded catalog entries that the restore makes, by schema."""
    standing = {
        (item.schema, f"{_STANDING[item.kind]} {item.name}") for item in items if item.kind in _STANDING
    }
    created = {
        *decided.create,
        *(_name_of(item) for item in items if item.kind in ("VIEW", "MATERIALIZED VIEW")),
    }
    return {
        schema: {
            name
            for name, entry in entries.items()
            if (schema, table_of(name, entries.get(name.removeprefix("comment on "), entry)) or "") in created
            or (schema, name.removeprefix("comment on ")) in standing
        }
        for schema, entries in recorded.items()
    }


def fill_order(names: Collection[Name], references: Collection[tuple[Name, Name]]) -> list[Name]:
    """Referenced tables first; what refers to each other in a circle stays in the order of names.

    :param references: (referring, referenced)
    """
    remaining = sorted(names)
    ordered: list[Name] = []
    while remaining:
        free = [
            name
            for name in remaining
            if not any(one == name and other in remaining and other != name for one, other in references)
        ]
        step = free or remaining[:1]
        ordered += step
        remaining = [name for name in remaining if name not in step]
    return ordered
