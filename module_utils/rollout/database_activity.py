"""How busy a database is, and who stands in whose way: figures of one moment, no judgement.

Every question is one that the least of logins may ask. What PostgreSQL hides from it, the transactions of other
logins' sessions, is counted as hidden. The text of a query is never read.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.rollout.connection import Command, Session

#: Longest run of one of the queries, milliseconds: a look must not hang on a busy database.
TIMEOUT_MS = 10_000
#: Sessions of each kind that are named, for people: those that take longest.
LONGEST_LIST = 20

_DATABASE = """
SELECT extract(epoch FROM pg_postmaster_start_time())::float8, pg_database_size(datid)::bigint, xact_commit,
       xact_rollback, deadlocks, temp_bytes::bigint, extract(epoch FROM stats_reset)::float8
  FROM pg_stat_database WHERE datname = current_database()
"""
_DATABASE_FIGURES = (
    "started",
    "size",
    "commits",
    "rollbacks",
    "deadlocks",
    "temp_bytes",
    "counted_since",
)
# When the server's statistics began: at initdb, or when crash recovery threw them away. A clean restart keeps them.
_STATISTICS = "SELECT extract(epoch FROM stats_reset)::float8 FROM pg_stat_bgwriter"
# The session that asks is not counted. PostgreSQL hides backend_type of other logins' sessions, and with it all that is
# asked for in the next query.
_SESSIONS = """
SELECT count(*), count(*) FILTER (WHERE datname = current_database()), count(*) FILTER (WHERE backend_type IS NULL),
       count(*) FILTER (WHERE datname = current_database() AND state LIKE 'idle in transaction%'),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true), '0')::int
  FROM pg_stat_activity
 WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
   AND pid <> pg_backend_pid()
"""
_SESSION_FIGURES = (
    "connections",
    "connections_database",
    "hidden_sessions",
    "idle_in_transaction",
    "connections_max",
)
_TRANSACTIONS = f"""
SELECT pid, application_name, state, extract(epoch FROM clock_timestamp() - xact_start)::float8,
       CASE WHEN state LIKE 'idle in transaction%' THEN extract(epoch FROM clock_timestamp() - state_change)::float8
            ELSE 0 END
  FROM pg_stat_activity
 WHERE datname = current_database() AND xact_start IS NOT NULL AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
 ORDER BY xact_start LIMIT {LONGEST_LIST}
"""
# waitstart is not there yet in the first moment of a wait.
_WAITS = f"""
SELECT l.pid, a.application_name, coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0)::float8, l.mode,
       coalesce(c.relname, l.locktype), pg_blocking_pids(l.pid), count(*) OVER ()
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
  LEFT JOIN pg_class c ON c.oid = l.relation AND l.database = a.datid
 WHERE NOT l.granted AND a.datname = current_database()
 ORDER BY 3 DESC LIMIT {LONGEST_LIST}
"""
_REPLICATION = "SELECT count(*), extract(epoch FROM max(replay_lag))::float8 FROM pg_stat_replication"


def read(session: Session) -> dict[str, Any]:
    """The figures, in one round trip.

    :returns: JSON-compatible; sizes in bytes, times in seconds. ``commits``, ``rollbacks``, ``deadlocks`` and
        ``temp_bytes`` count from ``counted_since`` on, or from ``statistics_since``
    """
    questions = [_DATABASE, _STATISTICS, _SESSIONS, _TRANSACTIONS, _WAITS, _REPLICATION]
    answers = session.run(["BEGIN READ ONLY", *map(Command, questions), "COMMIT"])
    (database,), ((statistics_since,),), (sessions,), transactions, waits, (replication,) = answers[1:-1]
    figures = dict(zip(_DATABASE_FIGURES, database, strict=True))
    figures["statistics_since"] = statistics_since
    figures.update(zip(_SESSION_FIGURES, sessions, strict=True))
    figures["transactions"] = [
        {
            "pid": pid,
            "application_name": name,
            "state": state,
            "seconds": round(seconds, 3),
            "idle_s": round(idle, 3),
        }
        for pid, name, state, seconds, idle in transactions
    ]
    figures["waiting_locks"] = waits[0][-1] if waits else 0
    figures["waits"] = [
        {
            "pid": pid,
            "application_name": name,
            "seconds": round(seconds, 3),
            "mode": mode,
            "on": wanted,
            "held_by": list(holders),
        }
        for pid, name, seconds, mode, wanted, holders, _ in waits
    ]
    figures.update(zip(("replicas", "replication_lag_s"), replication, strict=True))
    return figures
