"""Servers, databases, schemas, roles and rights of other kinds: it works there, or says what is in the way."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, RolloutError
from psycopg import sql

from sandbox.certificates import ensure_certificates
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer, random_name
from tests.migration_folders import write_migration
from tests.runner import Runner

TEXTS = "Привет, 'salon' \\ \"quotes\" 100% $$"


@contextmanager
def role(database: Database, member: bool = True) -> Iterator[str]:
    """A role of another owner; dropped afterwards, with what it owns and was granted in the database.

    :param member: whether gen_user may act as it
    """
    name = random_name("Salon owner")
    with database.connect_admin() as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        if member:
            admin.execute(sql.SQL("GRANT {} TO gen_user").format(sql.Identifier(name)))
    try:
        yield name
    finally:
        with database.connect_admin() as admin:
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def grant(database: Database, right: str, role_name: str) -> None:
    with database.connect_admin() as admin:
        admin.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(right), sql.Identifier(role_name)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with one migration that makes a table, a sequence, a function and a type."""
    folder = tmp_path / "small"
    write_migration(
        folder,
        "0001",
        "small",
        "CREATE TYPE {{ schema }}.mood AS ENUM ('good');\n"
        "CREATE TABLE {{ schema }}.small (id serial PRIMARY KEY, mood {{ schema }}.mood DEFAULT 'good');\n"
        "CREATE FUNCTION {{ schema }}.f(id integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
        "COMMENT ON FUNCTION {{ schema }}.f(integer) IS 'one';\n"
        "CREATE VIEW {{ schema }}.seen AS SELECT id FROM {{ schema }}.small WHERE mood = 'good';\n",
    )
    return folder


@pytest.mark.parametrize("schema", ["order", "салон-два", "x" * 63, "UPPER", "rollout_scratch"])
def test_a_schema_may_have_any_name(database: Database, small: Path, schema: str) -> None:
    with database.connect() as owner:
        owner.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    runner = Runner(database.options, small, schema=schema, ledger="Ledger of " + schema[:20])
    assert runner.apply().states == ["absent"]
    assert not runner.apply().changed
    assert not runner.apply(check=True).changed
    assert runner.inspect().differences == []
    runner.take_back("0001")
    assert runner.inspect().entries == {}


def test_a_schema_that_needs_quotes_ends_up_like_public(database: Database, finished: Database) -> None:
    with database.connect() as owner:
        owner.execute('CREATE SCHEMA "Salon One"')
    runner = Runner(database.options, schema="Salon One", ledger="Ledger of One")
    assert runner.apply().states == ["absent", "absent"]
    assert not runner.apply().changed
    made = runner.inspect()
    assert made.differences == []
    in_public = Runner(finished.options).inspect().entries
    assert set(made.entries) == {name for name in in_public if "whatsapp" not in name}
    runner.take_back("0002")
    runner.take_back("0001")
    assert runner.inspect().entries == {}


def test_two_schemas_share_a_database_and_its_ledger(database: Database, small: Path) -> None:
    with database.connect() as owner:
        owner.execute('CREATE SCHEMA one; CREATE SCHEMA "Two"')
    first, second = (Runner(database.options, small, schema=schema) for schema in ("one", "Two"))
    assert first.apply().changed
    assert second.apply().states == ["absent"]
    assert not first.apply().changed
    assert not second.apply().changed
    first.take_back("0001")
    assert second.inspect().differences == []
    assert second.inspect().recorded == ["0001_small"]


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/St_Johns"])
def test_months_begin_in_another_zone(database: Database, zone: str) -> None:
    runner = Runner(database.options, variables={"zone": zone})
    runner.apply()
    assert not runner.apply().changed
    bounds = runner.inspect().entries["table messages_2026_01"]["bounds"]
    with database.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        (expected,) = connection.execute(
            "SELECT format('FOR VALUES FROM (%%L) TO (%%L)', ('2026-01-01'::timestamp AT TIME ZONE %(zone)s),"
            " ('2026-02-01'::timestamp AT TIME ZONE %(zone)s))",
            {"zone": zone},
        ).fetchone() or ("",)
    assert bounds == expected


def test_the_owner_role_owns_what_is_made(database: Database) -> None:
    with role(database) as owner:
        grant(database, f"CREATE ON DATABASE {database.name}", owner)
        grant(database, "CREATE, USAGE ON SCHEMA public", owner)
        runner = Runner(database.options, owner_role=owner)
        assert runner.apply().changed
        assert not runner.apply().changed
        assert not runner.apply(check=True).changed
        entries = {name: entry for name, entry in runner.inspect().entries.items() if "whatsapp" not in name}
        assert {entry["owner"] for entry in entries.values() if "owner" in entry} == {owner}
        with database.connect() as connection:
            assert connection.execute(
                "SELECT tableowner FROM pg_tables WHERE schemaname = 'rollout' GROUP BY 1"
            ).fetchall() == [("gen_user",)]
        assert runner.take_back("0002").changed
        assert runner.take_back("0001").changed


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        (["CREATE, USAGE ON SCHEMA public"], 'GRANT CREATE ON DATABASE "{database}" TO "{owner}"'),
        (["CREATE ON DATABASE {database}"], 'GRANT CREATE ON SCHEMA "apart" TO "{owner}"'),
    ],
    ids=["no right to make the scratch schema", "no right in the target schema"],
)
def test_what_the_owner_role_may_not_do_is_said_before_anything_is_tried(
    database: Database, rights: list[str], told: str
) -> None:
    with database.connect() as creator:
        creator.execute("CREATE SCHEMA apart")
    with role(database) as owner:
        for right in rights:
            grant(database, right.format(database=database.name), owner)
        database.mark_log()
        with pytest.raises(RolloutError) as refused:
            Runner(database.options, schema="apart", owner_role=owner).apply()
        assert told.format(database=database.name, owner=owner) in str(refused.value)
        assert database.ddl_log() == []


def test_an_owner_role_that_one_may_not_act_as_is_named(database: Database) -> None:
    with role(database, member=False) as owner, pytest.raises(RolloutError) as refused:
        Runner(database.options, owner_role=owner).apply()
    assert owner in str(refused.value)
    assert f'GRANT "{owner}" TO "gen_user"' in str(refused.value)


def test_an_owner_role_that_does_not_exist_is_named(database: Database) -> None:
    with pytest.raises(RolloutError, match="nobody_of_that_name"):
        Runner(database.options, owner_role="nobody_of_that_name").apply()


@pytest.mark.parametrize(
    "default",
    [
        "IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO auditor",
        "IN SCHEMA public GRANT USAGE ON SEQUENCES TO auditor WITH GRANT OPTION",
        "IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO auditor",
        "IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "GRANT SELECT ON TABLES TO auditor",
        "FOR ROLE gen_user IN SCHEMA public GRANT ALL ON TABLES TO auditor",
    ],
)
def test_default_privileges_are_foretold(database: Database, small: Path, default: str) -> None:
    with database.connect() as owner:
        owner.execute(f"ALTER DEFAULT PRIVILEGES {default}".encode())
    runner = Runner(database.options, small)
    assert runner.apply().changed
    assert not runner.apply().changed
    if "auditor" in default:
        entries = runner.inspect().entries.values()
        assert any("auditor=" in right for entry in entries for right in entry.get("grants", []))


def test_default_privileges_of_others_are_not_ours(database: Database, small: Path) -> None:
    with database.connect_admin() as admin:
        admin.execute(
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT ON TABLES TO auditor"
        )
    runner = Runner(database.options, small)
    assert runner.apply().changed
    assert not runner.apply().changed


def test_a_schema_that_does_not_exist_is_said(database: Database) -> None:
    for check in (False, True):
        with pytest.raises(RolloutError) as refused:
            Runner(database.options, schema="nowhere").apply(check)
        assert f"there is no schema nowhere in database {database.name}" in str(refused.value)
        assert "schema_name" in str(refused.value)


def test_a_schema_without_usage_is_not_called_missing_alone(database: Database) -> None:
    """To a role without USAGE everything in it "does not exist"."""
    with database.connect_admin() as admin:
        admin.execute("CREATE SCHEMA closed; CREATE TABLE closed.companies (id integer)")
    with pytest.raises(RolloutError) as refused:
        Runner(database.options, schema="closed").apply()
    assert "gen_user" in str(refused.value)
    assert "GRANT" in str(refused.value)


def test_a_schema_without_create_is_said_with_the_grant(database: Database) -> None:
    with database.connect_admin() as admin:
        admin.execute("CREATE SCHEMA theirs; GRANT USAGE ON SCHEMA theirs TO gen_user")
    with pytest.raises(RolloutError) as refused:
        Runner(database.options, schema="theirs").apply()
    assert "gen_user may not create anything in schema theirs" in str(refused.value)
    assert 'GRANT CREATE ON SCHEMA "theirs" TO "gen_user"' in str(refused.value)
    assert Runner(database.options, schema="theirs").apply(check=True).changed, "check mode only reads"


def test_a_database_without_create_is_said_with_the_grant(database: Database) -> None:
    with database.connect_admin() as admin:
        admin.execute(f"ALTER DATABASE {database.name} OWNER TO postgres".encode())
        admin.execute("GRANT CREATE, USAGE ON SCHEMA public TO gen_user")
    with pytest.raises(RolloutError) as refused:
        Runner(database.options).apply()
    assert f"gen_user may not create a schema in database {database.name}" in str(refused.value)
    assert f'GRANT CREATE ON DATABASE "{database.name}" TO "gen_user"' in str(refused.value)


def test_a_login_that_may_only_read_is_told_so(database: Database, finished: Database) -> None:
    with pytest.raises(RolloutError, match="auditor may not create anything in schema public"):
        Runner(database.readonly_options).apply()
    assert not Runner(finished.readonly_options).apply().changed, "nothing to do needs no right"


def test_a_database_fenced_off_against_writes_stays_fenced(database: Database) -> None:
    """A provider sets it when the disk is full, an operator during a failover. It is not ours to override."""
    with database.connect_admin() as admin:
        admin.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on".encode())
    with pytest.raises(RolloutError, match="default_transaction_read_only"):
        Runner(database.options).apply()
    assert Runner(database.options).apply(check=True).changed


@pytest.fixture(scope="module")
def standby() -> Iterator[PostgresServer]:
    """A server in recovery: it follows nobody, but takes no writes and says so as a real standby does."""
    home = Path(tempfile.mkdtemp(prefix="rollout-standby-"))
    server = PostgresServer(home, plaintext=True, durable=False)
    try:
        server.start()
        ensure_roles(server)
        server.stop()
        signal = server.data / "standby.signal"
        signal.touch()
        owner = server.data.stat()
        shutil.chown(signal, owner.st_uid, owner.st_gid)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home)


@pytest.mark.parametrize("check", [True, False])
def test_a_standby_is_refused(standby: PostgresServer, check: bool) -> None:
    runner = Runner(standby.options(OWNER, "postgres"), protected=())
    with pytest.raises(RolloutError) as refused:
        runner.apply(check)
    assert "is a standby and takes no writes" in str(refused.value)
    assert "Point pg_host at the primary" in str(refused.value)


@contextmanager
def database_with(server: PostgresServer, folder: Path, encoding: str) -> Iterator[Database]:
    """An empty database of another encoding."""
    database = Database(server, random_name("test"), folder / "service.conf")
    with server.connect() as admin:
        admin.execute(
            f"CREATE DATABASE {database.name} OWNER gen_user TEMPLATE template0 ENCODING '{encoding}'"
            " LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
    try:
        yield database
    finally:
        database.drop()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_and_collation(server: PostgresServer, tmp_path: Path, encoding: str) -> None:
    with database_with(server, tmp_path, encoding) as database:
        runner = Runner(database.options, protected=())
        assert runner.apply().changed
        assert not runner.apply().changed
        assert runner.inspect().differences == []


def test_text_that_an_encoding_cannot_hold_is_an_error_with_its_place(
    server: PostgresServer, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "words", "CREATE TABLE {{ schema }}.words (word text DEFAULT 'салон');\n")
    with database_with(server, tmp_path, "LATIN1") as database:
        with pytest.raises(RolloutError) as refused:
            Runner(database.options, folder, protected=()).apply()
        assert "22P05" in str(refused.value)
        assert "0001_words/010_all.sql.j2:1" in str(refused.value)


def test_literal_text_arrives_to_the_letter(database: Database, tmp_path: Path) -> None:
    """Percent signs, quotes, dollars, backslashes and letters beyond ASCII, in defaults, bodies and comments."""
    folder = tmp_path / "migrations"
    literal = "'" + TEXTS.replace("'", "''") + "'"
    write_migration(
        folder,
        "0001",
        "words",
        f"CREATE TABLE {{{{ schema }}}}.words (word text DEFAULT {literal});\n"
        f"COMMENT ON TABLE {{{{ schema }}}}.words IS {literal};\n"
        "CREATE FUNCTION {{ schema }}.say() RETURNS text LANGUAGE sql"
        " AS $body$ SELECT format('%s %% %I', 'a', 'b') $body$;\n",
    )
    runner = Runner(database.options, folder)
    runner.apply()
    assert not runner.apply().changed
    with database.connect() as connection:
        assert connection.execute("INSERT INTO words DEFAULT VALUES RETURNING word").fetchone() == (TEXTS,)
        assert connection.execute("SELECT say()").fetchone() == ("a % b",)
    assert runner.inspect().entries["comment on table words"]["text"] == TEXTS


def test_settings_of_the_login_do_not_matter(database: Database) -> None:
    """What an administrator set for the role in this database, each of which breaks a careless script."""
    settings = {
        "search_path": "pg_catalog",
        "timezone": "Asia/Tokyo",
        "datestyle": "German",
        "standard_conforming_strings": "off",
        "client_min_messages": "error",
        "lock_timeout": "1",
        "statement_timeout": "1",
        "quote_all_identifiers": "on",
        "default_transaction_isolation": "serializable",
        "default_table_access_method": "heap",
        "check_function_bodies": "off",
        "bytea_output": "escape",
        "extra_float_digits": "0",
        "intervalstyle": "sql_standard",
        "row_security": "off",
    }
    with database.connect_admin() as admin:
        for name, value in settings.items():
            admin.execute(
                sql.SQL("ALTER ROLE gen_user IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(database.name), sql.Identifier(name), sql.Literal(value)
                )
            )
    runner = Runner(database.options)
    assert runner.apply().changed
    assert not runner.apply().changed
    assert runner.inspect().differences == []
    with database.connect_readonly() as other:
        other.execute("SET default_transaction_read_only = off")
    assert Runner(database.readonly_options).inspect().differences == []


def test_a_ledger_of_somebody_else_is_not_touched(database: Database) -> None:
    with database.connect() as owner:
        owner.execute("CREATE SCHEMA rollout; CREATE TABLE rollout.migration (id integer)")
    for check in (True, False):
        with pytest.raises(RolloutError) as refused:
            Runner(database.options).apply(check)
        assert "the schema rollout is not a ledger of format 1" in str(refused.value)
        assert "schema_ledger" in str(refused.value)


def test_an_empty_schema_of_the_ledgers_name_is_not_taken_without_asking(database: Database) -> None:
    """Somebody made it for something."""
    with database.connect() as owner:
        owner.execute("CREATE SCHEMA rollout")
    with pytest.raises(RolloutError) as refused:
        Runner(database.options).apply()
    assert "rollout" in str(refused.value)
    assert refused.value.hint


def test_a_server_without_a_free_connection_is_an_error_that_says_so(database: Database) -> None:
    with database.connect_admin() as admin:
        admin.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0".encode())
    with pytest.raises(RolloutError, match="too many connections"):
        Runner(database.options).rehearse()


def test_wrong_credentials_and_places_are_told_apart(database: Database) -> None:
    runner = Runner(database.options)
    wrong = {
        "password": ("not the password", "pg_password"),
        "user": ("nobody", "pg_user"),
        "host": ("db.example.invalid", "pg_host"),
        "port": (1, "pg_port"),
        "dbname": ("nothing_here", "nothing_here"),
    }
    for option, (value, told) in wrong.items():
        with pytest.raises(RolloutError) as refused:
            replace(runner, options={**database.options, option: value}).rehearse()
        assert told in str(refused.value), option
        assert str(database.options["password"]) not in str(refused.value)


def test_a_certificate_that_does_not_fit_is_said(database: Database, tmp_path: Path) -> None:
    if not database.server.has_tls:
        pytest.skip("this build of PostgreSQL has no TLS")
    other_authority = tmp_path / "ca.crt"
    ensure_certificates(other_authority, tmp_path / "server.crt", tmp_path / "server.key")
    for wrong in (other_authority, Path("/nowhere/ca.crt")):
        with pytest.raises(RolloutError, match="pg_sslrootcert"):
            Runner({**database.options, "sslrootcert": str(wrong)}).rehearse()


def test_an_operator_who_may_not_read_the_ledger_is_told_the_grant(finished: Database) -> None:
    password = "inv3nted"
    with role(finished) as operator:
        with finished.connect_admin() as admin:
            admin.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(operator), sql.Literal(password)
                )
            )
        options = {**finished.options, "user": operator, "password": password}
        for check in (True, False):
            with pytest.raises(RolloutError) as refused:
                Runner(options).apply(check)
            assert 'GRANT USAGE ON SCHEMA "rollout"' in str(refused.value)
            assert f'TO "{operator}"' in str(refused.value)


def test_an_event_trigger_that_rejects_ddl_stops_the_run_with_its_words(
    database: Database, small: Path
) -> None:
    with database.connect_admin() as admin:
        admin.execute(
            "CREATE FUNCTION refuse_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no DDL until Monday'; END $$;"
            "CREATE EVENT TRIGGER refuse_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
            " EXECUTE FUNCTION refuse_ddl()"
        )
    runner = Runner(database.options, small)
    before = runner.inspect().fingerprint
    with pytest.raises(RolloutError) as refused:
        runner.apply()
    assert "SQLSTATE P0001: no DDL until Monday" in str(refused.value)
    assert "0001_small/010_all.sql.j2:2" in str(refused.value)
    assert runner.inspect().fingerprint == before


def test_an_event_trigger_that_changes_more_is_found_out(database: Database, small: Path) -> None:
    """It adds something to the real schema alone: not what was rehearsed, so it is rolled back."""
    with database.connect_admin() as admin:
        admin.execute(
            "CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN CREATE TABLE IF NOT EXISTS public.audited (at timestamptz); END $$;"
            "CREATE EVENT TRIGGER audit ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION audit()"
        )
    runner = Runner(database.options, small)
    with pytest.raises(DriftFound, match="table audited: is not part of any migration"):
        runner.apply()
    assert "table audited" not in runner.inspect().entries
    assert runner.inspect().recorded == []
