"""What a program that claims to have written nothing must have left as it was."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from sandbox.databases import Database
from sandbox.server import PostgresServer

_READ = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, pg_current_wal_lsn()::text,
       (SELECT ARRAY[tup_inserted, tup_updated, tup_deleted] FROM pg_stat_database WHERE datname = current_database()),
       (SELECT array_agg(nspname::text ORDER BY nspname) FROM pg_namespace),
       (SELECT md5(string_agg((to_jsonb(c) - ARRAY['relpages', 'reltuples', 'relallvisible', 'relallfrozen',
                                                   'relfrozenxid', 'relminmxid'])::text, ',' ORDER BY oid))
          FROM pg_class c),
       (SELECT array_agg(schemaname || '.' || sequencename || ' ' || coalesce(last_value, 0) ORDER BY 1)
          FROM pg_sequences)
"""


@dataclass(frozen=True)
class Traces:
    """State of a database and its server that every write moves.

    :ivar next_transaction: the next transaction id: only a transaction that writes gets one
    :ivar wal_position: end of the write-ahead log
    :ivar relations: digest of pg_class, without what VACUUM and ANALYZE write there: autovacuum may come at any time
    :ivar tuples: rows inserted, updated and deleted in this database so far
    """

    next_transaction: str
    wal_position: str
    tuples: list[int]
    schemas: list[str]
    relations: str
    sequences: list[str]


def read(database: Database) -> Traces:
    """Look at them in a session of their own."""
    with database.connect_admin() as witness:
        row = witness.execute(_READ).fetchone()
        assert row is not None
        return Traces(*row)


def left_by(database: Database, action: Callable[[], object], calls: int = 3) -> set[str]:
    """Names of the traces that an action left.

    :param calls: how often the action is called. The write-ahead log counts only when it grew in every call: a
        background process writes to it at times, and so does a reader that prunes a page or sets a hint bit. The
        other traces count when they moved in any call.
    """
    moved: list[set[str]] = []
    for _ in range(calls):
        before = asdict(read(database))
        action()
        after = asdict(read(database))
        moved.append({name for name in before if before[name] != after[name]})
    found = set().union(*moved)
    if not all("wal_position" in names for names in moved):
        found.discard("wal_position")
    return found


@contextmanager
def without_autovacuum(server: PostgresServer) -> Iterator[None]:
    """Keep autovacuum away: its transactions would count as the action's."""
    running = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum %'"
    with server.connect() as admin:
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 10
        while admin.execute(running).fetchone() != (0,):
            assert time.monotonic() < deadline, "autovacuum did not end"
            time.sleep(0.02)
    try:
        yield
    finally:
        with server.connect() as admin:
            admin.execute("ALTER SYSTEM RESET autovacuum")
            admin.execute("SELECT pg_reload_conf()")
