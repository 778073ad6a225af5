"""What a database holds: the catalog of each schema, and of each table how many rows and a checksum over them.

Read from the source in the very snapshot that ``pg_dump`` then takes, and again from what the dump was restored into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible.module_utils.rollout import catalog, diff
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import BackupRefused
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.settled import settled

_DATABASE = """
SELECT d.oid::bigint, d.datname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, now()::text,
       pg_database_size(d.oid), current_setting('server_version'),
       has_function_privilege('pg_control_system()', 'EXECUTE'),
       (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user)
  FROM pg_database d WHERE d.datname = current_database()
"""
_SCHEMAS = """
SELECT nspname FROM pg_namespace n
 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND objid = n.oid AND deptype = 'e')
 ORDER BY 1
"""
_TABLES = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind, pg_total_relation_size(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY 2, 3
"""
# What the rows of a table need to be restored: the tables that its foreign keys refer to, and its partitions.
_NEEDS = """
SELECT conrelid::bigint, confrelid::bigint FROM pg_constraint WHERE contype = 'f'
UNION SELECT inhparent::bigint, inhrelid::bigint FROM pg_inherits
"""
_OWNED = """
SELECT d.objid::bigint, d.refobjid::bigint FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
"""
_EXTENSIONS = """
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname <> 'plpgsql' ORDER BY 1
"""
# Entries of the catalog reading that come with an extension: no dump holds them.
_MEMBERS = """
SELECT n.nspname, 'function ' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
  FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
  JOIN pg_namespace n ON n.oid = p.pronamespace WHERE d.deptype = 'e'
UNION ALL
SELECT n.nspname, 'relation ' || c.relname
  FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE d.deptype = 'e'
UNION ALL
SELECT n.nspname, 'type ' || t.typname
  FROM pg_depend d JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
  JOIN pg_namespace n ON n.oid = t.typnamespace WHERE d.deptype = 'e'
"""
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
# The checksum does not depend on the order of rows: a sum of hashes. The text of a row holds every column, in order.
# What a removal drops is compared with it.
ROWS_AND_CHECKSUM = """
count(*), coalesce(sum(hashtextextended((rollout_row.*)::text, 0)), 0)::text FROM ONLY {table} rollout_row
"""
_SEQUENCE = """
SELECT last_value, is_called, (SELECT sign(seqincrement)::int FROM pg_sequence WHERE seqrelid = '{literal}'::regclass)
  FROM {sequence}
"""


@dataclass(frozen=True)
class Identity:
    """Which database it is.

    :ivar system_identifier: of the cluster, as made by initdb; None when the role may not read it
    :ivar oid: of the database in the cluster
    """

    name: str
    oid: int
    system_identifier: str | None
    server_version: str
    encoding: str
    collate: str
    ctype: str

    def same_as(self, other: Identity) -> bool:
        """Whether both are one database; where the cluster cannot be told apart, by oid alone."""
        return self.oid == other.oid and (
            self.system_identifier is None
            or other.system_identifier is None
            or self.system_identifier == other.system_identifier
        )


@dataclass(frozen=True)
class TableRows:
    """The rows of one table, without its partitions' and children's.

    :ivar bytes: with indexes and TOAST, in the source
    :ivar checksum: sum over hashes of all rows
    """

    rows: int
    bytes: int
    checksum: str


@dataclass(frozen=True)
class Contents:
    """What was read.

    :ivar at: time of the snapshot, UTC, as PostgreSQL prints it
    :ivar database_bytes: size of the whole database
    :ivar catalogs: schema -> entry name -> attributes
    :ivar rows: tables whose rows belong to it, by name such as ``public.companies``
    :ivar without_rows: tables whose rows do not, quoted as SQL and pg_dump's patterns want them
    :ivar sequences: last value, whether it was given out, and 1 or -1 for the direction
    :ivar extensions: name -> schema
    """

    identity: Identity
    at: str
    database_bytes: int
    may_create_database: bool
    catalogs: Mapping[str, Mapping[str, Entry]]
    rows: Mapping[str, TableRows]
    without_rows: tuple[str, ...]
    sequences: Mapping[str, tuple[int, bool, int]]
    extensions: Mapping[str, str]

    @property
    def portable(self) -> dict[str, dict[str, Entry]]:
        """The catalogs as they can be compared with a restored copy."""
        return {schema: portable(entries) for schema, entries in self.catalogs.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that a restored copy must equal in structure."""
        return fingerprint(self.portable)


@dataclass(frozen=True)
class _Relation:
    oid: int
    schema: str
    name: str
    kind: str
    bytes: int

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        return sql_name(self.schema, self.name)


@dataclass(frozen=True)
class Outline:
    """What is there and what of it is wanted, before rows are counted.

    :ivar wanted: oids of tables whose rows are wanted
    """

    identity: Identity
    at: str
    database_bytes: int
    may_create_database: bool
    schemas: tuple[str, ...]
    relations: Mapping[int, _Relation] = field(default_factory=dict)
    owned: Mapping[int, int] = field(default_factory=dict)
    wanted: frozenset[int] = frozenset()
    extensions: Mapping[str, str] = field(default_factory=dict)
    members: frozenset[tuple[str, str]] = frozenset()

    def limited_to(self, source: Contents) -> Outline:
        """Of a restored copy: what was wanted of the source."""
        relations = {key: r for key, r in self.relations.items() if r.schema in source.catalogs}
        wanted = {
            key for key, r in relations.items() if r.label in source.rows or r.label in source.sequences
        }
        return replace(
            self, schemas=tuple(source.catalogs), relations=relations, owned={}, wanted=frozenset(wanted)
        )


def begin(session: Session) -> str:
    """Open the transaction in which everything is read; returns the snapshot's name for ``pg_dump --snapshot``.

    Row security is off: where it would hide rows, PostgreSQL raises an error instead. The session may be idle in the
    transaction while pg_dump works, so the limit on that is lifted; it holds no lock but ACCESS SHARE.
    """
    answers = session.run(
        [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "SET LOCAL row_security = off",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
            "SELECT pg_export_snapshot()",
        ]
    )
    return str(answers[-1][0][0])


def outline(session: Session, schemas: Sequence[str] = (), tables: Sequence[str] = ()) -> Outline:
    """Read which schemas and tables there are, and choose. Inside a transaction.

    :param schemas: these alone; empty for all
    :param tables: only the rows of these, as ``schema.table`` or ``table``, and of what they refer to; empty for all
    :raises BackupRefused: a schema or table is not there
    """
    answers = session.run(
        [*map(Command, (_DATABASE, _SCHEMAS, _TABLES, _NEEDS, _OWNED, _EXTENSIONS, _MEMBERS))]
    )
    ((oid, name, encoding, collate, ctype, at, size, version, may_ask, may_create),) = answers[0]
    system = session.run([_SYSTEM])[0][0][0] if may_ask else None
    present = [schema for (schema,) in answers[1]]
    missing = sorted(set(schemas) - set(present))
    if missing:
        raise BackupRefused(
            f"database {name} has no schema {', '.join(missing)}", hint=f"It has: {', '.join(present)}."
        )
    chosen = tuple(schema for schema in present if not schemas or schema in schemas)
    relations = {row[0]: _Relation(*row) for row in answers[2] if row[1] in chosen}
    labels = [relation.label for relation in relations.values()]
    twice = (
        sorted({label for label in labels if labels.count(label) > 1})
        if len(set(labels)) < len(labels)
        else []
    )
    if twice:
        raise BackupRefused(f"two tables read alike, because their names hold a dot: {', '.join(twice)}")
    wanted = {key for key, relation in relations.items() if relation.kind != "S"}
    if tables:
        needs: dict[int, set[int]] = {}
        for relation, needed in answers[3]:
            needs.setdefault(relation, set()).add(needed)
        wanted = _with_needed(_named(tables, relations, name), needs)
        beyond = sorted(key for key in wanted if key not in relations)
        if beyond:
            raise BackupRefused(
                "the chosen tables refer to tables in schemas that are not part of the backup",
                hint="Name those schemas too.",
            )
    return Outline(
        identity=Identity(name, oid, system, version, encoding, collate, ctype),
        at=at,
        database_bytes=size,
        may_create_database=may_create,
        schemas=chosen,
        relations=relations,
        owned=dict(answers[4]),
        wanted=frozenset(wanted),
        extensions=dict(answers[5]),
        members=frozenset((schema, entry) for schema, entry in answers[6]),
    )


def read(session: Session, seen: Outline) -> Contents:
    """Read catalogs, rows and sequences of what was chosen, in the same transaction."""
    tables = [r for r in seen.relations.values() if r.kind == "r" and r.oid in seen.wanted]
    sequences = [
        r
        for r in seen.relations.values()
        if r.kind == "S" and (seen.owned.get(r.oid) is None or seen.owned[r.oid] in seen.wanted)
    ]
    catalogs = {}
    for schema in seen.schemas:
        answers = session.run([catalog.search_path(schema), *catalog.commands(schema)])
        entries = catalog.from_rows(answers[1:]).entries
        catalogs[schema] = {
            name: entry
            for name, entry in entries.items()
            if not (_belongs_to(name, entry, schema) & seen.members)
        }
    answers = session.run(
        [
            Command("SET LOCAL search_path = pg_catalog"),
            *(Command("SELECT" + ROWS_AND_CHECKSUM.format(table=table.sql)) for table in tables),
            *(
                Command(_SEQUENCE.format(sequence=sequence.sql, literal=sequence.sql.replace("'", "''")))
                for sequence in sequences
            ),
        ]
    )[1:]
    return Contents(
        identity=seen.identity,
        at=seen.at,
        database_bytes=seen.database_bytes,
        may_create_database=seen.may_create_database,
        catalogs=catalogs,
        rows={
            table.label: TableRows(rows[0][0], table.bytes, rows[0][1])
            for table, rows in zip(tables, answers[: len(tables)], strict=True)
        },
        without_rows=tuple(
            r.sql for r in seen.relations.values() if r.kind == "r" and r.oid not in seen.wanted
        ),
        sequences={
            sequence.label: (rows[0][0], rows[0][1], rows[0][2])
            for sequence, rows in zip(sequences, answers[len(tables) :], strict=True)
        },
        extensions=seen.extensions,
    )


def identifier(name: str) -> str:
    """A name as SQL takes it literally."""
    return '"' + name.replace('"', '""') + '"'


def sql_name(schema: str, name: str) -> str:
    """A name with its schema as SQL and pg_dump's patterns take it literally."""
    return f"{identifier(schema)}.{identifier(name)}"


def _belongs_to(name: str, entry: Entry, schema: str) -> set[tuple[str, str]]:
    """The names under which an entry could be an extension's: its own, and its table's or view's."""
    plain = name.removeprefix("comment on ")
    relation = catalog.table_of(plain, entry) or plain.removeprefix("foreign ").partition(" ")[2]
    return {(schema, plain), (schema, f"relation {relation}")}


def _named(tables: Iterable[str], relations: Mapping[int, _Relation], database: str) -> set[int]:
    found: set[int] = set()
    for wanted in tables:
        matches = {
            relation.oid
            for relation in relations.values()
            if relation.kind != "S" and wanted == relation.label
        } or {
            relation.oid
            for relation in relations.values()
            if relation.kind != "S" and wanted == relation.name
        }
        if len(matches) != 1:
            seen = "has no table" if not matches else "has in several schemas a table"
            raise BackupRefused(
                f"database {database} {seen} {wanted}",
                hint="Name it with its schema, such as public.messages.",
            )
        found |= matches
    return found


def _with_needed(tables: set[int], needs: Mapping[int, set[int]]) -> set[int]:
    """The tables and whatever their rows need, and so on."""
    found: set[int] = set()
    pending = set(tables)
    while pending:
        found |= pending
        pending = {needed for table in pending for needed in needs.get(table, ())} - found
    return found


def portable(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries as a restored copy must have them.

    Without owners and grants: the copy belongs to whoever restored it (they are compared with the archive's list).
    Without invalid indexes, which pg_dump leaves out. Definitions as they read after having been read once.
    """
    return {
        name: {key: settled(value) for key, value in entry.items() if key not in ("owner", "grants")}
        for name, entry in entries.items()
        if not entry.get("invalid")
    }


def differences(expected: Contents, found: Contents) -> list[str]:
    """Where a restored copy is not what the source was; empty when they are equal.

    A sequence may be ahead of the snapshot, because sequences stand outside of transactions, but not behind it.
    """
    lines: list[str] = []
    copies = found.portable
    for schema, entries in expected.portable.items():
        for change in diff.changes(Catalog(entries), Catalog(copies.get(schema, {}))):
            kind = {"created": "extra", "dropped": "missing", "altered": "changed"}[change.action]
            told = diff.as_text([diff.Difference(change.object, kind, change.before, change.after)])
            lines.append(
                f"{schema}: {told}"
                if kind != "extra"
                else f"{schema}: {change.object}: was not in the source"
            )
    for label, table in expected.rows.items():
        copy = found.rows.get(label)
        if copy is None:
            lines.append(f"{label}: missing")
        elif copy.rows != table.rows:
            lines.append(f"{label}: {copy.rows} rows, the source has {table.rows}")
        elif copy.checksum != table.checksum:
            lines.append(f"{label}: {copy.rows} rows as in the source, but not the same ones")
    for label, (value, called, direction) in expected.sequences.items():
        if label not in found.sequences:
            lines.append(f"{label}: missing")
            continue
        copy_value, copy_called, _ = found.sequences[label]
        if (direction * copy_value, copy_called) < (direction * value, called):
            lines.append(f"{label}: stands at {copy_value}, the source at {value}")
    return lines
