"""Partitions of messages: bounds, routing, creation beside running traffic, retention; and the original's defects."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout.migration import Statement
from psycopg import errors, sql

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.integration.rendered_migrations import migrated_database, run_migrations

SESSION_ZONES = ["UTC", "Europe/Moscow", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Auckland"]


@pytest.fixture(scope="module")
def migrated(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for the module, in which both migrations ran with their defaults."""
    with migrated_database(server, tmp_path_factory.mktemp("migrated")) as database:
        yield database


@pytest.fixture
def owner(migrated: Database) -> Iterator[psycopg.Connection]:
    """The owner's session in a transaction that is rolled back, so that tests may change what they like."""
    with migrated.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


def is_not_maintenance(statement: Statement) -> bool:
    return statement.kind != "SelectStmt"


def one(connection: psycopg.Connection, query: str, values: list[Any] | None = None) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def month(connection: psycopg.Connection, offset: int, pattern: str = "YYYY_MM") -> str:
    """The month ``offset`` months from now, by the server's clock and in UTC."""
    return str(
        one(
            connection,
            "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => %s), %s)",
            [offset, pattern],
        )
    )


def bounds(connection: psycopg.Connection, schema: str = "public") -> dict[str, str]:
    """Partitions and their bounds, printed in UTC."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL timezone = 'UTC'")
        connection.execute("SET LOCAL datestyle = 'ISO'")
        rows = connection.execute(
            """
            SELECT relname, pg_get_expr(relpartbound, pg_class.oid)
            FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = format('%%I.messages', %s::text)::regclass
            ORDER BY relname
            """,
            [schema],
        ).fetchall()
    return {name: text.removeprefix("FOR VALUES FROM ").replace("'", "") for name, text in rows}


def insert(connection: psycopg.Connection, created_at: str | None = None) -> str:
    """Insert a message and return the name of the partition that it went to."""
    return str(
        one(
            connection,
            "INSERT INTO public.messages (company_id, phone, direction, created_at)"
            " VALUES (1, '70000000000', 'inbound', coalesce(%s, now())) RETURNING tableoid::regclass::text",
            [created_at],
        )
    )


# What the index that the original shape did not have costs.


def test_the_added_index_takes_nothing_of_an_insert(owner: psycopg.Connection) -> None:
    """Counted in records of WAL, which no other work of the machine changes: one a row and index that takes it."""
    count = 500

    def written(month: str, status: str) -> int:
        """Into a partition that holds nothing yet."""
        plan = one(
            owner,
            "EXPLAIN (ANALYZE, WAL, TIMING off, FORMAT JSON) INSERT INTO public.messages"
            " (company_id, phone, direction, status, message_id, intent, context_id, created_at)"
            " SELECT 1, (i %% 70)::text, 'inbound', %s, i::text, 'booking', i %% 21, %s::timestamptz"
            " FROM generate_series(1, %s) i",
            [status, f"{month}-15 00:00:00+00", count],
        )
        return int(plan[0]["Plan"]["WAL Records"])

    with_it = written("2025-11", "sent")
    owner.execute("CREATE INDEX ON public.messages (context_id) WHERE context_id IS NOT NULL")
    with_another = written("2025-12", "sent")
    failing = written("2026-01", "failed")
    owner.execute("DROP INDEX public.messages_context_id_idx, public.idx_messages_failed")
    original = written("2026-02", "sent")
    few = 20
    assert abs(with_it - original) < few
    # The controls: an index that takes every row, and rows that the added one does take.
    assert with_another - original > count - few
    assert failing - with_another > count - few


# Defect 3: bounds that move with the session's TimeZone.


def test_bounds_do_not_depend_on_who_runs_the_migration(database: Database) -> None:
    seen = []
    for number, zone in enumerate(SESSION_ZONES):
        with database.connect() as session:
            session.execute(sql.SQL("SET timezone = {}").format(zone))
            session.execute("SET datestyle = 'German'")
            run_migrations(session, f"tenant_{number}")
            session.execute(f"SELECT tenant_{number}.create_messages_partition('2031-12-31')".encode())
            seen.append(bounds(session, f"tenant_{number}"))
    assert seen[0]["messages_2025_11"] == "(2025-11-01 00:00:00+00) TO (2025-12-01 00:00:00+00)"
    assert seen[0]["messages_2031_12"] == "(2031-12-01 00:00:00+00) TO (2032-01-01 00:00:00+00)"
    assert all(other == seen[0] for other in seen[1:])


def test_date_literals_as_bounds_move_with_the_session(owner: psycopg.Connection) -> None:
    """The original form: an overlap in one order, three lost hours in the other."""
    owner.execute("CREATE TABLE public.original (created_at timestamptz) PARTITION BY RANGE (created_at)")
    november = "CREATE TABLE november PARTITION OF original FOR VALUES FROM ('2025-11-01') TO ('2025-12-01')"
    december = "CREATE TABLE december PARTITION OF original FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')"

    with owner.transaction(force_rollback=True):
        owner.execute("SET LOCAL timezone = 'UTC'")
        owner.execute(november.encode())
        owner.execute("SET LOCAL timezone = 'Europe/Moscow'")
        with pytest.raises(errors.InvalidObjectDefinition, match="would overlap"), owner.transaction():
            owner.execute(december.encode())

    owner.execute("SET LOCAL timezone = 'Europe/Moscow'")
    owner.execute(november.encode())
    owner.execute("SET LOCAL timezone = 'UTC'")
    owner.execute(december.encode())
    lost = "2025-11-30 22:30:00+00"
    with pytest.raises(errors.CheckViolation), owner.transaction():
        owner.execute("INSERT INTO original VALUES (%s)", [lost])
    assert insert(owner, lost) == "messages_2025_11"


@pytest.mark.parametrize("zone", SESSION_ZONES)
def test_now_is_routed_whatever_the_session_zone(owner: psycopg.Connection, zone: str) -> None:
    owner.execute(sql.SQL("SET LOCAL timezone = {}").format(zone))
    assert insert(owner) == f"messages_{month(owner, 0)}"


@pytest.mark.parametrize(
    ("created_at", "partition"),
    [
        ("2025-11-01 00:00:00+00", "messages_2025_11"),
        ("2025-12-31 23:59:59.999999+00", "messages_2025_12"),
        ("2026-01-01 00:00:00+00", "messages_2026_01"),
        ("2026-01-01 02:59:59.9+03", "messages_2025_12"),
        ("2026-02-28 23:59:59.9+00", "messages_2026_02"),
        # The night in which clocks in the European Union go forward.
        ("2026-03-29 02:30:00 Europe/Berlin", "messages_2026_03"),
    ],
)
def test_a_month_begins_and_ends_to_the_microsecond(
    owner: psycopg.Connection, created_at: str, partition: str
) -> None:
    owner.execute("SET LOCAL timezone = 'Asia/Kolkata'")
    assert insert(owner, created_at) == partition


@pytest.mark.parametrize(
    ("zone", "first"),
    # In Paraguay, clocks went forward at 2017-10-01 00:00: that midnight does not exist.
    [
        ("Europe/Berlin", "2026-03"),
        ("Europe/Moscow", "2025-11"),
        ("America/Asuncion", "2017-09"),
        ("Asia/Kolkata", "2025-11"),
    ],
)
def test_template_and_function_agree_in_any_zone(database: Database, zone: str, first: str) -> None:
    """Neighbours touch, and what one of the two made is recognised by the other, however a session writes dates."""
    with database.connect() as owner:
        # In this style a zone is printed as an abbreviation, and India's IST is read as Israel's.
        owner.execute("SET datestyle = 'SQL, DMY'")
        run_migrations(owner, variables={"zone": zone, "first_month": first, "months": 9})
        notices: list[Any] = []
        owner.add_notice_handler(lambda diagnostic: notices.append(diagnostic.sqlstate))
        made = one(
            owner,
            "SELECT array_agg(public.create_messages_partition((%s::date + make_interval(months => step))::date))"
            " FROM generate_series(0, 10) AS step",
            [f"{first}-15"],
        )
        assert notices[:9] == ["42P07"] * 9
        ranges = [bounds(owner)[name].split(" TO ") for name in made]
        assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
        assert insert(owner).startswith("messages_")


# Defect 4: months that begin at the day of the run.


def test_months_are_those_of_the_variables_and_those_around_now(database: Database) -> None:
    with database.connect() as owner:
        variables = {"first_month": "2031-12", "months": 3, "zone": "Europe/Moscow", "months_ahead": 1}
        run_migrations(owner, variables=variables)
        found = bounds(owner)
        named = {name: text for name, text in found.items() if name >= "messages_2031"}
        assert named == {
            "messages_2031_12": "(2031-11-30 21:00:00+00) TO (2031-12-31 21:00:00+00)",
            "messages_2032_01": "(2031-12-31 21:00:00+00) TO (2032-01-31 21:00:00+00)",
            "messages_2032_02": "(2032-01-31 21:00:00+00) TO (2032-02-29 21:00:00+00)",
        }
        this_month = one(owner, "SELECT to_char(now() AT TIME ZONE 'Europe/Moscow', 'YYYY_MM')")
        assert f"messages_{this_month}" in found
        assert len(found) == 3 + 2


def test_the_first_six_months_and_the_months_ahead_exist(owner: psycopg.Connection) -> None:
    first_six = {
        f"messages_{name}" for name in ("2025_11", "2025_12", "2026_01", "2026_02", "2026_03", "2026_04")
    }
    around_now = {f"messages_{month(owner, ahead)}" for ahead in range(4)}
    assert set(bounds(owner)) == first_six | around_now


def test_without_maintenance_now_would_find_no_partition(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner, variables={"first_month": "2020-01"}, only=is_not_maintenance)
        with pytest.raises(errors.CheckViolation, match="no partition"):
            insert(owner)
        owner.execute("SELECT public.maintain_messages_partitions()")
        assert insert(owner) == f"messages_{month(owner, 0)}"


# Defect 5: nothing makes the months that come.


def test_maintenance_makes_the_months_that_are_missing_and_says_so(owner: psycopg.Connection) -> None:
    call = "SELECT action, partition_name FROM public.maintain_messages_partitions()"
    assert owner.execute(call.encode()).fetchall() == []
    # As if a month had passed.
    last = f"messages_{month(owner, 3)}"
    owner.execute(sql.SQL("DROP TABLE public.{}").format(sql.Identifier(last)))
    assert owner.execute(call.encode()).fetchall() == [("created", last)]
    assert owner.execute(call.encode()).fetchall() == []


def test_maintenance_says_nothing_about_months_that_are_there(owner: psycopg.Connection) -> None:
    notices: list[Any] = []
    owner.add_notice_handler(lambda diagnostic: notices.append(diagnostic.sqlstate))
    owner.execute("SELECT public.maintain_messages_partitions()")
    assert notices == []
    owner.execute("SELECT public.create_messages_partition('2025-11-01')")
    assert notices == ["42P07"]


def test_a_month_without_a_partition_rejects_rows(owner: psycopg.Connection) -> None:
    """There is no DEFAULT partition: it would have to be scanned, under lock, for each month that is added."""
    with pytest.raises(errors.CheckViolation, match="no partition"), owner.transaction():
        insert(owner, "2041-01-15 12:00:00+00")
    owner.execute("SELECT public.create_messages_partition('2041-01-31')")
    assert insert(owner, "2041-01-15 12:00:00+00") == "messages_2041_01"


# create_messages_partition(date)


def test_any_day_of_a_month_means_the_month(owner: psycopg.Connection) -> None:
    for day in ("2031-02-01", "2031-02-14", "2031-02-28"):
        assert one(owner, "SELECT public.create_messages_partition(%s)", [day]) == "messages_2031_02"
    assert bounds(owner)["messages_2031_02"] == "(2031-02-01 00:00:00+00) TO (2031-03-01 00:00:00+00)"


@pytest.mark.parametrize("day", [None, "infinity", "-infinity", "0044-03-15 BC", "9001-01-01"])
def test_a_day_without_a_month_is_refused(owner: psycopg.Connection, day: str | None) -> None:
    with pytest.raises(errors.DatetimeFieldOverflow):
        owner.execute("SELECT public.create_messages_partition(%s)", [day])


OCCUPIED = {
    "view": ("CREATE VIEW public.messages_2031_01 AS SELECT 1 AS one", errors.WrongObjectType),
    "sequence": ("CREATE SEQUENCE public.messages_2031_01", errors.WrongObjectType),
    "index": ("CREATE INDEX messages_2031_01 ON public.staff (name)", errors.WrongObjectType),
    "composite type": ("CREATE TYPE public.messages_2031_01 AS (one integer)", errors.WrongObjectType),
    "table": (
        "CREATE TABLE public.messages_2031_01 (LIKE public.messages INCLUDING ALL)",
        errors.ObjectNotInPrerequisiteState,
    ),
    "other bounds": (
        "CREATE TABLE public.messages_2031_01 PARTITION OF public.messages FOR VALUES"
        " FROM (timestamptz '2031-01-01 00:00:00 Europe/Moscow') TO (timestamptz '2031-02-01 00:00:00 Europe/Moscow')",
        errors.InvalidObjectDefinition,
    ),
    "other parent": (
        "CREATE TABLE public.archive (LIKE public.messages) PARTITION BY RANGE (created_at);"
        "CREATE TABLE public.messages_2031_01 PARTITION OF public.archive FOR VALUES"
        " FROM (timestamptz '2031-01-01 00:00:00 UTC') TO (timestamptz '2031-02-01 00:00:00 UTC')",
        errors.ObjectNotInPrerequisiteState,
    ),
}


@pytest.mark.parametrize("occupied", OCCUPIED)
def test_another_object_of_that_name_is_refused(owner: psycopg.Connection, occupied: str) -> None:
    """Defect 7. The original's IF NOT EXISTS accepts each of them (a composite type excepted)."""
    statement, error = OCCUPIED[occupied]
    owner.execute(statement.encode())
    with pytest.raises(error, match="messages_2031_01 exists"), owner.transaction():
        owner.execute("SELECT public.create_messages_partition('2031-01-15')")
    original = (
        "CREATE TABLE IF NOT EXISTS public.messages_2031_01 PARTITION OF public.messages"
        " FOR VALUES FROM ('2031-01-01') TO ('2031-02-01')"
    )
    if occupied != "composite type":
        owner.execute(original.encode())


def test_a_partition_that_overlaps_under_another_name_is_refused(owner: psycopg.Connection) -> None:
    owner.execute(
        "CREATE TABLE public.messages_january PARTITION OF public.messages"
        " FOR VALUES FROM ('2031-01-10 00:00:00+00') TO ('2031-01-20 00:00:00+00')"
    )
    with pytest.raises(errors.InvalidObjectDefinition, match="would overlap"), owner.transaction():
        owner.execute("SELECT public.create_messages_partition('2031-01-15')")


def test_a_temporary_table_of_that_name_is_no_obstacle(owner: psycopg.Connection) -> None:
    owner.execute("CREATE TEMPORARY TABLE messages_2031_01 (one integer)")
    owner.execute("CREATE TEMPORARY TABLE messages (one integer)")
    owner.execute("SELECT public.create_messages_partition('2031-01-15')")
    assert "messages_2031_01" in bounds(owner)


def leave_pending(database: Database, partition: str) -> None:
    """Detach a partition half: an interrupted DETACH CONCURRENTLY leaves it so, until somebody finishes it."""
    with database.connect() as reader, database.connect() as operator, reader.transaction():
        reader.execute("SELECT count(*) FROM public.messages")
        operator.execute("SET statement_timeout = '300ms'")
        with pytest.raises(errors.QueryCanceled):
            operator.execute(
                sql.SQL("ALTER TABLE public.messages DETACH PARTITION public.{} CONCURRENTLY").format(
                    sql.Identifier(partition)
                )
            )


def test_a_pending_detach_is_refused(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner)
        leave_pending(database, "messages_2025_11")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="messages_2025_11 exists"):
            owner.execute("SELECT public.create_messages_partition('2025-11-01')")
        assert "messages_2025_11" in {
            row[0] for row in owner.execute("SELECT * FROM public.get_messages_stats()")
        }


def test_retention_leaves_a_pending_detach_to_whoever_began_it(database: Database) -> None:
    with database.connect() as owner:
        names = rollout_with_old_months(owner, retention_months=2)
        leave_pending(database, names[-5])
        detached = [name for action, name in maintain(owner) if action == "detached"]
        assert detached == [names[-6], names[-4], names[-3]]


CATALOG_OF_A_TABLE = {
    "relation": """
        SELECT relkind, relpersistence, relispartition, reloptions, relam, reltablespace, relreplident, relhasindex,
            relrowsecurity, relforcerowsecurity, relhassubclass, relowner::regrole::text, relacl::text, relchecks,
            relhastriggers, relhasrules, reltoastrelid <> 0
        FROM pg_class WHERE oid = {table}
    """,
    "columns": """
        SELECT attnum, attname, format_type(atttypid, atttypmod), attnotnull, attislocal, attinhcount, attstorage,
            attcompression, attcollation, attidentity, attgenerated, attstattarget, attoptions, attacl::text,
            pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = {table} AND attnum > 0
    """,
    "constraints": """
        SELECT link.conname, link.contype, pg_get_constraintdef(link.oid), link.conislocal, link.coninhcount,
            link.connoinherit, link.convalidated, link.condeferrable, parent.conname, link.conindid::regclass::text
        FROM pg_constraint AS link LEFT JOIN pg_constraint AS parent ON parent.oid = link.conparentid
        WHERE link.conrelid = {table}
    """,
    "indexes": """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), inhparent::regclass::text, indisvalid,
            indisready, indisunique, indisprimary, indisreplident, indisclustered, relispartition,
            relowner::regrole::text
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid LEFT JOIN pg_inherits ON inhrelid = indexrelid
        WHERE indrelid = {table}
    """,
    "triggers": "SELECT tgname, pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgrelid = {table}",
    "inheritance": """
        SELECT inhparent::regclass::text, inhseqno, inhdetachpending FROM pg_inherits WHERE inhrelid = {table}
    """,
    "comments": """
        SELECT classoid::regclass::text, objsubid, description FROM pg_description
        WHERE objoid = {table} OR objoid IN (SELECT indexrelid FROM pg_index WHERE indrelid = {table})
            OR objoid IN (SELECT oid FROM pg_constraint WHERE conrelid = {table})
    """,
    "dependencies": """
        SELECT pg_describe_object(classid, objid, objsubid), pg_describe_object(refclassid, refobjid, refobjsubid),
            deptype::text
        FROM pg_depend
        WHERE (classid = 'pg_class'::regclass AND objid = {table})
            OR (refclassid = 'pg_class'::regclass AND refobjid = {table})
            OR (classid = 'pg_class'::regclass AND objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = {table}))
            OR (classid = 'pg_constraint'::regclass
                AND objid IN (SELECT oid FROM pg_constraint WHERE conrelid = {table}))
            OR (classid = 'pg_attrdef'::regclass AND objid IN (SELECT oid FROM pg_attrdef WHERE adrelid = {table}))
    """,
    "policies": "SELECT polname FROM pg_policy WHERE polrelid = {table}",
    "extended statistics": "SELECT stxname FROM pg_statistic_ext WHERE stxrelid = {table}",
    "publications": "SELECT prpubid FROM pg_publication_rel WHERE prrelid = {table}",
}


def catalog(connection: psycopg.Connection, table: str) -> dict[str, list[str]]:
    """All that the system catalog says about a table and its indexes, with its own name taken out."""
    found = {}
    for kind, query in CATALOG_OF_A_TABLE.items():
        rows = connection.execute(query.replace("{table}", f"'public.{table}'::regclass").encode()).fetchall()
        # A TOAST table is named after the table's number.
        lines = [re.sub(r"pg_toast_\d+", "pg_toast_<month>", str(row)) for row in rows]
        found[kind] = sorted(line.replace(table, "<month>") for line in lines)
    return found


def test_both_ways_lead_to_the_same_catalog(owner: psycopg.Connection) -> None:
    """PARTITION OF, as in the template, and CREATE + ATTACH, as in the function."""
    owner.execute("SELECT public.create_messages_partition('2031-01-15')")
    by_template, by_function = catalog(owner, "messages_2025_11"), catalog(owner, "messages_2031_01")
    for kind in CATALOG_OF_A_TABLE:
        assert by_function[kind] == by_template[kind], kind
    assert len(by_template["indexes"]) == 10
    assert by_template["dependencies"]


@pytest.mark.parametrize(
    ("including", "differs"),
    [
        ("INCLUDING CONSTRAINTS", "columns"),
        ("INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING INDEXES", "constraints"),
        ("INCLUDING ALL", "comments"),
    ],
)
def test_a_careless_copy_leads_to_another_catalog(
    owner: psycopg.Connection, including: str, differs: str
) -> None:
    """The comparison above can fail."""
    owner.execute(f"CREATE TABLE public.messages_2031_01 (LIKE public.messages {including})".encode())
    owner.execute(
        "ALTER TABLE public.messages ATTACH PARTITION public.messages_2031_01"
        " FOR VALUES FROM ('2031-01-01 00:00:00+00') TO ('2031-02-01 00:00:00+00')"
    )
    assert catalog(owner, "messages_2031_01")[differs] != catalog(owner, "messages_2025_11")[differs]


def locks_on_messages(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'public.messages'::regclass"
    ).fetchall()
    return {row[0] for row in rows}


def test_creating_a_month_stops_nobody(migrated: Database) -> None:
    with migrated.connect() as owner, migrated.connect() as application:
        with owner.transaction(force_rollback=True):
            owner.execute("SELECT public.create_messages_partition('2031-01-15')")
            assert "AccessExclusiveLock" not in locks_on_messages(owner)
            assert "ShareUpdateExclusiveLock" in locks_on_messages(owner)
            with application.transaction(force_rollback=True):
                application.execute("SET LOCAL lock_timeout = '1s'")
                insert(application)
                application.execute("SELECT count(*) FROM public.messages")
        # The other way would.
        with owner.transaction(force_rollback=True):
            owner.execute(
                "CREATE TABLE public.messages_2031_01 PARTITION OF public.messages"
                " FOR VALUES FROM ('2031-01-01 00:00:00+00') TO ('2031-02-01 00:00:00+00')"
            )
            assert "AccessExclusiveLock" in locks_on_messages(owner)
            with pytest.raises(errors.LockNotAvailable), application.transaction():
                application.execute("SET LOCAL lock_timeout = '200ms'")
                insert(application)


def create_in_two_sessions(database: Database, first: psycopg.Connection) -> list[str] | Exception:
    """Create a month in one session, and in another before the first has committed.

    :return: the second session's notices, or its error
    """
    outcome: list[Any] = []
    started = threading.Event()

    def second_session() -> None:
        notices: list[str] = []
        with database.connect() as second:
            second.add_notice_handler(lambda diagnostic: notices.append(str(diagnostic.sqlstate)))
            started.set()
            try:
                second.execute("SELECT public.create_messages_partition('2031-01-15')")
            except psycopg.Error as error:
                outcome.append(error)
            else:
                outcome.append(notices)

    with first.transaction():
        first.execute("SELECT public.create_messages_partition('2031-01-01')")
        thread = threading.Thread(target=second_session)
        thread.start()
        assert started.wait(timeout=30)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        while one(first, waiting) == 0:
            first.execute("SELECT pg_sleep(0.02)")
    thread.join(timeout=30)
    assert not thread.is_alive()
    result: list[str] | Exception = outcome[0]
    return result


def test_two_sessions_create_the_same_month(database: Database) -> None:
    with database.connect() as first:
        run_migrations(first)
        assert create_in_two_sessions(database, first) == ["42P07"]


def test_without_taking_turns_the_second_session_fails(database: Database) -> None:
    with database.connect() as first:
        run_migrations(first)
        body = one(first, "SELECT pg_get_functiondef('public.create_messages_partition(date)'::regprocedure)")
        assert body.count("PERFORM pg_advisory_xact_lock(") == 1
        first.execute(body.replace("PERFORM pg_advisory_xact_lock(", "PERFORM concat(").encode())
        assert isinstance(
            create_in_two_sessions(database, first), errors.DuplicateTable | errors.UniqueViolation
        )


# Defect 6: retention that nobody asked for.


def rollout_with_old_months(owner: psycopg.Connection, **variables: Any) -> dict[int, str]:
    """Roll out with the five months from six to two months ago, two messages in each, before any maintenance.

    :return: partition names by offset from this month
    """
    first = month(owner, -6, "YYYY-MM")
    run_migrations(owner, variables={"first_month": first, "months": 5, **variables}, only=is_not_maintenance)
    names = {offset: f"messages_{month(owner, offset)}" for offset in range(-6, 4)}
    for offset in range(-6, -1):
        middle = month(owner, offset, "YYYY-MM-15 12:00:00+00")
        assert insert(owner, middle) == insert(owner, middle) == names[offset]
    return names


def maintain(owner: psycopg.Connection) -> list[tuple[str, str]]:
    return owner.execute(
        "SELECT action, partition_name FROM public.maintain_messages_partitions()"
    ).fetchall()


def test_retention_is_off_unless_set(database: Database) -> None:
    with database.connect() as owner:
        names = rollout_with_old_months(owner)
        assert maintain(owner) == [("created", names[ahead]) for ahead in range(4)]
        assert one(owner, "SELECT count(*) FROM public.messages") == 10
        assert set(bounds(owner)) == set(names.values()) - {names[-1]}


def test_retention_detaches_and_keeps(database: Database) -> None:
    """Two months before this one stay: the third is detached, the second is not."""
    with database.connect() as owner:
        names = rollout_with_old_months(owner, retention_months=2)
        expected = [("created", names[ahead]) for ahead in range(4)]
        expected += [("detached", names[offset]) for offset in (-6, -5, -4, -3)]
        assert maintain(owner) == expected
        assert maintain(owner) == []
        assert names[-2] in bounds(owner)
        assert one(owner, "SELECT count(*) FROM public.messages") == 2
        for offset in (-6, -5, -4, -3):
            assert one(owner, f"SELECT count(*) FROM public.{names[offset]}") == 2


def test_a_detached_month_is_attached_again_as_the_hint_says(database: Database) -> None:
    with database.connect() as owner:
        names = rollout_with_old_months(owner, retention_months=2)
        before = bounds(owner)[names[-3]]
        maintain(owner)
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as refusal:
            owner.execute("SELECT public.create_messages_partition(%s)", [month(owner, -3, "YYYY-MM-01")])
        hint = refusal.value.diag.message_hint or ""
        statement = hint[hint.index("ALTER TABLE") : hint.index("; otherwise")]
        owner.execute(statement.encode())
        assert bounds(owner)[names[-3]] == before
        assert one(owner, "SELECT count(*) FROM public.messages") == 4


def test_retention_drops_only_when_told_and_records_the_rows(database: Database) -> None:
    with database.connect() as owner:
        names = rollout_with_old_months(owner, retention_months=2, retention_drop=True)
        insert(owner, month(owner, -6, "YYYY-MM-20 12:00:00+00"))
        dropped = [row for row in maintain(owner) if row[0] != "created"]
        assert dropped == [("dropped with 3 rows", names[-6])] + [
            ("dropped with 2 rows", names[offset]) for offset in (-5, -4, -3)
        ]
        for offset in (-6, -5, -4, -3):
            assert one(owner, "SELECT to_regclass(%s)::text", [f"public.{names[offset]}"]) is None
        assert one(owner, "SELECT count(*) FROM public.messages") == 2
        # Also where the caller throws the result away.
        assert f"{names[-6]} dropped with 3 rows" in database.server.log.read_text()


def test_dropping_needs_a_number_of_months(database: Database) -> None:
    with database.connect() as owner:
        rollout_with_old_months(owner, retention_drop=True)
        assert {action for action, _ in maintain(owner)} == {"created"}
        assert one(owner, "SELECT count(*) FROM public.messages") == 10


def test_retention_goes_by_bounds_and_spares_a_default_partition(database: Database) -> None:
    with database.connect() as owner:
        rollout_with_old_months(owner, retention_months=2)
        owner.execute(
            "CREATE TABLE public.before_time PARTITION OF public.messages"
            " FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00:00+00')"
        )
        owner.execute("CREATE TABLE public.messages_2019_01 PARTITION OF public.messages DEFAULT")
        retired = [name for action, name in maintain(owner) if action == "detached"]
        assert "before_time" in retired
        assert "messages_2019_01" not in retired
        assert bounds(owner)["messages_2019_01"] == "DEFAULT"


@pytest.mark.parametrize("waits", [False, True])
def test_retention_makes_nobody_wait_and_leaves_what_is_in_use(database: Database, waits: bool) -> None:
    """A report reads all along, and the application writes. The control waits for the lock, and so do all behind it."""
    with database.connect() as owner, database.connect() as reader, database.connect() as application:
        names = rollout_with_old_months(owner, retention_months=2)
        if waits:
            patiently = "IN ACCESS EXCLUSIVE MODE"
            body = one(
                owner, "SELECT pg_get_functiondef('public.maintain_messages_partitions()'::regprocedure)"
            )
            assert body.count(f"{patiently} NOWAIT") == 1
            owner.execute(body.replace(f"{patiently} NOWAIT", patiently).encode())
        # What is created now would be in the way of the inserts below.
        for ahead in range(4):
            owner.execute("SELECT public.create_messages_partition(%s)", [month(owner, ahead, "YYYY-MM-01")])
        owner.execute(sql.SQL("DROP TABLE public.{}").format(sql.Identifier(names[3])))
        # Only a wait for a lock counts, however slow the machine is.
        application.execute("SET lock_timeout = '300ms'")
        outcome: list[list[tuple[str, str]]] = []
        refused: list[psycopg.Error] = []
        with reader.transaction():
            reader.execute("SELECT count(*) FROM public.messages")
            thread = threading.Thread(target=lambda: outcome.append(maintain(owner)))
            thread.start()
            while thread.is_alive() and not refused:
                try:
                    insert(application)
                except errors.LockNotAvailable as error:
                    refused.append(error)
        thread.join(60)
        assert bool(refused) is waits
        old = [names[offset] for offset in (-6, -5, -4, -3)]
        if not waits:
            assert outcome == [
                [("created", names[3]), *(("not detached: messages is in use", name) for name in old)]
            ]
            assert maintain(owner) == [("detached", name) for name in old]


def test_what_cannot_be_dropped_is_told_and_keeps_the_months_ahead(database: Database) -> None:
    with database.connect() as owner:
        names = rollout_with_old_months(owner, retention_months=2, retention_drop=True)
        owner.execute(f"CREATE VIEW public.old AS SELECT * FROM public.{names[-4]}".encode())
        told = {name: action for action, name in maintain(owner)}
        assert [told[names[ahead]] for ahead in range(4)] == ["created"] * 4
        for offset in (-6, -5, -4, -3):
            assert told[names[offset]].startswith(f"not dropped: cannot drop table {names[-4]}")
        assert one(owner, "SELECT count(*) FROM public.messages") == 10
        assert "retention of messages failed: cannot drop table" in database.server.log.read_text()


# get_messages_stats()


def test_statistics_are_one_row_a_partition_newest_first(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner, variables={"zone": "Europe/Moscow"})
        insert(owner, "2025-11-15 12:00:00+00")
        insert(owner, "2025-11-16 12:00:00+00")
        # Half past midnight on the first of December in Moscow.
        insert(owner, "2025-11-30 21:30:00+00")
        owner.execute("SET timezone = 'America/Los_Angeles'")
        owner.execute("SET datestyle = 'German'")
        rows = owner.execute(
            "SELECT partition_name, partition_start::text, partition_end::text, row_count, table_size"
            " FROM public.get_messages_stats()"
        ).fetchall()
        names = [row[0] for row in rows]
        assert names == sorted(bounds(owner), reverse=True)
        assert rows[-1][:4] == ("messages_2025_11", "01.11.2025", "01.12.2025", 2)
        assert rows[-2][:4] == ("messages_2025_12", "01.12.2025", "01.01.2026", 1)
        assert {row[3] for row in rows[:-2]} == {0}
        assert all(row[4].endswith("kB") for row in rows)


def test_statistics_know_a_default_partition_and_none_at_all(owner: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE public.others PARTITION OF public.messages DEFAULT")
    rows = owner.execute("SELECT * FROM public.get_messages_stats()").fetchall()
    assert rows[-1][:4] == ("others", None, None, 0)
    for name in bounds(owner):
        owner.execute(sql.SQL("DROP TABLE public.{}").format(sql.Identifier(name)))
    assert owner.execute("SELECT * FROM public.get_messages_stats()").fetchall() == []


def test_large_partitions_are_estimated(owner: psycopg.Connection) -> None:
    """With the limit set to zero, so that the test needs no 80 MB."""
    # Months that nobody else can see: autovacuum would count rows of others.
    for created in ("2031-11-15", "2031-12-15"):
        owner.execute("SELECT public.create_messages_partition(%s)", [created])
        for _ in range(3):
            insert(owner, f"{created} 12:00:00+00")
    owner.execute("ANALYZE public.messages_2031_11")
    insert(owner, "2031-11-15 12:00:00+00")
    counts = "SELECT row_count FROM public.get_messages_stats() WHERE partition_name = %s"
    assert one(owner, counts, ["messages_2031_11"]) == 4
    body = one(owner, "SELECT pg_get_functiondef('public.get_messages_stats()'::regprocedure)")
    assert body.count("80 * 1024 * 1024") == 1
    owner.execute(body.replace("80 * 1024 * 1024", "0").encode())
    assert one(owner, counts, ["messages_2031_11"]) == 3
    # Never analysed: there is nothing to estimate from.
    assert one(owner, counts, ["messages_2031_12"]) == 3
