"""A partitioned table that went wrong: told exactly, mended by explicit command, resumed after an interruption."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from ansible.module_utils.rollout import partition_copy, partition_mending
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import RolloutError, StatementFailed

from sandbox.databases import Database
from tests.partitioned import Maintenance, bounds, make_events, one
from tests.waiting import until

MONTHS = ["2025_11", "2025_12", "2026_01", "2026_02", "2026_03", "2026_04"]


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        make_events(connection)
        yield connection


@pytest.fixture
def job(database: Database, owner: psycopg.Connection) -> Maintenance:
    return Maintenance(database)


def partition(owner: psycopg.Connection, name: str, lower: str, upper: str) -> None:
    statement = (
        f"CREATE TABLE public.{name} PARTITION OF public.events FOR VALUES FROM ('{lower}') TO ('{upper}')"
    )
    owner.execute(statement.encode())


def rows(owner: psycopg.Connection, table: str = "events") -> list[tuple[object, ...]]:
    return owner.execute(f"SELECT id, at, what, twice FROM public.{table} ORDER BY id".encode()).fetchall()


def fill(owner: psycopg.Connection, count: int = 60) -> list[tuple[object, ...]]:
    owner.execute(
        "INSERT INTO public.events (at, what) SELECT timestamptz '2025-11-03 00:00:00+00' + i * interval '2 days',"
        " 'row ' || i FROM generate_series(0, %s - 1) i",
        [count],
    )
    return rows(owner)


def test_another_zone_and_the_hole_it_left(job: Maintenance, owner: psycopg.Connection) -> None:
    """Two months of Moscow, one of them with rows, then somebody's run in UTC: what the original did."""
    partition(owner, "events_2025_11", "2025-10-31 21:00:00+00", "2025-11-30 21:00:00+00")
    partition(owner, "events_2026_02", "2026-01-31 21:00:00+00", "2026-02-28 21:00:00+00")
    owner.execute("INSERT INTO public.events (at) VALUES ('2025-11-03 00:00:00+00')")
    first = job.run()
    assert not first.healthy
    assert [(f["kind"], f["name"]) for f in first.findings] == [
        ("gap", "events_2025_11"),
        ("gap", "events_2026_01"),
        ("gap", "events_2026_02"),
        ("wrong zone", "events_2025_11"),
        ("wrong zone", "events_2026_02"),
        ("not enough ahead", "events"),
    ]
    assert "-3 h off" in first.findings[-2]["text"]
    with pytest.raises(psycopg.errors.CheckViolation), owner.transaction():
        owner.execute("INSERT INTO public.events (at) VALUES ('2025-11-30 22:00:00+00')")

    with pytest.raises(RolloutError, match="not begun") as refusal:
        job.repair(confirmed=False)
    assert "replace events_2026_02: locks ACCESS EXCLUSIVE on events for a moment" in str(refusal.value)
    told = job.repair(check=True)
    assert {"rebuild", "replace", "fill"} <= {action["action"] for action in told.actions}
    before = rows(owner)
    done = job.repair()
    assert done.healthy, done.findings
    assert rows(owner) == before
    assert bounds(owner)["events_2026_02"] == "(2026-02-01 00:00:00+00) TO (2026-03-01 00:00:00+00)"
    assert bounds(owner)["events_2025_11"] == "(2025-11-01 00:00:00+00) TO (2025-12-01 00:00:00+00)"
    assert bounds(owner)["events_2025_10_31t210000"] == "(2025-10-31 21:00:00+00) TO (2025-11-01 00:00:00+00)"
    assert one(owner, "SELECT count(*) FROM public.events_2025_11_replaced") == 1
    assert one(owner, "SELECT count(*) FROM public.events_2026_02_replaced") == 0
    owner.execute("INSERT INTO public.events (at) VALUES ('2025-11-30 22:00:00+00')")
    assert not job.repair().changed


def test_a_partition_that_has_the_name_of_another_period(job: Maintenance, owner: psycopg.Connection) -> None:
    partition(owner, "events_2026_03", "2031-01-01 00:00:00+00", "2031-02-01 00:00:00+00")
    found = job.run(alarm=0)
    assert [(f["kind"], f["name"]) for f in found.findings] == [("occupied", "events_2026_03")]
    assert job.repair().healthy
    assert bounds(owner)["events_2026_03_01t000000"] == "(2026-03-01 00:00:00+00) TO (2026-04-01 00:00:00+00)"


def test_a_row_that_comes_before_the_replacement_stops_it(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition(owner, "events_2026_02", "2026-01-31 21:00:00+00", "2026-02-28 21:00:00+00")
    replace = partition_mending._replace

    def late(*arguments: object) -> None:
        owner.execute("INSERT INTO public.events (at) VALUES ('2026-02-03 00:00:00+00')")
        replace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_mending, "_replace", late)
    with pytest.raises(StatementFailed, match="replacement of events_2026_02"):
        job.repair()
    # It stands as it was; what was made are the months that nothing reaches into.
    found = bounds(owner)
    assert sorted(found) == [f"events_{m}" for m in MONTHS if m != "2026_01"]
    assert found["events_2026_02"] == "(2026-01-31 21:00:00+00) TO (2026-02-28 21:00:00+00)"
    assert one(owner, "SELECT count(*) FROM rollout.detached") == 0
    # Now it holds a row, so it stays and the holes beside it are filled.
    monkeypatch.undo()
    assert job.repair().healthy
    assert one(owner, "SELECT count(*) FROM public.events_2026_02") == 1


def test_rows_in_default_are_taken_out_batch_by_batch(job: Maintenance, owner: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    before = fill(owner, 59)
    owner.execute("INSERT INTO public.events (at) VALUES ('2031-01-01 00:00:00+00')")
    found = job.run()
    assert {f["name"] for f in found.findings if f["kind"] == "rows in default"} == {"events_rest"}
    assert [a["partition"] for a in found.actions] == ["events_2026_03", "events_2026_04"]
    told = [a for a in job.repair(check=True).actions if a["action"] == "empty default"]
    assert [a["partition"] for a in told] == [f"events_{m}" for m in MONTHS[:4]]
    assert told[0]["lock"] == "ACCESS EXCLUSIVE on events_rest while 14 rows are compared and exchanged"
    done = job.repair(batch_rows=4)
    assert done.healthy, done.findings
    assert done.locks["events"] == "SHARE UPDATE EXCLUSIVE"
    assert rows(owner)[:-1] == before
    assert len(rows(owner, "events_rest")) == 1
    assert sorted(bounds(owner)) == [*(f"events_{m}" for m in MONTHS), "events_rest"]
    assert not job.repair().changed
    # As every other partition: names, no mark, no CHECK of ours.
    names = owner.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'events_2025_11'::regclass"
    )
    assert {name for (name,) in names} == {"events_2025_11_pkey", "events_2025_11_what_idx"}
    assert one(owner, "SELECT count(*) FROM pg_constraint WHERE conname = 'rollout_bounds'") == 0
    assert one(owner, "SELECT obj_description('events_2025_11'::regclass)") is None


def test_rows_of_a_default_partition_that_is_partitioned_itself_are_told_and_left(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute(
        "CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT PARTITION BY HASH (id);"
        "CREATE TABLE public.whole PARTITION OF public.events_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    )
    before = fill(owner, 5)
    done = job.repair()
    assert [(f["kind"], f["remedy"][:15]) for f in done.findings] == [("rows in default", "Mend it by hand")]
    assert rows(owner) == before == rows(owner, "events_rest")


def test_rows_in_default_that_a_policy_hides_are_not_counted_as_none(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    fill(owner, 5)
    owner.execute(
        "ALTER TABLE public.events_rest ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY even ON public.events_rest USING (false)"
    )
    with pytest.raises(StatementFailed, match="affected by row-level security policy"):
        job.run()


def test_an_empty_partition_that_is_partitioned_itself_keeps_its_bounds(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute(
        "CREATE TABLE public.divided PARTITION OF public.events FOR VALUES FROM ('2026-01-31 21:00:00+00')"
        " TO ('2026-02-28 21:00:00+00') PARTITION BY HASH (id)"
    )
    job.repair()
    assert "divided" in bounds(owner)


def test_an_interrupted_repair_goes_on_and_takes_what_changed_meanwhile(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    fill(owner)
    copy = partition_copy.copy_batch
    batches: list[int] = []

    def killed(*arguments: object) -> int:
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(1)
        return copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_copy, "copy_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        job.repair(batch_rows=4)
    monkeypatch.undo()
    assert one(owner, "SELECT count(*) FROM public.events_2025_11_incoming") == 8
    # What was copied is changed, deleted, and comes anew, some of it with keys that lie before the copy's end.
    owner.execute("UPDATE public.events SET what = 'changed' WHERE id = 2")
    owner.execute("DELETE FROM public.events WHERE id = 3")
    owner.execute("INSERT INTO public.events (id, at) VALUES (-5, '2025-11-09 00:00:00+00')")
    before = rows(owner)
    done = job.repair(batch_rows=4)
    assert done.healthy and rows(owner) == before
    assert rows(owner, "events_rest") == []


def test_readers_and_writers_go_on_while_rows_are_copied(
    job: Maintenance, database: Database, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two batches every row is there, once; the application writes into the same month."""
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    fill(owner)
    copy, seen = partition_copy.copy_batch, []

    def watched(*arguments: object) -> int:
        owner.execute("INSERT INTO public.events (at) VALUES ('2025-11-20 00:00:00+00')")
        seen.append(
            (
                one(owner, "SELECT count(*) FROM public.events"),
                one(owner, "SELECT max(id) FROM public.events"),
            )
        )
        return copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_copy, "copy_batch", watched)
    assert job.repair(batch_rows=5).healthy
    assert len(seen) > 8
    assert [count for count, _ in seen] == list(range(61, 61 + len(seen)))
    assert len(rows(owner)) == 60 + len(seen) == len({row[0] for row in rows(owner)})


def test_a_copy_that_would_lose_a_row_is_not_exchanged(
    job: Maintenance, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the proof: the statement that brings the copy up to date is taken out."""
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    before = fill(owner)

    def forgetful(text: str, *rest: object, **more: object) -> object:
        lost = "INSERT INTO" in text and "NOT EXISTS" in text
        return Command(text.replace("WHERE", "WHERE false AND", 1) if lost else text, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(partition_copy, "copy_batch", lambda *_: 0)
    monkeypatch.setattr(partition_copy, "Command", forgetful)
    with pytest.raises(RolloutError, match="14 rows of events_2025_11 would leave events_rest, and 0 are in"):
        job.repair()
    assert rows(owner) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("CREATE TABLE public.events_2025_11_incoming (id int)", "is not a copy that a repair began"),
        ("ALTER TABLE public.events DROP CONSTRAINT events_pkey", "has no primary key"),
        (
            "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';"
            "CREATE TRIGGER deleted AFTER DELETE ON public.events FOR EACH ROW EXECUTE FUNCTION public.note()",
            r"events_rest has triggers on DELETE \(deleted\)",
        ),
        *(
            (
                "CREATE TABLE public.notes (id bigint, at timestamptz, CONSTRAINT of_event FOREIGN KEY (id, at)"
                f" REFERENCES public.{table} ON DELETE {action});"
                "INSERT INTO public.notes SELECT id, at FROM public.events",
                r"events_rest is referenced by foreign keys .* \(of_event of (public\.)?notes\)",
            )
            for table, action in (
                ("events", "CASCADE"),
                ("events", "SET NULL"),
                ("events", "SET DEFAULT"),
                ("events_rest", "CASCADE"),
            )
        ),
        *(
            (f"CREATE PUBLICATION changes FOR TABLE public.{table}", r"events_rest is published \(changes\)")
            for table in ("events", "events_rest")
        ),
    ],
)
def test_what_cannot_be_done_without_harm_is_refused(
    job: Maintenance, owner: psycopg.Connection, spoil: str, message: str
) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    before = fill(owner, 5)
    owner.execute(spoil.encode())
    with pytest.raises(RolloutError, match=message):
        job.repair()
    assert rows(owner) == before == rows(owner, "events_rest")


def test_a_foreign_key_that_only_refuses_stops_nothing_that_it_does_not_hold(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    before = fill(owner, 5)
    owner.execute(
        "CREATE TABLE public.notes (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES public.events)"
    )
    job.repair()
    assert rows(owner) == before
    assert rows(owner, "events_rest") == []


def test_an_index_that_a_partition_lacks_is_built_and_attached(
    job: Maintenance, owner: psycopg.Connection
) -> None:
    job.run()
    owner.execute("CREATE INDEX events_twice ON ONLY public.events (twice) WHERE what <> 'y'")
    found = job.run()
    assert len([f for f in found.findings if f["kind"] == "index"]) == 6
    assert not found.healthy
    done = job.repair()
    assert done.healthy
    assert one(owner, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'events_twice'::regclass")
    definition = one(owner, "SELECT pg_get_indexdef('events_2026_02_events_twice'::regclass)")
    assert definition.endswith("ON public.events_2026_02 USING btree (twice) WHERE (what <> 'y'::text)")
    assert not job.repair().changed


def test_an_index_that_became_invalid_on_one_partition_is_built_anew(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    """The table's own index stays valid, so PostgreSQL says nothing."""
    job.run()
    with database.connect_admin() as admin:
        admin.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.events_2026_02_what_idx'::regclass"
        )
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.{}'::regclass"
    assert one(owner, valid.format("events_what"))
    found = job.run()
    assert [(f["kind"], f["name"]) for f in found.findings] == [("index", "events_2026_02")]
    done = job.repair()
    assert done.healthy, done.findings
    assert one(owner, valid.format("events_2026_02_what_idx"))
    assert not job.repair().changed


def test_an_exchange_waits_for_a_reader_and_says_for_whom(
    job: Maintenance, database: Database, owner: psycopg.Connection
) -> None:
    owner.execute("CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT")
    before = fill(owner, 5)
    job.attempts = 20
    outcome: list[object] = []
    with database.connect(application_name="long report") as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM public.events_rest")
        thread = threading.Thread(target=lambda: outcome.append(job.repair()))
        thread.start()
        until(
            lambda: one(
                owner, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
            ),
            "the exchange does not wait",
        )
    thread.join(60)
    assert len(outcome) == 1
    assert rows(owner) == before
