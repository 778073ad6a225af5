"""schema_drift: repair mends functions, triggers, indexes and comments, and refuses whatever holds data."""

from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, LockBudgetExceeded
from psycopg import sql

from sandbox.databases import Database
from tests.migration_folders import write_migration
from tests.runner import Runner

BROKEN_BODY = (
    "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql"
    " SET search_path = public, pg_temp AS 'BEGIN RETURN NEW; END'"
)
#: What was damaged, and the object that the repair names.
MENDED = {
    "function's body": (BROKEN_BODY, "function update_updated_at_column()"),
    "function's security": (
        "ALTER FUNCTION get_messages_stats() SECURITY DEFINER",
        "function get_messages_stats()",
    ),
    "function's search_path": (
        "ALTER FUNCTION get_messages_stats() RESET search_path",
        "function get_messages_stats()",
    ),
    "function's volatility": (
        "ALTER FUNCTION get_messages_stats() VOLATILE",
        "function get_messages_stats()",
    ),
    "function missing": (
        "DROP FUNCTION get_recent_messages(varchar, integer, integer)",
        "function get_recent_messages(character varying, integer, integer)",
    ),
    "trigger disabled": (
        "ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at",
        "trigger staff.trigger_update_staff_updated_at",
    ),
    "trigger missing": (
        "DROP TRIGGER trigger_update_staff_updated_at ON staff",
        "trigger staff.trigger_update_staff_updated_at",
    ),
    "trigger at another moment": (
        "CREATE OR REPLACE TRIGGER trigger_update_staff_updated_at BEFORE INSERT ON staff"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
        "trigger staff.trigger_update_staff_updated_at",
    ),
    "index missing": ("DROP INDEX idx_clients_phone", "index idx_clients_phone"),
    "partial index missing": ("DROP INDEX idx_staff_rating", "index idx_staff_rating"),
    "index invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_clients_phone'::regclass",
        "index idx_clients_phone",
    ),
    "partitioned index missing": ("DROP INDEX idx_messages_phone", "index idx_messages_phone"),
    "comment on a table changed": ("COMMENT ON TABLE staff IS 'people'", "comment on table staff"),
    "comment on a column missing": (
        "COMMENT ON COLUMN messages.intent IS NULL",
        "comment on column messages.intent",
    ),
    "comment on a function missing": (
        "COMMENT ON FUNCTION get_messages_stats() IS NULL",
        "comment on function get_messages_stats()",
    ),
    "function with arguments' comment": (
        "COMMENT ON FUNCTION get_recent_messages(varchar, integer, integer) IS 'other'",
        "comment on function get_recent_messages(character varying, integer, integer)",
    ),
}


@pytest.mark.parametrize("damage", MENDED)
def test_what_holds_no_data_is_mended(finished: Database, damage: str) -> None:
    statement, named = MENDED[damage]
    strict = Runner(finished.options)
    before = strict.inspect()
    with finished.connect_admin() as admin:
        admin.execute(statement.encode())
    with pytest.raises(DriftFound) as refused:
        strict.apply()
    assert named in str(refused.value)

    mending = Runner(finished.options, drift="repair", run_id="run-2")
    told = mending.apply(check=True)
    assert told.changed
    assert any(f"would repair {named}" in o.summary or named in o.summary for o in told.outcomes)
    assert strict.inspect().differences != []
    done = mending.apply()
    assert done.changed
    assert any("repaired" in outcome.summary and named in outcome.summary for outcome in done.outcomes)
    after = strict.inspect()
    assert after.differences == []
    assert after.entries == before.entries
    finished.mark_log()
    assert not mending.apply().changed
    assert finished.ddl_log() == []


#: What a repair would have to touch data for, or take from somebody.
BEYOND = {
    "column missing": ("ALTER TABLE staff DROP rating CASCADE", "column staff.rating: missing"),
    "column of another type": (
        "ALTER TABLE bookings ALTER cost TYPE numeric(8, 2)",
        "column bookings.cost: differs",
    ),
    "column too many": ("ALTER TABLE staff ADD nickname text", "column staff.nickname: is not part"),
    "table missing": ("DROP TABLE sync_status", "table sync_status: missing"),
    "constraint missing": (
        "ALTER TABLE bookings DROP CONSTRAINT bookings_duration_check",
        "constraint bookings.bookings_duration_check: missing",
    ),
    "index on other columns": (
        "DROP INDEX idx_clients_phone; CREATE INDEX idx_clients_phone ON clients (name)",
        "index idx_clients_phone: differs",
    ),
    "index too many": ("CREATE INDEX more ON staff (name)", "index more: is not part"),
    "overload": (
        "CREATE FUNCTION get_messages_stats(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function get_messages_stats(integer): is not part",
    ),
    "owner": ("ALTER TABLE reminders OWNER TO postgres", "table reminders: differs"),
    "grant": ("GRANT SELECT ON reminders TO auditor", "table reminders: differs"),
    "sequence": ("ALTER SEQUENCE staff_id_seq INCREMENT 2", "sequence staff_id_seq: differs"),
    "partition detached": (
        "ALTER TABLE messages DETACH PARTITION messages_2025_12",
        "table messages_2025_12: differs",
    ),
    "function of another owner": (
        "ALTER FUNCTION get_messages_stats() OWNER TO postgres",
        "function get_messages_stats(): differs",
    ),
}


@pytest.mark.parametrize("damage", BEYOND)
def test_what_holds_data_is_refused_and_nothing_is_mended_beside_it(finished: Database, damage: str) -> None:
    statement, named = BEYOND[damage]
    with finished.connect_admin() as admin:
        admin.execute(statement.encode())
        admin.execute("COMMENT ON TABLE companies IS 'other'")
    runner = Runner(finished.options, drift="repair")
    before = runner.inspect()
    finished.mark_log()
    with pytest.raises(DriftFound) as refused:
        runner.apply()
    assert named in str(refused.value)
    assert runner.inspect().entries == before.entries
    assert finished.ddl_log() == []


def test_what_was_never_recorded_is_not_repaired(finished: Database) -> None:
    """It was not made by the rollout, so it is not the rollout's to change."""
    with finished.connect() as owner:
        owner.execute("DROP SCHEMA rollout CASCADE")
        owner.execute(BROKEN_BODY.encode())
    runner = Runner(finished.options, drift="repair")
    before = runner.inspect().entries
    with pytest.raises(DriftFound, match="function update_updated_at_column"):
        runner.apply()
    assert runner.inspect().entries == before


def test_several_are_mended_together_with_what_is_pending(finished: Database, tmp_path: Path) -> None:
    runner = Runner(finished.options, drift="repair")
    runner.take_back("0002")
    with finished.connect() as owner:
        owner.execute(BROKEN_BODY.encode())
        owner.execute("DROP INDEX idx_clients_phone")
        owner.execute("DROP TRIGGER trigger_update_staff_updated_at ON staff")
    applied = runner.apply()
    assert applied.states == ["drifted", "absent"]
    assert [outcome.changed for outcome in applied.outcomes] == [True, True]
    assert runner.inspect().differences == []
    assert not runner.apply().changed


def test_a_missing_index_is_built_without_stopping_writers(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("DROP INDEX idx_clients_phone")
    finished.mark_log()
    Runner(finished.options, drift="repair").apply()
    (built,) = finished.ddl_log()
    assert built.startswith("CREATE INDEX CONCURRENTLY idx_clients_phone")


def test_repair_works_in_a_schema_that_needs_quotes(database: Database, tmp_path: Path) -> None:
    with database.connect() as owner:
        owner.execute('CREATE SCHEMA "Salon One"')
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "things",
        "CREATE TYPE {{ schema }}.mood AS ENUM ('good', 'bad');\n"
        'CREATE TABLE {{ schema }}."Things" ("Id" integer, mood {{ schema }}.mood);\n'
        'CREATE INDEX "Good things" ON {{ schema }}."Things" ("Id") WHERE mood = \'good\';\n'
        "CREATE FUNCTION {{ schema }}.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;\n"
        'CREATE TRIGGER "On Things" BEFORE UPDATE ON {{ schema }}."Things"'
        " FOR EACH ROW EXECUTE FUNCTION {{ schema }}.touch();\n"
        "COMMENT ON TRIGGER \"On Things\" ON {{ schema }}.\"Things\" IS 'it''s ours';\n"
        "COMMENT ON INDEX {{ schema }}.\"Good things\" IS 'a \\\\ backslash';\n",
    )
    runner = Runner(database.options, folder, schema="Salon One", drift="repair")
    runner.apply()
    before = runner.inspect().entries
    with database.connect() as owner:
        owner.execute(sql.SQL("SET search_path = {}").format(sql.Identifier("Salon One")))
        owner.execute('DROP INDEX "Good things"')
        owner.execute('DROP TRIGGER "On Things" ON "Things"')
    assert runner.apply().changed
    assert runner.inspect().entries == before


def test_mending_keeps_to_the_budget_of_protected_tables(database: Database, tmp_path: Path) -> None:
    """The trigger stands on a protected table: making it again would lock that table."""
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "touch",
        "CREATE TRIGGER quiet BEFORE UPDATE ON {{ schema }}.whatsapp_auth FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger();\n",
        existing_tables=["whatsapp_auth"],
    )
    Runner(database.options, folder, protected=()).apply()
    with database.connect() as owner:
        owner.execute("DROP TRIGGER quiet ON whatsapp_auth")
    runner = Runner(database.options, folder, drift="repair")
    before = runner.inspect().entries
    with pytest.raises(LockBudgetExceeded, match="EXCLUSIVE on whatsapp_auth"):
        runner.apply()
    assert runner.inspect().entries == before
