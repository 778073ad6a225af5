"""The ledger: which migrations ran, and what each did to every object. It lives in a schema of its own.

Its rows are written in the migration's own transaction, so that the ledger can never say something that is not so.
It is history: a rollback marks a row and deletes none. What it recorded of a partition that retention detached moves to
the record of the detach.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.catalog import Entry
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.migration import Migration

#: Raised when the tables below change their shape.
FORMAT = 1

_TABLES = (
    """
CREATE SCHEMA {ledger}
""",
    """
COMMENT ON SCHEMA {ledger} IS 'Ledger of schema rollouts, format {format}. Written by the rollout only.'
""",
    """
CREATE TABLE {ledger}.migration (
    seq                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_schema       text NOT NULL,
    id                  text NOT NULL,
    name                text NOT NULL,
    state               text NOT NULL CHECK (state IN ('applied', 'adopted', 'completed', 'unfinished')),
    checksum            text NOT NULL,
    source_sha256       text NOT NULL,
    variables           jsonb NOT NULL,
    sql                 text NOT NULL,
    grows               text[] NOT NULL,
    catalog_fingerprint text NOT NULL,
    xid                 xid8,
    run_id              text NOT NULL,
    applied_by          text NOT NULL DEFAULT session_user,
    applied_from        text NOT NULL,
    server_version      integer NOT NULL DEFAULT current_setting('server_version_num')::integer,
    statements          integer NOT NULL,
    duration_ms         numeric(12, 1) NOT NULL,
    applied_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    rolled_back_at      timestamptz,
    rolled_back_run     text
)
""",
    """
CREATE UNIQUE INDEX migration_in_force ON {ledger}.migration (target_schema, id) WHERE rolled_back_at IS NULL
""",
    """
COMMENT ON TABLE {ledger}.migration IS 'One row each time a migration was applied, adopted or completed.'
""",
    """
CREATE TABLE {ledger}.change (
    seq    bigint NOT NULL REFERENCES {ledger}.migration,
    object text NOT NULL,
    action text NOT NULL CHECK (action IN ('created', 'altered', 'dropped', 'adopted')),
    before jsonb,
    after  jsonb,
    PRIMARY KEY (seq, object)
)
""",
    """
COMMENT ON TABLE {ledger}.change IS
    'What a migration did to each object. The newest row of an object is its expected shape.'
""",
)


# A JSON null is not an SQL NULL: jsonb_to_recordset gives the former for "before": null.
_CHANGE_COLUMNS = "r.object, r.action, nullif(r.before, 'null'), nullif(r.after, 'null')"
_CHANGE_ROWS = "jsonb_to_recordset(%s::jsonb) AS r(object text, action text, before jsonb, after jsonb)"


@dataclass(frozen=True)
class Row:
    """A migration that is in force, as the ledger remembers it."""

    seq: int
    id: str
    name: str
    state: str
    checksum: str
    variables: Mapping[str, Any]
    server_version: int
    applied_at: str
    run_id: str
    grows: list[str]


@dataclass(frozen=True)
class Ledger:
    """What the ledger says of one target schema.

    :ivar exists: whether there is a ledger at all
    :ivar rows: migrations in force, by id
    :ivar expected: managed entry -> attributes as last recorded
    :ivar owners: managed entry -> id of the migration that recorded it last
    :ivar made: managed entries that a migration created; the others stood before and were altered
    """

    exists: bool
    rows: Mapping[str, Row]
    expected: Mapping[str, Entry]
    owners: Mapping[str, str]
    made: frozenset[str] = frozenset()

    @property
    def grows(self) -> tuple[str, ...]:
        """Partitioned tables to which others add partitions."""
        return tuple(table for row in self.rows.values() for table in row.grows)


EMPTY = Ledger(exists=False, rows={}, expected={}, owners={})


def quoted(ledger: str) -> str:
    """The ledger schema's name for use in SQL; it has passed ``check_identifier``."""
    return f'"{ledger}"'


def exists_command(ledger: str) -> Command:
    """Asks for the comment of the ledger's table, NULL where there is no ledger."""
    return Command(
        "SELECT n.oid IS NOT NULL, c.oid IS NOT NULL, obj_description(n.oid, 'pg_namespace')"
        " FROM (SELECT %s::name AS name) w"
        " LEFT JOIN pg_namespace n ON n.nspname = w.name"
        " LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'migration'",
        (ledger,),
    )


def check_format(answer: tuple[Any, ...], ledger: str) -> bool:
    """Whether the ledger exists; from the answer to :func:`exists_command`.

    :raises RolloutError: the schema is somebody else's, or of a format that this version does not know
    """
    exists, has_table, comment = answer
    if not exists:
        return False
    if f"format {FORMAT}." not in (comment or ""):
        raise RolloutError(
            f"the schema {ledger} is not a ledger of format {FORMAT}; its comment is: {comment!r}",
            hint="Choose another name for the ledger (schema_ledger), or use the version that wrote it.",
        )
    return bool(has_table)


def read_commands(ledger: str, schema: str) -> list[Command]:
    """Read what is in force; :func:`from_rows` takes the answers."""
    name = quoted(ledger)
    return [
        Command(
            "SELECT seq, id, name, state, checksum, variables, server_version, applied_at::text, run_id, grows"
            f" FROM {name}.migration WHERE target_schema = %s AND rolled_back_at IS NULL ORDER BY seq",
            (schema,),
        ),
        Command(
            "SELECT DISTINCT ON (c.object) c.object, m.id, c.after,"
            f" bool_or(c.before IS NULL) OVER (PARTITION BY c.object) FROM {name}.change c"
            f" JOIN {name}.migration m USING (seq)"
            " WHERE m.target_schema = %s AND m.rolled_back_at IS NULL ORDER BY c.object, c.seq DESC",
            (schema,),
        ),
    ]


def from_rows(answers: list[list[tuple[Any, ...]]]) -> Ledger:
    """Build the ledger from the answers to :func:`read_commands`."""
    rows = {row[1]: Row(*row) for row in answers[0]}
    current = [row for row in answers[1] if row[2] is not None]
    return Ledger(
        exists=True,
        rows=rows,
        expected={name: after for name, _, after, _ in current},
        owners={name: owner for name, owner, _, _ in current},
        made=frozenset(name for name, _, _, made in current if made),
    )


def create_commands(ledger: str) -> list[Command]:
    """Make the ledger; sent only where there is none, inside the first migration's transaction."""
    return [Command(statement.format(ledger=quoted(ledger), format=FORMAT)) for statement in _TABLES]


@dataclass(frozen=True)
class Entered:
    """What is written about a migration that has just run.

    :ivar state: ``applied``, ``adopted``, ``completed`` or ``unfinished``
    :ivar statements: how many were sent in this run
    :ivar adopted: objects among ``changes`` that stood already, made by somebody else
    """

    migration: Migration
    schema: str
    state: str
    catalog_fingerprint: str
    run_id: str
    applied_from: str
    statements: int
    duration_ms: float
    changes: Iterable[Change]
    adopted: frozenset[str] = frozenset()


def write_commands(ledger: str, entered: Entered) -> list[Command]:
    """Record a migration, as part of its own transaction."""
    name = quoted(ledger)
    return [
        Command(
            f"INSERT INTO {name}.migration (target_schema, id, name, state, checksum, source_sha256, variables, sql,"
            " grows, catalog_fingerprint, xid, run_id, applied_from, statements, duration_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, pg_current_xact_id(), %s, %s, %s, %s)",
            (
                entered.schema,
                entered.migration.id,
                entered.migration.name,
                entered.state,
                entered.migration.checksum,
                entered.migration.source_sha256,
                json.dumps(dict(entered.migration.variables)),
                entered.migration.sql(entered.schema),
                list(entered.migration.grows),
                entered.catalog_fingerprint,
                entered.run_id,
                entered.applied_from,
                entered.statements,
                round(entered.duration_ms, 1),
            ),
        ),
        Command(
            f"INSERT INTO {name}.change (seq, object, action, before, after)"
            f" SELECT currval(pg_get_serial_sequence(%s, 'seq')), {_CHANGE_COLUMNS} FROM {_CHANGE_ROWS}",
            (f"{name}.migration", _change_rows(entered.changes, entered.adopted)),
        ),
    ]


def finish_commands(
    ledger: str, schema: str, migration_id: str, state: str, late: Iterable[Change]
) -> list[Command]:
    """Turn an ``unfinished`` row into a finished one, after the statements outside the transaction.

    :param late: what those statements did; what the migration recorded already keeps its action and first shape
    """
    name = quoted(ledger)
    in_force = "target_schema = %s AND id = %s AND rolled_back_at IS NULL"
    return [
        Command(
            f"INSERT INTO {name}.change (seq, object, action, before, after)"
            f" SELECT m.seq, {_CHANGE_COLUMNS} FROM {name}.migration m, {_CHANGE_ROWS} WHERE {in_force}"
            " ON CONFLICT (seq, object) DO UPDATE SET after = excluded.after",
            (_change_rows(late), schema, migration_id),
        ),
        Command(f"UPDATE {name}.migration SET state = %s WHERE {in_force}", (state, schema, migration_id)),
    ]


def _change_rows(changes: Iterable[Change], adopted: frozenset[str] = frozenset()) -> str:
    rows = [
        {
            "object": change.object,
            "action": "adopted" if change.object in adopted else change.action,
            "before": change.before,
            "after": change.after,
        }
        for change in changes
    ]
    return json.dumps(rows, ensure_ascii=False)


def changes_command(ledger: str, seq: int) -> Command:
    """Everything that one migration did, for rolling it back."""
    return Command(
        f"SELECT object, action, before, after FROM {quoted(ledger)}.change WHERE seq = %s ORDER BY object",
        (seq,),
    )


def release_query(ledger: str) -> str:
    """Forget objects that no migration answers for any more: a partition that retention detached.

    Takes ``schema`` and ``objects``, returns what is forgotten, for the record that keeps it (partition_record.py).
    """
    name = quoted(ledger)
    return (
        f"DELETE FROM {name}.change c USING {name}.migration m WHERE m.seq = c.seq AND m.target_schema = %(schema)s"
        " AND m.rolled_back_at IS NULL AND c.object = ANY(%(objects)s)"
        " RETURNING c.seq, c.object, c.action, c.before, c.after"
    )


def roll_back_command(ledger: str, seq: int, run_id: str) -> Command:
    """Mark a row as rolled back; the row stays."""
    return Command(
        f"UPDATE {quoted(ledger)}.migration SET rolled_back_at = clock_timestamp(), rolled_back_run = %s"
        " WHERE seq = %s",
        (run_id, seq),
    )
