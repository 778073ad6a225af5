"""SIGKILL of the runner, wherever it is: the next run goes on without a manual step and applies nothing twice."""

import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.databases import Database
from sandbox.proxy import TcpProxy
from tests import runner_process
from tests.migration_folders import write_migration
from tests.runner import Runner
from tests.waiting import until, until_gone, until_somebody_waits_for

#: The migration's second statement needs a lock that the application holds.
SQL = (
    "CREATE TABLE {{ schema }}.offers (id integer);\n"
    "CREATE TABLE {{ schema }}.prices_used (id integer REFERENCES {{ schema }}.prices (id));\n"
    "CREATE TABLE {{ schema }}.last (id integer);\n"
)
RECORDED = "SELECT id, state, run_id FROM rollout.migration ORDER BY seq"


@pytest.fixture
def runner(database: Database, tmp_path: Path) -> Runner:
    """A patient runner over one migration that refers to the application's table prices."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY)")
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "offers", SQL, existing_tables=["prices"])
    return Runner(database.options, folder, lock_timeout_ms=60_000)


def test_in_the_middle_of_the_statements(database: Database, runner: Runner) -> None:
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO prices VALUES (1)")
        process = runner_process.start(runner)
        backend = until_somebody_waits_for("prices", witness)
        process.kill()
        process.wait()
        killed = time.monotonic()
        until_gone(backend, witness)
        assert time.monotonic() - killed < 3, "client_connection_check_interval notices within 0.2 s"
        assert witness.execute(
            "SELECT to_regclass('offers'), to_regnamespace('rollout'), count(*) FROM pg_locks"
            " WHERE locktype = 'advisory'"
        ).fetchone() == (None, None, 0)
        application.commit()
        assert runner.apply().states == ["absent"]
        assert witness.execute(RECORDED).fetchall() == [("0001", "applied", "run-1")]
    assert not runner.apply().changed


@pytest.mark.parametrize("moment", [0.35, 0.5, 0.65, 0.8])
def test_at_any_moment_of_the_real_migrations(database: Database, moment: float) -> None:
    """Each run begins at another point of what the one before has left: a whole migration, or nothing of it."""
    first = Runner(database.options, run_id="killed")
    process = runner_process.start(first)
    time.sleep(moment)
    process.kill()
    process.wait()
    second = Runner(database.options, run_id="second")
    second.apply()
    assert second.inspect().recorded == ["0001_business_tables", "0002_messages"]
    assert not second.apply().changed
    with database.connect() as witness:
        assert witness.execute(
            "SELECT id, count(*) FROM rollout.migration GROUP BY id ORDER BY id"
        ).fetchall() == [
            ("0001", 1),
            ("0002", 1),
        ]


def test_between_commit_and_its_answer(
    database: Database, runner: Runner, proxy: TcpProxy, plain_options: dict[str, Any]
) -> None:
    """The server has committed; the runner waits for the answer, which is lost, and is killed."""
    proxy.drop_replies_when(b'INSERT INTO "rollout".change', close_after_s=60)
    first = Runner(plain_options, runner.folder, run_id="killed")
    process = runner_process.start(first)
    with database.connect() as witness:
        until(
            lambda: witness.execute("SELECT to_regclass('rollout.migration')").fetchone() != (None,),
            "the migration was not committed",
        )
        assert process.poll() is None, "it still waits for the answer"
        process.kill()
        process.wait()
        proxy.restore()
        database.mark_log()
        second = Runner(database.options, runner.folder, run_id="second").apply()
        assert not second.changed
        assert second.states == ["applied"]
        assert database.ddl_log() == []
        assert witness.execute(RECORDED).fetchall() == [("0001", "applied", "killed")]


def test_while_an_index_is_built_concurrently(database: Database, runner: Runner, tmp_path: Path) -> None:
    """It waits for the application's transaction, which is older; what is left is invalid, and is replaced."""
    folder = tmp_path / "late"
    write_migration(
        folder,
        "0001",
        "late",
        "CREATE TABLE {{ schema }}.offers (id integer);\n"
        "CREATE INDEX CONCURRENTLY prices_id ON {{ schema }}.prices (id);\n",
        existing_tables=["prices"],
    )
    late = Runner(database.options, folder, run_id="killed", lock_timeout_ms=60_000)
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO prices VALUES (1)")
        process = runner_process.start(late)
        building = "SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        (backend,) = until(lambda: witness.execute(building).fetchone(), "no index is being built")
        process.kill()
        process.wait()
        until_gone(backend, witness)
        application.commit()
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indexrelid = 'prices_id'::regclass"
        assert witness.execute(invalid).fetchone() == (1,)
        assert witness.execute(RECORDED).fetchall() == [("0001", "unfinished", "killed")]

        again = Runner(database.options, folder, run_id="second")
        told = again.apply(check=True)
        assert (told.states, told.changed) == (["unfinished"], True)
        database.mark_log()
        assert again.apply().changed
        assert not [s for s in database.ddl_log() if 'CREATE TABLE "public".offers' in s]
        assert witness.execute(invalid).fetchone() == (0,)
        assert witness.execute(RECORDED).fetchall() == [("0001", "applied", "killed")]
    assert not again.apply().changed
    assert not again.apply(check=True).changed
