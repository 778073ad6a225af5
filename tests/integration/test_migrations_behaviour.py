"""What the migrations' functions, triggers and constraints do, and that they repeat none of the original's defects."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.source import load_migrations
from psycopg import errors, sql

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.integration.rendered_migrations import FOLDER, migrated_database, run_migrations
from tests.integration.sample_rows import ROWS

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs/schema.md"

WITH_TRIGGER = [table for table in ROWS if table != "appointments_cache"]


@pytest.fixture(scope="module")
def migrated(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for the module, in which both migrations ran with their defaults."""
    with migrated_database(server, tmp_path_factory.mktemp("migrated")) as database:
        yield database


@pytest.fixture
def owner(migrated: Database) -> Iterator[psycopg.Connection]:
    """The owner's session with one row a table, in a transaction that is rolled back."""
    with migrated.connect() as connection, connection.transaction(force_rollback=True):
        for statement in ROWS.values():
            connection.execute(statement.encode())
        yield connection


def one(connection: psycopg.Connection, query: str, values: list[Any] | None = None) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def rejects(connection: psycopg.Connection, error: type[psycopg.Error], statement: str) -> str:
    """Run a statement that must fail.

    :return: the name of the constraint that refused it
    """
    with pytest.raises(error) as refusal, connection.transaction():
        connection.execute(statement.encode())
    return refusal.value.diag.constraint_name or ""


# Defect 1: a function that breaks when it is called.


@pytest.mark.parametrize(
    "call",
    [
        "cleanup_expired_dialog_contexts()",
        "cleanup_expired_appointments_cache()",
        "get_database_stats()",
        "create_messages_partition('2026-01-15')",
        "maintain_messages_partitions()",
        "get_messages_stats()",
        "get_recent_messages('70000000000', 1)",
        "get_recent_messages('70000000000', 1, 10)",
    ],
)
def test_every_function_can_be_called(owner: psycopg.Connection, call: str) -> None:
    owner.execute(f"SELECT * FROM public.{call}".encode())


def test_creating_a_broken_function_proves_nothing(owner: psycopg.Connection) -> None:
    """The original: plpgsql looks at the columns only when the function is called."""
    owner.execute(
        "CREATE FUNCTION original() RETURNS TABLE (table_name text) LANGUAGE plpgsql AS"
        " $$BEGIN RETURN QUERY SELECT tablename::text FROM pg_stat_user_tables; END$$"
    )
    rejects(owner, errors.UndefinedColumn, "SELECT * FROM original()")


def test_database_statistics_list_every_table_but_the_session_store(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO services (company_id, title, duration) SELECT 1, 'More', 60 FROM generate_series(1, 4)"
    )
    owner.execute(
        "INSERT INTO messages (company_id, phone, direction) VALUES" + ", ".join(["(1, '7', 'inbound')"] * 3)
    )
    owner.execute("CREATE TABLE whatsappish (one integer)")
    rows = owner.execute("SELECT table_name, row_count, table_size FROM get_database_stats()").fetchall()
    tables = owner.execute(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'whatsapp\\_%'"
    ).fetchall()
    assert sorted(row[0] for row in rows) == sorted(row[0] for row in tables)
    assert "whatsappish" in {row[0] for row in rows}
    assert "whatsapp_auth" not in {row[0] for row in rows}

    this_month = one(owner, "SELECT to_char(now() AT TIME ZONE 'UTC', '\"messages_\"YYYY_MM')")
    assert [row[:2] for row in rows[:3]] == [("services", 5), ("messages", 3), (this_month, 3)]
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    sizes = {row[0]: row[2] for row in rows}
    assert sizes["services"] == one(owner, "SELECT pg_size_pretty(pg_total_relation_size('services'))")
    assert sizes["messages"] == one(
        owner, "SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM pg_partition_tree('messages')"
    )


def test_database_statistics_do_not_lock_the_session_store(owner: psycopg.Connection) -> None:
    locked = """
        SELECT count(*) FROM pg_locks
        WHERE pid = pg_backend_pid() AND relation IN ('whatsapp_auth'::regclass, 'whatsapp_keys'::regclass)
    """
    owner.execute("SELECT * FROM get_database_stats()")
    assert one(owner, locked) == 0
    owner.execute("SELECT pg_total_relation_size('whatsapp_auth')")
    owner.execute("SELECT count(*) FROM whatsapp_auth")
    assert one(owner, locked) > 0


def test_database_statistics_of_large_tables_are_estimates(owner: psycopg.Connection) -> None:
    """With the limit set to zero, so that the test needs no 80 MB."""
    rows = "SELECT row_count FROM get_database_stats() WHERE table_name = %s"
    owner.execute("INSERT INTO staff (company_id, name) SELECT 1, 'More' FROM generate_series(1, 9)")
    owner.execute("INSERT INTO messages (company_id, phone, direction) VALUES (1, '7', 'inbound')")
    owner.execute("ANALYZE staff, messages")
    owner.execute("DELETE FROM staff WHERE id <> 900")
    owner.execute("INSERT INTO messages (company_id, phone, direction) VALUES (1, '7', 'inbound')")
    assert (one(owner, rows, ["staff"]), one(owner, rows, ["messages"])) == (1, 2)

    body = one(owner, "SELECT pg_get_functiondef('get_database_stats()'::regprocedure)")
    assert body.count("80 * 1024 * 1024") == 1
    owner.execute(body.replace("80 * 1024 * 1024", "0").encode())
    assert (one(owner, rows, ["staff"]), one(owner, rows, ["messages"])) == (10, 1)
    # Never analysed: there is nothing to estimate from.
    assert one(owner, rows, ["clients"]) == 1


def test_database_statistics_of_an_empty_schema(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner, "tenant")
        definition = one(owner, "SELECT pg_get_functiondef('tenant.get_database_stats()'::regprocedure)")
        owner.execute("CREATE SCHEMA empty")
        owner.execute(definition.replace("tenant", "empty").encode())
        assert owner.execute("SELECT * FROM empty.get_database_stats()").fetchall() == []
        assert len(owner.execute("SELECT * FROM tenant.get_database_stats()").fetchall()) >= 17


# The other functions


def test_expired_dialog_contexts_go_and_the_others_stay(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO dialog_contexts (phone, company_id, expires_at) VALUES"
        " ('1', 1, now() - interval '1 second'), ('2', 1, now() - interval '9 days'),"
        " ('3', 1, now() + interval '1 second'), ('4', 1, NULL)"
    )
    assert one(owner, "SELECT deleted_count FROM cleanup_expired_dialog_contexts()") == 2
    assert one(owner, "SELECT array_agg(phone ORDER BY phone) FROM dialog_contexts") == [
        "3",
        "4",
        "70000000000",
    ]
    assert one(owner, "SELECT deleted_count FROM cleanup_expired_dialog_contexts()") == 0


def test_expired_cache_entries_go_and_the_others_stay(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO appointments_cache (company_id, cache_key, appointments, expires_at) VALUES"
        " (1, 'old', '[]', now() - interval '1 second'), (1, 'new', '[]', now() + interval '1 second')"
    )
    assert one(owner, "SELECT deleted_count FROM cleanup_expired_appointments_cache()") == 1
    assert one(owner, "SELECT array_agg(cache_key ORDER BY cache_key) FROM appointments_cache") == [
        "new",
        "today",
    ]


def test_recent_messages_are_those_of_one_phone_and_company(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO messages (company_id, phone, message, direction, processed, created_at)"
        " SELECT 1, '70000000000', number::text, 'inbound', true, timestamptz '2025-11-01 00:00:00+00'"
        "   + number * interval '1 day' FROM generate_series(1, 60) AS number"
    )
    owner.execute(
        "INSERT INTO messages (company_id, phone, message, direction) VALUES"
        " (2, '70000000000', 'other company', 'inbound'), (1, '70000000001', 'other phone', 'inbound'),"
        " (1, '70000000000', 'first of two', 'inbound'), (1, '70000000000', 'second of two', 'outbound')"
    )
    call = "SELECT direction, message, processed FROM get_recent_messages('70000000000', 1"
    assert owner.execute(f"{call}, 4)".encode()).fetchall() == [
        ("outbound", "second of two", False),
        ("inbound", "first of two", False),
        ("inbound", "60", True),
        ("inbound", "59", True),
    ]
    assert len(owner.execute(f"{call})".encode()).fetchall()) == 50
    assert owner.execute(f"{call}, 0)".encode()).fetchall() == []


def test_recent_messages_of_one_instant_come_in_the_order_of_their_numbers(owner: psycopg.Connection) -> None:
    owner.execute(
        "INSERT INTO messages (id, company_id, phone, direction)"
        " SELECT 9000 + number * 7 % 20, 1, '70000000000', 'inbound' FROM generate_series(1, 20) AS number"
    )
    numbers = [
        row[0] for row in owner.execute("SELECT id FROM get_recent_messages('70000000000', 1)").fetchall()
    ]
    assert numbers == list(range(9019, 8999, -1))


def test_functions_ignore_temporary_tables_of_the_caller(owner: psycopg.Connection) -> None:
    owner.execute("CREATE TEMPORARY TABLE dialog_contexts (id integer, expires_at timestamptz)")
    owner.execute("INSERT INTO dialog_contexts VALUES (1, '2020-01-01'), (2, '2020-01-01')")
    owner.execute("UPDATE public.dialog_contexts SET expires_at = '2020-01-01'")
    # Without the pinned search_path a function would see these two.
    assert one(owner, "SELECT count(*) FROM dialog_contexts WHERE expires_at < now()") == 2
    assert one(owner, "SELECT deleted_count FROM public.cleanup_expired_dialog_contexts()") == 1


# Triggers


@pytest.mark.parametrize("table", WITH_TRIGGER)
def test_an_update_sets_updated_at(owner: psycopg.Connection, table: str) -> None:
    """now() is the transaction's time, so the row first gets an older one, past the trigger."""
    name = sql.Identifier(table)
    trigger = sql.Identifier(f"trigger_update_{table}_updated_at")
    updated_at = f"SELECT updated_at = now() FROM {table}"

    owner.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, trigger))
    owner.execute(sql.SQL("UPDATE {} SET updated_at = '2020-01-01'").format(name))
    owner.execute(sql.SQL("UPDATE {} SET id = id").format(name))
    assert one(owner, updated_at) is False

    owner.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER {}").format(name, trigger))
    owner.execute(sql.SQL("UPDATE {} SET id = id, updated_at = '2020-01-01'").format(name))
    assert one(owner, updated_at) is True


def test_a_later_transaction_gets_a_later_time(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner)
        owner.execute(ROWS["companies"].encode())
        before = one(owner, "SELECT updated_at FROM companies")
        owner.execute("UPDATE companies SET name = 'Renamed'")
        assert one(owner, "SELECT updated_at FROM companies") > before
        assert one(owner, "SELECT created_at FROM companies") == before


# Constraints


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE bookings SET status = 'maybe'", "bookings_status_check"),
        ("UPDATE bookings SET duration = 0", "bookings_duration_check"),
        ("UPDATE bookings SET datetime = '2020-01-01 00:00:00+00'", "bookings_datetime_check"),
        ("UPDATE reminders SET type = 'pigeon'", "reminders_type_check"),
        ("UPDATE reminders SET status = 'maybe'", "reminders_status_check"),
        ("UPDATE sync_status SET entity_type = 'weather'", "sync_status_entity_type_check"),
        (
            "INSERT INTO messages (company_id, phone, direction) VALUES (1, '7', 'up')",
            "messages_direction_check",
        ),
    ],
)
def test_words_and_numbers_are_checked(owner: psycopg.Connection, statement: str, constraint: str) -> None:
    assert rejects(owner, errors.CheckViolation, statement) == constraint


def test_the_limit_of_bookings_is_an_instant(owner: psycopg.Connection) -> None:
    """It was 2020-01-01 in UTC, also for a session that lives elsewhere."""
    owner.execute("SET LOCAL timezone = 'Asia/Kolkata'")
    owner.execute("UPDATE bookings SET datetime = '2020-01-01 00:00:01+00'")
    rejects(owner, errors.CheckViolation, "UPDATE bookings SET datetime = '2019-12-31 23:59:59+00'")


def message_with_status(status: str) -> str:
    return (
        f"INSERT INTO messages (company_id, phone, direction, status) VALUES (1, '7', 'outbound', {status})"
    )


@pytest.mark.parametrize("status", ["'sent'", "'delivered'", "'read'", "'failed'", "NULL"])
def test_a_known_or_missing_message_status_is_accepted(owner: psycopg.Connection, status: str) -> None:
    owner.execute(message_with_status(status).encode())


@pytest.mark.parametrize("status", ["'bad'", "''", "'SENT'", "'NULL'"])
def test_a_bad_message_status_is_rejected(owner: psycopg.Connection, status: str) -> None:
    """Defect 2."""
    assert rejects(owner, errors.CheckViolation, message_with_status(status)) == "messages_status_check"


def test_a_list_with_null_accepts_anything(owner: psycopg.Connection) -> None:
    """The original form of defect 2: 'bad' IN ('sent', NULL) is NULL, and a CHECK passes on NULL."""
    owner.execute("ALTER TABLE messages DROP CONSTRAINT messages_status_check")
    owner.execute("ALTER TABLE messages ADD CHECK (status IN ('sent', 'delivered', 'read', 'failed', NULL))")
    owner.execute(message_with_status("'bad'").encode())


def test_a_company_takes_its_rows_with_it_but_a_booked_client_stays(owner: psycopg.Connection) -> None:
    for table in ("clients", "services", "staff"):
        rejects(owner, psycopg.IntegrityError, f"DELETE FROM {table}")
    owner.execute("DELETE FROM bookings")
    assert one(owner, "SELECT count(*) FROM reminders") == 0
    owner.execute("DELETE FROM companies")
    for table in ROWS:
        assert one(owner, f"SELECT count(*) FROM {table}") == 0, table


def test_the_application_supplies_the_number_of_a_company(owner: psycopg.Connection) -> None:
    """Defect 10, which stays: the application counts on it."""
    rejects(
        owner,
        errors.NotNullViolation,
        "INSERT INTO companies (name, yclients_company_id) VALUES ('Other', 2)",
    )
    assert one(owner, "SELECT pg_get_serial_sequence('companies', 'id')") is None
    assert one(owner, "SELECT pg_get_serial_sequence('clients', 'id')") == "public.clients_id_seq"
    assert "`companies.id`" in DOCUMENTATION.read_text()


# Defect 7: IF NOT EXISTS accepts any object of that name.

FORBIDDEN = re.compile(
    # maintain_messages_partitions() holds the one DROP, of a partition by name.
    r"IF\s+(NOT\s+)?EXISTS|OR\s+REPLACE|\bDROP\s+(?!TABLE %s RESTRICT)|(?<!ON DELETE )\bCASCADE\b",
    re.IGNORECASE,
)


def test_templates_say_what_they_create_and_nothing_about_chance() -> None:
    for migration in load_migrations(FOLDER, {}):
        for statement in migration.statements:
            found = FORBIDDEN.search(statement.text)
            assert found is None, f"{statement.place}: {found and found[0]}"


@pytest.mark.parametrize(
    "original",
    [
        "CREATE TABLE IF NOT EXISTS companies (id integer)",
        "CREATE OR REPLACE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE companies",
        "DROP TRIGGER IF EXISTS t ON companies",
        "DROP TABLE IF EXISTS companies CASCADE",
        "TRUNCATE companies CASCADE",
    ],
)
def test_the_original_forms_would_be_found(original: str) -> None:
    assert FORBIDDEN.search(original)


def test_a_view_in_a_tables_place_is_an_error(database: Database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE VIEW public.services AS SELECT 1 AS id")
        with pytest.raises(errors.DuplicateTable):
            run_migrations(owner)
        # The original form takes the view for the table.
        owner.execute("CREATE TABLE IF NOT EXISTS public.services (id serial PRIMARY KEY)")
        assert one(owner, "SELECT relkind::text FROM pg_class WHERE oid = 'public.services'::regclass") == "v"


# Defect 8: dropping with CASCADE removes what others made later.


def test_what_others_hang_on_our_objects_is_not_dropped_without_cascade(owner: psycopg.Connection) -> None:
    owner.execute("CREATE TABLE later (company_id integer REFERENCES companies (id), updated_at timestamptz)")
    owner.execute(
        "CREATE TRIGGER later_updated_at BEFORE UPDATE ON later"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    )
    dependants = """
        SELECT (SELECT count(*) FROM pg_constraint WHERE conrelid = 'later'::regclass AND contype = 'f')
            + (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'later'::regclass AND NOT tgisinternal)
    """
    rejects(owner, errors.DependentObjectsStillExist, "DROP FUNCTION update_updated_at_column() RESTRICT")
    rejects(owner, errors.DependentObjectsStillExist, "DROP TABLE companies RESTRICT")
    assert one(owner, dependants) == 2
    owner.execute("DROP FUNCTION update_updated_at_column() CASCADE")
    owner.execute("DROP TABLE companies CASCADE")
    assert one(owner, dependants) == 0


# Defect 9: errors behind exit status 0.


def test_an_error_leaves_nothing_behind(database: Database) -> None:
    with database.connect() as owner:
        objects = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        before = one(owner, objects)
        owner.execute("CREATE VIEW public.messages AS SELECT 1 AS id")
        with pytest.raises(errors.DuplicateTable):
            run_migrations(owner)
        assert one(owner, objects) == before + 1


def test_psql_alone_reports_success_after_errors(database: Database, tmp_path: Path) -> None:
    """The original way: the same SQL, half of it applied, exit status 0."""
    script = tmp_path / "all.sql"
    script.write_text("".join(migration.sql("public") for migration in load_migrations(FOLDER, {})))
    with database.connect() as owner:
        owner.execute("CREATE VIEW public.services AS SELECT 1 AS id")
        finished = subprocess.run(
            [
                database.server.binaries.program("psql"),
                "-X",
                "-q",
                "-f",
                str(script),
                f"service={database.service}",
            ],
            env={**os.environ, "PGSERVICEFILE": str(database.service_file)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert finished.returncode == 0
        assert "ERROR" in finished.stderr
        assert one(owner, "SELECT to_regclass('public.companies')::text") == "companies"
        assert one(owner, "SELECT to_regclass('public.bookings')::text") is None


# What a rollout into a living database relies on


def test_nothing_that_was_there_before_is_locked(database: Database) -> None:
    with database.connect() as owner, owner.transaction():
        existing = one(
            owner, "SELECT array_agg(oid::bigint) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        run_migrations(owner)
        locks = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation::bigint = ANY (%s)"
        assert one(owner, locks, [existing]) == 0
        owner.execute("LOCK TABLE whatsapp_auth IN ACCESS SHARE MODE")
        assert one(owner, locks, [existing]) > 0


def test_everything_lies_in_the_target_schema(database: Database) -> None:
    """So that a rehearsal in another schema touches nothing real."""
    elsewhere = """
        SELECT array_agg(kind || name ORDER BY 1) FROM (
            SELECT 'relation ', relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION ALL SELECT 'function ', proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'type ', typname::text FROM pg_type WHERE typnamespace = 'public'::regnamespace
        ) AS public (kind, name)
    """
    with database.connect() as owner:
        before = one(owner, elsewhere)
        run_migrations(owner, "rehearsal")
        owner.execute("SELECT rehearsal.create_messages_partition('2031-01-15')")
        assert one(owner, elsewhere) == before
        # The same again in public; both schemas hold everything now, each for itself.
        run_migrations(owner)
        assert len(one(owner, elsewhere)) > len(before)
        crossing = """
            SELECT count(*) FROM pg_constraint
            WHERE connamespace = 'rehearsal'::regnamespace AND confrelid <> 0
                AND (SELECT relnamespace FROM pg_class WHERE oid = confrelid) <> 'rehearsal'::regnamespace
        """
        assert one(owner, crossing) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("zone", "UTC'; DROP TABLE companies; --"),
        ("zone", "Mars/Olympus"),
        ("zone", "+03"),
        ("first_month", ""),
        ("first_month", "2025-13"),
        ("first_month", "2025-11-01"),
        ("months", 0),
        ("months", "6; DROP TABLE companies"),
        ("months_ahead", 25),
        ("retention_months", -1),
        ("retention_drop", "perhaps"),
        ("first_mnth", "2025-11"),
    ],
)
def test_a_hostile_or_mistyped_variable_is_refused_before_connecting(name: str, value: object) -> None:
    with pytest.raises(SourceError, match=name):
        load_migrations(FOLDER, {name: value})
