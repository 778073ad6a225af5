"""Waits for something that another process or session is about to do."""

import time
from collections.abc import Callable
from typing import Any

import psycopg

PATIENCE_S = 20.0
_WAITING = """
SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND relation = %s::regclass ORDER BY pid
"""


def until(seen: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again; return the first answer that is true.

    :param what: for the message when patience ends, with the last answer
    """
    deadline = time.monotonic() + patience_s
    while True:
        answer = seen()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: last seen {answer!r}"
        time.sleep(0.01)


def until_somebody_waits_for(table: str, witness: psycopg.Connection) -> int:
    """Wait until a session waits for a lock on a table; return its backend's process id."""
    rows = until(lambda: witness.execute(_WAITING, [table]).fetchall(), f"nobody waits for {table}")
    return int(rows[0][0])


def until_gone(pid: int, witness: psycopg.Connection) -> None:
    """Wait until a backend has ended."""
    ended = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
    until(lambda: (witness.execute(ended, [pid]).fetchone() or (False,))[0], f"backend {pid} lives on")
