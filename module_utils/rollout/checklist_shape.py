"""What the ledger's record promises of behaviour: keys, foreign keys, checks, triggers, read from definitions. Pure.

Definitions are those that PostgreSQL prints (pg_get_constraintdef, pg_get_indexdef, pg_get_triggerdef), with names of
the target schema bare.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout.catalog import Entry

_FOREIGN_KEY = re.compile(
    r"FOREIGN KEY \((?P<columns>.+?)\) REFERENCES (?P<parent>.+?)\((?P<keys>.+?)\)(?P<rest>.*)", re.DOTALL
)
_KEY = re.compile(r"(?P<kind>PRIMARY KEY|UNIQUE)(?: NULLS NOT DISTINCT)? \((?P<columns>.+?)\)", re.DOTALL)
_ON_DELETE = re.compile(r" ON DELETE (CASCADE|RESTRICT|SET NULL|SET DEFAULT|NO ACTION)")
_INDEX = re.compile(r"CREATE (?P<unique>UNIQUE )?INDEX .+? USING (?P<method>\w+) \(", re.DOTALL)
_CALLED = re.compile(r" EXECUTE (?:FUNCTION|PROCEDURE) (?P<function>.+?)\(", re.DOTALL)


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key.

    :ivar parent: the table that it refers to, as printed
    :ivar on_delete: ``CASCADE``, ``RESTRICT``, ``SET NULL``, ``SET DEFAULT`` or ``NO ACTION``
    """

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    keys: tuple[str, ...]
    on_delete: str


@dataclass(frozen=True)
class UniqueKey:
    """Something that no two rows may share.

    :ivar name: of the constraint or index, as PostgreSQL reports it when it is violated
    :ivar columns: those that two rows must share to collide
    :ivar sqlstate: with which a second row is refused
    """

    name: str
    table: str
    columns: tuple[str, ...]
    primary: bool = False
    sqlstate: str = "23505"


@dataclass(frozen=True)
class Check:
    """A CHECK constraint; ``columns`` are those that its text names."""

    name: str
    table: str
    definition: str
    columns: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Trigger:
    """A trigger; ``function`` is the one that it executes."""

    name: str
    table: str
    function: str


@dataclass(frozen=True)
class Shape:
    """What migrations made, as far as it can be tried out.

    :ivar tables: table -> its columns; partitions are not among them, what holds for the table holds for them
    :ivar partitions: tables that are partitions of one of them
    :ivar partitioned: table -> partition key as printed
    :ivar elsewhere: constraints on tables that migrations altered and did not make; nothing is written there
    """

    tables: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    partitions: frozenset[str] = frozenset()
    partitioned: Mapping[str, str] = field(default_factory=dict)
    foreign_keys: tuple[ForeignKey, ...] = ()
    unique_keys: tuple[UniqueKey, ...] = ()
    checks: tuple[Check, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    functions: tuple[str, ...] = ()
    trigger_functions: frozenset[str] = frozenset()
    elsewhere: tuple[str, ...] = ()

    def primary_key(self, table: str) -> tuple[str, ...]:
        """The columns of a table's primary key; empty where it has none."""
        return next((key.columns for key in self.unique_keys if key.primary and key.table == table), ())

    def foreign_keys_of(self, table: str) -> list[ForeignKey]:
        return [key for key in self.foreign_keys if key.table == table]


def read(recorded: Mapping[str, Entry], made: Collection[str]) -> Shape:
    """The shape that the ledger recorded.

    :param recorded: managed entries and their attributes
    :param made: those of them that migrations created
    """
    made_tables = {name.removeprefix("table ") for name in made if name.startswith("table ")}
    partitions = frozenset(table for table in made_tables if recorded.get(f"table {table}", {}).get("parent"))
    # A name with a dot is not told apart from a column's entry; such tables are left to the comparison of shapes.
    tables: dict[str, dict[str, Entry]] = {
        table: {} for table in sorted(made_tables - partitions) if "." not in table
    }
    for name, entry in recorded.items():
        kind, _, rest = name.partition(" ")
        table, _, column = rest.partition(".")
        if kind == "column" and table in tables:
            tables[table][column] = entry
    foreign_keys: list[ForeignKey] = []
    unique_keys: list[UniqueKey] = []
    checks: list[Check] = []
    elsewhere: list[str] = []
    for table, name, entry in _members(recorded, "constraint"):
        definition = str(entry["definition"])
        if table in partitions:
            continue
        if table not in tables:
            elsewhere.append(f"constraint {table}.{name}")
        elif found := _FOREIGN_KEY.match(definition):
            action = _ON_DELETE.search(found["rest"])
            foreign_keys.append(
                ForeignKey(
                    name,
                    table,
                    names(found["columns"]),
                    bare(found["parent"]),
                    names(found["keys"]),
                    action[1] if action else "NO ACTION",
                )
            )
        elif found := _KEY.match(definition):
            primary = found["kind"] == "PRIMARY KEY"
            unique_keys.append(UniqueKey(name, table, names(found["columns"]), primary))
        elif definition.startswith("EXCLUDE"):
            # A row that equals another in everything but its key collides with it.
            primary_columns = _primary_columns(recorded, table)
            columns = tuple(column for column in tables[table] if column not in primary_columns)
            unique_keys.append(UniqueKey(name, table, columns, sqlstate="23P01"))
        elif definition.startswith("CHECK"):
            checks.append(Check(name, table, definition, _mentioned(definition, tables[table])))
    keys = {(key.table, key.name) for key in unique_keys}
    for name, entry in recorded.items():
        if name.startswith("index ") and entry.get("table") in tables:
            index, table = name.removeprefix("index "), entry["table"]
            parts = index_parts(str(entry["definition"]))
            if parts.unique and (table, index) not in keys:
                columns = _mentioned(" ".join(parts.keys), tables[table])
                unique_keys.append(UniqueKey(index, table, columns))
    triggers = []
    for table, name, entry in _members(recorded, "trigger"):
        if table in tables and (called := _CALLED.search(str(entry["definition"]))):
            triggers.append(Trigger(name, table, f"{bare(called['function'])}()"))
    functions = tuple(name.removeprefix("function ") for name in sorted(made) if name.startswith("function "))
    return Shape(
        tables=tables,
        partitions=partitions,
        partitioned={
            table: recorded[f"table {table}"]["partition_key"]
            for table in tables
            if recorded.get(f"table {table}", {}).get("partition_key")
        },
        foreign_keys=tuple(foreign_keys),
        unique_keys=tuple(unique_keys),
        checks=tuple(checks),
        triggers=tuple(triggers),
        functions=functions,
        trigger_functions=frozenset(
            name for name in functions if recorded[f"function {name}"].get("returns") == "trigger"
        ),
        elsewhere=tuple(elsewhere),
    )


@dataclass(frozen=True)
class IndexParts:
    """An index as its definition says: ``keys`` with their direction, ``rest`` (INCLUDE, WITH), ``where``."""

    unique: bool
    method: str
    keys: tuple[str, ...]
    rest: str
    where: str


def index_parts(definition: str) -> IndexParts:
    """Take an index definition apart."""
    found = _INDEX.match(definition)
    if not found:
        return IndexParts(False, "", (), definition, "")
    keys, end = _until_closed(definition, found.end())
    rest, _, where = definition[end:].partition(" WHERE ")
    return IndexParts(bool(found["unique"]), found["method"], tuple(_split(keys)), rest.strip(), where)


def redundant_indexes(entries: Mapping[str, Entry], tables: Collection[str]) -> dict[str, str]:
    """B-tree indexes that another one serves as well: index -> the other.

    Those that repeat another index, or are its beginning, with the same predicate; never one that keeps rows unique.

    :param tables: only indexes on these tables
    """
    parts = {
        name.removeprefix("index "): (entry["table"], index_parts(str(entry["definition"])))
        for name, entry in entries.items()
        if name.startswith("index ") and entry.get("table") in tables
    }
    found: dict[str, str] = {}
    for name, (table, one) in sorted(parts.items()):
        if one.unique or one.method != "btree" or one.rest:
            continue
        for other_name, (other_table, other) in sorted(parts.items(), key=lambda item: _weight(item[1][1])):
            same = one.keys == other.keys and not other.unique
            if (
                other_name != name
                and other_table == table
                and other.method == "btree"
                and other.where == one.where
                and other.keys[: len(one.keys)] == one.keys
                # Of two equal ones, the first by name stays.
                and not (same and name < other_name)
            ):
                found[name] = other_name
                break
    return found


def _weight(parts: IndexParts) -> tuple[bool, int]:
    return not parts.unique, len(parts.keys)


def names(text: str) -> tuple[str, ...]:
    """A printed list of names, without quotes: ``a, "B c"`` -> ``("a", "B c")``."""
    return tuple(bare(part) for part in _split(text))


def bare(name: str) -> str:
    """A printed name without quotes; one with its schema stays as it is, and belongs to somebody else."""
    quoted = re.fullmatch(r'"((?:[^"]|"")+)"', name)
    return quoted[1].replace('""', '"') if quoted else name


def _members(recorded: Mapping[str, Entry], kind: str) -> Iterable[tuple[str, str, Entry]]:
    for name, entry in sorted(recorded.items()):
        if name.startswith(f"{kind} "):
            table, _, member = name.removeprefix(f"{kind} ").partition(".")
            yield table, member, entry


def _primary_columns(recorded: Mapping[str, Entry], table: str) -> tuple[str, ...]:
    for owner, _, entry in _members(recorded, "constraint"):
        found = _KEY.match(str(entry["definition"]))
        if owner == table and found and found["kind"] == "PRIMARY KEY":
            return names(found["columns"])
    return ()


def _mentioned(text: str, columns: Iterable[str]) -> tuple[str, ...]:
    """Columns whose names stand in a text outside quotes."""
    bare = re.sub(r"'(?:[^']|'')*'", "''", text)
    return tuple(
        column for column in columns if re.search(rf'(?<![\w$."])"?{re.escape(column)}"?(?![\w$.(])', bare)
    )


def _until_closed(text: str, start: int) -> tuple[str, int]:
    """The text from ``start`` to the parenthesis that closes what was open there, and where it goes on."""
    depth, at, quoted = 1, start, ""
    while at < len(text):
        letter = text[at]
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"":
            quoted = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
            if depth == 0:
                return text[start:at], at + 1
        at += 1
    return text[start:], len(text)


def _split(text: str) -> Sequence[str]:
    """Parts between commas that stand in no parenthesis and no quotes."""
    found, depth, quoted, part = [], 0, "", ""
    for letter in text:
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"":
            quoted = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and depth == 0:
            found.append(part.strip())
            part = ""
            continue
        part += letter
    return [*found, part.strip()]
