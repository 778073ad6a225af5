"""state: absent takes back exactly what the ledger says was created, and refuses to cost rows or break others."""

import json
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from ansible.module_utils.rollout import backup
from ansible.module_utils.rollout.backup import BackupSettings
from ansible.module_utils.rollout.errors import LockBudgetExceeded, RemovalRefused, RolloutError
from ansible.module_utils.rollout.options import ConnectionOptions

from sandbox.databases import Database
from tests import traces
from tests.integration.rendered_migrations import run_migrations
from tests.migration_folders import write_migration
from tests.runner import PROTECTED, Runner


def test_exactly_what_was_created_goes(finished: Database, database: Database) -> None:
    runner = Runner(finished.options, run_id="run-2")
    taken = [runner.take_back(migration_id) for migration_id in ("0002", "0001")]
    assert [outcome.changed for outcome in taken] == [True, True]
    assert runner.inspect().entries == Runner(database.options).inspect().entries
    assert not (set(taken[0].locks) | set(taken[1].locks)) & set(PROTECTED)
    with finished.connect() as connection:
        rows = connection.execute(
            "SELECT id, rolled_back_at IS NOT NULL, rolled_back_run FROM rollout.migration ORDER BY seq"
        ).fetchall()
    assert rows == [("0001", True, "run-2"), ("0002", True, "run-2")]


def test_the_second_time_there_is_nothing_to_take_back(finished: Database) -> None:
    runner = Runner(finished.options)
    runner.take_back("0002")
    finished.mark_log()
    again = runner.take_back("0002")
    assert not again.changed
    assert "is not in force: nothing to take back" in again.summary
    assert finished.ddl_log() == []


def test_what_was_taken_back_can_be_applied_again(finished: Database) -> None:
    runner = Runner(finished.options, run_id="run-2")
    before = runner.inspect().entries
    runner.take_back("0002")
    applied = runner.apply()
    assert applied.states == ["applied", "absent"]
    assert runner.inspect().entries == before
    assert not runner.apply().changed


def test_check_mode_lists_what_would_go_and_writes_nothing(finished: Database) -> None:
    for options in (finished.options, finished.readonly_options):
        runner = Runner(options)
        check = partial(runner.take_back, "0002", check=True)
        with traces.without_autovacuum(finished.server):
            assert traces.left_by(finished, check) == set()
        outcome = check()
        assert outcome.changed
        assert {"table messages", "function get_messages_stats()"} <= set(outcome.before.splitlines())
        assert "would drop" in outcome.summary
        assert "table messages" in outcome.summary
    assert finished.ddl_log() == []


@pytest.mark.parametrize("check", [True, False])
def test_rows_are_refused_with_their_number(finished: Database, check: bool) -> None:
    with finished.connect() as owner:
        owner.execute(
            "INSERT INTO messages (company_id, phone, direction) SELECT 1, '70000000000', 'inbound'"
            " FROM generate_series(1, 3)"
        )
    runner = Runner(finished.options)
    before = runner.inspect().fingerprint
    with pytest.raises(RemovalRefused, match=r"holds rows \(messages: 3\)") as refused:
        runner.take_back("0002", check)
    assert refused.value.details["rows"] == {"messages": 3}
    assert runner.inspect().fingerprint == before
    assert finished.ddl_log() == []


def test_a_later_migration_goes_first(finished: Database) -> None:
    with pytest.raises(RemovalRefused, match="cannot be taken back while 0002 is in force"):
        Runner(finished.options).take_back("0001")


#: What somebody else hung on our objects, and how the refusal names it.
DEPENDANTS = {
    "view": ("CREATE VIEW theirs AS SELECT id FROM companies", "theirs"),
    "materialized view": ("CREATE MATERIALIZED VIEW theirs AS SELECT id FROM companies", "theirs"),
    "trigger": (
        "CREATE TABLE theirs (updated_at timestamptz);"
        "CREATE TRIGGER touch BEFORE UPDATE ON theirs FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
        "trigger touch on table theirs",
    ),
    "foreign key": (
        "CREATE TABLE theirs (company_id integer REFERENCES companies)",
        "theirs_company_id_fkey on table theirs",
    ),
    "child table": ("CREATE TABLE theirs () INHERITS (companies)", "table theirs"),
    "column of the row type": ("CREATE TABLE theirs (company companies)", "column company of table theirs"),
    "default from a sequence": (
        "CREATE TABLE theirs (id integer DEFAULT nextval('staff_id_seq'))",
        "default value for column id of table theirs",
    ),
    "policy": (
        "CREATE TABLE theirs (id integer); CREATE POLICY access ON theirs USING (EXISTS (SELECT FROM companies))",
        "policy access on table theirs",
    ),
    "view in another schema": (
        "CREATE SCHEMA apart; CREATE VIEW apart.theirs AS SELECT id FROM companies",
        "apart.theirs",
    ),
    "SQL function": (
        "CREATE FUNCTION theirs() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM companies; END",
        "function theirs()",
    ),
    "rule": (
        "CREATE TABLE theirs (id integer);"
        "CREATE RULE also AS ON INSERT TO theirs DO ALSO DELETE FROM sync_status WHERE false",
        "rule also on table theirs",
    ),
    "statistics of others": (
        "CREATE STATISTICS theirs ON name, phone FROM staff",
        "statistics theirs",
    ),
}


@pytest.mark.parametrize("kind", DEPENDANTS)
@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_what_others_hang_on_ours_is_listed_and_refused(finished: Database, kind: str, check: bool) -> None:
    made, named = DEPENDANTS[kind]
    runner = Runner(finished.options)
    runner.take_back("0002")
    with finished.connect() as owner:
        owner.execute(made.encode())
    before = runner.inspect().fingerprint
    finished.mark_log()
    with pytest.raises(RemovalRefused) as refused:
        runner.take_back("0001", check)
    assert named in str(refused.value)
    assert "CASCADE is never used" in str(refused.value)
    assert len(refused.value.details["dependants"]) == 1, refused.value.details
    assert runner.inspect().fingerprint == before
    assert finished.ddl_log() == []


def test_a_partition_that_maintenance_added_goes_with_its_table(
    finished: Database, database: Database
) -> None:
    """It belongs to messages, which grows; an empty one is no loss."""
    with finished.connect() as owner:
        owner.execute("SELECT create_messages_partition('2031-05-01')")
    runner = Runner(finished.options)
    assert runner.take_back("0002").changed
    assert not [name for name in runner.inspect().entries if "messages" in name]


def test_adopted_objects_stay(database: Database) -> None:
    """Production's own trigger function was there before; its tables were not."""
    runner = Runner(database.options)
    with database.connect() as owner:
        run_migrations(owner, only=lambda statement: "function update_updated_at_column" in statement.creates)
    before = runner.inspect().entries
    runner.apply()
    runner.take_back("0002")
    outcome = runner.take_back("0001")
    assert "1 adopted objects stay" in outcome.summary
    left = runner.inspect().entries
    assert {
        name: entry for name, entry in left.items() if not name.startswith("comment on function")
    } == before
    assert not runner.take_back("0001").changed


def test_adopted_tables_stay_and_what_was_added_to_them_goes(database: Database) -> None:
    """Somebody had made the tables; the rollout added indexes, functions, triggers and comments."""
    runner = Runner(database.options)
    with database.connect() as owner:
        run_migrations(
            owner, only=lambda statement: statement.template == "0001_business_tables/010_tables.sql.j2"
        )
    before = runner.inspect().entries
    runner.bring_in("0001")
    assert runner.take_back("0001").changed
    assert runner.inspect().entries == before


def test_a_wholly_adopted_migration_is_forgotten_and_nothing_dropped(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner)
    runner = Runner(database.options)
    runner.apply()
    before = runner.inspect()
    database.mark_log()
    outcome = runner.take_back("0002")
    assert outcome.changed
    assert database.ddl_log() == []
    assert runner.inspect().entries == before.entries
    assert runner.inspect().recorded == ["0001_business_tables"]


def test_a_replaced_function_gets_its_old_body_back(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    body = "FUNCTION {{ schema }}.answer() RETURNS integer LANGUAGE sql AS 'SELECT %d';\n"
    write_migration(folder, "0001", "answer", "CREATE " + body % 41)
    write_migration(folder, "0002", "better", "CREATE OR REPLACE " + body % 42)
    runner = Runner(database.options, folder)
    runner.bring_in("0001")
    before = runner.inspect().entries
    runner.bring_in("0002")
    assert runner.take_back("0002").changed
    assert runner.inspect().entries == before
    assert runner.apply().states == ["applied", "absent"]


def test_an_alteration_that_cannot_be_undone_is_refused(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", "CREATE TABLE {{ schema }}.visits (id integer, note text);\n")
    write_migration(folder, "0002", "wider", "ALTER TABLE {{ schema }}.visits ALTER id TYPE bigint;\n")
    runner = Runner(database.options, folder)
    runner.apply()
    before = runner.inspect()
    with pytest.raises(RemovalRefused, match=r"column visits\.id \(altered\)"):
        runner.take_back("0002")
    assert runner.inspect().entries == before.entries
    assert runner.inspect().recorded == before.recorded


def test_an_added_column_with_values_is_not_dropped_without_a_word(
    database: Database, tmp_path: Path
) -> None:
    """Dropping a column loses what stands in it as surely as dropping a table."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", "CREATE TABLE {{ schema }}.visits (id integer);\n")
    write_migration(folder, "0002", "note", "ALTER TABLE {{ schema }}.visits ADD COLUMN note text;\n")
    runner = Runner(database.options, folder)
    runner.apply()
    with database.connect() as application:
        application.execute("INSERT INTO visits VALUES (1, 'precious')")
    with pytest.raises(RemovalRefused, match="note"):
        runner.take_back("0002")
    with database.connect() as application:
        application.execute("UPDATE visits SET note = NULL")
    assert runner.take_back("0002").changed
    assert "column visits.note" not in runner.inspect().entries


def test_rows_that_row_security_hides_are_seen(database: Database, tmp_path: Path) -> None:
    """Even from the owner, when it is forced: what cannot be counted must not be dropped."""
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "hidden",
        "CREATE TABLE {{ schema }}.hidden (id integer);\n"
        "ALTER TABLE {{ schema }}.hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n",
    )
    runner = Runner(database.options, folder)
    runner.apply()
    with database.connect_admin() as admin:
        admin.execute("INSERT INTO hidden VALUES (1)")
        with pytest.raises(RolloutError, match="hidden"):
            runner.take_back("0001")
        assert admin.execute("SELECT count(*) FROM hidden").fetchone() == (1,)


def test_rows_of_a_month_that_was_detached_are_kept(finished: Database) -> None:
    """As retention leaves it: the partition was created by the migration, and no longer goes with its table."""
    with finished.connect() as owner:
        owner.execute(
            "INSERT INTO messages (company_id, phone, direction, created_at)"
            " VALUES (1, '70000000000', 'inbound', '2025-12-24 12:00:00+00')"
        )
        owner.execute("ALTER TABLE messages DETACH PARTITION messages_2025_12")
        with pytest.raises(RemovalRefused, match="messages_2025_12: 1"):
            Runner(finished.options).take_back("0002")
        assert owner.execute("SELECT count(*) FROM messages_2025_12").fetchone() == (1,)
        owner.execute("TRUNCATE messages_2025_12")
    runner = Runner(finished.options)
    assert runner.take_back("0002").changed
    assert not [name for name in runner.inspect().entries if "messages" in name]


def test_a_row_that_arrives_between_the_look_and_the_drop_is_kept(database: Database, tmp_path: Path) -> None:
    """The application inserts in a transaction that commits while the removal waits for its lock."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", "CREATE TABLE {{ schema }}.visits (id integer);\n")
    runner = Runner(database.options, folder)
    runner.apply()
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO visits VALUES (1)")
        failures: list[BaseException] = []

        def remove() -> None:
            try:
                runner.take_back("0001")
            except RolloutError as error:
                failures.append(error)

        removing = threading.Thread(target=remove)
        removing.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'visits'::regclass"
        deadline = time.monotonic() + 10
        while witness.execute(waiting).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        application.commit()
        removing.join()
        (failure,) = failures
        assert isinstance(failure, RemovalRefused)
        assert "rows arrived or changed in public.visits" in str(failure)
        assert witness.execute("SELECT id FROM visits").fetchall() == [(1,)]


def test_a_removal_that_must_wait_gives_up_and_names_who_is_in_the_way(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", "CREATE TABLE {{ schema }}.visits (id integer);\n")
    runner = Runner(database.options, folder, lock_timeout_ms=200, attempts=2)
    runner.apply()
    with database.connect(autocommit=False, application_name="reader of visits") as application:
        application.execute("SELECT * FROM visits")
        with pytest.raises(RolloutError) as refused:
            runner.take_back("0001")
        assert refused.value.details["sqlstate"] == "55P03"
        assert "after 2 attempts" in str(refused.value)
        assert "reader of visits" in str(refused.value)
    assert runner.take_back("0001").changed


def test_a_removal_keeps_to_the_budget_of_its_migration(database: Database, tmp_path: Path) -> None:
    """Dropping a foreign key takes ACCESS EXCLUSIVE on the other table: more than adding it took."""
    folder = tmp_path / "migrations"
    path = write_migration(
        folder,
        "0001",
        "logins",
        "CREATE TABLE {{ schema }}.logins (company_id text REFERENCES {{ schema }}.whatsapp_auth (company_id));\n",
        existing_tables=["whatsapp_auth"],
        locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"},
    )
    runner = Runner(database.options, folder)
    runner.apply()
    before = runner.inspect()
    with pytest.raises(LockBudgetExceeded, match="ACCESS EXCLUSIVE on whatsapp_auth"):
        runner.take_back("0001")
    assert runner.inspect().entries == before.entries
    assert runner.inspect().recorded == before.recorded
    header = path / "migration.yml"
    header.write_text(header.read_text().replace("SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"))
    outcome = runner.take_back("0001")
    assert outcome.locks["whatsapp_auth"] == "ACCESS EXCLUSIVE"


def test_names_that_need_quotes_are_dropped(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "quoted",
        'CREATE TABLE {{ schema }}."Order" ("Group" integer PRIMARY KEY, "a-b" text CHECK ("a-b" <> \'\'));\n'
        'CREATE INDEX "Order by a-b" ON {{ schema }}."Order" ("a-b");\n'
        'CREATE TABLE {{ schema }}."10% off" (id integer);\n'
        'CREATE VIEW {{ schema }}."All orders" AS SELECT * FROM {{ schema }}."Order";\n'
        'CREATE FUNCTION {{ schema }}."Count"("a" integer, text[]) RETURNS integer LANGUAGE sql AS \'SELECT 1\';\n'
        "CREATE TYPE {{ schema }}.\"Mood\" AS ENUM ('good');\n"
        'CREATE FUNCTION {{ schema }}."Is"({{ schema }}."Mood") RETURNS integer LANGUAGE sql AS \'SELECT 1\';\n'
        'CREATE SEQUENCE {{ schema }}."Numbers";\n'
        'CREATE TRIGGER "On-Order" BEFORE UPDATE ON {{ schema }}."Order" FOR EACH ROW'
        " EXECUTE FUNCTION suppress_redundant_updates_trigger();\n"
        'CREATE POLICY "Any one" ON {{ schema }}."Order" USING (true);\n',
    )
    with database.connect() as owner:
        owner.execute('CREATE SCHEMA "Salon One"')
    runner = Runner(database.options, folder, schema="Salon One")
    runner.apply()
    assert len(runner.inspect().entries) > 10
    runner.take_back("0001")
    assert runner.inspect().entries == {}


def test_objects_that_stand_on_each_other_go_in_the_right_order(database: Database, tmp_path: Path) -> None:
    """Functions under tables, tables under functions, views on views: no order of kinds fits all."""
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "layers",
        "CREATE TYPE {{ schema }}.mood AS ENUM ('good');\n"
        "CREATE FUNCTION {{ schema }}.first(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';\n"
        "CREATE SEQUENCE {{ schema }}.numbers;\n"
        "CREATE TABLE {{ schema }}.base (\n"
        "    id integer DEFAULT nextval('{{ schema }}.numbers') CHECK ({{ schema }}.first(id) = 1),\n"
        "    mood {{ schema }}.mood\n"
        ");\n"
        "CREATE INDEX base_first ON {{ schema }}.base ({{ schema }}.first(id));\n"
        "CREATE FUNCTION {{ schema }}.second({{ schema }}.base) RETURNS integer LANGUAGE sql AS 'SELECT 2';\n"
        "CREATE VIEW {{ schema }}.a_view AS SELECT id, mood FROM {{ schema }}.base;\n"
        "CREATE VIEW {{ schema }}.b_view AS SELECT id FROM {{ schema }}.a_view;\n"
        "CREATE FUNCTION {{ schema }}.third({{ schema }}.a_view) RETURNS integer LANGUAGE sql AS 'SELECT 3';\n"
        "CREATE TABLE {{ schema }}.another (base {{ schema }}.base);\n",
    )
    runner = Runner(database.options, folder)
    before = runner.inspect().entries
    runner.apply()
    assert runner.take_back("0001").changed
    assert runner.inspect().entries == before


def test_every_kind_that_a_migration_can_add_to_an_existing_table_is_taken_back(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "base", "CREATE TABLE {{ schema }}.base (id integer, other integer);\n")
    write_migration(
        folder,
        "0002",
        "additions",
        "ALTER TABLE {{ schema }}.base ADD COLUMN late integer DEFAULT 1;\n"
        "ALTER TABLE {{ schema }}.base ADD CONSTRAINT positive CHECK (id > 0);\n"
        "ALTER TABLE {{ schema }}.base ADD CONSTRAINT once UNIQUE (other);\n"
        "CREATE INDEX base_id ON {{ schema }}.base (id);\n"
        "CREATE TRIGGER quiet BEFORE UPDATE ON {{ schema }}.base FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger();\n"
        "CREATE POLICY everyone ON {{ schema }}.base USING (true);\n"
        "CREATE VIEW {{ schema }}.seen AS SELECT id FROM {{ schema }}.base;\n"
        "CREATE STATISTICS {{ schema }}.together ON id, other FROM {{ schema }}.base;\n"
        "COMMENT ON COLUMN {{ schema }}.base.id IS 'a number';\n",
    )
    runner = Runner(database.options, folder)
    runner.bring_in("0001")
    before = runner.inspect().entries
    runner.bring_in("0002")
    outcome = runner.take_back("0002")
    assert outcome.changed, json.dumps(outcome.before)
    assert runner.inspect().entries == before


LATER_TABLE = """
CREATE TABLE visits (id int PRIMARY KEY, updated_at timestamptz);
CREATE TRIGGER stamp BEFORE UPDATE ON visits FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""


def test_what_a_later_table_uses_stays_when_told_and_the_rest_goes(finished: Database) -> None:
    with finished.connect() as somebody:
        somebody.execute(LATER_TABLE)
    runner = Runner(finished.options)
    runner.take_back("0002")
    with pytest.raises(RemovalRefused, match="trigger stamp on table visits"):
        runner.take_back("0001")
    outcome = runner.take_back("0001", keep_shared=True)
    function = "function update_updated_at_column()"
    assert set(outcome.removals[0]["shared"]) == {function, f"comment on {function}"}
    assert "others depend on them, these stay" in outcome.summary
    left = runner.inspect().entries
    assert function in left
    assert "function get_database_stats()" not in left
    assert {name for name in left if name.startswith("table ")} == {
        f"table {t}" for t in (*PROTECTED, "visits")
    }
    with finished.connect() as somebody:
        somebody.execute("INSERT INTO visits VALUES (1)")
        somebody.execute("UPDATE visits SET id = 2")
        assert somebody.execute("SELECT updated_at IS NOT NULL FROM visits").fetchone() == (True,)


def test_what_a_kept_table_needs_is_kept_with_it(finished: Database) -> None:
    with finished.connect() as somebody:
        somebody.execute("CREATE VIEW salons AS SELECT name FROM companies")
    runner = Runner(finished.options)
    runner.take_back("0002")
    before = runner.inspect().entries
    outcome = runner.take_back("0001", keep_shared=True)
    kept = set(outcome.removals[0]["shared"])
    assert {
        "table companies",
        "function update_updated_at_column()",
        "sequence companies_id_seq",
    } & before.keys() <= kept
    assert "table clients" not in kept
    after = runner.inspect().entries
    assert all(after[name] == before[name] for name in kept)
    assert {name for name in after if name.startswith("table ")} == {
        f"table {table}" for table in (*PROTECTED, "companies")
    }


def test_it_is_told_beforehand_what_taking_back_would_mean(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'A', 1), (2, 'B', 2)")
        owner.execute("CREATE VIEW talk AS SELECT phone FROM messages")
    for options in (finished.options, finished.readonly_options):
        runner = Runner(options)
        with traces.without_autovacuum(finished.server):
            assert traces.left_by(finished, runner.removable) == set()
        second, first = runner.removable().removals
        assert (second["label"], first["label"]) == ("0002_messages", "0001_business_tables")
        assert "view talk" in second["refusal"]
        assert second["drops"] == []
        assert first["refusal"] == ""
        assert first["rows"] == {"companies": 2}
        assert {"table companies", "function update_updated_at_column()"} <= set(first["drops"])
        kept, _ = runner.removable(keep_shared=True).removals
        assert kept["refusal"] == ""
        assert {"table messages", "table messages_2025_11"} <= set(kept["shared"])


def exported(database: Database, folder: Path, scratch: str = "auto") -> str:
    """A backup of the database."""
    settings = BackupSettings(
        directory=str(folder), scratch=scratch, bin_dir=str(database.server.binaries.bindir)
    )
    made = backup.make(ConnectionOptions(**database.options), settings)
    assert made.backup is not None
    return str(made.backup.folder)


ROWS = """
INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'A', 1), (2, 'B', 2);
INSERT INTO messages (company_id, phone, direction, created_at) VALUES (1, '70000000000', 'inbound', '2025-11-09');
"""


def test_rows_that_were_exported_may_go(finished: Database, tmp_path: Path) -> None:
    with finished.connect() as owner:
        owner.execute(ROWS)
    runner = Runner(finished.options)
    known = exported(finished, tmp_path)
    runner.take_back("0002", export=known)
    outcome = runner.take_back("0001", export=known)
    assert outcome.removals[0]["rows"] == {"companies": 2}
    assert not any(name.startswith("table c") for name in runner.inspect().entries)


def test_rows_that_are_not_those_of_the_export_are_kept(finished: Database, tmp_path: Path) -> None:
    with finished.connect() as owner:
        owner.execute(ROWS)
    runner = Runner(finished.options)
    known = exported(finished, tmp_path)
    runner.take_back("0002", export=known)
    for change, back, table in (
        (
            "INSERT INTO clients (company_id, phone) VALUES (1, '70000000000')",
            "DELETE FROM clients",
            "clients",
        ),
        (
            "UPDATE companies SET name = 'Z' WHERE id = 1",
            "UPDATE companies SET name = 'A' WHERE id = 1",
            "companies",
        ),
    ):
        with finished.connect() as application:
            application.execute(change.encode())
        before = runner.inspect().fingerprint
        with pytest.raises(RemovalRefused, match=rf"rows arrived or changed in public\.{table}"):
            runner.take_back("0001", export=known)
        assert runner.inspect().fingerprint == before
        with finished.connect() as application:
            application.execute(back.encode())


def test_an_export_that_does_not_count_lets_nothing_go(
    finished: Database, database: Database, tmp_path: Path
) -> None:
    with finished.connect() as owner:
        owner.execute(ROWS)
    runner = Runner(finished.options)
    unproven = exported(finished, tmp_path, scratch="none")
    of_another = exported(database, tmp_path)
    damaged = exported(finished, tmp_path)
    dump = Path(damaged) / "database.dump"
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    for export, reason in (
        (unproven, "never proven"),
        (of_another, "of another database"),
        (damaged, "SHA-256 is not the recorded one"),
    ):
        with pytest.raises(RemovalRefused, match=reason):
            runner.take_back("0002", export=export)
    assert finished.ddl_log() == []


def test_a_migration_in_force_without_its_folder_cannot_be_judged(finished: Database, tmp_path: Path) -> None:
    write_migration(tmp_path, "0001", "business_tables", "CREATE TABLE {{ schema }}.companies (id int);")
    with pytest.raises(RolloutError, match="the ledger has migrations without a folder: 0002"):
        Runner(finished.options, tmp_path).removable()
