"""Mend a partitioned table that went wrong: by explicit command, told first, batch by batch, resumable.

Rows of a DEFAULT partition are copied beside it, a batch a transaction, while all of them stay where readers find
them. Then one transaction brings the copy up to date, takes the rows out of DEFAULT and attaches the copy: nobody
misses a row or sees one twice. A repair that was interrupted goes on where the copy ends.
"""

from __future__ import annotations

import functools

from ansible.module_utils.rollout import (
    partition_changes,
    partition_copy,
    partition_rebuild,
    partition_record,
)
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
from ansible.module_utils.rollout.partition_copy import Copy
from ansible.module_utils.rollout.partition_plan import Period, shown
from ansible.module_utils.rollout.partition_reading import Seen, quoted
from ansible.module_utils.rollout.partition_repair import Repair
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts

STRONGEST = "ACCESS EXCLUSIVE"
# Bit 8 of tgtype: DELETE (pg_trigger.h). A trigger that counts or logs deletions would take the exchange for one.
_DELETE_TRIGGERS = """
SELECT tgname FROM pg_trigger
 WHERE tgrelid = %s::oid AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 <> 0 ORDER BY 1
"""
# PostgreSQL's own triggers carry out what a foreign key does when its row goes, so they are asked for by the key.
_REFERENCES = """
SELECT format('%%s of %%s', conname, conrelid::regclass) FROM pg_constraint
 WHERE contype = 'f' AND confrelid = ANY(%s::oid[]) AND confdeltype IN ('c', 'n', 'd') AND conparentid = 0 ORDER BY 1
"""
# A subscriber would be told of the rows that leave, and not of those in the copy that is attached.
_PUBLICATIONS = """
SELECT DISTINCT p.pubname FROM pg_publication_tables p
  JOIN pg_class c ON c.relname = p.tablename JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname
 WHERE c.oid = ANY(%s::oid[]) ORDER BY 1
"""
_DEFINITION = """
SELECT pg_get_indexdef(i.oid), n.nspname FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace
  JOIN pg_index x ON x.indexrelid = i.oid WHERE i.relname = %s AND x.indrelid = %s::oid
"""
# Of the partition: the index that is attached to the table's, and the one that an interrupted repair left.
_STANDING_INDEXES = """
SELECT n.nspname, i.relname, x.indisvalid AND x.indisready, p.relname IS NOT NULL
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
  LEFT JOIN (pg_inherits h JOIN pg_class p ON p.oid = h.inhparent AND p.relname = %(index)s) ON h.inhrelid = i.oid
 WHERE x.indrelid = %(partition)s::oid AND (i.relname = %(built)s OR p.relname IS NOT NULL)
 ORDER BY 4 DESC
"""


def told(seen: Seen, repair: Repair) -> list[dict[str, str]]:
    """What a repair would do, and what it would lock, before anything is done."""
    table = seen.table.name
    default = next((p.name for p in seen.partitions if p.default), "")
    strong = f"{STRONGEST} on {table} for a moment" if repair.replaced else f"{BUDGET} on {table}"
    found = [
        {
            "action": "rebuild",
            "partition": ", ".join(group.sources),
            "lock": f"SHARE on {' and '.join(group.sources)} while all rows are compared with their copies, then"
            f" {STRONGEST} on {table} for a moment",
            "kept": ", ".join(f"{name}_replaced" for name in group.sources),
            "becomes": ", ".join(target.name for target in group.targets),
        }
        for group in repair.rebuilt
    ]
    found += [
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
            "lock": f"{STRONGEST} on {default} while {seen.in_default.get(p.name, 0)} rows are compared and exchanged",
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
    for group in repair.rebuilt:
        partition_rebuild.rebuild(session, seen, group, recorded, terms, done, batch_rows)
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
    replaced: dict[str, str] = {}
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
        replaced[name] = kept
    for period in repair.filled:
        new = quoted(table.schema, period.name)
        commands.append(Command(f"CREATE TABLE {new} (LIKE {table.sql} {LIKE})"))
        commands += attach_commands(table, new, period)
    names = {seen.where[name][1] for name in repair.replaced}
    budget = dict.fromkeys({table.name, *names}, STRONGEST)
    in_transaction(session, table, commands, terms, done, budget, recording)
    for name, kept in replaced.items():
        done.note("replaced", name, kept=kept)
    for period in repair.filled:
        done.note("created", period.name, lower=shown(period.lower), upper=shown(period.upper))


def _take_out_of_default(
    session: Session, seen: Seen, period: Period, terms: Terms, done: Done, batch_rows: int
) -> None:
    default = next(p for p in seen.partitions if p.default and not p.pending)
    _refuse_followed(session, default.name, seen.oids[default.name], seen.table.oid)
    copy = partition_copy.begin(session, seen, period, [default], terms, done)
    session.run([f"SET statement_timeout = {partition_copy.TIMEOUT_MS}"])
    partition_copy.fill(session, copy, batch_rows)
    rows = _exchange(session, seen, copy, default.name, terms, done)
    done.note(
        "taken out of default",
        period.name,
        rows=str(rows),
        lower=shown(period.lower),
        upper=shown(period.upper),
    )


def _refuse_followed(session: Session, default: str, relation: int, table: int) -> None:
    """Refuse where anything follows a row that leaves DEFAULT: it would take the exchange for a deletion.

    :param relation: the DEFAULT partition's oid
    :param table: the partitioned table's
    """
    both = ([table, relation],)
    triggers, references, publications = session.run(
        [Command(_DELETE_TRIGGERS, (relation,)), Command(_REFERENCES, both), Command(_PUBLICATIONS, both)]
    )
    for found, what, remedy in (
        (triggers, "has triggers on DELETE", "Disable them for the time of the repair."),
        (
            references,
            "is referenced by foreign keys that delete or change rows of their own",
            "Make them ON DELETE NO ACTION for the time of the repair.",
        ),
        (
            publications,
            "is published",
            "Take the table out of the publication, and bring the subscribers up to date afterwards.",
        ),
    ):
        if found:
            names = ", ".join(name for (name,) in found)
            raise RolloutError(
                f"{default} {what} ({names}), which would take the exchange for deletions", hint=remedy
            )


def _exchange(session: Session, seen: Seen, copy: Copy, default: str, terms: Terms, done: Done) -> int:
    """Bring the copy up to date, take the rows out of DEFAULT, and attach the copy, in one transaction."""
    table, (source,) = copy.table, copy.sources
    indexes = session.run([Command(partition_copy.INDEXES, (copy.sql,))])[0]
    prepared = [
        Command(f"LOCK TABLE ONLY {table.sql} IN {BUDGET} MODE"),
        Command(f"LOCK TABLE ONLY {source} IN {STRONGEST} MODE"),
        *partition_copy.catch_up(copy),
    ]
    commands = [
        *prepared,
        Command(
            f"WITH gone AS (DELETE FROM ONLY {source} WHERE {copy.within} RETURNING 1) SELECT count(*) FROM gone"
        ),
        Command(f"SELECT count(*) FROM {copy.sql}"),
        *partition_copy.attach_commands(copy, [index for (index,) in indexes]),
    ]
    counted: list[int] = []

    def prove(script: Script) -> None:
        counted[:] = [script.rows(len(prepared))[0][0], script.rows(len(prepared) + 1)[0][0]]
        if counted[0] != counted[1]:
            raise RolloutError(
                f"{counted[0]} rows of {copy.period.name} would leave {default}, and {counted[1]} are"
                " in the copy; nothing was exchanged",
                hint="Run again; if it stays so, something rewrites rows on the way (a rule or a policy).",
            )

    budget = {table.name: BUDGET, seen.where[default][1]: STRONGEST, copy.staging: STRONGEST}
    in_transaction(session, table, commands, terms, done, budget, prove=prove)
    return counted[0]


def _build_index(session: Session, seen: Seen, partition: str, index: str, terms: Terms, done: Done) -> None:
    """Build an index of the table on a partition concurrently, and attach it; build one anew that is INVALID."""
    schema, bare = seen.where[partition]
    name = f"{bare}_{index}"[:63]
    session.run([f"SET statement_timeout = {partition_copy.TIMEOUT_MS}"])
    values = {"index": index, "partition": seen.oids[partition], "built": name}
    ((definition, index_schema),), standing = session.run(
        [Command(_DEFINITION, (index, seen.table.oid)), Command(_STANDING_INDEXES, values)]
    )
    place = f"index {index} on {partition}"
    if standing and standing[0][3]:
        name = standing[0][1]
        _alone(session, f"REINDEX INDEX CONCURRENTLY {quoted(standing[0][0], name)}", place, bare, terms)
        done.note("index built", partition, index=name)
        return
    if standing and not standing[0][2]:
        session.run_alone(Command(f"DROP INDEX CONCURRENTLY {quoted(schema, name)}"))
    if not standing or not standing[0][2]:
        head, _, rest = definition.partition(" USING ")
        unique = "UNIQUE " if head.startswith("CREATE UNIQUE") else ""
        build = f"CREATE {unique}INDEX CONCURRENTLY {quoted(name)} ON {quoted(schema, bare)} USING {rest}"
        _alone(session, build, place, bare, terms)
    attach = [Command(f"ALTER INDEX {quoted(index_schema, index)} ATTACH PARTITION {quoted(schema, name)}")]
    # Attaching the last one makes the table's index valid, with a lock on the index alone.
    in_transaction(session, seen.table, attach, terms, done, {seen.table.name: BUDGET})
    done.note("index built", partition, index=name)


def _alone(session: Session, sql: str, place: str, table: str, terms: Terms) -> None:
    """A command that cannot be inside a transaction; whoever holds up its locks is named."""
    command = functools.partial(session.run_alone, Command(sql, place=place))
    with_attempts(session, command, attempts=1, pause_s=terms.retry_pause_s, tables=[table])
