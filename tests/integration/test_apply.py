"""A first run brings everything into force and records it; a second one sends nothing."""

import json
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, RolloutError, SourceError, StatementFailed
from ansible.module_utils.rollout.fingerprint import fingerprint
from psycopg import sql

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests import traces
from tests.integration.rendered_migrations import migrated_database
from tests.migration_folders import through_a_function, write_migration
from tests.runner import PROTECTED, Runner

BUSINESS_TABLES = {
    "companies", "clients", "services", "staff", "staff_schedules", "bookings", "appointments_cache",
    "dialog_contexts", "reminders", "sync_status",
}  # fmt: skip
FIRST_SIX_MONTHS = {
    f"messages_{month}" for month in ["2025_11", "2025_12", "2026_01", "2026_02", "2026_03", "2026_04"]
}
#: The present month and the three after it, as inventory and migration have it by default.
MONTHS_DUE = """
SELECT to_char(month, '"messages_"YYYY_MM') FROM generate_series(
    date_trunc('month', now() AT TIME ZONE 'UTC'), date_trunc('month', now() AT TIME ZONE 'UTC') + interval '3 months',
    interval '1 month') AS month
"""


def test_a_fresh_database_gets_the_relations_of_the_plan_and_the_months_around_now(
    finished: Database,
) -> None:
    planned = BUSINESS_TABLES | {"messages"} | FIRST_SIX_MONTHS
    assert len(planned) == 17
    with finished.connect() as connection:
        due = {name for (name,) in connection.execute(MONTHS_DUE).fetchall()}
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert len(due) == 4
    assert {name for (name,) in rows} == planned | due | set(PROTECTED)


def test_the_result_is_what_the_rendered_sql_makes(
    finished: Database, server: PostgresServer, tmp_path: Path
) -> None:
    """So everything that is tested on the rendered SQL holds for a rollout: counts, functions, triggers, checks."""
    by_rollout = Runner(finished.options).inspect()
    folder = tmp_path / "by-hand"
    folder.mkdir()
    with migrated_database(server, folder) as by_hand:
        assert by_rollout.entries == Runner(by_hand.options).inspect().entries
    on_tables = [
        name
        for name, entry in by_rollout.entries.items()
        if name.startswith("index ") and entry["table"] in BUSINESS_TABLES
    ]
    assert len(on_tables) == 58
    assert by_rollout.recorded == ["0001_business_tables", "0002_messages"]
    assert by_rollout.differences == []


def test_the_ledger_says_what_was_done_by_whom_and_how(finished: Database) -> None:
    runner = Runner(finished.options)
    business, messages = runner.migrations
    seen = runner.inspect()
    with finished.connect() as connection:
        rows = connection.execute(
            "SELECT id, name, state, checksum, sql, statements, run_id, applied_by, applied_from, target_schema,"
            " server_version, pg_xact_status(xid), variables FROM rollout.migration ORDER BY seq"
        ).fetchall()
        (last_fingerprint,) = connection.execute(
            "SELECT catalog_fingerprint FROM rollout.migration ORDER BY seq DESC LIMIT 1"
        ).fetchone() or ("",)
        created = connection.execute(
            "SELECT object, after FROM rollout.change WHERE action = 'created'"
        ).fetchall()
        version = connection.info.server_version
    who = ("run-1", "gen_user", "test host", "public", version, "committed")
    assert rows == [
        (
            migration.id,
            migration.name,
            "applied",
            migration.checksum,
            migration.sql("public"),
            len(migration.statements),
            *who,
            dict(migration.variables),
        )
        for migration in (business, messages)
    ]
    ours = {name: entry for name, entry in seen.entries.items() if "whatsapp" not in name}
    assert dict(created) == ours
    assert last_fingerprint == seen.fingerprint == fingerprint(seen.entries)


def test_the_ledger_row_shares_the_transaction_of_the_migration(finished: Database) -> None:
    with finished.connect() as connection:
        rows = connection.execute(
            "SELECT (m.xid::text::bigint & 4294967295)::text, m.xmin::text, c.xmin::text"
            " FROM rollout.migration m, pg_class c"
            " WHERE (m.id, c.relname) IN (('0001', 'companies'), ('0002', 'messages'))"
        ).fetchall()
    assert len(rows) == 2
    for row in rows:
        assert len(set(row)) == 1


def test_a_first_run_is_seen_in_the_servers_log(database: Database) -> None:
    """The control for the next test: the log shows DDL, and the run reports its changes."""
    applied = Runner(database.options).apply()
    assert applied.changed
    assert applied.states == ["absent", "absent"]
    assert any("CREATE TABLE" in statement for statement in database.ddl_log())


def test_a_second_run_sends_no_ddl_and_needs_no_lock_beyond_access_share(finished: Database) -> None:
    with finished.connect_admin(autocommit=False) as witness:
        # EXCLUSIVE lets nothing past but ACCESS SHARE.
        for schema, table in witness.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'rollout')"
        ).fetchall():
            witness.execute(
                sql.SQL("LOCK TABLE ONLY {} IN EXCLUSIVE MODE").format(sql.Identifier(schema, table))
            )
        finished.mark_log()
        applied = Runner(finished.options, run_id="run-2", lock_timeout_ms=200).apply()
    assert not applied.changed
    assert applied.states == ["applied", "applied"]
    assert applied.outcomes == ()
    assert set(applied.rehearsal.locks.values()) <= {"ACCESS SHARE"}
    assert finished.ddl_log() == []
    assert "nothing to do: 2 migrations are in force" in applied.rehearsal.summary
    assert "no DDL was sent, no table was locked beyond ACCESS SHARE" in applied.rehearsal.summary


@pytest.mark.parametrize("migration_id", ["0001", "0002"])
def test_a_migration_in_force_is_left_alone_when_it_is_named(finished: Database, migration_id: str) -> None:
    outcome = Runner(finished.options).bring_in(migration_id)
    assert not outcome.changed
    assert "nothing was sent" in outcome.summary
    assert finished.ddl_log() == []


def test_nothing_is_rehearsed_when_nothing_is_pending_but_what_is_new_is(
    finished: Database, tmp_path: Path
) -> None:
    """A rehearsal sends DDL, inside a transaction that is rolled back."""
    runner = Runner(finished.options)
    runner.rehearse()
    assert finished.ddl_log() == []
    with finished.connect() as connection:
        connection.execute("DELETE FROM rollout.change WHERE seq = 2")
        connection.execute("DELETE FROM rollout.migration WHERE seq = 2")
    rehearsal = runner.rehearse()
    assert [described["state"] for described in rehearsal.migrations] == ["applied", "unrecorded, equal"]
    assert "CREATE SCHEMA" in finished.ddl_log()[0]


def test_a_rehearsal_leaves_nothing(database: Database) -> None:
    runner = Runner(database.options)
    entries, before = runner.inspect().entries, traces.read(database)
    rehearsal = runner.rehearse()
    after = traces.read(database)
    assert "created 131 columns" in rehearsal.summary
    assert (after.schemas, after.relations) == (before.schemas, before.relations)
    assert runner.inspect().entries == entries


def test_migrations_are_applied_in_order(database: Database) -> None:
    with pytest.raises(
        SourceError, match="0002_messages comes after 0001_business_tables, which is not applied"
    ):
        Runner(database.options).bring_in("0002")
    assert Runner(database.options).inspect().recorded == []


def test_one_migration_can_be_brought_in_by_itself_without_a_rehearsal_given(database: Database) -> None:
    runner = Runner(database.options)
    assert runner.bring_in("0001").changed
    assert runner.inspect().recorded == ["0001_business_tables"]
    assert not runner.bring_in("0001").changed


def test_what_appears_after_the_rehearsal_is_noticed(database: Database) -> None:
    runner = Runner(database.options)
    rehearsal = runner.rehearse()
    with database.connect() as somebody:
        somebody.execute("CREATE TABLE companies (id bigint)")
    before = runner.inspect().entries
    with pytest.raises(DriftFound, match="companies"):
        runner.bring_in("0001", given=rehearsal.rehearsal)
    assert runner.inspect().entries == before


def test_a_month_that_turns_after_the_rehearsal_is_rehearsed_again(database: Database) -> None:
    """As if the rehearsal had been made last month: it knows one partition less than the migration makes now."""
    runner = Runner(database.options)
    runner.bring_in("0001")
    given = json.loads(runner.rehearse().rehearsal)
    with database.connect() as connection:
        newest = max(name for (name,) in connection.execute(MONTHS_DUE).fetchall())
    kept = [change for change in given["0002"]["changes"] if newest not in change["object"]]
    assert 0 < len(kept) < len(given["0002"]["changes"])
    given["0002"]["changes"] = kept
    assert runner.bring_in("0002", given=json.dumps(given)).changed
    assert runner.inspect().entries[f"table {newest}"]["parent"] == "messages"
    assert not runner.apply().changed


def test_a_migration_that_fails_leaves_nothing_and_says_where(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "broken",
        "-- Two statements are right.\nCREATE TABLE {{ schema }}.first (id integer);\n"
        "CREATE VIEW {{ schema }}.second AS SELECT 1 AS one;\n\n"
        "CREATE INDEX third ON {{ schema }}.first (missing_column);\n",
    )
    runner = Runner(database.options, folder)
    with pytest.raises(StatementFailed) as failure:
        runner.apply()
    assert "0001_broken/010_all.sql.j2:5" in str(failure.value)
    assert "SQLSTATE 42703" in str(failure.value)
    assert "missing_column" in failure.value.details["statement"]
    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('first'), to_regnamespace('rollout')").fetchone() == (
            None,
            None,
        )


def test_a_failure_in_the_real_schema_alone_leaves_nothing(database: Database, tmp_path: Path) -> None:
    """The rehearsal sees an empty stub; the rows that break the migration are in the real table."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer, cents integer)")
        owner.execute("INSERT INTO prices VALUES (1, 100), (1, 200)")
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "unique_prices",
        "CREATE TABLE {{ schema }}.offers (id integer);\nCREATE UNIQUE INDEX prices_id ON {{ schema }}.prices (id);\n",
        existing_tables=["prices"],
    )
    runner = Runner(database.options, folder)
    before = runner.inspect().entries
    with pytest.raises(StatementFailed) as failure:
        runner.apply()
    assert failure.value.details["sqlstate"] == "23505"
    assert "0001_unique_prices/010_all.sql.j2:2" in str(failure.value)
    assert "(id)=(1)" not in str(failure.value), "a row's value has no place in an error"
    assert runner.inspect().entries == before
    assert runner.inspect().recorded == []


def test_a_procedure_that_commits_is_stopped(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "commits",
        "CREATE TABLE {{ schema }}.kept (id integer);\n"
        "CREATE PROCEDURE {{ schema }}.finish() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;\n"
        "CALL {{ schema }}.finish();\n",
    )
    with pytest.raises(RolloutError, match=r"0001_commits/010_all\.sql\.j2:3"):
        Runner(database.options, folder).apply()
    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_notices_are_kept_with_their_sqlstate(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "talks",
        "CREATE TABLE {{ schema }}.talk (id integer);\n"
        + through_a_function("RAISE NOTICE 'a word' USING ERRCODE = 'HL001';"),
    )
    (outcome,) = Runner(database.options, folder).apply().outcomes
    assert {"sqlstate": "HL001", "severity": "NOTICE", "message": "a word"} in outcome.notices


def test_the_record_of_an_apply_has_statements_times_and_fingerprints(database: Database) -> None:
    runner = Runner(database.options)
    business = runner.migrations[0]
    before = runner.inspect().fingerprint
    outcome = runner.bring_in("0001")
    executed = outcome.executed
    assert [statement["place"] for statement in executed["statements"]] == [
        s.place for s in business.statements
    ]
    assert all(statement["ms"] >= 0 for statement in executed["statements"])
    assert executed["fingerprint_before"] == before
    assert executed["fingerprint_after"] == outcome.fingerprint == runner.inspect().fingerprint
    assert executed["commit_verdict"] == "answered"
    assert outcome.server_version.split()[0].split(".")[0].isdigit()
    assert outcome.seconds > 0
    # Far fewer than statements: 97 of them travel together.
    assert outcome.round_trips <= 15


def test_a_name_of_63_bytes_is_kept_and_a_longer_one_refused(database: Database, tmp_path: Path) -> None:
    """PostgreSQL would cut it, and two names might become one."""
    folder = tmp_path / "migrations"
    longest = "visits_" + "и" * 28
    assert len(longest.encode()) == 63
    path = write_migration(folder, "0001", "long", f"CREATE TABLE {{{{ schema }}}}.{longest} (id integer);\n")
    runner = Runner(database.options, folder)
    assert runner.apply().changed
    assert not runner.apply(check=True).changed
    (path / "010_all.sql.j2").write_text(f"CREATE TABLE {{{{ schema }}}}.{longest}s (id integer);\n")
    with pytest.raises(SourceError, match="has 64 bytes; PostgreSQL would cut it after 63"):
        runner.apply()


def test_an_enum_value_used_where_it_is_added_is_refused(database: Database, tmp_path: Path) -> None:
    """The rehearsal makes the type in the same transaction, where PostgreSQL allows it; the real type is older."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "mood", "CREATE TYPE {{ schema }}.mood AS ENUM ('good');\n")
    runner = Runner(database.options, folder)
    runner.apply()
    write_migration(
        folder,
        "0002",
        "bad",
        "ALTER TYPE {{ schema }}.mood ADD VALUE 'bad';\n"
        "CREATE TABLE {{ schema }}.moods (mood {{ schema }}.mood DEFAULT 'bad');\n"
        "INSERT INTO {{ schema }}.moods VALUES ('bad');\n",
    )
    before = runner.inspect().entries
    with pytest.raises(StatementFailed) as refused:
        runner.apply()
    assert refused.value.details["sqlstate"] == "55P04"
    assert "0002_bad/010_all.sql.j2:" in str(refused.value)
    assert runner.inspect().entries == before
