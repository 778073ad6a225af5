"""A lock that the application holds: a bounded wait, several attempts, the holder named and left alone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml
from ansible.module_utils.rollout.errors import RolloutError, StatementFailed

from sandbox.databases import Database
from tests.migration_folders import write_migration
from tests.runner import Runner
from tests.waiting import until, until_somebody_waits_for

FOREIGN_KEY = (
    "CREATE TABLE {{ schema }}.offers (id integer);\n"
    "CREATE TABLE {{ schema }}.used (id integer REFERENCES {{ schema }}.prices (id));\n"
)
ALTERATION = (
    "CREATE TABLE {{ schema }}.offers (id integer);\nALTER TABLE {{ schema }}.prices ADD COLUMN note text;\n"
)
LOCK_TIMEOUT_MS = 250


@pytest.fixture(autouse=True)
def prices(database: Database) -> None:
    """A table of the application that is not protected."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY)")
        owner.execute("INSERT INTO prices VALUES (1)")


def runner_over(database: Database, folder: Path, sql: str, attempts: int = 3) -> Runner:
    write_migration(folder, "0001", "offers", sql, existing_tables=["prices"])
    return Runner(database.options, folder, lock_timeout_ms=LOCK_TIMEOUT_MS, attempts=attempts)


@contextmanager
def application(database: Database, *statements: str) -> Iterator[psycopg.Connection]:
    """A session of the application, in a transaction."""
    with database.connect(autocommit=False, application_name="ai-admin-api") as connection:
        for statement in statements:
            connection.execute(statement.encode())
        yield connection


@pytest.mark.parametrize(
    ("sql", "held"),
    [
        (FOREIGN_KEY, "UPDATE prices SET id = id"),
        (ALTERATION, "SELECT * FROM prices"),
    ],
    ids=["writer in the way of a foreign key", "reader in the way of an alteration"],
)
def test_the_wait_is_bounded_the_holder_named_and_nothing_left(
    database: Database, tmp_path: Path, sql: str, held: str
) -> None:
    runner = runner_over(database, tmp_path / "migrations", sql)
    before = runner.inspect()
    with application(database, held) as holder:
        began = time.monotonic()
        with pytest.raises(StatementFailed) as refused:
            runner.apply()
        waited = time.monotonic() - began
        assert holder.execute("SELECT count(*) FROM prices").fetchone() == (1,), "nobody's session is ended"
        text = str(refused.value)
        assert refused.value.details["sqlstate"] == "55P03"
        assert "0001_offers/010_all.sql.j2:2" in text
        assert "after 3 attempts" in text
        assert (
            f"backend {holder.info.backend_pid} (ai-admin-api, idle in transaction, transaction open for"
            in text
        )
        assert "on prices" in text
        assert 3 * LOCK_TIMEOUT_MS / 1000 <= waited < 5
    assert runner.inspect().entries == before.entries
    assert runner.inspect().recorded == []
    assert runner.apply().changed


def test_a_holder_of_another_login_is_named_as_far_as_one_may_see(database: Database, tmp_path: Path) -> None:
    """PostgreSQL hides what other roles' sessions do, and since when; what is hidden is not told as None."""
    runner = runner_over(database, tmp_path / "migrations", ALTERATION, attempts=1)
    with database.connect_admin(autocommit=False, application_name="nightly dump") as holder:
        holder.execute("LOCK TABLE prices IN ACCESS SHARE MODE")
        pid = holder.info.backend_pid
        with pytest.raises(StatementFailed) as refused:
            runner.apply()
    assert f"backend {pid} (nightly dump" in str(refused.value)
    assert "ACCESS SHARE on prices" in str(refused.value)
    assert "None" not in str(refused.value)


def test_a_long_query_is_named_as_running(database: Database, tmp_path: Path) -> None:
    runner = runner_over(database, tmp_path / "migrations", ALTERATION, attempts=1)

    def read_slowly() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            reader.execute("SELECT pg_sleep(30), id FROM prices")

    with application(database) as reader, database.connect() as witness:
        query = threading.Thread(target=read_slowly)
        query.start()
        held = "SELECT 1 FROM pg_locks WHERE relation = 'prices'::regclass AND granted"
        until(lambda: witness.execute(held).fetchone(), "the query did not start")
        with pytest.raises(StatementFailed, match=r"\(ai-admin-api, active, transaction open for"):
            runner.apply()
        witness.execute("SELECT pg_cancel_backend(%s)", [reader.info.backend_pid])
        query.join()


def test_who_queues_behind_the_rollout_waits_no_longer_than_its_timeout(
    database: Database, tmp_path: Path
) -> None:
    """A waiting ACCESS EXCLUSIVE makes every later reader wait behind it: that is what lock_timeout bounds."""
    runner = runner_over(database, tmp_path / "migrations", ALTERATION, attempts=1)
    waits: list[float] = []

    def read() -> None:
        with database.connect() as customer:
            began = time.monotonic()
            customer.execute("SELECT * FROM prices")
            waits.append(time.monotonic() - began)

    def fail() -> None:
        with pytest.raises(StatementFailed):
            runner.apply()

    with application(database, "SELECT * FROM prices"), database.connect() as witness:
        rollout = threading.Thread(target=fail)
        rollout.start()
        until_somebody_waits_for("prices", witness)
        customer = threading.Thread(target=read)
        customer.start()
        customer.join(10)
        rollout.join(10)
    assert len(waits) == 1
    assert waits[0] < LOCK_TIMEOUT_MS / 1000 + 0.5


def test_a_lock_that_is_given_back_between_two_attempts_is_taken(database: Database, tmp_path: Path) -> None:
    runner = runner_over(database, tmp_path / "migrations", FOREIGN_KEY, attempts=20)
    with application(database, "UPDATE prices SET id = id") as holder, database.connect() as witness:

        def give_back() -> None:
            until_somebody_waits_for("prices", witness)
            time.sleep(2 * LOCK_TIMEOUT_MS / 1000)
            holder.commit()

        giving = threading.Thread(target=give_back)
        giving.start()
        (outcome,) = runner.apply().outcomes
        giving.join()
    assert outcome.executed["attempts"] > 1
    assert not runner.apply().changed


def test_a_deadlock_with_the_application_is_tried_again(database: Database, tmp_path: Path) -> None:
    """The application locked the second table first. It waits with patience, so PostgreSQL ends the rollout's turn."""
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "both",
        "ALTER TABLE {{ schema }}.goods ADD COLUMN note text;\nALTER TABLE {{ schema }}.prices ADD COLUMN note text;\n",
        existing_tables=["goods", "prices"],
    )
    with database.connect() as owner:
        owner.execute("CREATE TABLE goods (id integer)")
    runner = Runner(database.options, folder, lock_timeout_ms=10_000, attempts=3)
    patient = database.connect_admin(autocommit=False)
    with patient, database.connect() as witness:
        patient.execute("SET deadlock_timeout = '1min'")
        patient.execute("SET lock_timeout = '30s'")
        patient.execute("LOCK TABLE prices IN ROW EXCLUSIVE MODE")

        def cross() -> None:
            until_somebody_waits_for("prices", witness)
            patient.execute("LOCK TABLE goods IN ROW EXCLUSIVE MODE")
            patient.commit()

        crossing = threading.Thread(target=cross)
        crossing.start()
        (outcome,) = runner.apply().outcomes
        crossing.join()
    assert outcome.executed["attempts"] == 2
    assert "deadlock detected" in database.server.log.read_text(errors="replace")
    assert not runner.apply().changed


def test_a_lock_against_reading_is_named_too(database: Database, tmp_path: Path) -> None:
    """PostgreSQL prints definitions under ACCESS SHARE, so the first look waits behind ACCESS EXCLUSIVE already."""
    runner = runner_over(database, tmp_path / "migrations", FOREIGN_KEY, attempts=2)
    with application(database, "LOCK TABLE prices IN ACCESS EXCLUSIVE MODE"):
        for check in (True, False):
            with pytest.raises(RolloutError) as refused:
                runner.apply(check)
            assert refused.value.details["sqlstate"] == "55P03"
            assert "ai-admin-api" in str(refused.value)
            assert "ACCESS EXCLUSIVE on prices" in str(refused.value)
    assert runner.apply().changed


def test_the_default_patience_lets_autovacuum_give_way() -> None:
    """Below deadlock_timeout (1 s) nobody asks autovacuum to end."""
    root = Path(__file__).resolve().parents[2]
    defaults = yaml.safe_load((root / "roles/schema/defaults/main.yml").read_text())
    assert defaults["schema_lock_timeout_ms"] > 1000
