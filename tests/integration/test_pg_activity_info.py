"""pg_activity_info on a real server: each figure moves when, and only when, what it counts happens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any

import psycopg
import pytest
import yaml

from sandbox.databases import Database
from tests import traces
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, load, run
from tests.waiting import until, until_somebody_waits_for

NAME = "pg_activity_info"
MB = 1024 * 1024

Look = Callable[[], dict[str, Any]]


@pytest.fixture
def look(database: Database, capsys: pytest.CaptureFixture[str]) -> Look:
    def once() -> dict[str, Any]:
        activity: dict[str, Any] = run(NAME, capsys, **database.options)["activity"]
        return activity

    return once


def test_it_returns_what_its_documentation_says_and_changes_nothing(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    call = partial(run, NAME, capsys, **database.options)
    result = call()
    assert set(result) == documented(NAME) | {"changed", "invocation"}
    assert set(result["activity"]) == set(yaml.safe_load(load(NAME).RETURN)["activity"]["contains"])
    assert result["changed"] is False
    assert call(check=True).keys() == result.keys()
    with traces.without_autovacuum(database.server):
        assert traces.left_by(database, call) == set()


def test_a_quiet_database(look: Look, database: Database) -> None:
    found = look()
    assert (found["connections_database"], found["idle_in_transaction"], found["waiting_locks"]) == (0, 0, 0)
    assert (found["transactions"], found["waits"]) == ([], [])
    assert (found["replicas"], found["replication_lag_s"]) == (0, None)
    with database.connect() as owner:
        size, limit, started = owner.execute(
            "SELECT pg_database_size(current_database()), current_setting('max_connections')::int,"
            " extract(epoch FROM pg_postmaster_start_time())::float8"
        ).fetchone() or (0, 0, 0)
    assert abs(found["size"] - size) < MB
    assert found["started"] == started
    assert 0 < found["connections_max"] < limit


def test_sessions_and_the_oldest_transaction(look: Look, database: Database) -> None:
    with (
        database.connect(autocommit=False, application_name="ai-admin-api") as older,
        database.connect(autocommit=False) as younger,
        database.connect(),
    ):
        older.execute("SELECT 1")
        until(lambda: look()["transactions"], "no transaction is seen")
        younger.execute("SELECT 1")
        found = until(lambda: seen if len((seen := look())["transactions"]) == 2 else None, "one is not seen")
        assert (found["connections_database"], found["idle_in_transaction"]) == (3, 2)
        first, second = found["transactions"]
        assert first["pid"] == older.info.backend_pid
        assert (first["application_name"], first["state"]) == ("ai-admin-api", "idle in transaction")
        assert first["seconds"] >= second["seconds"]
        assert first["seconds"] >= first["idle_s"] > 0
        older.rollback()
        younger.rollback()
        until(lambda: not look()["transactions"], "a transaction that ended is still seen")


@contextmanager
def at_work(connection: psycopg.Connection, statement: str) -> Iterator[None]:
    """While the block runs, the session is busy with a statement; cancelled then, if it still is."""

    def execute() -> None:
        with suppress(psycopg.Error):
            connection.execute(statement.encode())

    thread = Thread(target=execute)
    thread.start()
    try:
        yield
    finally:
        connection.cancel_safe()
        thread.join()


def test_a_transaction_at_work_is_not_idle(look: Look, database: Database) -> None:
    with at_work(database.connect(), "SELECT pg_sleep(60)"):
        found = until(lambda: seen if (seen := look())["transactions"] else None, "the query is not seen")
    assert (found["transactions"][0]["state"], found["transactions"][0]["idle_s"]) == ("active", 0)
    assert found["idle_in_transaction"] == 0


def test_who_waits_for_whom(look: Look, database: Database) -> None:
    """A row's lock too, which is not a relation's."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer)")
        owner.execute("INSERT INTO prices VALUES (1)")
    holder = database.connect(autocommit=False)
    writer, reader = database.connect(application_name="ai-admin-api"), database.connect()
    holder.execute("UPDATE prices SET id = id")
    with at_work(writer, "UPDATE prices SET id = id"):
        found = until(lambda: seen if (seen := look())["waiting_locks"] else None, "nobody waits")
        (wait,) = found["waits"]
        assert (found["waiting_locks"], wait["pid"]) == (1, writer.info.backend_pid)
        assert (wait["application_name"], wait["held_by"]) == ("ai-admin-api", [holder.info.backend_pid])
        assert wait["on"] in ("transactionid", "prices")
        until(lambda: look()["waits"][0]["seconds"] > 0.1, "the wait does not grow")
    holder.execute("LOCK TABLE prices")
    with at_work(reader, "SELECT * FROM prices"), database.connect() as witness:
        until_somebody_waits_for("prices", witness)
        (wait,) = look()["waits"]
        assert (wait["on"], wait["mode"]) == ("prices", "AccessShareLock")
    holder.rollback()
    until(lambda: not look()["waiting_locks"], "somebody still waits")


def test_what_counters_count(look: Look, database: Database) -> None:
    before = look()
    owner = database.connect()
    with pytest.raises(psycopg.errors.UndefinedTable):
        owner.execute("SELECT * FROM nowhere")
    owner.execute("CREATE TABLE grown AS SELECT i, repeat('x', 500) AS t FROM generate_series(1, 20000) AS i")
    owner.execute("SET work_mem = '64kB'")
    owner.execute("SELECT * FROM grown ORDER BY t, i").fetchall()
    owner.close()  # its counters are handed in now
    found = until(
        lambda: seen if (seen := look())["temp_bytes"] > before["temp_bytes"] + MB else None,
        "no temporary file",
    )
    assert found["rollbacks"] == before["rollbacks"] + 1
    assert found["commits"] > before["commits"]
    assert found["size"] > before["size"] + 5 * MB
    assert found["deadlocks"] == before["deadlocks"]


def test_a_deadlock_is_counted(look: Look, database: Database) -> None:
    before = look()["deadlocks"]
    one, two = database.connect(autocommit=False), database.connect(autocommit=False)
    one.execute("SELECT pg_advisory_xact_lock(1)")
    two.execute("SELECT pg_advisory_xact_lock(2)")
    with at_work(one, "SELECT pg_advisory_xact_lock(2)"), suppress(psycopg.errors.DeadlockDetected):
        two.execute("SELECT pg_advisory_xact_lock(1)")
        two.rollback()
    one.close()
    two.close()
    until(lambda: look()["deadlocks"] == before + 1, "the deadlock is not counted")


def test_other_logins_transactions_are_hidden_and_counted(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connect(autocommit=False) as owner:
        owner.execute("SELECT 1")
        found = run(NAME, capsys, **database.readonly_options)["activity"]
        assert found["hidden_sessions"] >= 1
        assert found["transactions"] == []
        assert found["connections_database"] == 1
    assert run(NAME, capsys, **database.admin_options)["activity"]["hidden_sessions"] == 0


def test_a_failure_says_why_and_no_password(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    password = str(database.options["password"])
    wrong = run(NAME, capsys, **{**database.options, "password": password + "x"})
    assert wrong["failed"]
    assert "Look at the user and the password" in wrong["msg"]
    assert not [secret for secret in spellings(password) if secret in str(wrong)]


def test_without_psycopg_the_playbook_that_installs_it_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load(NAME)
    monkeypatch.setattr(module, "PSYCOPG_MISSING", ImportError("No module named 'psycopg'"))
    monkeypatch.setattr("tests.integration.module_run.load", lambda _: module)
    assert "playbooks/runtime.yml" in run(NAME, capsys)["msg"]
