"""The migrations leave exactly the shape of fixtures/expected_shape.yml behind, in whatever schema."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.source import load_migrations

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.catalog_shape import EXPECTED, Shape
from tests.integration.rendered_migrations import FOLDER, migrated_database, run_migrations

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs/schema.md"
BUSINESS_TABLES = [table for table in EXPECTED if table != "messages"]
FIRST_SIX_MONTHS = [
    "messages_2025_11",
    "messages_2025_12",
    "messages_2026_01",
    "messages_2026_02",
    "messages_2026_03",
    "messages_2026_04",
]
MESSAGES_RELATIONS = ["messages", *FIRST_SIX_MONTHS]

#: Each repeats a UNIQUE constraint, or is a prefix of another index.
REDUNDANT_INDEXES = {
    "idx_companies_yclients_id",
    "idx_clients_company_id",
    "idx_clients_company_phone",
    "idx_services_company_id",
    "idx_staff_company_id",
    "idx_schedules_staff_id",
    "idx_schedules_staff_date",
    "idx_bookings_company_id",
    "idx_appointments_cache_company",
    "idx_dialog_contexts_phone",
    "idx_sync_status_company",
}


def count(connection: psycopg.Connection, query: str, tables: list[str]) -> int:
    row = connection.execute(query.encode(), [tables]).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def migrated(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for the module, in which both migrations ran in public, beside the WhatsApp tables."""
    with migrated_database(server, tmp_path_factory.mktemp("migrated")) as database:
        yield database


@pytest.fixture
def owner(migrated: Database) -> Iterator[psycopg.Connection]:
    """The owner's session in a transaction that is rolled back, so that tests may change what they like."""
    with migrated.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.mark.parametrize("schema", ["public", "Salon $1-x"])
def test_the_catalog_holds_exactly_the_expected_shape(database: Database, schema: str) -> None:
    with database.connect() as connection:
        run_migrations(connection, schema)
        assert Shape(connection, schema).differences(EXPECTED) == []


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ("DROP INDEX idx_clients_phone", "clients: indexes: missing: idx_clients_phone ON clients (phone)"),
        ("CREATE INDEX more ON staff (name)", "staff: indexes: unexpected: more ON staff (name)"),
        ("ALTER TABLE companies ALTER phone TYPE text", "companies: columns: unexpected: phone text"),
        (
            "ALTER TABLE services ALTER weight DROP DEFAULT",
            "services: columns: missing: weight integer default 0",
        ),
        ("ALTER TABLE clients ALTER phone DROP NOT NULL", "clients: columns: unexpected: phone varchar(20)"),
        ("ALTER TABLE staff ADD nickname text", "staff: columns: unexpected: nickname text"),
        (
            'ALTER TABLE staff ALTER name TYPE varchar(255) COLLATE "C"',
            "staff: columns: unexpected: name varchar(255) not null collate",
        ),
        (
            "ALTER TABLE reminders DROP CONSTRAINT reminders_booking_id_fkey",
            "reminders: constraints: missing: "
            "FOREIGN KEY (booking_id) REFERENCES bookings(id) ON DELETE CASCADE",
        ),
        (
            "ALTER TABLE bookings ADD CHECK (cost >= 0) NOT VALID",
            "bookings: constraints: unexpected: CHECK ((cost >= (0)::numeric)) NOT VALID",
        ),
        (
            "ALTER TABLE sync_status DISABLE TRIGGER trigger_update_sync_status_updated_at",
            "sync_status: triggers: unexpected: trigger_update_sync_status_updated_at: BEFORE UPDATE, "
            "each row -> update_updated_at_column() enabled D",
        ),
        (
            "DROP INDEX idx_messages_failed",
            "messages: indexes: missing: idx_messages_failed ON messages (company_id, created_at DESC) "
            "WHERE ((status)::text = 'failed'::text)",
        ),
    ],
    ids=[
        "index missing",
        "index too many",
        "type",
        "default",
        "null",
        "column too many",
        "collation",
        "foreign key",
        "check not valid",
        "trigger off",
        "partitioned index",
    ],
)
def test_a_difference_is_reported(owner: psycopg.Connection, change: str, reported: str) -> None:
    shape = Shape(owner, "public")
    assert shape.differences(EXPECTED) == []
    owner.execute(change.encode())
    assert reported in shape.differences(EXPECTED)


def test_every_partition_has_the_shape_of_the_whole(owner: psycopg.Connection) -> None:
    shape = Shape(owner, "public")
    whole = shape.table("messages")
    partitions = [
        row[0]
        for row in owner.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'messages'::regclass"
        ).fetchall()
    ]
    assert set(FIRST_SIX_MONTHS) < set(partitions)
    for partition in partitions:
        part = shape.table(partition)
        assert part["columns"] == whole["columns"]
        assert sorted(part["constraints"]) == sorted(whole["constraints"])
        assert "triggers" not in part
        assert without_names(part["indexes"]) == without_names(whole["indexes"])


def without_names(indexes: list[str]) -> list[str]:
    """Index definitions from the columns on: the names on partitions are PostgreSQL's own."""
    return sorted(re.sub(r"^\S+ ON \S+ ", "", line) for line in indexes)


def test_counts(owner: psycopg.Connection) -> None:
    """The numbers of the plan, for the relations that it names (the months ahead come on top)."""
    everything = [*BUSINESS_TABLES, *MESSAGES_RELATIONS]
    constraints = "SELECT count(*) FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype = "
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = ANY (%s::regclass[])"
    assert len(everything) == 17

    assert count(owner, indexes, BUSINESS_TABLES) == 58
    assert count(owner, indexes + " AND indisprimary", BUSINESS_TABLES) == 10
    assert count(owner, indexes + " AND indisunique AND NOT indisprimary", BUSINESS_TABLES) == 9
    assert count(owner, indexes + " AND NOT indisunique", BUSINESS_TABLES) == 39
    # Eight of the original, one of ours and the primary key: ten or more were promised.
    for relation in MESSAGES_RELATIONS:
        assert count(owner, indexes, [relation]) == 10
    assert count(owner, indexes, everything) == 58 + 7 * 10

    assert count(owner, constraints + "'f'", everything) == 14
    assert count(owner, constraints + "'u'", everything) == 9
    assert count(owner, constraints + "'p'", everything) == 10 + 7
    # Three on bookings, two on reminders, one on sync_status; two on each messages relation.
    assert count(owner, constraints + "'c'", BUSINESS_TABLES) == 6
    assert count(owner, constraints + "'c'", everything) == 6 + 7 * 2

    triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY (%s::regclass[])"
    assert count(owner, triggers, everything) == 9


def test_functions_are_those_of_the_contract(owner: psycopg.Connection) -> None:
    rows = owner.execute(
        """
        SELECT proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid),
            prosecdef, provolatile, proconfig
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname NOT LIKE '%whatsapp%'
        ORDER BY proname
        """
    ).fetchall()
    assert [row[:3] for row in rows] == [
        ("cleanup_expired_appointments_cache", "", "TABLE(deleted_count bigint)"),
        ("cleanup_expired_dialog_contexts", "", "TABLE(deleted_count bigint)"),
        ("create_messages_partition", "partition_date date", "text"),
        ("get_database_stats", "", "TABLE(table_name text, row_count bigint, table_size text)"),
        (
            "get_messages_stats",
            "",
            "TABLE(partition_name text, partition_start date, partition_end date,"
            " row_count bigint, table_size text)",
        ),
        (
            "get_recent_messages",
            "p_phone character varying, p_company_id integer, p_limit integer",
            "TABLE(id bigint, direction character varying, message text, created_at timestamp with time zone,"
            " processed boolean)",
        ),
        ("maintain_messages_partitions", "", "TABLE(action text, partition_name text)"),
        ("update_updated_at_column", "", "trigger"),
    ]
    for name, _, _, security_definer, volatility, settings in rows:
        assert not security_definer, name
        assert (volatility == "s") == name.startswith("get_"), name
        assert "search_path=public, pg_temp" in settings, name


def test_the_promise_of_each_migration_is_what_it_creates(owner: psycopg.Connection) -> None:
    migrations = load_migrations(FOLDER, {})
    for migration in migrations:
        assert created_tables(migration) >= set(migration.creates["tables"])
        for function in migration.creates["functions"]:
            assert owner.execute("SELECT to_regprocedure(%s)", [function]).fetchone() != (None,), function
    assert {table for migration in migrations for table in migration.creates["tables"]} == set(EXPECTED)
    assert sum(len(migration.creates["functions"]) for migration in migrations) == 8


def created_tables(migration: Migration) -> set[str]:
    created = (name for statement in migration.statements for name in statement.creates)
    return {name.removeprefix("table ") for name in created if name.startswith("table ")}


def test_every_table_and_function_has_a_comment(owner: psycopg.Connection) -> None:
    bare = """
        SELECT relname::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)
            AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT proname::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname NOT LIKE '%%whatsapp%%'
            AND obj_description(oid, 'pg_proc') IS NULL
    """
    assert owner.execute(bare, [list(EXPECTED)]).fetchall() == []
    owner.execute("COMMENT ON TABLE staff IS NULL")
    owner.execute("COMMENT ON FUNCTION get_messages_stats() IS NULL")
    assert owner.execute(bare, [list(EXPECTED)]).fetchall() == [("staff",), ("get_messages_stats",)]


def test_the_redundant_indexes_are_the_documented_ones(owner: psycopg.Connection) -> None:
    """An index is redundant when its columns, in order, begin another complete index of the same table."""
    rows = owner.execute(
        """
        SELECT DISTINCT shorter.indexrelid::regclass::text
        FROM pg_index AS shorter
        JOIN pg_index AS longer ON longer.indrelid = shorter.indrelid
        WHERE shorter.indrelid = ANY (%s::regclass[])
            AND longer.indexrelid <> shorter.indexrelid
            AND NOT shorter.indisunique
            AND shorter.indpred IS NULL AND longer.indpred IS NULL
            AND shorter.indexprs IS NULL AND longer.indexprs IS NULL
            AND (SELECT relam FROM pg_class WHERE oid = shorter.indexrelid)
                = (SELECT relam FROM pg_class WHERE oid = longer.indexrelid)
            AND starts_with(longer.indkey::text || ' ', shorter.indkey::text || ' ')
            AND starts_with(longer.indoption::text || ' ', shorter.indoption::text || ' ')
        """,
        [list(EXPECTED)],
    ).fetchall()
    assert {row[0] for row in rows} == REDUNDANT_INDEXES
    assert len(REDUNDANT_INDEXES) == 11
    documentation = DOCUMENTATION.read_text()
    assert [name for name in sorted(REDUNDANT_INDEXES) if f"`{name}`" not in documentation] == []
