"""What kind of server this is, and what we may do on it: facts, no judgement."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.rollout.connection import Command, Session

_IDENTITY = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_database(),
       session_user::text, current_user::text, r.rolsuper, pg_is_in_recovery(),
       pg_postmaster_start_time()::text, clock_timestamp()::text,
       pg_encoding_to_char(d.encoding), d.datcollate, pg_database_size(d.oid),
       has_database_privilege(d.oid, 'CREATE'), pg_get_userbyid(d.datdba)
  FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user
"""
_SETTINGS = """
SELECT name, setting, unit FROM pg_settings WHERE name = ANY(%s) ORDER BY name
"""
_TLS = "SELECT ssl, version, cipher, bits FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
# datname is visible to everybody; state and query of others' sessions are not, and are not asked for.
# PostgreSQL hides backend_type of other logins' sessions from a login without pg_read_all_stats.
_CONNECTIONS = """
SELECT count(*), count(*) FILTER (WHERE datname = current_database()) FROM pg_stat_activity
 WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
"""
_SCHEMA = """
SELECT n.oid IS NOT NULL, coalesce(pg_get_userbyid(n.nspowner)::text, ''),
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false), coalesce(has_schema_privilege(n.oid, 'CREATE'), false)
  FROM (SELECT %s::name AS name) w LEFT JOIN pg_namespace n ON n.nspname = w.name
"""
SETTINGS = (
    "TimeZone",
    "client_connection_check_interval",
    "deadlock_timeout",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lc_messages",
    "lock_timeout",
    "max_connections",
    "max_locks_per_transaction",
    "reserved_connections",
    "server_encoding",
    "statement_timeout",
    "superuser_reserved_connections",
    "wal_level",
)


def read(session: Session, schema: str) -> dict[str, Any]:
    """Facts about the server, in one round trip.

    :param schema: schema whose rights are asked for
    :returns: JSON-compatible; sizes in bytes
    """
    answers = session.run(
        [
            Command("BEGIN READ ONLY"),
            Command(_IDENTITY),
            Command(_SETTINGS, (list(SETTINGS),)),
            Command(_TLS),
            Command(_CONNECTIONS),
            Command(_SCHEMA, (schema,)),
            Command("COMMIT"),
        ]
    )
    identity, settings, tls, connections, rights = answers[1:-1]
    names = (
        "version", "version_num", "database", "session_role", "role", "superuser", "standby", "started", "now",
        "encoding", "collation", "database_bytes", "may_create_schema", "database_owner",
    )  # fmt: skip
    facts = dict(zip(names, identity[0], strict=True))
    facts["settings"] = {name: f"{value}{unit or ''}" for name, value, unit in settings}
    tls_row = tls[0] if tls else (False, "", "", 0)
    facts["tls"] = dict(zip(("in_use", "version", "cipher", "bits"), tls_row, strict=True))
    facts["connections"] = dict(zip(("server", "database"), connections[0], strict=True))
    facts["schema"] = dict(zip(("exists", "owner", "may_use", "may_create"), rights[0], strict=True))
    return facts
