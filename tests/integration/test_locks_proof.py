"""Protected tables: never locked beyond ACCESS SHARE, unless a migration declares it for itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import LockBudgetExceeded, RolloutError, StatementFailed
from psycopg import sql

from sandbox.databases import Database
from tests import traces
from tests.migration_folders import through_a_function, write_migration
from tests.runner import PROTECTED, Runner

WITH_FOREIGN_KEY = (
    "CREATE TABLE {{ schema }}.logins (\n    id integer PRIMARY KEY,\n"
    "    company_id text REFERENCES {{ schema }}.whatsapp_auth (company_id)\n);\n"
)


@contextmanager
def locked(database: Database, mode: str, *tables: str) -> Iterator[None]:
    """The application holds these tables in a mode until the block ends."""
    with database.connect(autocommit=False) as application:
        for table in tables:
            application.execute(
                sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.Identifier(table), sql.SQL(mode))
            )
        yield


@pytest.fixture
def runner(database: Database, tmp_path: Path) -> Runner:
    """A runner over an empty folder, with little patience."""
    return Runner(database.options, tmp_path / "migrations", lock_timeout_ms=300, attempts=1)


def test_the_first_run_needs_no_lock_on_the_session_store(database: Database) -> None:
    """EXCLUSIVE lets nothing past but ACCESS SHARE."""
    with locked(database, "EXCLUSIVE", *PROTECTED):
        applied = Runner(database.options, lock_timeout_ms=300, attempts=1).apply()
    assert applied.changed
    assert (
        "locks on protected tables: whatsapp_auth: none, whatsapp_keys: none" in applied.outcomes[0].summary
    )
    for outcome in applied.outcomes:
        assert not set(outcome.locks) & set(PROTECTED)


def test_a_foreign_key_is_refused_before_commit_and_its_lock_named(
    database: Database, runner: Runner
) -> None:
    write_migration(runner.folder, "0001", "logins", WITH_FOREIGN_KEY, existing_tables=["whatsapp_auth"])
    entries, before = runner.inspect().entries, traces.read(database)
    with pytest.raises(LockBudgetExceeded) as refused:
        runner.apply()
    after = traces.read(database)
    assert "0001_logins" in str(refused.value)
    assert "SHARE ROW EXCLUSIVE on whatsapp_auth (allowed: ACCESS SHARE)" in str(refused.value)
    assert "rolled back before COMMIT" in str(refused.value)
    assert "'locks' in its migration.yml" in str(refused.value)
    assert refused.value.details["locks"] == [{"table": "whatsapp_auth", "mode": "SHARE ROW EXCLUSIVE"}]
    assert runner.inspect().entries == entries
    assert (after.schemas, after.relations) == (before.schemas, before.relations)


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ("CREATE INDEX more ON {{ schema }}.whatsapp_auth (created_at)", "SHARE"),
        ("ALTER TABLE {{ schema }}.whatsapp_auth ADD COLUMN note text", "ACCESS EXCLUSIVE"),
        ("COMMENT ON TABLE {{ schema }}.whatsapp_auth IS 'ours'", "SHARE UPDATE EXCLUSIVE"),
        ("UPDATE {{ schema }}.whatsapp_auth SET creds = creds WHERE false", "ROW EXCLUSIVE"),
        (
            "CREATE TRIGGER more BEFORE UPDATE ON {{ schema }}.whatsapp_auth"
            " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "SHARE ROW EXCLUSIVE",
        ),
    ],
)
def test_every_lock_beyond_reading_is_refused(
    database: Database, runner: Runner, statement: str, mode: str
) -> None:
    write_migration(runner.folder, "0001", "touches", f"{statement};\n", existing_tables=["whatsapp_auth"])
    before = runner.inspect().entries
    with pytest.raises(LockBudgetExceeded, match=f"touches .*: {mode} on whatsapp_auth"):
        runner.apply()
    assert runner.inspect().entries == before
    unprotected = replace(runner, protected=("whatsapp_keys",))
    assert unprotected.apply().changed, "the control: without the protection it goes through"


def test_reading_a_protected_table_is_allowed(runner: Runner) -> None:
    write_migration(
        runner.folder,
        "0001",
        "reads",
        "CREATE VIEW {{ schema }}.logins AS SELECT company_id FROM {{ schema }}.whatsapp_auth;\n",
        existing_tables=["whatsapp_auth"],
    )
    (outcome,) = runner.apply().outcomes
    assert outcome.locks["whatsapp_auth"] == "ACCESS SHARE"
    assert "whatsapp_auth: ACCESS SHARE, whatsapp_keys: none" in outcome.summary


def test_a_migrations_own_budget_allows_it(runner: Runner) -> None:
    write_migration(
        runner.folder,
        "0001",
        "logins",
        WITH_FOREIGN_KEY,
        existing_tables=["whatsapp_auth"],
        locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"},
    )
    (outcome,) = runner.apply().outcomes
    assert outcome.locks["whatsapp_auth"] == "SHARE ROW EXCLUSIVE"
    assert not runner.apply().changed
    assert runner.inspect().entries["constraint logins.logins_company_id_fkey"]["definition"] == (
        "FOREIGN KEY (company_id) REFERENCES whatsapp_auth(company_id)"
    )


@pytest.mark.parametrize(
    "budget",
    [{"whatsapp_auth": "SHARE"}, {"whatsapp_keys": "ACCESS EXCLUSIVE"}],
    ids=["too small", "another table's"],
)
def test_a_budget_is_exact(runner: Runner, budget: dict[str, str]) -> None:
    write_migration(
        runner.folder, "0001", "logins", WITH_FOREIGN_KEY, existing_tables=["whatsapp_auth"], locks=budget
    )
    allowed = budget.get("whatsapp_auth", "ACCESS SHARE")
    with pytest.raises(
        LockBudgetExceeded, match=rf"SHARE ROW EXCLUSIVE on whatsapp_auth \(allowed: {allowed}\)"
    ):
        runner.apply()


def test_another_migrations_budget_does_not_count(runner: Runner) -> None:
    write_migration(
        runner.folder,
        "0001",
        "allowed",
        WITH_FOREIGN_KEY,
        existing_tables=["whatsapp_auth"],
        locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"},
    )
    write_migration(
        runner.folder,
        "0002",
        "refused",
        WITH_FOREIGN_KEY.replace("logins", "visits"),
        existing_tables=["whatsapp_auth"],
    )
    with pytest.raises(LockBudgetExceeded, match="0002_refused locks"):
        runner.apply()
    assert runner.inspect().recorded == ["0001_allowed"]


def test_a_rehearsal_does_not_lock_the_table_that_a_foreign_key_is_to(
    database: Database, runner: Runner
) -> None:
    write_migration(runner.folder, "0001", "logins", WITH_FOREIGN_KEY, existing_tables=["whatsapp_auth"])
    with locked(database, "EXCLUSIVE", *PROTECTED):
        rehearsal = runner.rehearse()
    assert rehearsal.locks["whatsapp_auth"] == "ACCESS SHARE"
    assert [described["state"] for described in rehearsal.migrations] == ["absent"]


def test_a_table_that_is_not_declared_is_asked_for(runner: Runner) -> None:
    write_migration(runner.folder, "0001", "logins", WITH_FOREIGN_KEY)
    with pytest.raises(StatementFailed) as refused:
        runner.rehearse()
    assert refused.value.details["sqlstate"] == "42P01"
    assert "0001_logins/010_all.sql.j2:1" in str(refused.value)
    assert "must be listed under existing_tables in migration.yml" in str(refused.value)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {{ schema }}.logins (company_id text REFERENCES public.whatsapp_auth (company_id))",
        through_a_function("LOCK TABLE public.whatsapp_auth IN SHARE MODE;"),
        "UPDATE public.whatsapp_auth SET creds = creds",
    ],
    ids=["foreign key", "function", "UPDATE"],
)
def test_a_name_that_reaches_past_the_scratch_schema_locks_nothing_in_the_rehearsal(
    database: Database, runner: Runner, statement: str
) -> None:
    """A rehearsal promises to take no lock on an existing table; with the schema written out, it would."""
    write_migration(runner.folder, "0001", "reaches", f"{statement};\n", existing_tables=["whatsapp_auth"])
    with pytest.raises(RolloutError, match="whatsapp_auth") as refused:
        runner.rehearse()
    assert "0001_reaches" in str(refused.value)
    if "act()" not in statement:  # what a function does is seen only when it has been done
        with locked(database, "EXCLUSIVE", *PROTECTED), pytest.raises(RolloutError) as refused:
            runner.rehearse()
        assert refused.value.details.get("sqlstate") != "55P03", "it waited for a lock on the live table"


def test_a_protected_table_that_does_not_exist_is_no_protection_and_is_said(runner: Runner) -> None:
    write_migration(runner.folder, "0001", "plain", "CREATE TABLE {{ schema }}.plain (id integer);\n")
    with pytest.raises(RolloutError, match="whatsapp_auht"):
        replace(runner, protected=("whatsapp_auht", "whatsapp_keys")).apply()


def test_protection_reaches_into_another_schema(database: Database, runner: Runner) -> None:
    with database.connect() as owner:
        owner.execute('CREATE SCHEMA "Salon One"')
    write_migration(
        runner.folder,
        "0001",
        "locks",
        "CREATE TABLE {{ schema }}.plain (id integer);\n"
        + through_a_function("LOCK TABLE public.whatsapp_auth IN SHARE MODE;"),
    )
    with pytest.raises(RolloutError, match="whatsapp_auth"):
        replace(runner, schema="Salon One", protected=("public.whatsapp_auth",)).apply()
    with pytest.raises(RolloutError, match="whatsapp_auth"):
        replace(runner, schema="Salon One", protected=("whatsapp_auth",)).apply()
    with database.connect() as owner:
        assert owner.execute("SELECT to_regclass('\"Salon One\".plain')").fetchone() == (None,)


def test_an_existing_table_keeps_its_grants_when_a_migration_alters_it(
    database: Database, runner: Runner
) -> None:
    """Its stub in the rehearsal has no grants and no row security: what must be compared is what is altered."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY, cents integer CHECK (cents > 0))")
        owner.execute("GRANT SELECT ON prices TO auditor")
        owner.execute("ALTER TABLE prices ENABLE ROW LEVEL SECURITY")
    write_migration(
        runner.folder,
        "0001",
        "prices",
        "ALTER TABLE {{ schema }}.prices ADD COLUMN currency text DEFAULT 'EUR';\n"
        "ALTER TABLE {{ schema }}.prices SET (fillfactor = 90);\n",
        existing_tables=["prices"],
    )
    (outcome,) = runner.apply().outcomes
    assert outcome.locks["prices"] == "ACCESS EXCLUSIVE"
    entry = runner.inspect().entries["table prices"]
    assert entry["options"] == ["fillfactor=90"]
    assert entry["row_security"]
    assert any("auditor" in grant for grant in entry["grants"])
    assert not runner.apply().changed


def test_a_named_index_of_an_existing_table_can_be_dropped(database: Database, runner: Runner) -> None:
    """A copy by LIKE gives its indexes names of its own."""
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY, cents integer CHECK (cents > 0))")
        owner.execute("CREATE INDEX prices_by_cents ON prices (cents)")
    write_migration(
        runner.folder,
        "0001",
        "prices",
        "DROP INDEX {{ schema }}.prices_by_cents;\n",
        existing_tables=["prices"],
        drops=["index prices_by_cents"],
    )
    assert runner.apply().changed
    assert "index prices_by_cents" not in runner.inspect().entries
    assert not runner.apply().changed


def test_a_concurrent_index_on_a_protected_table_is_refused_before_it_is_begun(
    database: Database, runner: Runner
) -> None:
    text = "CREATE INDEX CONCURRENTLY auth_created ON {{ schema }}.whatsapp_auth (created_at);\n"
    path = write_migration(runner.folder, "0001", "late", text, existing_tables=["whatsapp_auth"])
    with pytest.raises(LockBudgetExceeded, match="SHARE UPDATE EXCLUSIVE on whatsapp_auth"):
        runner.apply()
    assert "index auth_created" not in runner.inspect().entries
    assert runner.inspect().recorded == []

    header = (path / "migration.yml").read_text() + "locks: {whatsapp_auth: SHARE UPDATE EXCLUSIVE}\n"
    (path / "migration.yml").write_text(header)
    assert runner.apply().changed
    assert "index auth_created" in runner.inspect().entries
