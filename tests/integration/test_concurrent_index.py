"""Statements outside a transaction: applied, interrupted, finished by the next run, and never done twice."""

from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, StatementFailed

from sandbox.databases import Database
from tests.migration_folders import write_migration
from tests.runner import Runner

SQL = (
    "CREATE TABLE {{ schema }}.late (id integer, other integer);\n"
    "CREATE UNIQUE INDEX CONCURRENTLY late_id ON {{ schema }}.late (id);\n"
    "CREATE INDEX CONCURRENTLY late_other ON {{ schema }}.late (other);\n"
)


@pytest.fixture
def runner(database: Database, tmp_path: Path) -> Runner:
    """A runner over two migrations: a table with two rows of its own, and indexes built concurrently on it."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "late", SQL)
    return Runner(database.options, folder, lock_timeout_ms=500)


def state_of(database: Database) -> list[str]:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT state FROM rollout.migration WHERE rolled_back_at IS NULL"
        ).fetchall()
        return [state for (state,) in rows]


def test_it_is_applied_recorded_and_left_alone_afterwards(database: Database, runner: Runner) -> None:
    (outcome,) = runner.apply().outcomes
    assert outcome.executed["state"] == "applied"
    assert [statement["place"] for statement in outcome.executed["statements"]] == [
        "0001_late/010_all.sql.j2:1",
        "0001_late/010_all.sql.j2:2",
        "0001_late/010_all.sql.j2:3",
    ]
    assert state_of(database) == ["applied"]
    assert [s for s in database.ddl_log() if "CONCURRENTLY" in s]
    database.mark_log()
    assert not runner.apply().changed
    assert not runner.apply(check=True).changed
    assert database.ddl_log() == []
    assert runner.inspect().differences == []
    with database.connect() as connection:
        recorded = connection.execute(
            "SELECT object FROM rollout.change WHERE object LIKE 'index %'"
        ).fetchall()
    assert sorted(name for (name,) in recorded) == ["index late_id", "index late_other"]


def test_a_failed_build_is_left_unfinished_and_replaced_by_the_next_run(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "rows", "CREATE TABLE {{ schema }}.late (id integer, other integer);\n")
    runner = Runner(database.options, folder)
    runner.apply()
    with database.connect() as application:
        application.execute("INSERT INTO late VALUES (1), (1)")
    write_migration(folder, "0002", "unique", SQL.partition("\n")[2])
    with pytest.raises(StatementFailed) as failed:
        runner.apply()
    assert failed.value.details["sqlstate"] == "23505"
    assert "0002_unique/010_all.sql.j2:1" in str(failed.value)
    assert state_of(database) == ["applied", "unfinished"]
    assert runner.inspect().entries["index late_id"]["invalid"]

    told = runner.apply(check=True)
    assert told.states == ["applied", "unfinished"]
    assert told.changed
    assert "would finish" in told.outcomes[0].summary

    with database.connect() as application:
        application.execute("UPDATE late SET id = 2 WHERE ctid = (SELECT min(ctid) FROM late)")
    again = runner.apply()
    assert again.states == ["applied", "unfinished"]
    assert again.changed
    assert state_of(database) == ["applied", "applied"]
    assert not runner.inspect().entries["index late_id"].get("invalid")
    assert not runner.apply().changed


def test_an_index_that_was_finished_is_not_built_again(database: Database, runner: Runner) -> None:
    """As if the runner had died after the first of two indexes."""
    runner.apply()
    with database.connect() as owner:
        owner.execute("DROP INDEX late_other")
        owner.execute("UPDATE rollout.migration SET state = 'unfinished'")
        owner.execute("DELETE FROM rollout.change WHERE object LIKE 'index %'")
    database.mark_log()
    assert runner.apply().states == ["unfinished"]
    real = [s for s in database.ddl_log() if "scratch" not in s]
    assert len([s for s in real if "late_other" in s]) == 1
    assert not [s for s in real if "late_id" in s]
    assert state_of(database) == ["applied"]


def test_all_done_but_the_ledger_is_finished_without_ddl(database: Database, runner: Runner) -> None:
    """As if the runner had died between the last index and the ledger."""
    runner.apply()
    with database.connect() as owner:
        owner.execute("UPDATE rollout.migration SET state = 'unfinished'")
        owner.execute("DELETE FROM rollout.change WHERE object LIKE 'index %'")
    database.mark_log()
    assert runner.apply().changed
    assert [s for s in database.ddl_log() if "scratch" not in s] == []
    assert state_of(database) == ["applied"]


def test_dropping_and_creating_concurrently_goes_on_where_it_stopped(
    database: Database, tmp_path: Path
) -> None:
    """The drop was done, the build was not: the drop must not be tried again."""
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "old",
        "CREATE TABLE {{ schema }}.late (id integer);\nCREATE INDEX late_old ON {{ schema }}.late (id);\n",
    )
    runner = Runner(database.options, folder)
    runner.apply()
    with database.connect() as application:
        application.execute("INSERT INTO late VALUES (1), (1)")
    write_migration(
        folder,
        "0002",
        "new",
        "DROP INDEX CONCURRENTLY {{ schema }}.late_old;\n"
        "CREATE UNIQUE INDEX CONCURRENTLY late_new ON {{ schema }}.late (id);\n",
        drops=["index late_old"],
    )
    with pytest.raises(StatementFailed):
        runner.apply()
    assert "index late_old" not in runner.inspect().entries
    with database.connect() as application:
        application.execute("DELETE FROM late")
    assert runner.apply().changed
    assert state_of(database) == ["applied", "applied"]
    assert not runner.apply().changed
    assert runner.inspect().differences == []


def test_an_index_of_that_name_made_by_hand_is_adopted(database: Database, runner: Runner) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE late (id integer, other integer)")
        owner.execute("CREATE UNIQUE INDEX late_id ON late (id)")
        owner.execute("CREATE INDEX late_other ON late (other)")
    database.mark_log()
    applied = runner.apply()
    assert applied.states == ["unrecorded, equal"]
    assert state_of(database) == ["adopted"]
    assert not [s for s in database.ddl_log() if "CONCURRENTLY" in s]
    assert "4 adopted objects stay" in runner.take_back("0001").summary or runner.inspect().entries
    assert {"table late", "index late_id", "index late_other"} <= set(runner.inspect().entries)


def test_an_index_of_that_name_on_other_columns_is_refused(database: Database, runner: Runner) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE late (id integer, other integer)")
        owner.execute("CREATE INDEX late_id ON late (other)")
    before = runner.inspect().fingerprint
    with pytest.raises(DriftFound, match="index late_id: differs"):
        runner.apply()
    assert runner.inspect().fingerprint == before


def test_an_invalid_index_made_by_hand_is_replaced(database: Database, runner: Runner) -> None:
    """What an interrupted build by hand left: the same index, but invalid."""
    with database.connect_admin() as admin:
        admin.execute("SET ROLE gen_user")
        admin.execute("CREATE TABLE late (id integer, other integer)")
        admin.execute("CREATE UNIQUE INDEX late_id ON late (id)")
        admin.execute("RESET ROLE")
        admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'late_id'::regclass")
    with pytest.raises(DriftFound) as refused:
        runner.apply()
    assert "index late_id: differs" in str(refused.value)
    assert "- invalid: True" in str(refused.value)


def test_an_old_transaction_that_a_build_waits_for_is_named(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "late", SQL)
    runner = Runner(database.options, folder, lock_timeout_ms=200, attempts=2)
    with database.connect(autocommit=False, application_name="long report") as application:
        application.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        application.execute("SELECT count(*) FROM whatsapp_auth")
        with pytest.raises(StatementFailed) as failed:
            runner.apply()
        assert failed.value.details["sqlstate"] == "55P03"
        assert "long report" in str(failed.value)
    assert state_of(database) == ["unfinished"]
    assert runner.apply().changed
    assert state_of(database) == ["applied"]


def test_it_is_taken_back_like_any_other(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "table", SQL.partition("\n")[0])
    write_migration(folder, "0002", "indexes", SQL.partition("\n")[2])
    runner = Runner(database.options, folder)
    runner.bring_in("0001")
    before = runner.inspect().entries
    runner.bring_in("0002")
    assert runner.take_back("0002").changed
    assert runner.inspect().entries == before
