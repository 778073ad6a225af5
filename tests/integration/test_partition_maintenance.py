"""Partitions made and detached on a real server: bounds, locks, interrupted runs, the ledger, and writers meanwhile."""

import datetime
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.rollout import partition_archive, partition_changes, partition_record
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import (
    LockBudgetExceeded,
    RemovalRefused,
    RolloutError,
    RunnerBusy,
    StatementFailed,
)
from ansible.module_utils.rollout.observation import observe
from ansible.module_utils.rollout.partition_plan import Desired, Period
from ansible.module_utils.rollout.partition_reading import look
from psycopg import errors

from sandbox.databases import Database
from tests import traces
from tests.partitioned import TODAY, Maintenance, bounds, make_events, one
from tests.runner import Runner
from tests.waiting import until

MONTHS = ["2025_11", "2025_12", "2026_01", "2026_02", "2026_03", "2026_04"]
MESSAGES = Desired("messages", "month", datetime.date(2025, 11, 1), ahead=3)


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        make_events(connection)
        yield connection


@pytest.fixture
def job(database: Database, owner: psycopg.Connection) -> Maintenance:
    return Maintenance(database)


def names(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(action["action"], action["partition"]) for action in found]


def test_check_mode_foretells_what_a_run_does_and_a_second_run_does_nothing(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    outcomes = []
    with traces.without_autovacuum(database.server):
        left = traces.left_by(database, lambda: outcomes.append(job.run(check=True)), calls=1)
    assert left - {"wal_position"} == set()
    foretold = outcomes[0]
    assert foretold.changed and bounds(owner) == {}
    done = job.run()
    assert names(done.actions) == [("created", f"events_{m}") for m in MONTHS]
    assert [p for _, p in names(foretold.actions)] == [p for _, p in names(done.actions)]
    assert (foretold.before, foretold.after) == (done.before, done.after)
    assert (done.covered_until, done.ahead, done.healthy) == ("2026-05-01 00:00:00+00", 2, True)
    assert bounds(owner)["events_2026_02"] == "(2026-02-01 00:00:00+00) TO (2026-03-01 00:00:00+00)"
    assert done.locks["events"] == "SHARE UPDATE EXCLUSIVE"
    assert not {"whatsapp_auth", "whatsapp_keys"} & set(done.locks)

    database.mark_log()
    again = job.run()
    assert (again.changed, again.actions, again.locks) == (False, [], {})
    assert database.ddl_log() == []
    assert not job.run(check=True).changed


@pytest.mark.parametrize(
    "occupant",
    [
        "CREATE TABLE public.events_2026_03 (at timestamptz)",
        "CREATE TYPE public.events_2026_03 AS (at timestamptz)",
        "CREATE INDEX events_2026_03 ON public.events (at)",
    ],
)
def test_a_name_that_is_taken_is_told_and_left_alone(
    job: Maintenance, owner: psycopg.Connection, occupant: str
) -> None:
    owner.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.events_2026_04 (at timestamptz)")
    owner.execute(occupant.encode())
    done = job.run(alarm=0)
    assert [(f["kind"], f["name"]) for f in done.findings] == [("occupied", "events_2026_03")]
    assert [partition for _, partition in names(done.actions)] == [
        f"events_{m}" for m in MONTHS if m != "2026_03"
    ]


def test_the_number_of_partitions_costs_no_round_trips(job: Maintenance) -> None:
    """Not with nothing to do, and not to make one more."""
    cost = []
    for ahead in (3, 60):
        job.desired = replace(job.desired, unit="day", first=TODAY, ahead=ahead)
        job.run()
        idle, one_more = job.run(), job.run(ahead=ahead + 1)
        assert (len(idle.actions), len(one_more.actions)) == (0, 1)
        cost.append((idle.round_trips, one_more.round_trips))
    assert cost[0] == cost[1]


def test_a_query_for_one_day_reads_one_of_many_partitions(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    job.desired = replace(job.desired, unit="day", first=TODAY, ahead=40)
    job.run()

    def read(query: str) -> int:
        lines = owner.execute(f"EXPLAIN SELECT * FROM public.events {query}".encode()).fetchall()
        return len(
            {name for (line,) in lines for name in re.findall(r" on (events_\d{4}_\d\d_\d\d)\b", line)}
        )

    day = "at >= '2026-02-20 00:00:00+00' AND at < '2026-02-21 00:00:00+00'"
    assert read(f"WHERE {day}") == 1
    assert read("") == 41
    # The control.
    owner.execute("SET enable_partition_pruning = off")
    assert read(f"WHERE {day}") == 41


def test_a_partition_is_what_partition_of_makes(job: Maintenance, owner: psycopg.Connection) -> None:
    job.run(ahead=0)
    owner.execute(
        "CREATE TABLE public.events_2031_01 PARTITION OF public.events"
        " FOR VALUES FROM ('2031-01-01 00:00:00+00') TO ('2031-02-01 00:00:00+00')"
    )
    seen = Runner(job.database.options).inspect().entries
    shapes = [
        {
            (entry.replace(name, "<month>")): str(value).replace(name, "<month>")
            for entry, value in seen.items()
            if name in entry
        }
        for name in ("events_2026_02", "events_2031_01")
    ]
    for shape in shapes:
        del shape["table <month>"]  # differs by its bounds
    assert shapes[0] == shapes[1]
    assert "index <month>_what_idx" in shapes[0]


@pytest.mark.parametrize("with_check", [True, False])
def test_attaching_reads_no_row(job: Maintenance, owner: psycopg.Connection, with_check: bool) -> None:
    """The server says so itself; without the CHECK, it does not."""
    with job.open(check=True) as session:
        table = look(session, "public", job.desired, "UTC", TODAY).table
    period = Period("events_2031_01", 1925_000_000_000_000, 1926_000_000_000_000)
    owner.execute(
        f"CREATE TABLE public.events_2031_01 (LIKE public.events {partition_changes.LIKE})".encode()
    )
    said: list[str] = []
    owner.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary or ""))
    owner.execute("SET client_min_messages = 'debug1'")
    commands = partition_changes.attach_commands(table, '"public"."events_2031_01"', period)
    for command in commands if with_check else commands[1:2]:
        owner.execute(command.sql.encode())
    assert any("is implied by existing constraints" in line for line in said) is with_check
    assert list(bounds(owner)) == ["events_2031_01"]


@pytest.mark.parametrize(
    ("unit", "today", "ahead", "expected"),
    [
        ("day", "2024-02-28", 1, {"events_2024_02_28": "(2024-02-28) TO (2024-02-29)",
                                  "events_2024_02_29": "(2024-02-29) TO (2024-03-01)"}),
        ("week", "2027-01-02", 0, {"events_2026_w53": "(2026-12-28) TO (2027-01-04)"}),
        ("quarter", "2025-12-31", 0, {"events_2025_q4": "(2025-10-01) TO (2026-01-01)"}),
        ("year", "2025-12-31", 0, {"events_2025": "(2025-01-01) TO (2026-01-01)"}),
    ],
)  # fmt: skip
def test_date_keys_and_every_unit(
    database: Database, unit: str, today: str, ahead: int, expected: dict[str, str]
) -> None:
    with database.connect() as owner:
        make_events(owner, key="date")
        desired = Desired("events", unit, None, ahead=ahead)
        job = Maintenance(database, desired, "Pacific/Tongatapu", datetime.date.fromisoformat(today))
        job.run()
        assert bounds(owner) == expected
        assert not job.run().changed


def test_five_time_zones_in_any_order_make_the_same_bounds(database: Database) -> None:
    """The login's TimeZone, not the module's: what somebody set for the role must not matter."""
    zones = ["UTC", "Europe/Moscow", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Auckland"]
    found = []
    for order in (zones, zones[::-1]):
        with database.connect() as owner:
            make_events(owner)
            for day, zone in enumerate(order):
                owner.execute(
                    f"ALTER ROLE CURRENT_USER IN DATABASE {database.name} SET timezone = '{zone}'".encode()
                )
                Maintenance(database, zone="Europe/Moscow").run(ahead=day)
            found.append(bounds(owner))
            owner.execute("DROP TABLE public.events")
    assert found[0] == found[1]
    assert found[0]["events_2026_02"] == "(2026-01-31 21:00:00+00) TO (2026-02-28 21:00:00+00)"
    assert len(found[0]) == 8


def test_a_plain_date_literal_moves_with_the_session(owner: psycopg.Connection) -> None:
    """The control: what the original did, in two of those zones."""
    create = "CREATE TABLE public.events_{0} PARTITION OF public.events FOR VALUES FROM (DATE '{1}') TO (DATE '{2}')"
    owner.execute("SET timezone = 'UTC'")
    owner.execute(create.format("a", "2026-01-01", "2026-02-01").encode())
    owner.execute("SET timezone = 'Europe/Moscow'")
    with pytest.raises(errors.InvalidObjectDefinition):
        owner.execute(create.format("b", "2026-02-01", "2026-03-01").encode())


@pytest.mark.parametrize(
    ("key", "zone", "table", "message"),
    [
        ("timestamptz", "UTC", "nothing", "there is no table public.nothing"),
        ("timestamptz", "UTC", "whatsapp_auth", "is not partitioned by RANGE"),
        ("timestamptz", "UTC+3", "events", "is not the name of a time zone"),
        ("timestamptz", "Mars/Phobos", "events", "SQLSTATE 22023"),
        ("timestamp", "UTC", "events", "at of type timestamp;"),
    ],
)
def test_what_cannot_be_maintained_is_refused(
    database: Database, key: str, zone: str, table: str, message: str
) -> None:
    with database.connect() as owner:
        make_events(owner, key)
        job = Maintenance(database, Desired(table, "month", None, ahead=1), zone)
        with pytest.raises(RolloutError, match=message.replace("+", r"\+")):
            job.run(check=True)


def test_too_strong_a_lock_is_rolled_back(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the proof: a lock too many on the table, and a foreign key to a protected one."""
    attach = partition_changes.attach_commands

    def strong(*arguments: object) -> list[object]:
        lock = Command("LOCK TABLE public.events IN ACCESS EXCLUSIVE MODE")
        return [*attach(*arguments), lock]  # type: ignore[arg-type]

    monkeypatch.setattr(partition_changes, "attach_commands", strong)
    with pytest.raises(LockBudgetExceeded, match="ACCESS EXCLUSIVE on events"):
        job.run()
    monkeypatch.undo()
    assert bounds(owner) == {}
    assert one(owner, "SELECT outcome FROM rollout.maintenance") == "failed"
    owner.execute("CREATE TABLE public.salons (id integer PRIMARY KEY)")
    owner.execute("ALTER TABLE public.events ADD COLUMN salon integer REFERENCES public.salons")
    job.protected = (*job.protected, "salons")
    with pytest.raises(LockBudgetExceeded, match="SHARE ROW EXCLUSIVE on salons"):
        job.run()
    assert bounds(owner) == {}


def test_a_lock_that_cannot_be_had_names_its_holder(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    with database.connect(application_name="other ddl") as other, other.transaction():
        other.execute("LOCK TABLE public.events IN SHARE UPDATE EXCLUSIVE MODE")
        job.attempts = 1
        with pytest.raises(StatementFailed, match="other ddl"):
            job.run()
    assert len(job.run().actions) == 6


def test_functions_runners_and_maintenance_take_turns(job: Maintenance, database: Database) -> None:
    """Another maintenance is refused at once, whoever it maintains; so is a runner of migrations."""
    job.run()
    with job.open() as session:
        observe(session, "public", "rollout", alone=True)
        with pytest.raises(RunnerBusy):
            job.run()
        with pytest.raises(RunnerBusy):
            Runner(database.options).bring_in("0001")


def test_the_alarm_is_red_when_too_little_is_ahead_or_nobody_maintains(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    def red(**desired: int) -> list[tuple[str, str]]:
        found = job.check(**desired)
        assert found.healthy is not any(f["alarming"] for f in found.findings)
        return [(f["kind"], f["text"]) for f in found.findings if f["alarming"]]

    never = red(alarm=1)
    assert [kind for kind, _ in never] == ["not enough ahead", "no recent maintenance"]
    assert "not even the present is covered" in never[0][1]
    job.run()
    assert red(alarm=2) == []
    assert job.check().summary == (
        "last maintenance 0 days ago (done), 2 whole periods ahead, covers until 2026-05-01 00:00:00+00"
    )
    ((kind, text),) = red(ahead=4, alarm=3)
    assert (
        kind == "not enough ahead"
        and "until 2026-05-01 00:00:00+00 only: 2 whole periods (month) ahead" in text
    )
    owner.execute("UPDATE rollout.maintenance SET ended_at = now() - interval '5 days'")
    assert [kind for kind, _ in red(alarm=2)] == ["no recent maintenance"]
    owner.execute("UPDATE rollout.maintenance SET ended_at = now(), outcome = 'failed', message = 'no disk'")
    assert "failed: no disk" in red(alarm=2)[0][1]


# Retention.


def fill(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO public.events (at) SELECT timestamptz '2025-11-01 00:00:00+00' + i * interval '5 days'"
        " FROM generate_series(0, 20) i"
    )


def test_retention_detaches_concurrently_and_keeps_the_rows(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    job.run()
    fill(owner)
    before = one(owner, "SELECT count(*) FROM public.events")
    foretold = job.run(check=True, retention=2)
    done = job.run(retention=2)
    assert names(foretold.actions) == [("detach", "events_2025_11")]
    assert names(done.actions) == [("detached", "events_2025_11")]
    kept = one(owner, "SELECT count(*) FROM public.events_2025_11_detached")
    assert kept > 0 and one(owner, "SELECT count(*) FROM public.events") == before - kept
    row = owner.execute("SELECT state, kept, lower_bound, recorded FROM rollout.detached").fetchall()
    assert row == [("detached", "events_2025_11_detached", "2025-11-01 00:00:00+00", [])]
    assert not job.run(retention=2).changed
    assert done.locks["events"] == "SHARE UPDATE EXCLUSIVE"


def test_a_detach_that_a_reader_holds_up_is_finished_by_the_next_run(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    """Interrupted while it waits: the partition is pending; meanwhile the application writes on."""
    job.run()
    fill(owner)
    total = one(owner, "SELECT count(*) FROM public.events")
    job.attempts = 1
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM public.events")
        with pytest.raises(StatementFailed, match="55P03"):
            job.run(retention=2)
        assert one(
            owner, "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = 'events_2025_11'::regclass"
        )
        owner.execute("INSERT INTO public.events (at) VALUES ('2026-02-03 00:00:00+00')")
    assert one(owner, "SELECT state FROM rollout.detached") == "detaching"
    assert names(job.run(check=True, retention=2).actions) == [("finalize", "events_2025_11")]
    done = job.run(retention=2)
    assert names(done.actions) == [("detached", "events_2025_11")]
    kept = one(owner, "SELECT count(*) FROM public.events_2025_11_detached")
    assert one(owner, "SELECT count(*) FROM public.events") + kept == total + 1
    assert one(owner, "SELECT count(*) FROM rollout.detached WHERE state = 'detached'") == 1


def test_a_detach_that_is_held_up_every_night_keeps_no_month_ahead_from_being_made(
    job: Maintenance,
    database: Database,
    owner: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a dump that is open whenever maintenance runs."""
    job.run()
    fill(owner)
    job.attempts = 1
    with database.connect(application_name="nightly dump") as dump, dump.transaction():
        dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        dump.execute("SELECT count(*) FROM public.events")
        for today, newest in (((2026, 3, 10), "events_2026_05"), ((2026, 4, 10), "events_2026_06")):
            job.today = datetime.date(*today)
            with pytest.raises(StatementFailed, match="nightly dump"):
                job.run(retention=3)
            assert newest in bounds(owner)
        last = owner.execute(
            "SELECT outcome, message, actions FROM rollout.maintenance ORDER BY seq DESC LIMIT 1"
        )
        ((outcome, message, actions),) = last.fetchall()
        assert (outcome, names(actions)) == ("failed", [("created", "events_2026_06")])
        assert "nightly dump" in message
        # Of two failures both are told.
        monkeypatch.setattr(partition_archive, "archive_all", failing)
        with pytest.raises(RolloutError, match=r"(?s)nightly dump.*comes later"):
            job.archive(tmp_path, retention=3)
    assert names(job.run(retention=3).actions) == [
        ("detached", "events_2025_11"),
        ("detached", "events_2025_12"),
    ]


def failing(*_: object, **__: object) -> None:
    raise RolloutError("that comes later")


@pytest.mark.parametrize("killed_before", ["begin", "_detach_once", "finish"])
def test_a_run_killed_anywhere_in_a_detach_is_finished(
    job: Maintenance, owner: psycopg.Connection, killed_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    job.run()
    fill(owner)
    total = one(owner, "SELECT count(*) FROM public.events")
    if killed_before == "begin":
        monkeypatch.setattr(partition_record, "begin_command", kill)
    else:
        monkeypatch.setattr(partition_changes, killed_before, kill)
    with pytest.raises(Killed):
        job.run(retention=2)
    monkeypatch.undo()
    done = job.run(retention=2)
    assert names(done.actions) == [("detached", "events_2025_11")]
    assert owner.execute("SELECT state FROM rollout.detached").fetchall() == [("detached",)]
    kept = one(owner, "SELECT count(*) FROM public.events_2025_11_detached")
    assert one(owner, "SELECT count(*) FROM public.events") + kept == total
    assert not job.run(retention=2).changed


def test_a_name_to_keep_it_under_that_is_taken(job: Maintenance, owner: psycopg.Connection) -> None:
    """As after retention was lengthened, the month made anew, and shortened again."""
    owner.execute("CREATE TABLE public.events_2025_11_detached (note text)")
    job.run()
    done = job.run(retention=2)
    assert [(a["partition"], a.get("kept")) for a in done.actions] == [
        ("events_2025_11", "events_2025_11_detached_2")
    ]
    assert (
        one(owner, "SELECT kept FROM rollout.detached WHERE state = 'detached'")
        == "events_2025_11_detached_2"
    )
    assert not job.run(retention=2).changed


def test_a_detach_that_is_no_longer_wanted_is_forgotten(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.run()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(partition_changes, "_detach_once", stop)
    with pytest.raises(KeyboardInterrupt):
        job.run(retention=2)
    monkeypatch.undo()
    assert not job.run().changed
    assert one(owner, "SELECT count(*) FROM rollout.detached") == 0


# With the ledger.


def test_recorded_months_come_and_go_without_drift(finished: Database) -> None:
    runner = Runner(finished.options)
    with finished.connect() as owner:
        recorded = sorted(bounds(owner, "messages"))
        owner.execute(
            "INSERT INTO public.messages (company_id, phone, direction, created_at)"
            " VALUES (1, '70000000000', 'inbound', '2025-11-05 00:00:00+00')"
        )
        today = one(owner, "SELECT (now() AT TIME ZONE 'UTC')::date")
        job = Maintenance(finished, MESSAGES, today=None)
        assert job.run().healthy
        assert runner.inspect().differences == []
        # Between the months that were named and the present ones there was a hole.
        made = set(bounds(owner, "messages")) - set(recorded)
        since = (today.year - 2025) * 12 + today.month - 11
        assert len(bounds(owner, "messages")) == max(since, 0) + 4 == len(made) + len(recorded)

        done = job.run(retention=1)
        assert ("detached", "messages_2025_11") in names(done.actions)
        assert runner.inspect().differences == [], runner.inspect().differences
        assert one(owner, "SELECT count(*) FROM public.messages_2025_11_detached") == 1
        moved = one(owner, "SELECT recorded FROM rollout.detached WHERE partition = 'messages_2025_11'")
        assert {"table messages_2025_11", "index messages_2025_11_pkey"} <= {
            entry["object"] for entry in moved
        }
        assert runner.apply().changed is False
        assert not job.run(retention=1).changed
        # The control: the same detach by hand is drift.
        month = sorted(set(recorded) & set(bounds(owner, "messages")))[0]
        owner.execute(f"ALTER TABLE public.messages DETACH PARTITION public.{month}".encode())
        assert runner.inspect().differences


def test_a_maintained_table_can_be_taken_back_until_months_are_kept(finished: Database) -> None:
    """What was added goes with it. A kept month still draws its ids from the table's sequence, so it is told first."""
    runner = Runner(finished.options)
    job = Maintenance(finished, MESSAGES, today=None)
    job.run()
    job.run(retention=1)
    with pytest.raises(RemovalRefused, match="messages_2025_11_detached"):
        runner.take_back("0002")
    with finished.connect() as owner:
        kept = owner.execute("SELECT kept FROM rollout.detached").fetchall()
        for (name,) in kept:
            owner.execute(f"DROP TABLE public.{name}".encode())
    assert runner.take_back("0002").changed


def test_a_month_that_somebody_began_to_detach_is_made_anew(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    job.run()
    fill(owner)
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM public.events")
        owner.execute("SET lock_timeout = '50ms'")
        with pytest.raises(errors.LockNotAvailable):
            owner.execute("ALTER TABLE public.events DETACH PARTITION public.events_2026_01 CONCURRENTLY")
    done = job.run()
    assert names(done.actions) == [("detached", "events_2026_01"), ("created", "events_2026_01")]
    assert done.healthy


def test_the_module_and_the_function_agree(finished: Database) -> None:
    """Whoever comes second finds nothing to do."""
    with finished.connect() as owner:
        job = Maintenance(finished, replace(MESSAGES, ahead=5), today=None)
        job.run()
        first = bounds(owner, "messages")
        assert owner.execute("SELECT * FROM public.maintain_messages_partitions()").fetchall() == []
        late = one(owner, "SELECT (date_trunc('month', now()) + interval '6 months')::date")
        owner.execute("SELECT public.create_messages_partition(%s)", [late])
        assert not job.run(ahead=6).changed
        assert len(bounds(owner, "messages")) == len(first) + 1


# Under load.


class Writer(threading.Thread):
    """Inserts all the time, each row in a transaction of its own, and keeps every error."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self.options = database.options
        self.stopping = threading.Event()
        self.written = 0
        self.errors: list[str] = []

    def run(self) -> None:
        insert = "INSERT INTO public.events (at) VALUES (timestamptz '2026-02-03 00:00:00+00' + %s * interval '1 day')"
        with psycopg.connect(**self.options, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '10s'")
            for day in itertools.cycle(range(20)):
                if self.stopping.is_set():
                    return
                try:
                    connection.execute(insert, [day])
                    self.written += 1
                except psycopg.Error as error:
                    self.errors.append(str(error))


class Queue(threading.Thread):
    """Looks all the time who waits for a lock on a relation for reading or writing."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self.options = database.options
        self.stopping = threading.Event()
        self.looks = 0
        self.seen = 0

    def run(self) -> None:
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
            " AND mode IN ('AccessShareLock', 'RowExclusiveLock')"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with psycopg.connect(**self.options, autocommit=True) as connection:
            while not self.stopping.is_set():
                self.seen = max(self.seen, int(one(connection, waiting)))
                self.looks += 1


def test_no_insert_fails_while_partitions_come_and_go(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    job.run()
    fill(owner)
    rows = one(owner, "SELECT count(*) FROM public.events")
    writers = [Writer(database) for _ in range(2)]
    queue = Queue(database)
    job.attempts = 10
    threads: list[Writer | Queue] = [*writers, queue]
    for thread in threads:
        thread.start()
    try:
        for ahead in range(3, 9):
            job.run(ahead=ahead)
        job.run(ahead=8, retention=1)
        mark = sum(w.written for w in writers)
        until(lambda: sum(w.written for w in writers) > mark, "nobody writes any more")
    finally:
        for thread in threads:
            thread.stopping.set()
        for thread in threads:
            thread.join(30)
    assert [w.errors for w in writers] == [[], []]
    # How long a writer waits depends on the machine; that it waits for no lock does not.
    assert queue.looks > 10
    assert queue.seen == 0
    detached = [f"public.{k}" for (k,) in owner.execute("SELECT kept FROM rollout.detached").fetchall()]
    assert len(detached) == 2
    kept = sum(one(owner, f"SELECT count(*) FROM {name}") for name in detached)
    assert one(owner, "SELECT count(*) FROM public.events") + kept == rows + sum(w.written for w in writers)


def test_partition_of_makes_writers_queue(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    """The control: the naive way, behind a report that reads the table."""
    job.run()
    writer, queue = Writer(database), Queue(database)

    def make() -> None:
        with database.connect() as naive:
            naive.execute(
                "CREATE TABLE public.events_2031_01 PARTITION OF public.events"
                " FOR VALUES FROM ('2031-01-01 00:00:00+00') TO ('2031-02-01 00:00:00+00')"
            )

    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM public.events")
        threads = (writer, queue, threading.Thread(target=make))
        for thread in threads:
            thread.start()
        until(lambda: queue.seen > 0, "no writer waits")
    writer.stopping.set()
    queue.stopping.set()
    for thread in threads:
        thread.join(30)


def test_the_writer_notices_a_month_without_partition(job: Maintenance, database: Database) -> None:
    """The control of the writer."""
    writer = Writer(database)
    writer.start()
    until(lambda: writer.errors, "the writer has no error")
    writer.stopping.set()
    writer.join(30)
    assert "no partition of relation" in writer.errors[0]


def test_a_login_that_may_only_read_can_look(database: Database) -> None:
    with database.connect() as owner:
        make_events(owner)
        owner.execute("GRANT SELECT ON public.events TO PUBLIC")
    job = Maintenance(database, options=database.readonly_options)
    assert len(job.run(check=True).actions) == 6
    with pytest.raises(StatementFailed, match=r"25006|42501"):
        job.run()
