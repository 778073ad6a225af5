"""Two runners at once: the second stops at once and names the first; nothing is executed twice."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import RolloutError, RunnerBusy

from sandbox.databases import Database
from tests import runner_process
from tests.migration_folders import write_migration
from tests.runner import Applied, Runner
from tests.waiting import until_somebody_waits_for


@pytest.fixture
def runner(database: Database, tmp_path: Path) -> Runner:
    """A patient runner over a migration that refers to the application's table prices."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY)")
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "offers",
        "CREATE TABLE {{ schema }}.offers (id integer REFERENCES {{ schema }}.prices (id));\n",
        existing_tables=["prices"],
    )
    return Runner(database.options, folder, run_id="first-run", lock_timeout_ms=60_000)


def test_the_second_stops_at_once_and_names_the_first(database: Database, runner: Runner) -> None:
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO prices VALUES (1)")
        process = runner_process.start(runner)
        backend = until_somebody_waits_for("prices", witness)
        second = Runner(database.options, runner.folder, run_id="second-run")
        began = time.monotonic()
        with pytest.raises(RunnerBusy) as refused:
            second.apply()
        assert time.monotonic() - began < 5
        assert f"rollout first-run (backend {backend}, from 127.0.0.1" in str(refused.value)
        assert refused.value.details["pid"] == backend
        with pytest.raises(RunnerBusy):
            second.take_back("0001")
        assert second.apply(check=True).changed, "who only reads need not wait"
        application.commit()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert witness.execute("SELECT run_id FROM rollout.migration").fetchall() == [("first-run",)]
        assert not second.apply().changed


def test_a_runner_of_another_login_is_named_as_far_as_one_may_see(database: Database, runner: Runner) -> None:
    dba = replace(runner, options=database.admin_options, run_id="by-the-dba")
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO prices VALUES (1)")
        process = runner_process.start(dba)
        backend = until_somebody_waits_for("prices", witness)
        with pytest.raises(RunnerBusy) as refused:
            runner.apply()
        assert f"rollout by-the-dba (backend {backend}" in str(refused.value)
        assert "None" not in str(refused.value)
        assert "the same host" not in str(refused.value), "where it runs is not known"
        application.rollback()
        process.communicate(timeout=30)


def test_started_together_one_applies_and_no_statement_is_sent_twice(database: Database) -> None:
    outcomes: list[Applied | RolloutError] = []
    together = threading.Barrier(2)

    def run(name: str) -> None:
        runner = Runner(database.options, run_id=name)
        together.wait()
        try:
            outcomes.append(runner.apply())
        except RolloutError as error:
            outcomes.append(error)

    database.mark_log()
    threads = [threading.Thread(target=run, args=[name]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert isinstance(outcome, Applied | RunnerBusy), outcome
    created = [s for s in database.ddl_log() if s.startswith('CREATE TABLE "public".companies')]
    assert len(created) == 1
    with database.connect() as witness:
        rows = witness.execute(
            "SELECT id, count(*) FROM rollout.migration GROUP BY id ORDER BY id"
        ).fetchall()
    assert [count for _, count in rows] == [1] * len(rows)
    assert rows[0] == ("0001", 1)
    last = Runner(database.options)
    last.apply()
    assert not last.apply().changed


def test_two_databases_of_one_server_do_not_hinder_each_other(database: Database, runner: Runner) -> None:
    """The lock's key is the same; advisory locks belong to a database."""
    with database.server.connect(dbname="postgres") as other:
        assert other.execute("SELECT pg_try_advisory_lock_shared(1, 1)").fetchone() == (True,)
        assert runner.apply().changed
