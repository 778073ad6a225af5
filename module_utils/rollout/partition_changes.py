"""Make partitions and detach them beside a running application.

A new partition is made on its own and attached: that takes SHARE UPDATE EXCLUSIVE on the table, which stops neither
readers nor writers, and is proven from ``pg_locks`` before COMMIT. ``PARTITION OF`` would take ACCESS EXCLUSIVE. A
detach runs CONCURRENTLY, outside any transaction; it is announced in the record first and entered afterwards, so that
the next run finishes what an interrupted one left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout import locks, partition_record, transaction
from ansible.module_utils.rollout.catalog import table_of
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import LockBudgetExceeded, RolloutError
from ansible.module_utils.rollout.ledger import Ledger
from ansible.module_utils.rollout.locks import TableLock
from ansible.module_utils.rollout.partition_plan import Action, Period, shown
from ansible.module_utils.rollout.partition_reading import Seen, Table, quoted
from ansible.module_utils.rollout.partition_record import Detached
from ansible.module_utils.rollout.script import Script
from ansible.module_utils.rollout.waiting import with_attempts

#: What the table itself may be locked with.
BUDGET = "SHARE UPDATE EXCLUSIVE"
#: The columns and constraints; ATTACH makes indexes and triggers, named as PARTITION OF would name them.
LIKE = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION"
#: Name of the CHECK that holds while a partition is made.
CHECK = "rollout_bounds"
_STATE = """
SELECT h.inhrelid IS NOT NULL, coalesce(h.inhdetachpending, false)
  FROM pg_class c LEFT JOIN pg_inherits h ON h.inhrelid = c.oid WHERE c.oid = %s::oid
"""
_FREE = """
SELECT w.name FROM unnest(%(names)s::text[]) WITH ORDINALITY AS w(name, place)
 WHERE NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = %(schema)s AND c.relname = w.name)
   AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                    WHERE n.nspname = %(schema)s AND t.typname = w.name)
 ORDER BY w.place LIMIT 1
"""


@dataclass(frozen=True)
class Terms:
    """How locks are waited for and what must not be locked.

    :ivar protected: tables of the application, as ``pg_locks`` names them
    :ivar attempts: how often a transaction is tried that was refused a lock
    :ivar retry_pause_s: pause before the second attempt, doubled before each further one, seconds
    """

    ledger: str
    run_id: str
    protected: tuple[str, ...] = ()
    attempts: int = 5
    retry_pause_s: float = 1.0


@dataclass
class Done:
    """What happened.

    :ivar actions: in words, in order
    :ivar locks: strongest mode on each relation that existed before
    """

    actions: list[dict[str, str]] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    attempts: int = 0

    def note(self, kind: str, name: str, **more: str) -> None:
        self.actions.append({"action": kind, "partition": name, **more})


def take_turns(session: Session, schema: str, name: str, terms: Terms, done: Done) -> None:
    """Become the only one who changes a table's partitions, until the session ends; nothing where there is no table.

    The lock is the one that create_messages_partition() takes: function, runner and module take turns.
    """
    lock = Command(
        "SELECT pg_advisory_lock('pg_class'::regclass::oid::integer, to_regclass(%s)::oid::integer)",
        (quoted(schema, name),),
    )
    _attempt(session, functools.partial(session.run, [lock]), name, terms, done)


def end_turn(session: Session) -> None:
    """Let others change the partitions, and migrations run, while this session goes on with what is detached."""
    session.run(["SELECT pg_advisory_unlock_all()"])


def create(session: Session, table: Table, period: Period | Action, terms: Terms, done: Done) -> None:
    """Make and attach one partition, in a transaction of its own.

    :raises LockBudgetExceeded: something was locked harder than it may be; nothing was kept
    """
    new = quoted(table.schema, period.name)
    commands = [
        Command(f"CREATE TABLE {new} (LIKE {table.sql} {LIKE})"),
        *attach_commands(table, new, period),
    ]
    in_transaction(session, table, commands, terms, done, {table.name: BUDGET})
    done.note("created", period.name, lower=shown(period.lower), upper=shown(period.upper))


def attach_commands(table: Table, new: str, period: Period | Action) -> list[Command]:
    """Attach a table; its CHECK says what ATTACH would otherwise have to read every row for."""
    check = Command(f"ALTER TABLE {new} ADD CONSTRAINT {CHECK} CHECK ({bounds_check(table, period)})")
    return [check, *attach(table, new, period)]


def attach(table: Table, new: str, period: Period | Action) -> list[Command]:
    """Attach a table that has the CHECK already."""
    lower, upper = table.bound(period.lower), table.bound(period.upper)
    return [
        Command(f"ALTER TABLE {table.sql} ATTACH PARTITION {new} FOR VALUES FROM ({lower}) TO ({upper})"),
        # The partition's bounds say the same from here on.
        Command(f"ALTER TABLE {new} DROP CONSTRAINT {CHECK}"),
    ]


def bounds_check(table: Table, period: Period | Action) -> str:
    """The condition that a period's rows fulfil."""
    key = quoted(table.key)
    lower, upper = table.bound(period.lower), table.bound(period.upper)
    return f"{key} IS NOT NULL AND {key} >= {lower} AND {key} < {upper}"


def in_transaction(
    session: Session,
    table: Table,
    commands: Sequence[Command],
    terms: Terms,
    done: Done,
    budget: Mapping[str, str],
    last: Sequence[Command] = (),
    prove: Callable[[Script], None] = lambda _: None,
) -> None:
    """Send commands in one transaction as the table's owner, prove its locks, and commit.

    :param budget: strongest mode for tables that are named here; protected tables may see ACCESS SHARE
    :param last: commands of the login role, such as those that write the record
    :param prove: looks at the answers before COMMIT, by the commands' positions; what it raises rolls back
    :raises LockBudgetExceeded: nothing was kept
    """
    script = Script()
    script.add(Command("BEGIN"))
    script.add(transaction.known_relations(), name="known")
    script.add(*transaction.as_role("" if table.owned else table.owner))
    for at, command in enumerate(commands):
        script.add(command, name=at)
    script.add(Command("RESET ROLE"), *last)
    script.add(transaction.held_locks(table.schema), name="held")
    _attempt(session, functools.partial(script.run, session), table.name, terms, done)
    held = locks.strongest(transaction.locks_from_rows(script.rows("held"), script.rows("known")))
    try:
        prove(script)
        _check_budget(held, {**locks.budget_for(terms.protected, {}), **budget})
    except RolloutError:
        session.rollback()
        raise
    session.run([Command("COMMIT")])
    _merge(done, held)


def _check_budget(held: Mapping[str, str], budget: Mapping[str, str]) -> None:
    over = locks.over_budget([TableLock(name, mode) for name, mode in held.items()], budget)
    if over:
        told = "; ".join(f"{lock.mode} on {lock.table} (allowed: {budget[lock.table]})" for lock in over)
        raise LockBudgetExceeded(
            f"the partitions' transaction locks a table too hard: {told}. It was rolled back before COMMIT.",
            hint="A foreign key of the partitioned table to a protected one, or an event trigger, does this.",
            details={"locks": [{"table": lock.table, "mode": lock.mode} for lock in over]},
        )


def _merge(done: Done, held: Mapping[str, str]) -> None:
    both = [TableLock(name, mode) for found in (done.locks, held) for name, mode in found.items()]
    done.locks = dict(sorted(locks.strongest(both).items()))


def _attempt(session: Session, action: Callable[[], object], table: str, terms: Terms, done: Done) -> None:
    _, attempts = with_attempts(
        session, action, attempts=terms.attempts, pause_s=terms.retry_pause_s, tables=[table]
    )
    done.attempts = max(done.attempts, attempts)


def detach(session: Session, seen: Seen, action: Action, recorded: Ledger, terms: Terms, done: Done) -> None:
    """Detach one partition concurrently and keep it under another name, or go on with one that is pending.

    :param recorded: the ledger; what it recorded of the partition moves to the record of the detach
    """
    table, (schema, name) = seen.table, seen.where[action.name]
    kept = free_name(session, schema, f"{name}_detached")
    values = {
        "target_schema": table.schema,
        "target_table": table.name,
        "partition": name,
        "kept_schema": schema,
        "kept": kept,
        "relation": seen.oids[action.name],
        "lower_bound": shown(action.lower),
        "upper_bound": shown(action.upper),
        "run_id": terms.run_id,
    }
    session.run([partition_record.begin_command(terms.ledger, values)])
    relation = seen.oids[action.name]
    _attempt(
        session,
        functools.partial(_detach_once, session, table, quoted(schema, name), relation),
        table.name,
        terms,
        done,
    )
    _merge(done, {table.name: BUDGET})
    for begun in partition_record.detached(session, terms.ledger, table.schema, table.name):
        if begun.relation == relation and begun.state == "detaching":
            finish(session, table, begun, recorded, terms, done)


def _detach_once(session: Session, table: Table, partition: str, relation: int) -> None:
    """Detach, or finalize what an earlier attempt left pending; nothing when it is detached already."""
    ((attached, pending),) = session.run([Command(_STATE, (relation,))])[0]
    if attached:
        how = "FINALIZE" if pending else "CONCURRENTLY"
        session.run_alone(Command(f"ALTER TABLE {table.sql} DETACH PARTITION {partition} {how}"))


def finish(
    session: Session, table: Table, begun: Detached, recorded: Ledger, terms: Terms, done: Done
) -> None:
    """Rename a detached partition to the name it is kept under, and enter it, in one transaction."""
    old, entries = quoted(begun.kept_schema, begun.partition), recorded_entries(recorded, begun.partition)
    in_transaction(
        session,
        table,
        [Command(f"ALTER TABLE {old} RENAME TO {quoted(begun.kept)}")],
        terms,
        done,
        {table.name: BUDGET},
        [partition_record.detached_command(terms.ledger, table.schema, begun.relation, entries)],
    )
    done.note("detached", begun.partition, kept=begun.kept, lower=begun.lower, upper=begun.upper)


def resume(session: Session, seen: Seen, recorded: Ledger, terms: Terms, done: Done) -> bool:
    """Finish the detaches that an interrupted run announced and that are over on the server.

    One that is pending is the plan's. One that never began is forgotten: the plan says whether it is still wanted.

    :returns: whether anything was finished
    """
    begun = partition_record.detached(session, terms.ledger, seen.table.schema, seen.table.name)
    for one in begun:
        if one.state == "detaching" and one.attached and not one.pending:
            session.run([partition_record.cancelled_command(terms.ledger, one.seq)])
    over = [one for one in begun if one.unfinished]
    for one in over:
        finish(session, seen.table, one, recorded, terms, done)
    return bool(over)


def free_name(session: Session, schema: str, name: str) -> str:
    """The name, or with a number at its end when there is a relation or type of it: a month can be detached twice.

    :raises RolloutError: PostgreSQL would cut it off, or ten are taken
    """
    wanted = [name, *(f"{name}_{number}" for number in range(2, 11))]
    if len(wanted[-1].encode()) > 63:
        raise RolloutError(f"the name {wanted[-1]} has more than 63 bytes", hint="Rename the partition.")
    found = session.run([Command(_FREE, {"names": wanted, "schema": schema})])[0]
    if not found:
        raise RolloutError(
            f"{name} and nine more of that name are taken", hint="Rename or archive some of them."
        )
    return str(found[0][0])


def recorded_entries(recorded: Ledger, partition: str) -> Iterable[str]:
    """The ledger's entries of a partition and of everything that belongs to it."""
    return [
        name
        for name, entry in recorded.expected.items()
        if table_of(name, recorded.expected.get(name.removeprefix("comment on "), entry)) == partition
    ]
