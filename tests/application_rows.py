"""Rows in every table of the role's migrations, with values that a dump could spoil. All invented."""

import psycopg

#: In an order that foreign keys accept.
STATEMENTS = (
    "INSERT INTO companies (id, name, yclients_company_id, settings)"
    " VALUES (1, E'Салон \"Invented\"\\t\\\\.\\n''', 100001, '{\"a\": [1, null]}')",
    "INSERT INTO clients (company_id, phone, name, tags, discount)"
    " SELECT 1, '7000000' || to_char(i, 'FM0000'), 'Client ' || i, ARRAY['x', NULL, 'y,z'], i / 7.0"
    " FROM generate_series(1, 50) i",
    "INSERT INTO services (company_id, title, duration) VALUES (1, 'Haircut', 3600)",
    "INSERT INTO staff (company_id, name) VALUES (1, 'Anna')",
    "INSERT INTO staff_schedules (company_id, staff_id, date) VALUES (1, 1, '2026-01-15')",
    "INSERT INTO bookings (company_id, client_id, service_id, staff_id, datetime, duration)"
    " SELECT 1, i, 1, 1, '2026-01-15 10:00+00', 60 FROM generate_series(1, 5) i",
    "INSERT INTO reminders (company_id, booking_id, remind_at, type) VALUES (1, 1, '2026-01-15 09:00+00', 'sms')",
    "INSERT INTO messages (company_id, phone, message, direction, created_at)"
    " SELECT 1, '70000000003', 'Text ' || i, 'inbound', timestamptz '2025-11-05 00:00+00' + i * interval '1 day'"
    " FROM generate_series(0, 150) i",
    "INSERT INTO dialog_contexts (phone, company_id, context) VALUES ('70000000003', 1, '{}')",
    "INSERT INTO appointments_cache (company_id, cache_key, appointments, expires_at)"
    " VALUES (1, 'k', '[]', '2026-01-15 10:00+00')",
    "INSERT INTO sync_status (company_id, entity_type) VALUES (1, 'clients')",
)

TABLES = (
    "companies",
    "clients",
    "services",
    "staff",
    "staff_schedules",
    "bookings",
    "reminders",
    "messages",
    "dialog_contexts",
    "appointments_cache",
    "sync_status",
)


def insert_rows(connection: psycopg.Connection) -> None:
    """Put rows into every table."""
    with connection.transaction():
        for statement in STATEMENTS:
            connection.execute(statement.encode())


def rows_of(connection: psycopg.Connection) -> dict[str, list[str]]:
    """Every row of every table as text, sorted."""
    return {
        table: [
            row
            for (row,) in connection.execute(
                f"SELECT ({table}.*)::text FROM {table} ORDER BY 1".encode()
            ).fetchall()
        ]
        for table in TABLES
    }
