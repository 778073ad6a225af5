"""What maintenance leaves in the ledger's schema: a row for each run, and one for each partition that was detached.

precheck and verify read the former: when the last run was, and until when rows are taken. The latter says where the
rows of a detached partition are; nothing is detached, archived or dropped without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import ledger
from ansible.module_utils.rollout.connection import Command, Session

_TABLES = (
    """
CREATE TABLE {ledger}.maintenance (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_schema text NOT NULL,
    target_table  text NOT NULL,
    run_id        text NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('done', 'red', 'failed')),
    unit          text NOT NULL,
    ahead         integer,
    covered_until timestamptz,
    actions       jsonb NOT NULL,
    findings      jsonb NOT NULL,
    message       text NOT NULL DEFAULT '',
    ran_by        text NOT NULL DEFAULT session_user,
    ran_from      text NOT NULL,
    ended_at      timestamptz NOT NULL DEFAULT clock_timestamp()
)
""",
    """
CREATE INDEX maintenance_latest ON {ledger}.maintenance (target_schema, target_table, seq DESC)
""",
    """
COMMENT ON TABLE {ledger}.maintenance IS 'One row each time the partitions of a table were maintained.'
""",
    """
CREATE TABLE {ledger}.detached (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_schema text NOT NULL,
    target_table  text NOT NULL,
    partition     text NOT NULL,
    kept_schema   text NOT NULL,
    kept          text NOT NULL,
    relation      oid NOT NULL,
    state         text NOT NULL CHECK (state IN ('detaching', 'detached', 'archived', 'dropped')),
    lower_bound   text NOT NULL,
    upper_bound   text NOT NULL,
    recorded      jsonb NOT NULL DEFAULT '[]',
    archive       jsonb,
    run_id        text NOT NULL,
    began_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    detached_at   timestamptz,
    archived_at   timestamptz,
    dropped_at    timestamptz
)
""",
    """
COMMENT ON TABLE {ledger}.detached IS
    'Partitions that were detached: where their rows are, and what the ledger had recorded of them.'
""",
)

_EXISTS = """
SELECT to_regclass(format('%%I.maintenance', %(ledger)s::text)) IS NOT NULL
"""


@dataclass(frozen=True)
class Detached:
    """A partition that was or is being detached.

    :ivar kept: bare name of the table that its rows are in, in ``kept_schema``
    :ivar standing: whether a relation with its oid exists
    :ivar attached: whether that relation still is a partition; ``pending`` when a detach was begun
    """

    seq: int
    partition: str
    kept_schema: str
    kept: str
    relation: int
    state: str
    lower: str
    upper: str
    standing: bool
    attached: bool
    pending: bool
    archive: Mapping[str, Any] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the server has detached it, and it has not the name yet that it is kept under."""
        return self.state == "detaching" and self.standing and not self.attached


def exists(session: Session, ledger_schema: str) -> bool:
    """Whether maintenance was ever recorded there."""
    return bool(session.run([Command(_EXISTS, {"ledger": ledger_schema})])[0][0][0])


def create_commands(ledger_schema: str, *, with_ledger: bool) -> list[Command]:
    """Make the two tables.

    :param with_ledger: whether the ledger itself has to be made first
    """
    own = [Command(text.format(ledger=ledger.quoted(ledger_schema))) for text in _TABLES]
    return [*(ledger.create_commands(ledger_schema) if with_ledger else ()), *own]


def run_command(ledger_schema: str, row: Mapping[str, Any]) -> Command:
    """Record a run.

    :param row: target_schema, target_table, run_id, outcome, unit, ahead, covered_until (text or None), actions and
        findings (JSON-compatible), message, ran_from
    """
    values = {**row, "actions": json.dumps(row["actions"]), "findings": json.dumps(row["findings"])}
    columns = list(values)
    return Command(
        f"INSERT INTO {ledger.quoted(ledger_schema)}.maintenance ({', '.join(columns)})"
        f" VALUES ({', '.join(f'%({name})s' for name in columns)})",
        values,
    )


def detached(session: Session, ledger_schema: str, schema: str, table: str) -> list[Detached]:
    """Partitions that were detached and not dropped, oldest first."""
    rows = session.run(
        [
            Command(
                "SELECT d.seq, d.partition, d.kept_schema, d.kept, d.relation::bigint, d.state, d.lower_bound,"
                " d.upper_bound, c.oid IS NOT NULL, h.inhrelid IS NOT NULL, coalesce(h.inhdetachpending, false),"
                " d.archive"
                f" FROM {ledger.quoted(ledger_schema)}.detached d LEFT JOIN pg_class c ON c.oid = d.relation"
                " LEFT JOIN pg_inherits h ON h.inhrelid = d.relation"
                " WHERE d.target_schema = %s AND d.target_table = %s AND d.state <> 'dropped' ORDER BY d.seq",
                (schema, table),
            )
        ]
    )[0]
    return [Detached(*row) for row in rows]


def last_run(session: Session, ledger_schema: str, schema: str, table: str) -> dict[str, Any]:
    """The newest run: ended_at, days since then, outcome, covered_until, message, run_id; empty when there was none."""
    if not exists(session, ledger_schema):
        return {}
    columns = ("ended_at", "days", "outcome", "covered_until", "message", "run_id")
    rows = session.run(
        [
            Command(
                "SELECT ended_at::text, floor(extract(epoch FROM clock_timestamp() - ended_at) / 86400)::int, outcome,"
                f" covered_until::text, message, run_id FROM {ledger.quoted(ledger_schema)}.maintenance"
                " WHERE target_schema = %s AND target_table = %s ORDER BY seq DESC LIMIT 1",
                (schema, table),
            )
        ]
    )[0]
    return dict(zip(columns, rows[0], strict=True)) if rows else {}


def begin_command(ledger_schema: str, values: Mapping[str, Any]) -> Command:
    """Say that a partition is about to be detached, before it is: a run that is killed is finished by the next one.

    :param values: target_schema, target_table, partition, kept_schema, kept, relation, lower_bound, upper_bound, run_id
    """
    columns = list(values)
    return Command(
        f"INSERT INTO {ledger.quoted(ledger_schema)}.detached (state, {', '.join(columns)})"
        f" SELECT 'detaching', {', '.join(f'%({name})s' for name in columns)}"
        f" WHERE NOT EXISTS (SELECT FROM {ledger.quoted(ledger_schema)}.detached"
        " WHERE relation = %(relation)s AND state = 'detaching')",
        values,
    )


def cancelled_command(ledger_schema: str, seq: int) -> Command:
    """Forget that a detach was announced which never began."""
    return Command(
        f"DELETE FROM {ledger.quoted(ledger_schema)}.detached WHERE seq = %s AND state = 'detaching'", (seq,)
    )


def detached_command(ledger_schema: str, schema: str, relation: int, objects: Iterable[str]) -> Command:
    """Say that it is detached, and move what the ledger recorded of it here: it is no longer a migration's.

    :param objects: ledger entries of the partition and of what belongs to it
    """
    return Command(
        f"WITH moved AS ({ledger.release_query(ledger_schema)})"
        f" UPDATE {ledger.quoted(ledger_schema)}.detached SET state = 'detached', detached_at = clock_timestamp(),"
        " recorded = coalesce((SELECT jsonb_agg(to_jsonb(moved)) FROM moved), '[]')"
        " WHERE relation = %(relation)s AND state = 'detaching'",
        {"schema": schema, "objects": list(objects), "relation": relation},
    )


def archived_command(ledger_schema: str, seq: int, archive: Mapping[str, Any]) -> Command:
    """Say where a proven archive of a detached partition is."""
    return Command(
        f"UPDATE {ledger.quoted(ledger_schema)}.detached SET state = 'archived', archived_at = clock_timestamp(),"
        " archive = %s WHERE seq = %s",
        (json.dumps(dict(archive)), seq),
    )


def dropped_command(ledger_schema: str, seq: int) -> Command:
    """Say that a detached partition was dropped; its archive stays named."""
    return Command(
        f"UPDATE {ledger.quoted(ledger_schema)}.detached SET state = 'dropped', dropped_at = clock_timestamp()"
        " WHERE seq = %s",
        (seq,),
    )
