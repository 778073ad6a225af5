"""Mend a partitioned table that went wrong: by explicit command, told first, batch by batch, resumable.

Rows of a DEFAULT partition are copied beside it, a batch a transaction, while all of them stay where readers find
them. Then one transaction brings the copy up to date, takes the rows out of DEFAULT and attaches the copy: nobody
misses a row or sees one twice. A repair that was interrupted goes on where the copy ends.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout import partition_changes, partition_record
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.ledger import Ledger
from ansible.module_utils.rollout.partition_changes import (
    BUDGET,
    LIKE,
    Done,
    Terms,
    attach_commands,
    in_transaction,
    recorded_entries,
)
from ansible.module_utils.rollout.partition_plan import Period, shown
from ansible.module_utils.rollout.partition_reading import Seen, Table, quoted
from ansible.module_utils.rollout.partition_repair import Repair
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts

_STRONGEST = "ACCESS EXCLUSIVE"
#: Building an index or copying a batch takes its time; waiting for a lock does not (lock_timeout stays).
_BUILD_TIMEOUT_MS = 6 * 3600 * 1000
_MARK = "Rows copied from {default} by a repair that is under way."
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
# Bit 8 of tgtype: DELETE (pg_trigger.h). A trigger that counts or logs deletions would take the exchange for one.
_DELETE_TRIGGERS = """
SELECT tgname FROM pg_trigger
 WHERE tgrelid = %s::oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 <> 0 ORDER BY 1
"""
_INDEXES = (
    "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = %s::oid"
)
_DEFINITION = """
SELECT pg_get_indexdef(i.oid), n.nspname FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace
  JOIN pg_index x ON x.indexrelid = i.oid WHERE i.relname = %s AND x.indrelid = %s::oid
"""
_ATTACHED_INDEX = """
SELECT n.nspname, i.relname, x.indisvalid AND x.indisready, h.inhrelid IS NOT NULL
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
  LEFT JOIN pg_inherits h ON h.inhrelid = i.oid
 WHERE x.indrelid = %s::oid AND i.relname = %s
"""


def told(seen: Seen, repair: Repair) -> list[dict[str, str]]:
    """What a repair would do, and what it would lock, before anything is done."""
    table = seen.table.name
    default = next((p.name for p in seen.partitions if p.default), "")
    strong = f"{_STRONGEST} on {table} for a moment" if repair.replaced else f"{BUDGET} on {table}"
    found = [
        {"action": "replace", "partition": name, "lock": strong, "kept": f"{name}_replaced"}
        for name in repair.replaced
    ]
    found += [
        {
            "action": "fill",
            "partition": p.name,
            "lock": strong,
            "lower": shown(p.lower),
            "upper": shown(p.upper),
        }
        for p in repair.filled
    ]
    found += [
        {
            "action": "empty default",
            "partition": p.name,
            "lock": f"{_STRONGEST} on {default} while {seen.in_default.get(p.name, 0)} rows are compared and exchanged",
            "lower": shown(p.lower),
            "upper": shown(p.upper),
        }
        for p in repair.emptied
    ]
    found += [
        {"action": "build index", "partition": name, "lock": f"{BUDGET} on {name}", "index": index}
        for name, index in repair.indexed
    ]
    return found


def unconfirmed(seen: Seen, repair: Repair) -> RolloutError:
    """The error that tells a repair instead of beginning it."""
    lines = [f"  {one['action']} {one['partition']}: locks {one['lock']}" for one in told(seen, repair)]
    return RolloutError(
        f"the repair of {seen.table.schema}.{seen.table.name} was not begun; it would do:\n"
        + "\n".join(lines),
        hint="Confirm it: confirmed: true (role maintain: -e maintain_repair_confirmed=true).",
        details={"repair": told(seen, repair)},
    )


def mend(
    session: Session, seen: Seen, repair: Repair, recorded: Ledger, terms: Terms, done: Done, batch_rows: int
) -> None:
    """Carry out a repair.

    :param batch_rows: rows that are copied in one transaction
    :raises RolloutError: it cannot be done without harm; each part is whole or undone, and the next run goes on
    """
    if repair.replaced:
        _replace(session, seen, repair, recorded, terms, done)
    else:
        for period in repair.filled:
            partition_changes.create(session, seen.table, period, terms, done)
    for period in repair.emptied:
        _take_out_of_default(session, seen, period, terms, done, batch_rows)
    for partition, index in repair.indexed:
        _build_index(session, seen, partition, index, terms, done)


def _replace(
    session: Session, seen: Seen, repair: Repair, recorded: Ledger, terms: Terms, done: Done
) -> None:
    """Detach empty partitions with odd bounds and attach right ones, in one transaction: no row can fall between."""
    table = seen.table
    commands: list[Command] = []
    recording: list[Command] = []
    for name in repair.replaced:
        schema, bare = seen.where[name]
        kept = partition_changes.free_name(session, schema, f"{bare}_replaced")
        partition = next(p for p in seen.partitions if p.name == name)
        values = {
            "target_schema": table.schema,
            "target_table": table.name,
            "partition": bare,
            "kept_schema": schema,
            "kept": kept,
            "relation": seen.oids[name],
            "lower_bound": shown(partition.lower),
            "upper_bound": shown(partition.upper),
            "run_id": terms.run_id,
        }
        place = f"replacement of {name}"
        commands += [
            Command(f"ALTER TABLE {table.sql} DETACH PARTITION {quoted(schema, bare)}", place=place),
            Command(f"ALTER TABLE {quoted(schema, bare)} RENAME TO {quoted(kept)}", place=place),
            # Fails when a row arrived meanwhile; then nothing of all this is kept.
            Command(
                f"ALTER TABLE {quoted(schema, kept)} ADD CONSTRAINT rollout_empty CHECK (false)", place=place
            ),
            Command(f"ALTER TABLE {quoted(schema, kept)} DROP CONSTRAINT rollout_empty"),
        ]
        entries = recorded_entries(recorded, bare)
        recording += [
            partition_record.begin_command(terms.ledger, values),
            partition_record.detached_command(terms.ledger, table.schema, seen.oids[name], entries),
        ]
        done.note("replaced", name, kept=kept)
    for period in repair.filled:
        new = quoted(table.schema, period.name)
        commands.append(Command(f"CREATE TABLE {new} (LIKE {table.sql} {LIKE})"))
        commands += attach_commands(table, new, period)
        done.note("created", period.name, lower=shown(period.lower), upper=shown(period.upper))
    names = {seen.where[name][1] for name in repair.replaced}
    budget = dict.fromkeys({table.name, *names}, _STRONGEST)
    try:
        in_transaction(session, table, commands, terms, done, budget, recording)
    except RolloutError:
        done.actions.clear()
        raise


@dataclass(frozen=True)
class _Exchange:
    """Rows of one period on their way out of DEFAULT.

    :ivar staging: bare name of the table that they are copied to
    :ivar columns: all but the generated ones, quoted and listed
    :ivar key: the primary key's columns, quoted
    """

    table: Table
    default: str
    default_name: str
    staging: str
    period: Period
    columns: str
    key: tuple[str, ...]

    @property
    def within(self) -> str:
        """Condition for the period's rows."""
        key, bound = quoted(self.table.key), self.table.bound
        return f"{key} >= {bound(self.period.lower)} AND {key} < {bound(self.period.upper)}"

    @property
    def copy(self) -> str:
        return quoted(self.table.schema, self.staging)

    @property
    def same_key(self) -> str:
        return " AND ".join(f"d.{column} = s.{column}" for column in self.key)

    def row(self, alias: str) -> str:
        """A row as text: equal texts are equal rows, also of types without an operator for it."""
        return "ROW(" + ", ".join(f"{alias}.{column}" for column in self.columns.split(", ")) + ")::text"


def _take_out_of_default(
    session: Session, seen: Seen, period: Period, terms: Terms, done: Done, batch_rows: int
) -> None:
    exchange = _prepare(session, seen, period, terms, done)
    session.run([f"SET statement_timeout = {_BUILD_TIMEOUT_MS}"])
    while _copy_batch(session, exchange, batch_rows) == batch_rows:
        pass
    rows = _exchange(session, exchange, terms, done)
    done.note(
        "taken out of default",
        period.name,
        rows=str(rows),
        lower=shown(period.lower),
        upper=shown(period.upper),
    )


def _prepare(session: Session, seen: Seen, period: Period, terms: Terms, done: Done) -> _Exchange:
    """Make the table that rows are copied to, or find the one that an interrupted repair left."""
    table = seen.table
    default = next(p.name for p in seen.partitions if p.default and not p.pending)
    staging = f"{period.name}_incoming"
    if len(staging.encode()) > 63:
        raise RolloutError(f"the name {staging} has more than 63 bytes", hint="Rename the table.")
    key, columns, triggers, found = session.run(
        [
            Command(_PRIMARY_KEY, (table.oid,)),
            Command(_COLUMNS, (table.oid,)),
            Command(_DELETE_TRIGGERS, (seen.oids[default],)),
            Command(_STAGING, (table.schema, staging)),
        ]
    )
    if not key:
        raise RolloutError(
            f"{table.schema}.{table.name} has no primary key, so rows of {default} cannot be told from one another",
            hint="Give it one, or move the rows by hand.",
        )
    if triggers:
        raise RolloutError(
            f"{default} has triggers on DELETE ({', '.join(name for (name,) in triggers)}), which would take the"
            " exchange for deletions",
            hint="Disable them for the time of the repair.",
        )
    mark = _MARK.format(default=default)
    if found and found[0][1] != mark:
        raise RolloutError(
            f"{table.schema}.{staging} exists and is not a copy that a repair began", hint="Rename it."
        )
    exchange = _Exchange(
        table,
        seen.sql(default),
        seen.where[default][1],
        staging,
        period,
        ", ".join(quoted(name) for (name,) in columns),
        tuple(quoted(name) for (name,) in key),
    )
    if not found:
        comment = mark.replace("'", "''")
        make = [
            Command(f"CREATE TABLE {exchange.copy} (LIKE {table.sql} {LIKE} INCLUDING INDEXES)"),
            Command(f"COMMENT ON TABLE {exchange.copy} IS '{comment}'"),
        ]
        in_transaction(session, table, make, terms, done, {table.name: "ACCESS SHARE"})
    return exchange


def _copy_batch(session: Session, exchange: _Exchange, batch_rows: int) -> int:
    """Copy the next rows in the order of the primary key; returns how many."""
    key = ", ".join(exchange.key)
    backwards = ", ".join(f"{column} DESC" for column in exchange.key)
    ((begun,),) = session.run([Command(f"SELECT EXISTS (SELECT FROM {exchange.copy})")])[0]
    after = (
        f" AND ({key}) > (SELECT {key} FROM {exchange.copy} ORDER BY {backwards} LIMIT 1)" if begun else ""
    )
    statement = (
        f"WITH copied AS (INSERT INTO {exchange.copy} ({exchange.columns}) SELECT {exchange.columns}"
        f" FROM ONLY {exchange.default} WHERE {exchange.within}{after} ORDER BY {key} LIMIT {batch_rows} RETURNING 1)"
        " SELECT count(*) FROM copied"
    )
    return int(session.run([Command(statement)])[0][0][0])


def _exchange(session: Session, exchange: _Exchange, terms: Terms, done: Done) -> int:
    """Bring the copy up to date, take the rows out of DEFAULT, and attach the copy, in one transaction."""
    table, name = exchange.table, quoted(exchange.period.name)
    indexes = session.run([Command(_INDEXES.replace("%s::oid", "%s::regclass"), (exchange.copy,))])[0]
    final = quoted(table.schema, exchange.period.name)
    commands = [
        Command(f"LOCK TABLE ONLY {table.sql} IN {BUDGET} MODE"),
        Command(f"LOCK TABLE ONLY {exchange.default} IN {_STRONGEST} MODE"),
        Command(
            f"DELETE FROM {exchange.copy} s WHERE NOT EXISTS (SELECT FROM ONLY {exchange.default} d"
            f" WHERE {exchange.same_key} AND {exchange.row('d')} = {exchange.row('s')})"
        ),
        Command(
            f"INSERT INTO {exchange.copy} ({exchange.columns}) SELECT {exchange.columns}"
            f" FROM ONLY {exchange.default} d WHERE {exchange.within}"
            f" AND NOT EXISTS (SELECT FROM {exchange.copy} s WHERE {exchange.same_key})"
        ),
        Command(
            f"WITH gone AS (DELETE FROM ONLY {exchange.default} WHERE {exchange.within} RETURNING 1)"
            " SELECT count(*) FROM gone"
        ),
        Command(f"SELECT count(*) FROM {exchange.copy}"),
        Command(f"COMMENT ON TABLE {exchange.copy} IS NULL"),
        Command(f"ALTER TABLE {exchange.copy} RENAME TO {name}"),
        *_renamed_indexes(exchange, [index for (index,) in indexes]),
        *attach_commands(table, final, exchange.period),
    ]
    counted: list[int] = []

    def prove(script: Script) -> None:
        counted[:] = [script.rows(4)[0][0], script.rows(5)[0][0]]
        if counted[0] != counted[1]:
            raise RolloutError(
                f"{counted[0]} rows of {exchange.period.name} would leave {exchange.default_name}, and {counted[1]} are"
                " in the copy; nothing was exchanged",
                hint="Run again; if it stays so, something rewrites rows on the way (a rule or a policy).",
            )

    budget = {table.name: BUDGET, exchange.default_name: _STRONGEST, exchange.staging: _STRONGEST}
    in_transaction(session, table, commands, terms, done, budget, prove=prove)
    return counted[0]


def _renamed_indexes(exchange: _Exchange, indexes: Sequence[str]) -> list[Command]:
    """Named as those of other partitions; one whose name PostgreSQL had cut off keeps it."""
    return [
        Command(
            f"ALTER INDEX {quoted(exchange.table.schema, index)}"
            f" RENAME TO {quoted(index.replace(exchange.staging, exchange.period.name, 1))}"
        )
        for index in indexes
        if index.startswith(exchange.staging)
    ]


def _build_index(session: Session, seen: Seen, partition: str, index: str, terms: Terms, done: Done) -> None:
    """Build an index of the table on a partition concurrently, and attach it."""
    schema, bare = seen.where[partition]
    name = f"{bare}_{index}"[:63]
    session.run([f"SET statement_timeout = {_BUILD_TIMEOUT_MS}"])
    ((definition, index_schema),), standing = session.run(
        [
            Command(_DEFINITION, (index, seen.table.oid)),
            Command(_ATTACHED_INDEX, (seen.oids[partition], name)),
        ]
    )
    if standing and not standing[0][2]:
        session.run_alone(Command(f"DROP INDEX CONCURRENTLY {quoted(schema, name)}"))
    if not standing or not standing[0][2]:
        head, _, rest = definition.partition(" USING ")
        unique = "UNIQUE " if head.startswith("CREATE UNIQUE") else ""
        build = f"CREATE {unique}INDEX CONCURRENTLY {quoted(name)} ON {quoted(schema, bare)} USING {rest}"
        with_attempts(
            session,
            functools.partial(session.run_alone, Command(build, place=f"index {index} on {partition}")),
            attempts=1,
            pause_s=terms.retry_pause_s,
            tables=[bare],
        )
    attach = [Command(f"ALTER INDEX {quoted(index_schema, index)} ATTACH PARTITION {quoted(schema, name)}")]
    # Attaching the last one makes the table's index valid, with a lock on the index alone.
    in_transaction(session, seen.table, attach, terms, done, {seen.table.name: BUDGET})
    done.note("index built", partition, index=name)
