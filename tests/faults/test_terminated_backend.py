"""The server ends the runner's session: a clean stop, nothing half-applied, and the next run goes on."""

import threading
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import ConnectionFailed, RolloutError, StatementFailed

from sandbox.databases import Database
from tests.migration_folders import through_a_function, write_migration
from tests.runner import Runner
from tests.waiting import until_somebody_waits_for


@pytest.mark.parametrize(
    ("ending", "error", "told"),
    [
        ("pg_terminate_backend", ConnectionFailed, "was lost"),
        ("pg_cancel_backend", StatementFailed, "SQLSTATE 57014"),
    ],
)
def test_ended_in_the_middle(
    database: Database, tmp_path: Path, ending: str, error: type[RolloutError], told: str
) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY)")
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "offers",
        "CREATE TABLE {{ schema }}.offers (id integer);\n"
        "CREATE TABLE {{ schema }}.used (id integer REFERENCES {{ schema }}.prices (id));\n",
        existing_tables=["prices"],
    )
    runner = Runner(database.options, folder, lock_timeout_ms=60_000)
    before = runner.inspect().entries
    failures: list[RolloutError] = []

    def run() -> None:
        try:
            runner.apply()
        except RolloutError as failure:
            failures.append(failure)

    with (
        database.connect(autocommit=False) as application,
        database.connect() as witness,
        database.connect_admin() as admin,
    ):
        application.execute("INSERT INTO prices VALUES (1)")
        running = threading.Thread(target=run)
        running.start()
        backend = until_somebody_waits_for("prices", witness)
        assert admin.execute(f"SELECT {ending}(%s)".encode(), [backend]).fetchone() == (True,)
        running.join()
        (failure,) = failures
        assert isinstance(failure, error)
        assert told in str(failure)
        assert "un again" in failure.hint, "an error says what to do"
        application.rollback()
        assert runner.inspect().entries == before
        assert witness.execute("SELECT to_regnamespace('rollout')").fetchone() == (None,)
    assert runner.apply().changed
    assert not runner.apply().changed


def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "slow",
        "CREATE TABLE {{ schema }}.slow (id integer);\n" + through_a_function("PERFORM pg_sleep(20);"),
    )
    runner = Runner(database.options, folder, statement_timeout_ms=300)
    with pytest.raises(StatementFailed) as failed:
        runner.apply()
    assert failed.value.details["sqlstate"] == "57014"
    assert "0001_slow/010_all.sql.j2:3" in str(failed.value)
    assert runner.inspect().recorded == []
