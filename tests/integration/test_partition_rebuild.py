"""Partitions with odd bounds and rows, rebuilt: no row is lost, nobody waits for a lock that is not had."""

import itertools
import threading
from collections.abc import Iterator

import psycopg
import pytest
from ansible.module_utils.rollout import partition_copy, partition_rebuild
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import RolloutError, StatementFailed
from psycopg import errors

from sandbox.databases import Database
from tests.partitioned import Maintenance, bounds, make_events, one

MONTHS = [f"events_{month}" for month in ("2025_11", "2025_12", "2026_01", "2026_02", "2026_03", "2026_04")]
#: As midnight in Moscow is written in UTC.
MOSCOW = ["2025-10-31", "2025-11-30", "2025-12-31", "2026-01-31", "2026-02-28"]


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    """Three months of Moscow that are over, and the present one, with rows every six hours."""
    with database.connect() as connection:
        make_events(connection)
        for number, (lower, upper) in enumerate(itertools.pairwise(MOSCOW)):
            connection.execute(
                f"CREATE TABLE public.{MONTHS[number]} PARTITION OF public.events"
                f" FOR VALUES FROM ('{lower} 21:00:00+00') TO ('{upper} 21:00:00+00')".encode()
            )
        connection.execute(
            "INSERT INTO public.events (at, what) SELECT at, 'row ' || to_char(at, 'DDD HH24')"
            " FROM generate_series(timestamptz '2025-10-31 21:00:00+00', '2026-02-09 21:00:00+00', '6 hours') at"
        )
        yield connection


@pytest.fixture
def job(database: Database, owner: psycopg.Connection) -> Maintenance:
    return Maintenance(database)


def rows(owner: psycopg.Connection, table: str = "events") -> list[tuple[object, ...]]:
    return owner.execute(f"SELECT id, at, what, twice FROM public.{table} ORDER BY id".encode()).fetchall()


def test_months_of_another_zone_become_those_of_the_pinned_one(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    before, shapes = rows(owner), bounds(owner)
    told = job.repair(check=True).actions
    assert told[0]["action"] == "rebuild"
    assert told[0]["partition"] == "events_2025_11, events_2025_12, events_2026_01"
    assert told[0]["lock"] == (
        "SHARE on events_2025_11 and events_2025_12 and events_2026_01 while all rows are compared with their copies,"
        " then ACCESS EXCLUSIVE on events for a moment"
    )
    with pytest.raises(RolloutError, match="not begun"):
        job.repair(confirmed=False)
    assert bounds(owner) == shapes

    done = job.repair(batch_rows=50)
    assert done.healthy, done.findings
    assert rows(owner) == before
    found = bounds(owner)
    for month, lower, upper in (
        ("2025_11", "2025-11-01", "2025-12-01"),
        ("2025_12", "2025-12-01", "2026-01-01"),
    ):
        assert found[f"events_{month}"] == f"({lower} 00:00:00+00) TO ({upper} 00:00:00+00)"
    # What lies before the first month keeps a place of its own; the present month still takes rows, and stays.
    assert found["events_2025_10_31t210000"] == "(2025-10-31 21:00:00+00) TO (2025-11-01 00:00:00+00)"
    assert found["events_2026_01_01t000000"] == "(2026-01-01 00:00:00+00) TO (2026-01-31 21:00:00+00)"
    assert found["events_2026_02"] == shapes["events_2026_02"]
    assert [(f["kind"], f["name"]) for f in done.findings] == [("wrong zone", "events_2026_02")]
    # The old ones are kept, whole, and recorded.
    kept = owner.execute("SELECT partition, kept, state FROM rollout.detached ORDER BY seq").fetchall()
    assert kept == [(name, f"{name}_replaced", "detached") for name in MONTHS[:3]]
    assert one(owner, "SELECT count(*) FROM public.events_2025_11_replaced") == 120
    # Names, no mark, no CHECK of ours: as every other partition.
    indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'events_2025_11'::regclass"
    assert {name for (name,) in owner.execute(indexes.encode())} == {
        "events_2025_11_pkey",
        "events_2025_11_what_idx",
    }
    assert one(owner, "SELECT count(*) FROM pg_constraint WHERE conname = 'rollout_bounds'") == 0
    assert one(owner, "SELECT obj_description('events_2025_11'::regclass)") is None
    assert not job.repair().changed


def test_a_rebuild_that_was_interrupted_takes_what_changed_meanwhile(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = partition_copy.copy_batch
    batches: list[int] = []

    def killed(*arguments: object) -> int:
        if len(batches) == 4:
            raise KeyboardInterrupt
        batches.append(1)
        return batch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_copy, "copy_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        job.repair(batch_rows=30)
    monkeypatch.undo()
    assert one(owner, "SELECT count(*) FROM public.events_2025_11_incoming") > 0
    owner.execute("UPDATE public.events SET what = 'changed' WHERE id IN (3, 130)")
    owner.execute("DELETE FROM public.events WHERE id IN (4, 200)")
    # Keys that lie before the copy's end, on both sides of the months' edge.
    owner.execute(
        "INSERT INTO public.events (id, at) VALUES (-5, '2025-11-09+00'), (-6, '2025-11-30 22:00:00+00')"
    )
    before = rows(owner)
    assert job.repair(batch_rows=30).healthy
    assert rows(owner) == before
    assert one(owner, "SELECT tableoid::regclass::text FROM public.events WHERE id = -6") == "events_2025_11"


def test_a_copy_that_lacks_a_row_is_not_exchanged(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the proof: the statements that bring the copies up to date are taken out."""
    before, shapes = rows(owner), bounds(owner)
    monkeypatch.setattr(partition_copy, "catch_up", lambda _: [Command("SELECT 1")])
    monkeypatch.setattr(partition_copy, "copy_batch", lambda *_: 0)
    with pytest.raises(
        RolloutError, match=r"36\d rows are in .*, and 0 in the copies; nothing was exchanged"
    ):
        job.repair()
    assert rows(owner) == before
    # Nothing but the months ahead, which wait for no repair.
    ahead = {
        "events_2026_03": "(2026-03-01 00:00:00+00) TO (2026-04-01 00:00:00+00)",
        "events_2026_04": "(2026-04-01 00:00:00+00) TO (2026-05-01 00:00:00+00)",
    }
    assert bounds(owner) == {**shapes, **ahead}
    assert one(owner, "SELECT count(*) FROM rollout.detached") == 0


@pytest.mark.parametrize("waits", [False, True])
def test_a_rebuild_makes_nobody_wait_for_a_lock_that_it_has_not(
    job: Maintenance,
    database: Database,
    owner: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    waits: bool,
) -> None:
    """A report reads all along, and the application writes. The control waits for the lock, and so do all behind it."""
    if waits:
        monkeypatch.setattr(partition_rebuild, "_LOCK", "LOCK TABLE {tables} IN {mode} MODE")
    job.attempts = 1
    before = rows(owner)
    failed: list[StatementFailed] = []
    refused: list[psycopg.Error] = []

    def repair() -> None:
        try:
            job.repair()
        except StatementFailed as error:
            failed.append(error)

    with database.connect() as reader, reader.transaction(), database.connect() as application:
        reader.execute("SELECT count(*) FROM public.events")
        # Only a wait for a lock counts, however slow the machine is.
        application.execute("SET lock_timeout = '300ms'")
        thread = threading.Thread(target=repair)
        thread.start()
        written = 0
        while thread.is_alive() and not refused:
            try:
                application.execute("INSERT INTO public.events (at) VALUES ('2026-02-03 00:00:00+00')")
                written += 1
            except errors.LockNotAvailable as error:
                refused.append(error)
        thread.join(60)
    assert bool(refused) is waits
    assert len(failed) == 1
    if not waits:
        assert "events is in use" in str(failed[0])
        assert rows(owner)[: len(before)] == before
        assert job.repair().healthy
        assert len(rows(owner)) == len(before) + written


def test_a_month_that_is_partitioned_itself_keeps_its_bounds_and_rows(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    """Its rows are in partitions of its own: a copy of it alone would be empty, and would count as complete."""
    owner.execute(
        "ALTER TABLE public.events DETACH PARTITION public.events_2025_11;"
        "CREATE TABLE public.divided PARTITION OF public.events FOR VALUES FROM ('2025-10-31 21:00:00+00')"
        " TO ('2025-11-30 21:00:00+00') PARTITION BY HASH (id);"
        "CREATE TABLE public.half PARTITION OF public.divided FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE public.other_half PARTITION OF public.divided FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO public.events (id, at, what) SELECT id, at, what FROM public.events_2025_11;"
        "DROP TABLE public.events_2025_11; CREATE INDEX events_at ON ONLY public.events (at)"
    )
    before, shape = rows(owner), bounds(owner)["divided"]
    told = job.repair(check=True).actions
    assert "divided" not in {name for one in told for name in one["partition"].split(", ")}
    done = job.repair()
    assert rows(owner) == before
    assert bounds(owner)["divided"] == shape
    found = {f["kind"]: f["remedy"] for f in done.findings if f["name"] == "divided"}
    assert set(found) == {"wrong zone", "index"}
    assert all(remedy.startswith("Mend it by hand") for remedy in found.values())


def test_months_with_rows_that_a_policy_hides_are_not_rebuilt(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute(
        "ALTER TABLE public.events_2025_11 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY even ON public.events_2025_11 USING (id % 2 = 0)"
    )
    before, shapes = rows(owner), bounds(owner)
    with pytest.raises(StatementFailed, match="affected by row-level security policy"):
        job.repair()
    assert (rows(owner), shapes.items() <= bounds(owner).items()) == (before, True)


def test_a_name_that_is_taken_leaves_the_months_as_they_are(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute("CREATE TABLE public.events_2025_10_31t210000 (note text)")
    before, shapes = rows(owner), bounds(owner)
    assert "rebuild" not in {one["action"] for one in job.repair(check=True).actions}
    job.repair()
    assert rows(owner) == before
    assert shapes.items() <= bounds(owner).items()
