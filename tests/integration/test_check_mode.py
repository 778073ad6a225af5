"""Check mode: the right verdict on any database, for a login that may only read too, and nothing written."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, RolloutError

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests import traces
from tests.integration.rendered_migrations import run_migrations
from tests.migration_folders import write_migration
from tests.runner import Applied, Runner


@pytest.fixture(autouse=True)
def quiet(server: PostgresServer) -> Iterator[None]:
    with traces.without_autovacuum(server):
        yield


def leave_empty(database: Database) -> None:
    """Nothing: the database as it is before the first run."""


def apply_the_first(database: Database) -> None:
    Runner(database.options).bring_in("0001")


def apply_all(database: Database) -> None:
    Runner(database.options).apply()


def make_all_by_hand(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner)


def make_the_first_half_by_hand(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(
            owner, only=lambda statement: statement.template == "0001_business_tables/010_tables.sql.j2"
        )


def drop_an_index(database: Database) -> None:
    apply_all(database)
    with database.connect() as owner:
        owner.execute("DROP INDEX idx_clients_phone")


def put_a_view_in_a_tables_place(database: Database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE VIEW companies AS SELECT 1 AS id")


#: Who prepares, what check mode has to say of the two migrations, and whether a real run changes anything.
STATES = [
    (leave_empty, ["absent", "absent"], True),
    (apply_the_first, ["applied", "absent"], True),
    (apply_all, ["applied", "applied"], False),
    (make_all_by_hand, ["unrecorded, present by name", "unrecorded, present by name"], True),
    (make_the_first_half_by_hand, ["unrecorded, present by name", "absent"], True),
]
NAMES = ["empty", "half applied", "finished", "made by hand", "half made by hand"]


@pytest.mark.parametrize(("prepare", "states", "changes"), STATES, ids=NAMES)
@pytest.mark.parametrize("login", ["owner", "reader"])
def test_check_mode_foretells_what_a_real_run_does_and_writes_nothing(
    database: Database, prepare: Callable[[Database], None], states: list[str], changes: bool, login: str
) -> None:
    prepare(database)
    runner = Runner(database.options if login == "owner" else database.readonly_options)
    seen: list[Applied] = []
    database.mark_log()
    assert traces.left_by(database, lambda: seen.append(runner.apply(check=True))) == set()
    assert database.ddl_log() == []
    foretold = seen[-1]
    assert foretold.states == states
    assert foretold.changed == changes
    assert [bool(outcome.executed) for outcome in foretold.outcomes] == [False] * len(foretold.outcomes)

    if login == "owner":
        done = runner.apply()
        assert done.changed == foretold.changed
        assert len(done.outcomes) == len(foretold.outcomes)
        assert not runner.apply(check=True).changed


@pytest.mark.parametrize(
    ("prepare", "named"),
    [
        (drop_an_index, "index idx_clients_phone: missing"),
        (put_a_view_in_a_tables_place, "taken by view companies"),
    ],
    ids=["drifted", "occupied"],
)
@pytest.mark.parametrize("login", ["owner", "reader"])
def test_check_mode_refuses_what_a_real_run_refuses(
    database: Database, prepare: Callable[[Database], None], named: str, login: str
) -> None:
    prepare(database)
    runner = Runner(database.options if login == "owner" else database.readonly_options)

    def check() -> None:
        with pytest.raises(DriftFound, match=named):
            runner.apply(check=True)

    database.mark_log()
    assert traces.left_by(database, check) == set()
    assert database.ddl_log() == []
    with pytest.raises(DriftFound, match=named):
        Runner(database.options).apply()


def test_check_mode_says_what_a_repair_would_do(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at")
    runner = Runner(finished.options, drift="repair")
    seen: list[Applied] = []
    assert traces.left_by(finished, lambda: seen.append(runner.apply(check=True))) == set()
    (outcome,) = seen[-1].outcomes
    assert outcome.changed
    assert "would repair trigger staff.trigger_update_staff_updated_at" in outcome.summary
    assert runner.apply().changed
    assert not runner.apply(check=True).changed


def test_a_real_run_leaves_every_trace(database: Database) -> None:
    """The control of left_by: what it looks at does move."""
    runner = Runner(database.options)
    assert traces.left_by(database, runner.apply, calls=1) == {
        "next_transaction",
        "wal_position",
        "tuples",
        "schemas",
        "relations",
        "sequences",
    }


def test_executing_and_rolling_back_leaves_traces(database: Database) -> None:
    """How modules that know no plan do check mode; what they leave is found."""

    def execute_and_roll_back() -> None:
        with database.connect() as owner, owner.transaction(force_rollback=True):
            run_migrations(owner)

    found = traces.left_by(database, execute_and_roll_back)
    assert {"next_transaction", "wal_position", "tuples"} <= found


def test_the_server_refuses_every_write_of_a_check_session(database: Database) -> None:
    with (
        Runner(database.options).open(check=True) as session,
        pytest.raises(RolloutError, match="SQLSTATE 25006"),
    ):
        session.run(["CREATE TABLE forbidden (id integer)"])


def test_the_diff_of_check_mode_lists_what_would_be_created(database: Database) -> None:
    rehearsal = Runner(database.readonly_options).rehearse(check=True)
    assert rehearsal.before == ""
    after = rehearsal.after.splitlines()
    assert {
        "table companies",
        "index idx_clients_phone",
        "function get_messages_stats",
        "table messages",
    } <= set(after)
    assert "compared by name" in rehearsal.summary


def test_the_diff_of_a_rehearsal_shows_attributes(database: Database) -> None:
    rehearsal = Runner(database.options).rehearse()
    assert "column bookings.cost\n    type: numeric(10,2)\n" in rehearsal.after


def test_check_mode_sees_a_standing_object_in_the_diff_of_both_sides(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "pair",
        "CREATE TABLE {{ schema }}.one (id integer);\nCREATE TABLE {{ schema }}.two (id integer);\n",
    )
    with database.connect() as owner:
        owner.execute("CREATE TABLE one (id integer)")
    rehearsal = Runner(database.readonly_options, folder).rehearse(check=True)
    assert rehearsal.before == "table one\n"
    assert rehearsal.after == "table one\ntable two\n"
    assert "1 of its 2 named objects stand" in rehearsal.summary
