"""What the precheck asks the database: facts, no judgement. Opens plain sessions, and writes nothing.

Plain, because the rollout's own session brings settings of its own, which would hide the server's. Every question is
one that the least of logins may ask; what PostgreSQL hides from it (others' sessions) is counted as hidden.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from ansible.module_utils.rollout.options import ConnectionOptions
from psycopg.sql import Identifier

#: Longest run of one question, milliseconds: a look must not hang on a busy database.
STATEMENT_TIMEOUT_MS = 10_000
#: How often two sessions are asked in turn which backend serves them.
POOLER_ROUNDS = 2
#: A setting that the second session brings, as the rollout's sessions bring theirs; a value that nobody else has.
BROUGHT = ("lock_timeout", "1777ms")
#: Names under which PostgreSQL's own dump programs connect.
DUMP_PROGRAMS = ("pg_dump", "pg_dumpall")
#: Rows of one answer that are kept, for people.
LONGEST_LIST = 50
SETTINGS = (
    "TimeZone",
    "autovacuum_freeze_max_age",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "max_connections",
    "reserved_connections",
    "statement_timeout",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "transaction_timeout",
)

#: Why a connection failed, by words that libpq itself prints, in order. Never by the server's, which may be in any
#: language: those that are known only in English end as "other" elsewhere, and are told as they are.
_REASONS = (
    ("unsupported startup parameter", "pooler"),
    ("invalid sslmode", "tls"),
    ("root certificate", "tls_ca"),
    ("does not support SSL", "tls"),
    ("certificate", "tls"),
    ("SSL", "tls"),
    ("translate host name", "name"),
    ("resolve host", "name"),
    ("Name or service not known", "name"),
    ("no password supplied", "authentication"),
    ("password authentication failed", "authentication"),
    ("timeout", "timeout"),
    ("refused", "refused"),
    ("definition of service", "service"),
    ("service file", "service"),
    ("too many c", "too_many"),
    ("connection slots are reserved", "too_many"),
    ("starting up", "starting"),
)

_IDENTITY = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_database()::text,
       session_user::text, current_user::text, pg_is_in_recovery(), pg_encoding_to_char(d.encoding)::text,
       pg_database_size(d.oid)::bigint, pg_has_role('pg_read_all_stats', 'USAGE'),
       to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
  FROM pg_database d WHERE d.datname = current_database()
"""
_SETTINGS = "SELECT name, setting, unit, source FROM pg_settings WHERE name = ANY(%s)"
_TLS = "SELECT ssl, version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
_RIGHTS = """
SELECT w.owner, r.oid IS NOT NULL, coalesce(pg_has_role(r.oid, 'MEMBER'), false),
       n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
       coalesce(has_schema_privilege(r.oid, n.oid, 'CREATE'), false),
       coalesce(has_database_privilege(r.oid, current_database(), 'CREATE'), false),
       has_database_privilege(current_database(), 'CREATE'),
       (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user),
       l.oid IS NOT NULL, coalesce(has_schema_privilege(l.oid, 'USAGE'), false)
  FROM (SELECT coalesce(nullif(%s, ''), current_user)::text AS owner) w
  LEFT JOIN pg_roles r ON r.rolname = w.owner
  LEFT JOIN pg_namespace n ON n.nspname = %s LEFT JOIN pg_namespace l ON l.nspname = %s
"""
# The last two: true as well where nobody needs the right. A detach by retention takes DELETE on what is recorded.
_LEDGER_TABLES = """
SELECT c.relname::text, has_table_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'INSERT'),
       c.relname = 'change' OR has_table_privilege(c.oid, 'UPDATE'),
       c.relname = 'migration' OR has_table_privilege(c.oid, 'DELETE')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname IN ('migration', 'change', 'detached') AND c.relkind = 'r' ORDER BY 1
"""
# A session's login and database are known to everybody, its kind and state only to itself and to those who may read all
# of them. What takes none of max_connections lacks one of the two: a worker of autovacuum has no login, a standby's
# session and the launcher of logical replication have no database.
_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE datname = current_database()),
       count(*) FILTER (WHERE datname = current_database() AND backend_type IS NULL)
  FROM pg_stat_activity
 WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
   AND pid <> ALL(%s)
"""
# Of a standby's session the least of logins sees that it is there, and nothing else.
_REPLICATION = """
SELECT count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), count(*) FILTER (WHERE sync_state IS NULL)
  FROM pg_stat_replication
"""
_TRANSACTIONS = """
SELECT pid, usename::text, application_name, state, backend_type,
       extract(epoch FROM clock_timestamp() - xact_start)::float8,
       extract(epoch FROM clock_timestamp() - state_change)::float8,
       application_name = ANY(%s)
         OR coalesce(query ~ '^(COPY .* TO stdout|LOCK TABLE .* IN ACCESS SHARE MODE)', false),
       coalesce(query LIKE 'autovacuum: %%(to prevent wraparound)', false)
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> ALL(%s) AND (xact_start IS NOT NULL OR application_name = ANY(%s))
 ORDER BY xact_start LIMIT %s
"""
_PROTECTED = """
SELECT w.given, n.nspname || '.' || c.relname, c.oid::bigint
  FROM unnest(%s::text[]) AS w(given)
  LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^(pg_|information_schema$)')
         ON c.relkind IN ('r', 'p') AND w.given IN (c.relname, n.nspname || '.' || c.relname)
"""
_LOCKS = f"""
SELECT p.found, l.mode, l.granted, l.pid, a.application_name, a.state, a.usesysid IS NULL AND a.pid IS NOT NULL,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8
  FROM ({_PROTECTED}) AS p(given, found, oid) JOIN pg_locks l ON l.relation = p.oid AND l.locktype = 'relation'
  JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
  LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.pid <> ALL(%s) ORDER BY 1, 2, 4 LIMIT %s
"""
_INVALID_INDEXES = """
SELECT c.relname::text, t.relname::text
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND NOT i.indisvalid ORDER BY 1 LIMIT %s
"""
_PREPARED = """
SELECT gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8
  FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT %s
"""
_EVENT_TRIGGERS = (
    "SELECT evtname::text, evtevent::text FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1"
)
_PUBLICATIONS = "SELECT pubname::text, 'ALL TABLES' FROM pg_publication WHERE puballtables"
_SCHEMA_PUBLICATIONS = """
UNION SELECT p.pubname::text, 'TABLES IN SCHEMA ' || n.nspname
  FROM pg_publication p JOIN pg_publication_namespace s ON s.pnpubid = p.oid JOIN pg_namespace n ON n.oid = s.pnnspid
 WHERE n.nspname = %s
"""
_AGES = """
SELECT x.name, x.age, x.allowed
  FROM (SELECT n.nspname || '.' || c.relname AS name, age(c.relfrozenxid) AS age,
               least(current_setting('autovacuum_freeze_max_age')::int,
                     (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o
                       WHERE o.option_name = 'autovacuum_freeze_max_age')) AS allowed
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'm') AND (n.nspname = %s OR c.oid IN (SELECT p.oid FROM ({protected}) AS
                                                                         p(given, found, oid)))) x
 ORDER BY x.age::float8 / x.allowed DESC LIMIT 5
""".replace("{protected}", _PROTECTED)
_RECORDED_OWNERS = """
SELECT c.relname::text, pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'USAGE')
  FROM {ledger}.migration m JOIN {ledger}.change h ON h.seq = m.seq
  JOIN pg_namespace n ON n.nspname = m.target_schema
  JOIN pg_class c ON c.relnamespace = n.oid AND h.object = 'table ' || c.relname
 WHERE m.target_schema = %s AND m.rolled_back_at IS NULL AND c.relkind IN ('r', 'p')
 GROUP BY 1, 2, 3 ORDER BY 1
"""


@dataclass(frozen=True)
class Questions:
    """What the questions are about.

    :ivar schema: that the migrations work in
    :ivar ledger: schema of the ledger
    :ivar owner_role: role that is to own what is created; empty for the login role
    :ivar protected: tables of the application that must not be locked
    """

    schema: str
    ledger: str
    owner_role: str = ""
    protected: Sequence[str] = field(default=())


def read(options: ConnectionOptions, application_name: str, questions: Questions) -> dict[str, Any]:
    """Everything that the judgement rests on, JSON-compatible.

    A connection that cannot be opened or that breaks is a fact too: ``reached`` is false or ``asked`` is, ``reason``
    and ``error`` say why.
    """
    facts: dict[str, Any] = {"reached": False, "asked": False, "reason": "", "error": ""}
    with contextlib.ExitStack() as opened:
        try:
            first = _connect(options, application_name)
        except psycopg.Error as error:
            said = str(error).strip()
            return {**facts, "reason": reason_of(said), "error": said}
        opened.callback(first.close)
        facts.update(reached=True, tls=_tls_of(first))
        second: psycopg.Connection[Any] | None = None
        try:
            second = _connect(options, application_name, "-c " + "=".join(BROUGHT))
        except psycopg.Error as error:
            said = str(error).strip()
            facts["pooler"] = {"error": said, "reason": reason_of(said)}
        try:
            if second is not None:
                opened.callback(second.close)
                facts["pooler"] = _backends(first, second)
            own = [pid for pids in facts["pooler"].get("backends", []) for pid in pids]
            facts.update(_ask(first, own or [first.info.backend_pid], questions))
        except psycopg.Error as error:
            facts.update(reason="statement", error=f"SQLSTATE {error.sqlstate}: {str(error).strip()}")
        else:
            facts["asked"] = True
    return facts


def reason_of(said: str) -> str:
    """One word for why libpq could not connect; ``other`` for what is not known."""
    return next((reason for words, reason in _REASONS if words in said), "other")


def _connect(
    options: ConnectionOptions, application_name: str, settings: str = ""
) -> psycopg.Connection[Any]:
    if options.service_file:
        # libpq reads the place of the service file from the environment only (a keyword comes with libpq 18).
        os.environ["PGSERVICEFILE"] = options.service_file
    return psycopg.connect(
        **options.keywords(),
        options=settings,
        application_name=application_name[:63],
        autocommit=True,
        client_encoding="UTF8",
        prepare_threshold=None,
        tcp_user_timeout=30_000,
    )


def _tls_of(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """How libpq secured the connection; the settings as they came out, also of a service file."""
    settled = {option.keyword.decode(): (option.val or b"").decode() for option in connection.pgconn.info}
    return {
        "sslmode": settled["sslmode"],
        "sslrootcert": settled["sslrootcert"],
        "in_use": connection.pgconn.ssl_in_use,
    }


def _backends(first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> dict[str, Any]:
    """Which backends serve two sessions that are asked in turn, which were announced, and what became of a setting.

    A pooler makes up what it announces. One that pools transactions serves both sessions by one backend, or one of
    them by several. Any may drop what a session brings. Nothing is set by a command to find that out: it would stay in
    a backend that serves the application.
    """
    seen: list[list[int]] = [[], []]
    for _ in range(POOLER_ROUNDS):
        for pids, connection in zip(seen, (first, second), strict=True):
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            pids.append(row[0] if row else 0)
    setting = second.execute(f"SHOW {BROUGHT[0]}".encode()).fetchone()
    return {
        "announced": [connection.info.backend_pid for connection in (first, second)],
        "backends": seen,
        "setting_kept": setting == (BROUGHT[1],),
        "error": "",
    }


def _ask(connection: psycopg.Connection[Any], own: list[int], questions: Questions) -> dict[str, Any]:
    """The questions themselves.

    :param own: process ids of our own backends, which are not among the answers
    """
    schema, protected = questions.schema, list(questions.protected)
    publications, about = _PUBLICATIONS, []
    if connection.info.server_version >= 150000:
        publications, about = _PUBLICATIONS + _SCHEMA_PUBLICATIONS, [schema]
    asked: dict[str, tuple[str, Sequence[Any] | None]] = {
        "begin": ("BEGIN READ ONLY", None),
        # Before the next one: it would see that.
        "settings": (_SETTINGS, (list(SETTINGS),)),
        "limit": (f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}", None),
        "identity": (_IDENTITY, None),
        "tls": (_TLS, None),
        "rights": (_RIGHTS, (questions.owner_role, schema, questions.ledger)),
        "ledger": (_LEDGER_TABLES, (questions.ledger,)),
        "counts": (_COUNTS, (own,)),
        "replication": (_REPLICATION, None),
        "transactions": (_TRANSACTIONS, (list(DUMP_PROGRAMS), own, list(DUMP_PROGRAMS), LONGEST_LIST)),
        "protected": (_PROTECTED, (protected,)),
        "locks": (_LOCKS, (protected, own, LONGEST_LIST)),
        "invalid": (_INVALID_INDEXES, (schema, LONGEST_LIST)),
        "prepared": (_PREPARED, (LONGEST_LIST,)),
        "event_triggers": (_EVENT_TRIGGERS, None),
        "publications": (publications, about or None),
        "ages": (_AGES, (schema, protected)),
        "end": ("COMMIT", None),
    }
    answers = _answers(connection, asked)
    facts = _facts(answers)
    if facts["rights"]["ledger_readable"]:
        owners = {
            "begin": ("BEGIN READ ONLY", None),
            "owners": (
                _RECORDED_OWNERS.replace("{ledger}", Identifier(questions.ledger).as_string(connection)),
                (schema,),
            ),
            "end": ("COMMIT", None),
        }
        facts["owners"] = _rows(_answers(connection, owners)["owners"], "table", "owner", "ours")
    return facts


def _answers(
    connection: psycopg.Connection[Any], asked: Mapping[str, tuple[str, Sequence[Any] | None]]
) -> dict[str, list[tuple[Any, ...]]]:
    """Send all questions in one round trip."""
    cursors = {}
    with connection.pipeline():
        for name, (query, parameters) in asked.items():
            cursors[name] = connection.execute(query.encode(), parameters)
    return {name: cursor.fetchall() if cursor.description else [] for name, cursor in cursors.items()}


def _rows(rows: list[tuple[Any, ...]], *names: str) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def _facts(answers: Mapping[str, list[tuple[Any, ...]]]) -> dict[str, Any]:
    (server,) = _rows(
        answers["identity"],
        "version", "version_num", "database", "session_role", "role", "standby", "encoding", "database_bytes",
        "sees_all_sessions", "now",
    )  # fmt: skip
    (rights,) = _rows(
        answers["rights"],
        "owner", "owner_exists", "member", "schema_exists", "use_schema", "create_in_schema", "create_schema",
        "create_ledger", "create_database", "ledger_exists", "use_ledger",
    )  # fmt: skip
    rights["ledger"] = _rows(answers["ledger"], "table", "select", "insert", "update", "delete")
    readable = {row["table"] for row in rights["ledger"] if row["select"]}
    rights["ledger_readable"] = rights["use_ledger"] and {"migration", "change"} <= readable
    (counts,) = _rows(answers["counts"], "server", "database", "hidden")
    (replication,) = _rows(answers["replication"], "confirming", "hidden")
    tls = _rows(answers["tls"], "in_use", "version", "cipher")
    return {
        "server": server,
        "settings": {
            name: {"value": value, "unit": unit or "", "source": source}
            for name, value, unit, source in answers["settings"]
        },
        "server_tls": tls[0] if tls else {"in_use": False, "version": None, "cipher": None},
        "rights": rights,
        "connections": counts,
        "replication": replication,
        "transactions": _rows(
            answers["transactions"],
            "pid", "role", "application_name", "state", "kind", "transaction_s", "state_s", "dump", "wraparound",
        ),
        "protected": _rows([row[:2] for row in answers["protected"]], "given", "found"),
        "locks": _rows(
            answers["locks"],
            "table", "mode", "granted", "pid", "application_name", "state", "autovacuum", "transaction_s",
        ),
        "invalid_indexes": _rows(answers["invalid"], "index", "table"),
        "prepared_transactions": _rows(answers["prepared"], "gid", "owner", "age_s"),
        "event_triggers": _rows(answers["event_triggers"], "name", "event"),
        "publications": _rows(answers["publications"], "name", "what"),
        "ages": _rows(answers["ages"], "table", "age", "allowed"),
    }  # fmt: skip
