"""Restores into a real database: what comes back, what is refused, and that nothing else is touched."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.rollout import backup, restore_transaction
from ansible.module_utils.rollout.errors import LockBudgetExceeded, RestoreRefused, StatementFailed
from ansible.module_utils.rollout.restore import RestoreOutcome, restore
from ansible.module_utils.rollout.restore_plan import RestoreSettings

from sandbox.databases import Database
from tests import traces
from tests.application_rows import TABLES, rows_of
from tests.backup_databases import (  # noqa: F401
    bin_dir,
    database_with_rows,
    left_in,
    may_create_databases,
    options_of,
    prepared_rows,
    settings_for,
)
from tests.integration.module_run import documented, run
from tests.prepared_databases import copy_of
from tests.runner import Runner

PROTECTED = ("public.whatsapp_auth", "public.whatsapp_keys")
FUNCTIONS = (
    "update_updated_at_column",
    "cleanup_expired_dialog_contexts",
    "cleanup_expired_appointments_cache",
    "get_database_stats",
    "create_messages_partition",
    "maintain_messages_partitions",
    "get_messages_stats",
    "get_recent_messages",
)


@pytest.fixture(scope="module")
def exported(with_rows: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The name of a database and the backup of its tables, as a rollback takes it. The owner may create databases."""
    folder = tmp_path_factory.mktemp("exported")
    with copy_of(with_rows, folder) as database, may_create_databases(database.server):
        tables = tuple(f"public.{table}" for table in TABLES)
        manifest = backup.make(
            options_of(database), settings_for(folder, label="rollback", tables=tables)
        ).backup
        assert manifest is not None
        yield database.name, manifest.folder


def bring_back(database: Database, source: Path, check: bool = False, **settings: object) -> RestoreOutcome:
    """Restore into a copy of the database that the backup is of."""
    given = {
        "confirm": database.name,
        "other_database": True,
        "protected": PROTECTED,
        "attempts": 1,
        "bin_dir": bin_dir(),
        **settings,
    }
    return restore(
        options_of(database),
        RestoreSettings(source=str(source), **given),  # type: ignore[arg-type]
        check=check,
    )


def remove_everything(connection: psycopg.Connection) -> None:
    """What a rollback removes."""
    connection.execute(f"DROP TABLE {', '.join(TABLES)}".encode())
    for function in FUNCTIONS:
        connection.execute(f"DROP FUNCTION {function}".encode())


@pytest.mark.parametrize("scratch", ["local", "database"])
def test_everything_that_a_rollback_removed_comes_back_equal(
    filled: Database, exported: tuple[str, Path], tmp_path: Path, scratch: str
) -> None:
    runner = Runner(filled.options)
    tables = tuple(f"public.{table}" for table in TABLES)
    with filled.connect() as owner:
        owner.execute("GRANT SELECT ON clients TO auditor")
        before, rows = runner.inspect(), rows_of(owner)
        manifest = backup.make(options_of(filled), settings_for(tmp_path, tables=tables)).backup
        assert manifest is not None
        remove_everything(owner)
        foretold = bring_back(filled, manifest.folder, check=True, other_database=False)
        outcome = bring_back(filled, manifest.path, other_database=False, scratch=scratch)
        assert rows_of(owner) == rows
        # A sequence goes on where it stood.
        owner.execute("INSERT INTO services (company_id, title, duration) VALUES (1, 'Next', 60)")
        owner.execute("DELETE FROM services WHERE title = 'Next'")
    after = runner.inspect()
    assert after.entries == before.entries
    assert after.fingerprint == before.fingerprint
    # Exactly as the ledger recorded them, so that a later run finds nothing to do.
    assert after.differences == before.differences
    assert outcome.reworded == ()
    assert len(outcome.objects) == len(FUNCTIONS)
    unforeseen = ("seconds", "locks", "reworded")
    assert {k: v for k, v in foretold.as_json().items() if k not in unforeseen} == {
        k: v for k, v in outcome.as_json().items() if k not in unforeseen
    }
    assert bring_back(filled, manifest.folder, other_database=False).changed is False
    assert left_in(tmp_path) == {manifest.folder.name}


def test_rows_come_back_into_tables_that_were_made_anew(filled: Database, exported: tuple[str, Path]) -> None:
    runner = Runner(filled.options)
    with filled.connect() as owner:
        rows = rows_of(owner)
        remove_everything(owner)
        owner.execute("DROP SCHEMA rollout CASCADE")
        runner.apply()
        fingerprint = runner.inspect().fingerprint
        # Rows come back as they were, whatever a trigger would make of them.
        owner.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = 'spoilt';"
            " RETURN NEW; END $$; CREATE TRIGGER spoil BEFORE INSERT ON clients FOR EACH ROW EXECUTE FUNCTION spoil();"
            " ALTER TABLE clients ENABLE ALWAYS TRIGGER spoil"
        )
        outcome = bring_back(filled, exported[1])
        assert rows_of(owner) == rows
        assert owner.execute("SELECT tgenabled FROM pg_trigger WHERE tgname = 'spoil'").fetchone() == ("A",)
        owner.execute("DROP TRIGGER spoil ON clients; DROP FUNCTION spoil()")
    assert runner.inspect().fingerprint == fingerprint
    assert outcome.created == () and "public.clients" in outcome.filled
    assert set(PROTECTED).isdisjoint(outcome.locks)


def test_tables_with_other_rows_are_refused_or_kept_aside(
    filled: Database, exported: tuple[str, Path]
) -> None:
    with filled.connect() as owner:
        rows, before = rows_of(owner), Runner(filled.options).inspect()
        owner.execute("DELETE FROM messages WHERE id < 10; UPDATE clients SET name = 'Other' WHERE id = 4")
        changed = rows_of(owner)
        with pytest.raises(
            RestoreRefused, match=r"public\.clients holds 50 rows that are not those of the backup"
        ):
            bring_back(filled, exported[1])
        with pytest.raises(RestoreRefused, match="constraint bookings_client_id_fkey on table"):
            bring_back(filled, exported[1], tables=("clients",), replace=True)
        assert rows_of(owner) == changed
        assert Runner(filled.options).inspect().fingerprint == before.fingerprint
        outcome = bring_back(filled, exported[1], replace=True)
        assert rows_of(owner) == rows
        aside = owner.execute(
            f"SELECT name FROM {outcome.side_schema}.clients WHERE id = 4".encode()
        ).fetchone()
        assert aside == ("Other",)
        kept = owner.execute(f"SELECT count(*) FROM {outcome.side_schema}.messages".encode()).fetchone()
        assert kept == (len(changed["messages"]),)
    after = Runner(filled.options).inspect()
    assert after.entries == before.entries
    assert after.differences == []
    # Moved with clients, because their foreign keys would have followed it.
    assert {"public.bookings", "public.reminders"} <= set(outcome.moved_aside)
    assert "public.companies" not in outcome.moved_aside


def test_one_table_comes_back_with_the_function_that_it_needs(
    filled: Database, exported: tuple[str, Path]
) -> None:
    before = Runner(filled.options).inspect()
    with filled.connect() as owner:
        owner.execute("DROP TABLE reminders; DROP FUNCTION get_database_stats")
        outcome = bring_back(filled, exported[1], tables=("reminders",))
        assert outcome.created == ("public.reminders",) and outcome.objects == ()
        assert owner.execute("SELECT to_regproc('get_database_stats')").fetchone() == (None,)
        # Without names, what is missing beside tables comes back too.
        assert bring_back(filled, exported[1]).objects == ("function public.get_database_stats()",)
    assert Runner(filled.options).inspect().entries == before.entries


def test_odd_names_and_kinds_come_back(
    database: Database, tmp_path: Path, exported: tuple[str, Path]
) -> None:
    with database.connect() as owner:
        owner.execute(
            """
            CREATE SCHEMA "Odd {schema}";
            CREATE TYPE "Odd {schema}".mood AS ENUM ('sad', 'ok');
            CREATE DOMAIN "Odd {schema}".short AS text CHECK (length(VALUE) < 9);
            CREATE FUNCTION "Odd {schema}".next(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
            CREATE SEQUENCE "Odd {schema}".numbers;
            CREATE TABLE "Odd {schema}"."Ta""ble %s $1" ("a%s" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                "select" "Odd {schema}".short, m "Odd {schema}".mood, b bytea,
                n int DEFAULT nextval('"Odd {schema}".numbers'),
                twice int GENERATED ALWAYS AS ("Odd {schema}".next(length("select"))) STORED);
            """
        )
        owner.execute(
            r"""
            INSERT INTO "Odd {schema}"."Ta""ble %s $1" ("select", m, b)
            VALUES (E'\\.\n', 'ok', '\x00ff'), ('', NULL, '');
            CREATE INDEX ON "Odd {schema}"."Ta""ble %s $1" ("Odd {schema}".next("a%s"));
            CREATE VIEW "Odd {schema}".v AS SELECT "select" FROM "Odd {schema}"."Ta""ble %s $1";
            CREATE MATERIALIZED VIEW "Odd {schema}".mv AS SELECT n FROM "Odd {schema}"."Ta""ble %s $1";
            CREATE UNIQUE INDEX ON "Odd {schema}".mv (n);
            ALTER TABLE "Odd {schema}"."Ta""ble %s $1" ENABLE ROW LEVEL SECURITY, REPLICA IDENTITY FULL;
            CREATE POLICY seen ON "Odd {schema}"."Ta""ble %s $1" FOR SELECT TO auditor USING (n > 0);
            GRANT SELECT ON "Odd {schema}"."Ta""ble %s $1" TO auditor;
            COMMENT ON COLUMN "Odd {schema}"."Ta""ble %s $1"."select" IS 'it''s';
            """
        )
        select = 'SELECT array_agg(t::text ORDER BY 1) FROM "Odd {schema}"."Ta""ble %s $1" t'
        rows = owner.execute(select).fetchall()
        manifest = backup.make(options_of(database), settings_for(tmp_path, schemas=("Odd {schema}",))).backup
        assert manifest is not None and manifest.proof.equal
        runner = Runner(database.options, schema="Odd {schema}")
        before = runner.inspect()
        owner.execute('DROP SCHEMA "Odd {schema}" CASCADE')
        outcome = bring_back(database, manifest.folder, other_database=False)
        assert owner.execute(select).fetchall() == rows
        assert owner.execute('SELECT count(*) FROM "Odd {schema}".mv').fetchone() == (2,)
        assert owner.execute("""SELECT nextval('"Odd {schema}".numbers')""").fetchone() == (3,)
    assert runner.inspect().entries == before.entries
    assert outcome.reworded == ()
    assert bring_back(database, manifest.folder, other_database=False).changed is False


def test_a_table_that_another_one_needs_is_asked_for(filled: Database, exported: tuple[str, Path]) -> None:
    with filled.connect() as owner:
        owner.execute("DROP TABLE bookings, reminders")
    with pytest.raises(RestoreRefused, match=r"table public\.bookings is needed"):
        bring_back(filled, exported[1], tables=("reminders",), check=True)
    outcome = bring_back(filled, exported[1], tables=("public.reminders", "public.bookings"), check=True)
    assert outcome.created == ("public.bookings", "public.reminders")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"confirm": "somewhere"}, "restore_confirm is 'somewhere', and the database is called"),
        ({"other_database": False}, "the backup is of database"),
        ({"tables": ("whatsapp_auth",)}, r"public\.whatsapp_auth is protected"),
        ({"tables": ("nowhere",)}, "the backup has no table nowhere"),
        ({"tables": ("rollout.migration",)}, r"the rows of rollout\.migration are not in this backup"),
    ],
)
def test_what_was_not_meant_is_refused(
    filled: Database, exported: tuple[str, Path], settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(RestoreRefused, match=reason):
        bring_back(filled, exported[1], **settings)  # type: ignore[arg-type]


def test_check_mode_leaves_no_trace(
    filled: Database, exported: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with filled.connect() as owner:
        owner.execute("DROP TABLE reminders")
    arguments = {"source": str(exported[1]), "confirm": filled.name, "other_database": True, **filled.options}
    arguments["bin_dir"] = bin_dir()
    result = run("pg_backup_restore", capsys, check=True, **arguments)
    assert set(result) - {"changed", "invocation"} == documented("pg_backup_restore") - {"details"}
    assert result["changed"] is True and result["created"] == ["public.reminders"]
    with traces.without_autovacuum(filled.server):
        assert (
            traces.left_by(filled, lambda: run("pg_backup_restore", capsys, check=True, **arguments)) == set()
        )


def test_a_damaged_backup_is_refused(filled: Database, tmp_path: Path) -> None:
    manifest = backup.make(options_of(filled), settings_for(tmp_path, scratch="none")).backup
    assert manifest is not None
    with manifest.path.open("ab") as dump:
        dump.write(b"x")
    with pytest.raises(RestoreRefused, match="is damaged"):
        bring_back(filled, manifest.folder)


def _lose_a_row(self: object, session: Database, beside: object, name: tuple[str, str]) -> None:
    """In place of Restoration._copy: nothing is carried over."""


def _also_change_something(session: Callable[..., None]) -> Callable[..., None]:
    def changed(self: restore_transaction.Restoration, target: object, *arguments: object) -> None:
        session(self, target, *arguments)
        target.run(["CREATE INDEX added ON public.companies (name)"])  # type: ignore[attr-defined]

    return changed


def test_what_does_not_come_back_equal_is_rolled_back(
    filled: Database, exported: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled.connect() as owner:
        owner.execute("DROP TABLE reminders")
        before = Runner(filled.options).inspect().fingerprint
        with monkeypatch.context() as broken:
            broken.setattr(restore_transaction.Restoration, "_copy", _lose_a_row)
            with pytest.raises(RestoreRefused, match=r"public\.reminders: 0 rows came back, 1 are recorded"):
                bring_back(filled, exported[1])
        with monkeypatch.context() as broken:
            original = restore_transaction.Restoration._set_sequences
            broken.setattr(
                restore_transaction.Restoration, "_set_sequences", _also_change_something(original)
            )
            with pytest.raises(RestoreRefused, match="index added"):
                bring_back(filled, exported[1])
        assert Runner(filled.options).inspect().fingerprint == before


def test_a_protected_table_is_not_locked_harder_than_a_read_locks_it(
    filled: Database, tmp_path: Path
) -> None:
    with filled.connect() as owner:
        owner.execute(
            "ALTER TABLE whatsapp_auth ADD COLUMN number int UNIQUE;"
            " CREATE TABLE later (number int REFERENCES whatsapp_auth (number))"
        )
        manifest = backup.make(
            options_of(filled), settings_for(tmp_path, scratch="none", tables=("later",))
        ).backup
        assert manifest is not None
        owner.execute("DROP TABLE later")
        with pytest.raises(LockBudgetExceeded, match=r"public\.whatsapp_auth: SHARE ROW EXCLUSIVE"):
            bring_back(filled, manifest.folder)
        assert owner.execute("SELECT to_regclass('later')").fetchone() == (None,)
        assert bring_back(filled, manifest.folder, protected=(), check=True).created == ("public.later",)


def test_a_lock_that_cannot_be_had_is_told_with_its_holder(
    filled: Database, exported: tuple[str, Path]
) -> None:
    with filled.connect() as owner, filled.connect(application_name="the application") as other:
        owner.execute("DELETE FROM reminders")
        with other.transaction():
            other.execute("SELECT FROM reminders FOR UPDATE")
            other.execute("LOCK TABLE reminders IN ROW EXCLUSIVE MODE")
            with pytest.raises(StatementFailed, match="the application"):
                bring_back(filled, exported[1], lock_timeout_ms=200)
        assert bring_back(filled, exported[1], check=True).filled == ("public.reminders",)
