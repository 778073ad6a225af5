"""Give rows in partitions with odd bounds partitions with right ones, without moving one while somebody looks.

The rows are copied beside the table, batch by batch. Then one transaction locks the old partitions against writers,
brings the copies up to date, counts both, and exchanges them. For the exchange, a change of the catalog alone, it needs
ACCESS EXCLUSIVE on the table. It waits for no lock while it holds one: nobody queues behind it, and no deadlock can
make a victim of the application. Whoever writes into an old partition meanwhile waits until the end; so only those
whose time is over are rebuilt.
"""

from __future__ import annotations

from ansible.module_utils.rollout import partition_changes, partition_copy, partition_record
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.ledger import Ledger
from ansible.module_utils.rollout.partition_changes import (
    Done,
    Terms,
    in_transaction,
    recorded_entries,
)
from ansible.module_utils.rollout.partition_copy import INDEXES, Copy, renamed_indexes
from ansible.module_utils.rollout.partition_plan import Partition, shown
from ansible.module_utils.rollout.partition_reading import Seen, quoted
from ansible.module_utils.rollout.partition_repair import Rebuild
from ansible.module_utils.rollout.script import Script

#: How often a lock is asked for, 20 ms apart, before the transaction is given up and tried again later.
_TRIES = 75
_LOCK = """DO $rollout$
BEGIN
    FOR attempt IN 1..{tries} LOOP
        BEGIN
            LOCK TABLE {tables} IN {mode} MODE NOWAIT;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.02);
        END;
    END LOOP;
    RAISE EXCEPTION '{told} is in use' USING ERRCODE = 'lock_not_available';
END $rollout$"""


def rebuild(
    session: Session, seen: Seen, group: Rebuild, recorded: Ledger, terms: Terms, done: Done, batch_rows: int
) -> None:
    """Put one group of partitions right.

    :param recorded: the ledger; what it recorded of the old partitions moves to the record of their detach
    :param batch_rows: rows that are copied in one transaction
    :raises RolloutError: nothing was exchanged; what was copied is there for the next run
    """
    sources = [p for p in seen.partitions if p.name in group.sources]
    copies = []
    for target in group.targets:
        holding = [p for p in sources if p.lower < target.upper and target.lower < p.upper]
        copies.append(partition_copy.begin(session, seen, target, holding, terms, done))
    session.run([f"SET statement_timeout = {partition_copy.TIMEOUT_MS}"])
    for copy in copies:
        partition_copy.fill(session, copy, batch_rows)
    kept = {p.name: _kept_name(session, seen, p) for p in sources}
    rows = _exchange(session, seen, sources, copies, kept, recorded, terms, done)
    for name, place in kept.items():
        done.note("rebuilt", name, kept=place, rows=str(rows))
    for target in group.targets:
        done.note("created", target.name, lower=shown(target.lower), upper=shown(target.upper))


def _kept_name(session: Session, seen: Seen, partition: Partition) -> str:
    schema, bare = seen.where[partition.name]
    return partition_changes.free_name(session, schema, f"{bare}_replaced")


def _exchange(
    session: Session,
    seen: Seen,
    sources: list[Partition],
    copies: list[Copy],
    kept: dict[str, str],
    recorded: Ledger,
    terms: Terms,
    done: Done,
) -> int:
    """One transaction; returns the number of rows."""
    table = seen.table
    old = [seen.sql(p.name) for p in sources]
    asked = [*old, *(copy.sql for copy in copies)]
    indexes = dict(
        zip(asked, session.run([Command(INDEXES, (relation,)) for relation in asked]), strict=True)
    )
    quiet = ", ".join(f"ONLY {relation}" for relation in old)
    prepared = [
        _lock(quiet, "SHARE", ", ".join(p.name for p in sources)),
        *(command for copy in copies for command in partition_copy.catch_up(copy)),
        _counted(old),
        _counted([copy.sql for copy in copies]),
    ]
    commands = [*prepared, _lock(f"ONLY {table.sql}, {quiet}", "ACCESS EXCLUSIVE", table.name)]
    recording = []
    for partition in sources:
        (schema, bare), name = seen.where[partition.name], kept[partition.name]
        own = [index for (index,) in indexes[seen.sql(partition.name)]]
        commands += [
            Command(f"ALTER TABLE {table.sql} DETACH PARTITION {seen.sql(partition.name)}"),
            Command(f"ALTER TABLE {seen.sql(partition.name)} RENAME TO {quoted(name)}"),
            # Their names are wanted by the indexes of what takes its place.
            *renamed_indexes(schema, own, bare, name),
        ]
        values = {
            "target_schema": table.schema,
            "target_table": table.name,
            "partition": bare,
            "kept_schema": schema,
            "kept": name,
            "relation": seen.oids[partition.name],
            "lower_bound": shown(partition.lower),
            "upper_bound": shown(partition.upper),
            "run_id": terms.run_id,
        }
        recording += [
            partition_record.begin_command(terms.ledger, values),
            partition_record.detached_command(
                terms.ledger, table.schema, seen.oids[partition.name], recorded_entries(recorded, bare)
            ),
        ]
    for copy in copies:
        commands += partition_copy.attach_commands(copy, [index for (index,) in indexes[copy.sql]])
    counted: list[int] = []

    def prove(script: Script) -> None:
        counted[:] = [script.rows(len(prepared) - 2)[0][0], script.rows(len(prepared) - 1)[0][0]]
        if counted[0] != counted[1]:
            raise RolloutError(
                f"{counted[0]} rows are in {', '.join(kept)}, and {counted[1]} in the copies; nothing was exchanged",
                hint="Run again; if it stays so, something rewrites rows on the way (a rule or a policy).",
            )

    names = {*(seen.where[p.name][1] for p in sources), *(copy.staging for copy in copies), *kept.values()}
    budget = dict.fromkeys({table.name, *names}, "ACCESS EXCLUSIVE")
    in_transaction(session, table, commands, terms, done, budget, recording, prove)
    return counted[0]


def _lock(tables: str, mode: str, told: str) -> Command:
    text = _LOCK.format(tries=_TRIES, tables=tables, mode=mode, told=told.replace("'", "''"))
    return Command(text)


def _counted(tables: list[str]) -> Command:
    return Command("SELECT " + " + ".join(f"(SELECT count(*) FROM ONLY {table})" for table in tables))
