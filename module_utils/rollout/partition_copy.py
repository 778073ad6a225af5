"""Copy the rows of one period beside the table, batch by batch, while they stay where readers find them.

A copy that was interrupted goes on where it ended. Before it takes its place it is brought up to date under a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_changes import (
    CHECK,
    LIKE,
    Done,
    Terms,
    attach,
    bounds_check,
    in_transaction,
)
from ansible.module_utils.rollout.partition_plan import Partition, Period
from ansible.module_utils.rollout.partition_reading import Seen, Table, quoted

#: Copying a batch or building an index takes its time; waiting for a lock does not (lock_timeout stays).
TIMEOUT_MS = 6 * 3600 * 1000
INDEXES = (
    "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = %s::regclass"
)
_MARK = "Rows copied from {sources} by a repair that is under way."
_STAGING = """
SELECT c.oid::bigint, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s
"""
_PRIMARY_KEY = """
SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY k(number, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
 WHERE i.indrelid = %s::oid AND i.indisprimary ORDER BY k.place
"""
_COLUMNS = """
SELECT attname FROM pg_attribute
 WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""


@dataclass(frozen=True)
class Copy:
    """Rows of one period on their way into a table of their own.

    :ivar sources: the partitions that hold them, quoted
    :ivar staging: bare name of the table that they are copied to
    :ivar columns: all but the generated ones, quoted and listed
    :ivar key: the primary key's columns, quoted
    """

    table: Table
    sources: tuple[str, ...]
    staging: str
    period: Period
    columns: str
    key: tuple[str, ...]

    @property
    def within(self) -> str:
        """Condition for the period's rows."""
        return bounds_check(self.table, self.period)

    @property
    def sql(self) -> str:
        return quoted(self.table.schema, self.staging)

    @property
    def same_key(self) -> str:
        return " AND ".join(f"d.{column} = s.{column}" for column in self.key)

    def row(self, alias: str) -> str:
        """A row as text: equal texts are equal rows, also of types without an operator for it."""
        return "ROW(" + ", ".join(f"{alias}.{column}" for column in self.columns.split(", ")) + ")::text"


def begin(
    session: Session, seen: Seen, period: Period, sources: Sequence[Partition], terms: Terms, done: Done
) -> Copy:
    """Make the table that rows are copied to, or find the one that an interrupted repair left.

    :param sources: partitions that may hold rows of the period
    :raises RolloutError: the table has no primary key, or the name is taken
    """
    table, staging = seen.table, f"{period.name}_incoming"
    if len(staging.encode()) > 63:
        raise RolloutError(f"the name {staging} has more than 63 bytes", hint="Rename the table.")
    key, columns, found = session.run(
        [
            Command(_PRIMARY_KEY, (table.oid,)),
            Command(_COLUMNS, (table.oid,)),
            Command(_STAGING, (table.schema, staging)),
        ]
    )
    names = ", ".join(source.name for source in sources)
    if not key:
        raise RolloutError(
            f"{table.schema}.{table.name} has no primary key, so rows of {names} cannot be told from one another",
            hint="Give it one, or move the rows by hand.",
        )
    mark = _MARK.format(sources=names)
    if found and found[0][1] != mark:
        raise RolloutError(
            f"{table.schema}.{staging} exists and is not a copy that a repair began", hint="Rename it."
        )
    copy = Copy(
        table,
        tuple(seen.sql(source.name) for source in sources),
        staging,
        period,
        ", ".join(quoted(name) for (name,) in columns),
        tuple(quoted(name) for (name,) in key),
    )
    if not found:
        comment = mark.replace("'", "''")
        make = [
            Command(
                f"CREATE TABLE {copy.sql} (LIKE {table.sql} {LIKE} INCLUDING INDEXES,"
                f" CONSTRAINT {CHECK} CHECK ({copy.within}))"
            ),
            Command(f"COMMENT ON TABLE {copy.sql} IS '{comment}'"),
        ]
        in_transaction(session, table, make, terms, done, {table.name: "ACCESS SHARE"})
    return copy


def fill(session: Session, copy: Copy, batch_rows: int) -> None:
    """Copy what is not there yet, so many rows a transaction."""
    for source in copy.sources:
        while copy_batch(session, copy, source, batch_rows) == batch_rows:
            pass


def copy_batch(session: Session, copy: Copy, source: str, batch_rows: int) -> int:
    """Copy the next rows of one source in the order of the primary key; returns how many.

    Where the copy holds rows of several sources, it goes on behind the last one that this source still has.
    """
    key = ", ".join(copy.key)
    backwards = ", ".join(f"s.{column} DESC" for column in copy.key)
    last = f"SELECT {', '.join(f's.{column}' for column in copy.key)} FROM {copy.sql} s"
    if len(copy.sources) > 1:
        last += f" WHERE EXISTS (SELECT FROM ONLY {source} d WHERE {copy.same_key})"
    last += f" ORDER BY {backwards} LIMIT 1"
    ((begun,),) = session.run([Command(f"SELECT EXISTS ({last})")])[0]
    after = f" AND ({key}) > ({last})" if begun else ""
    statement = (
        f"WITH copied AS (INSERT INTO {copy.sql} ({copy.columns}) SELECT {copy.columns}"
        f" FROM ONLY {source} WHERE {copy.within}{after} ORDER BY {key} LIMIT {batch_rows} RETURNING 1)"
        " SELECT count(*) FROM copied"
    )
    return int(session.run([Command(statement)])[0][0][0])


def catch_up(copy: Copy) -> list[Command]:
    """Bring the copy up to date, under a lock on its sources: what was changed or deleted goes, what is new comes."""
    same = f"{copy.same_key} AND {copy.row('d')} = {copy.row('s')}"
    gone = " AND ".join(f"NOT EXISTS (SELECT FROM ONLY {source} d WHERE {same})" for source in copy.sources)
    return [
        Command(f"DELETE FROM {copy.sql} s WHERE {gone}"),
        *(
            Command(
                f"INSERT INTO {copy.sql} ({copy.columns}) SELECT {copy.columns} FROM ONLY {source} d"
                f" WHERE {copy.within} AND NOT EXISTS (SELECT FROM {copy.sql} s WHERE {copy.same_key})"
            )
            for source in copy.sources
        ),
    ]


def attach_commands(copy: Copy, indexes: Sequence[str]) -> list[Command]:
    """Give the copy and its indexes a partition's names, and attach it; its CHECK spares PostgreSQL to read it.

    An index whose name PostgreSQL had cut off keeps it.
    """
    table, new = copy.table, quoted(copy.table.schema, copy.period.name)
    return [
        Command(f"COMMENT ON TABLE {copy.sql} IS NULL"),
        Command(f"ALTER TABLE {copy.sql} RENAME TO {quoted(copy.period.name)}"),
        *renamed_indexes(table.schema, indexes, copy.staging, copy.period.name),
        *attach(table, new, copy.period),
    ]


def renamed_indexes(schema: str, indexes: Sequence[str], old: str, new: str) -> list[Command]:
    """Indexes that are named after a table, named after its new name."""
    return [
        Command(
            f"ALTER INDEX {quoted(schema, index)} RENAME TO {quoted((new + index.removeprefix(old))[:63])}"
        )
        for index in indexes
        if index.startswith(old)
    ]
