"""Rows for the tables of the role's migrations."""

#: One row in each business table; everything hangs on company 1.
ROWS = {
    "companies": "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 100001)",
    "clients": "INSERT INTO clients (id, company_id, phone) VALUES (900, 1, '70000000000')",
    "services": "INSERT INTO services (id, company_id, title, duration) VALUES (900, 1, 'Haircut', 3600)",
    "staff": "INSERT INTO staff (id, company_id, name) VALUES (900, 1, 'Anna')",
    "staff_schedules": "INSERT INTO staff_schedules (company_id, staff_id, date) VALUES (1, 900, '2026-01-15')",
    "bookings": (
        "INSERT INTO bookings (id, company_id, client_id, service_id, staff_id, datetime, duration)"
        " VALUES (900, 1, 900, 900, 900, '2026-01-15 12:00:00+00', 3600)"
    ),
    "appointments_cache": (
        "INSERT INTO appointments_cache (company_id, cache_key, appointments, expires_at)"
        " VALUES (1, 'today', '[]', now() + interval '1 hour')"
    ),
    "dialog_contexts": "INSERT INTO dialog_contexts (phone, company_id) VALUES ('70000000000', 1)",
    "reminders": "INSERT INTO reminders (company_id, booking_id, remind_at, type) VALUES (1, 900, now(), 'sms')",
    "sync_status": "INSERT INTO sync_status (company_id, entity_type) VALUES (1, 'clients')",
}

#: Rows in three partitions of messages, with what a dump may get wrong: Cyrillic, emoji, quotes, a backslash, NULL.
MESSAGES = """
INSERT INTO messages (company_id, phone, direction, message, created_at) VALUES
    (1, '70000000000', 'inbound', 'Запишите меня на завтра 💇', '2025-11-30 23:59:59.999999+00'),
    (1, '70000000000', 'outbound', E'it''s \\"done\\" \\\\ \\t', '2025-12-01 00:00:00+00'),
    (1, '70000000000', 'inbound', NULL, '2026-04-15 12:00:00+00')
"""
