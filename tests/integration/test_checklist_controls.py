"""Every item of the database's checklist turns red when exactly that thing is damaged, and says what it saw."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout.checklist_database import ITEMS, Outcome

from sandbox.databases import Database
from tests.checklist_control import Control
from tests.database_checklist import DEMANDS, MESSAGES, Checklist, finding, statuses
from tests.prepared_databases import copy_of

SCHEMA_PAGE = Path(__file__).resolve().parents[2] / "docs/schema.md"

#: In the database as the migrations leave it, empty.
HEALTHY = {
    **{item.id: "passed" for item in ITEMS},
    "partitions": "warning",  # nothing maintains them yet
    "indexes": "warning",  # eleven are redundant
    "row_counts": "not_tested",  # no rows yet
}


@dataclass(frozen=True)
class Prepared:
    """A database in which everything is well, and what was noted of it then."""

    database: Database
    reference: dict[str, Any]


def as_admin(sql: str) -> Any:
    """What only a superuser may do, or what concerns the database itself; ``{name}`` is its name."""

    def act(database: Database) -> None:
        with database.connect_admin() as admin:
            admin.execute(sql.format(name=database.name).encode())

    return act


def deadlock(database: Database) -> None:
    """Two sessions that wait for each other, until the server ends one of them."""
    with database.connect() as owner:
        owner.execute("INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'A', 1), (2, 'B', 2)")
    first, second = database.connect_admin(autocommit=False), database.connect_admin(autocommit=False)
    update = "UPDATE companies SET name = name WHERE id = %s"
    first.execute("SET deadlock_timeout = '30s'")
    second.execute("SET deadlock_timeout = '10ms'")
    first.execute(update, [1])
    second.execute(update, [2])
    # The first one's wait is seen by the server only; the second one finds the circle and is ended.
    first.pgconn.send_query(b"UPDATE companies SET name = name WHERE id = 2")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        second.execute(update, [1])
    second.close()
    first.close()


def other_zone(zone: str) -> dict[str, Any]:
    return {"partitions": [{**MESSAGES, "zone": zone}]}


def without(table: str, constraint: str) -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"


CONTROLS = [
    # tables
    Control(
        "tables",
        "a column's type is changed",
        "ALTER TABLE clients ALTER discount TYPE numeric(8, 2)",
        observed="column clients.discount: differs\n  - type: numeric(8,2)\n  + type: numeric(5,2)",
    ),
    Control(
        "tables",
        "a column is added by hand",
        "ALTER TABLE services ADD colour text",
        observed="column services.colour: is not part of any migration",
    ),
    Control(
        "tables",
        "a table that the inventory demands is not there",
        given={"demands": {**DEMANDS, "tables": [*DEMANDS["tables"], "reviews"]}},
        observed="reviews, which the inventory demands, does not exist",
    ),
    Control(
        "tables",
        "a demanded table was made by hand",
        "CREATE TABLE reviews (id integer PRIMARY KEY)",
        given={"demands": {**DEMANDS, "tables": [*DEMANDS["tables"], "reviews"]}},
        observed="reviews, which the inventory demands, was made by no migration that is in force",
    ),
    Control(
        "tables",
        "the ledger knows of no migration",
        "DELETE FROM rollout.change; DELETE FROM rollout.migration",
        observed="the ledger rollout has no migration for schema public",
        also=(
            "indexes",
            "triggers",
        ),
    ),
    Control(
        "tables",
        "a table is dropped",
        "DROP TABLE sync_status",
        observed="table sync_status: missing",
        also=("triggers", "sample_story"),
    ),
    # partitions
    Control(
        "partitions",
        "a gap is opened: a month that a variable names is detached",
        "ALTER TABLE messages DETACH PARTITION messages_2026_01",
        observed="the name messages_2026_01 is taken by something that is not the partition",
        also=("indexes", "partition_routing", "pruning"),
    ),
    Control(
        "partitions",
        "a bound is moved by three hours",
        "ALTER TABLE messages DETACH PARTITION messages_2026_01;"
        "ALTER TABLE messages ATTACH PARTITION messages_2026_01"
        " FOR VALUES FROM ('2026-01-01 03:00+00') TO ('2026-02-01 00:00+00')",
        observed="messages_2026_01",
        also=("partition_routing",),
    ),
    Control(
        "partitions",
        "the months ahead are gone",
        act=as_admin(
            "DO $$ DECLARE name text; BEGIN FOR name IN SELECT partition_name FROM get_messages_stats()"
            " WHERE partition_start > now() LOOP EXECUTE 'DROP TABLE ' || name; END LOOP; END $$"
        ),
        observed="0 whole periods (month) ahead, fewer than 2",
        also=(
            "partition_routing",
            "pruning",
        ),
    ),
    Control(
        "partitions",
        "the bounds are in another time zone than the pinned one",
        given=other_zone("Europe/Moscow"),
        observed="as if its bounds were written in another time zone",
        also=(
            "partition_routing",
            "pruning",
        ),
    ),
    Control(
        "partitions",
        "more months are asked for than there are",
        given={"partitions": [{**MESSAGES, "count": 7}]},
        observed="messages_2026_05 is missing: nothing takes rows from 2026-05-01",
        also=(
            "partition_routing",
            "pruning",
        ),
    ),
    # indexes
    Control(
        "indexes",
        "an index is dropped",
        "DROP INDEX idx_clients_visits_count",
        observed="index idx_clients_visits_count: missing",
    ),
    Control(
        "indexes",
        "an index is invalid",
        act=as_admin(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_staff_rating'::regclass"
        ),
        observed="index idx_staff_rating: differs\n  - invalid: True\n  + invalid: (none)",
    ),
    Control(
        "indexes",
        "an invalid index is left by a build that failed",
        "CREATE INDEX left_behind ON clients (sex)",
        act=as_admin("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'left_behind'::regclass"),
        observed="left_behind on clients is not valid",
    ),
    Control(
        "indexes",
        "an index has another definition",
        "DROP INDEX idx_clients_last_visit; CREATE INDEX idx_clients_last_visit ON clients (last_visit_date)",
        observed="index idx_clients_last_visit: differs",
    ),
    Control(
        "indexes",
        "the inventory demands more than there are",
        given={"demands": {**DEMANDS, "indexes": 700}},
        observed="fewer than the 700 that the inventory demands",
    ),
    Control(
        "indexes",
        "an index repeats another one",
        "CREATE INDEX again ON reminders (booking_id)",
        observed="idx_reminders_booking_id (served by again)",
    ),
    # functions
    Control(
        "functions",
        "a body is broken: it reads a column that there is not",
        "CREATE OR REPLACE FUNCTION get_messages_stats() RETURNS TABLE (partition_name text, partition_start date,"
        " partition_end date, row_count bigint, table_size text) LANGUAGE plpgsql STABLE AS"
        " $$BEGIN RETURN QUERY SELECT tablename, NULL::date, NULL::date, 0::bigint, '' FROM pg_stat_user_tables; END$$",
        observed="get_messages_stats(): has a row for each partition, the newest first: fails: SQLSTATE 42703",
    ),
    Control(
        "functions",
        "a body does nothing and says that it did",
        "CREATE OR REPLACE FUNCTION cleanup_expired_dialog_contexts() RETURNS TABLE (deleted_count bigint)"
        " LANGUAGE sql AS $$ SELECT 2::bigint $$",
        observed="cleanup_expired_dialog_contexts(): keeps what expires later, or never: gives",
    ),
    Control(
        "functions",
        "an overload is added",
        "CREATE FUNCTION get_recent_messages(p_phone varchar) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$",
        observed="get_recent_messages, which the inventory demands once, exists 2 times",
    ),
    Control(
        "functions",
        "a function is dropped",
        "DROP FUNCTION get_database_stats()",
        observed="function get_database_stats(): missing",
    ),
    Control(
        "functions",
        "the inventory demands one that there is not",
        given={"demands": {**DEMANDS, "functions": ["get_reviews"]}},
        observed="get_reviews, which the inventory demands once, exists 0 times: none",
    ),
    # triggers
    Control(
        "triggers",
        "a trigger is disabled",
        "ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at",
        observed="staff.trigger_update_staff_updated_at does not act",
    ),
    Control(
        "triggers",
        "a trigger is dropped",
        "DROP TRIGGER trigger_update_clients_updated_at ON clients",
        observed="8 triggers, fewer than the 9 that the inventory demands",
    ),
    Control(
        "triggers",
        "a trigger's function does nothing",
        "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RETURN NEW; END$$",
        observed="companies.trigger_update_companies_updated_at does not act: after an UPDATE, updated_at = now()",
        also=("functions",),
    ),
    # checks
    Control(
        "checks",
        "a CHECK is dropped",
        without("bookings", "bookings_duration_check"),
        observed="bookings.bookings_duration_check accepts duration = 0",
    ),
    Control(
        "checks",
        "a CHECK is replaced by a toothless one, with NULL in its list",
        without("messages", "messages_status_check")
        + "; ALTER TABLE messages ADD CONSTRAINT messages_status_check"
        " CHECK (status IN ('sent', 'delivered', 'read', 'failed', NULL))",
        observed="messages.messages_status_check accepts status = 'bad'",
    ),
    Control(
        "checks",
        "a CHECK is replaced by one that refuses what is good",
        without("reminders", "reminders_type_check")
        + "; ALTER TABLE reminders ADD CONSTRAINT reminders_type_check CHECK (type IN ('whatsapp', 'email'))",
        observed="reminders.reminders_type_check: type = 'sms', which is good, is refused",
    ),
    Control(
        "checks",
        "the limit of a CHECK moves with the time zone",
        without("bookings", "bookings_datetime_check")
        + "; ALTER TABLE bookings ADD CONSTRAINT bookings_datetime_check"
        " CHECK (datetime > '2019-12-31 21:00+00')",
        observed="bookings.bookings_datetime_check accepts datetime = '2020-01-01 00:00:00+00'",
    ),
    # foreign_keys
    Control(
        "foreign_keys",
        "a foreign key is dropped",
        without("reminders", "reminders_booking_id_fkey"),
        observed="reminders.reminders_booking_id_fkey accepts a row without a parent in bookings",
    ),
    Control(
        "foreign_keys",
        "ON DELETE RESTRICT becomes CASCADE",
        without("bookings", "bookings_client_id_fkey")
        + "; ALTER TABLE bookings ADD FOREIGN KEY (client_id) REFERENCES clients ON DELETE CASCADE",
        observed="bookings.bookings_client_id_fkey: deleting a row of clients removes its rows; recorded is ON DELETE"
        " RESTRICT, which is refused",
    ),
    Control(
        "foreign_keys",
        "ON DELETE CASCADE is lost",
        without("staff_schedules", "staff_schedules_staff_id_fkey")
        + "; ALTER TABLE staff_schedules ADD FOREIGN KEY (staff_id) REFERENCES staff",
        observed="staff_schedules.staff_schedules_staff_id_fkey: deleting a row of staff is refused",
    ),
    # unique_keys
    Control(
        "unique_keys",
        "a UNIQUE constraint is dropped",
        without("clients", "clients_company_id_phone_key"),
        observed="clients.clients_company_id_phone_key accepts two rows with the same company_id, phone",
        also=("indexes",),
    ),
    Control(
        "unique_keys",
        "a UNIQUE constraint covers fewer columns",
        without("staff_schedules", "staff_schedules_staff_id_date_key")
        + "; ALTER TABLE staff_schedules ADD CONSTRAINT staff_schedules_staff_id_date_key UNIQUE (staff_id)",
        observed="staff_schedules: a second row with other keys is refused",
        also=("indexes",),
    ),
    Control(
        "unique_keys",
        "a primary key is dropped",
        without("sync_status", "sync_status_pkey"),
        observed="sync_status.sync_status_pkey accepts two rows with the same id",
        also=("indexes",),
    ),
    # not_null
    Control(
        "not_null",
        "NOT NULL is dropped",
        "ALTER TABLE services ALTER title DROP NOT NULL",
        observed="services.title accepts NULL",
        also=("tables",),
    ),
    # round_trip
    Control(
        "round_trip",
        "a timestamp with time zone becomes one without",
        "ALTER TABLE clients ALTER synced_at TYPE timestamp",
        observed="clients.synced_at: ",
        also=("tables",),
    ),
    Control(
        "round_trip",
        "a number loses its decimals",
        "ALTER TABLE services ALTER price_max TYPE numeric(10, 1)",
        observed="services",
        also=("tables",),
    ),
    Control(
        "round_trip",
        "a text becomes too short",
        "ALTER TABLE companies ALTER website TYPE varchar(20)",
        observed="companies: the values are refused: SQLSTATE 22001",
        also=("tables",),
    ),
    # partition_routing
    Control(
        "partition_routing",
        "a month's last hour goes to the next month's partition",
        "ALTER TABLE messages DETACH PARTITION messages_2026_01;"
        "ALTER TABLE messages DETACH PARTITION messages_2026_02;"
        "ALTER TABLE messages ATTACH PARTITION messages_2026_01"
        " FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-01-31 23:00+00');"
        "ALTER TABLE messages ATTACH PARTITION messages_2026_02"
        " FOR VALUES FROM ('2026-01-31 23:00+00') TO ('2026-03-01 00:00+00')",
        observed="a row of 2026-01-31 23:59:59.999999+00 goes to messages_2026_02 instead of messages_2026_01",
        also=(
            "partitions",
            "pruning",
        ),
    ),
    Control(
        "partition_routing",
        "a policy hides a month's rows",
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY; ALTER TABLE messages FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY written ON messages FOR INSERT WITH CHECK (true);"
        "CREATE POLICY changed ON messages FOR UPDATE USING (true);"
        "CREATE POLICY removed ON messages FOR DELETE USING (true);"
        "CREATE POLICY seen ON messages FOR SELECT"
        " USING (created_at < '2025-12-01 00:00+00' OR created_at >= '2026-01-01 00:00+00')",
        observed="messages: a row of 2025-12-01 00:00:00+00 goes to no partition instead of messages_2025_12",
        also=("tables", "pruning"),
    ),
    # pruning
    Control(
        "pruning",
        "partition pruning is switched off for the database",
        act=as_admin("ALTER DATABASE {name} SET enable_partition_pruning = off"),
        observed="messages: the query for 2025-11-01 00:00:00+00 to 2025-12-01 00:00:00+00 reads",
    ),
    # access_paths
    Control(
        "access_paths",
        "the index of a main query is dropped",
        "DROP INDEX idx_bookings_client_id",
        observed="Bookings of a client: the planner uses none instead of idx_bookings_client_id",
        also=("indexes",),
    ),
    Control(
        "access_paths",
        "the index of a main query is dropped, and another could serve the few rows",
        "DROP INDEX idx_bookings_company_datetime",
        observed="A salon's bookings of a day: the planner uses idx_bookings_",
        also=("indexes",),
    ),
    Control(
        "access_paths",
        "the planner may not use indexes, in a table with many rows",
        "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1);"
        "INSERT INTO clients (company_id, phone) SELECT 1, n::text FROM generate_series(1, 2000) n;"
        "ANALYZE clients",
        act=as_admin(
            "ALTER DATABASE {name} SET enable_indexscan = off; ALTER DATABASE {name} SET enable_bitmapscan = off"
        ),
        observed="A client by phone: reads clients with 2000 rows by no index instead of",
        also=("size_growth",),
    ),
    Control(
        "access_paths",
        "the index of a main query is dropped, in a table with many rows that another could serve",
        "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1);"
        "INSERT INTO clients (id, company_id, phone) VALUES (1, 1, '70000000000');"
        "INSERT INTO services (id, company_id, title, duration) VALUES (1, 1, 'Haircut', 3600);"
        "INSERT INTO staff (id, company_id, name) VALUES (1, 1, 'Anna');"
        "INSERT INTO bookings (company_id, client_id, service_id, staff_id, datetime, duration)"
        " SELECT 1, 1, 1, 1, timestamptz '2026-01-01 00:00+00' + n * interval '2 hours', 60"
        " FROM generate_series(1, 2000) n;"
        "ANALYZE bookings; DROP INDEX idx_bookings_company_datetime",
        observed=(
            "A salon's bookings of a day: reads bookings with 2000 rows by idx_bookings_datetime instead of"
            " idx_bookings_company_datetime"
        ),
        also=("indexes", "row_counts", "size_growth"),
    ),
    # row_counts
    Control(
        "row_counts",
        "fewer rows than the inventory demands",
        "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1);"
        "INSERT INTO clients (company_id, phone) SELECT 1, n::text FROM generate_series(1, 11) n",
        given={"demands": {**DEMANDS, "rows": {"clients": 12}}},
        observed="clients holds 11 rows instead of 12 or more",
    ),
    Control(
        "row_counts",
        "more rows than the inventory allows",
        "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1), (2, 'Other', 2)",
        given={"demands": {**DEMANDS, "rows": {"companies": {"at_most": 1}}}},
        observed="companies holds more than 1 rows instead of 0 to 1",
    ),
    # server_errors
    Control("server_errors", "two sessions run into a deadlock", act=deadlock, observed="1 deadlocks since"),
    # size_growth
    Control(
        "size_growth",
        "a table grows by 5000 rows that nobody foresaw",
        "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1);"
        "INSERT INTO clients (company_id, phone) SELECT 1, n::text FROM generate_series(1, 5000) n",
        observed="beyond what an empty schema and first rows take: clients +",
    ),
    # sample_story
    Control(
        "sample_story",
        "a default is changed, so that a question has another answer",
        "ALTER TABLE reminders ALTER status SET DEFAULT 'sent'",
        observed="The reminder that is to be sent for it, a day before: gives []",
        also=("tables",),
    ),
    Control(
        "sample_story",
        "the rows of a table are refused by a policy",
        "ALTER TABLE services ENABLE ROW LEVEL SECURITY; ALTER TABLE services FORCE ROW LEVEL SECURITY",
        observed="services: the good row is refused: SQLSTATE 42501",
        also=("tables",),
    ),
    # unchanged_neighbours
    Control(
        "unchanged_neighbours",
        "a column is added to a protected table",
        act=as_admin("ALTER TABLE whatsapp_auth ADD note text"),
        observed="column whatsapp_auth.note: was not there before",
    ),
    Control(
        "unchanged_neighbours",
        "an index of a protected table is dropped",
        act=as_admin("DROP INDEX idx_whatsapp_keys_type"),
        observed="index idx_whatsapp_keys_type: missing",
    ),
    Control(
        "unchanged_neighbours",
        "a protected table is dropped",
        act=as_admin("DROP TABLE whatsapp_keys"),
        observed="there is no table whatsapp_keys",
    ),
]


@pytest.fixture(scope="module")
def prepared(rolled_out: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A database to copy, and what was noted of it while all was well."""
    folder = tmp_path_factory.mktemp("prepared")
    with copy_of(rolled_out, folder) as database:
        yield Prepared(database, Checklist(database).reference())


def evaluated(prepared: Prepared, folder: Path, control: Control | None = None) -> Outcome:
    """What the checklist says of a copy, damaged or not."""
    with copy_of(prepared.database, folder) as database:
        if control and control.sql:
            with database.connect() as owner:
                owner.execute(control.sql.encode())
        if control and control.act:
            control.act(database)
        given = {"reference": prepared.reference, **(control.given if control else {})}
        return Checklist(database).run(**given)


def test_a_healthy_database(prepared: Prepared, tmp_path: Path) -> None:
    outcome = evaluated(prepared, tmp_path)
    assert statuses(outcome) == HEALTHY, [
        found for found in outcome.findings if found["status"] != HEALTHY[found["id"]]
    ]


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_what_is_damaged_turns_red(prepared: Prepared, tmp_path: Path, control: Control) -> None:
    outcome = evaluated(prepared, tmp_path, control)
    found = finding(outcome, control.item)
    assert control.observed in found["observed"], found
    assert found["status"] == control.status
    red = {item for item, status in statuses(outcome).items() if status == "failed"}
    assert red == {control.item, *control.also} - ({control.item} if control.status != "failed" else set()), [
        one for one in outcome.findings if one["status"] == "failed"
    ]


def test_redundant_indexes_are_named(prepared: Prepared, tmp_path: Path) -> None:
    """Those that docs/schema.md lists."""
    listed = re.findall(r"^\| `(idx_\w+)` \| \w+ \(", SCHEMA_PAGE.read_text(), re.MULTILINE)
    assert len(listed) == 11
    named = finding(evaluated(prepared, tmp_path), "indexes")["evidence"]["redundant"]
    assert sorted(named) == sorted(listed)


def test_every_item_has_a_control() -> None:
    assert {item.id for item in ITEMS} == {control.item for control in CONTROLS}
