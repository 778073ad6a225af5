"""The database fixture is what the other tests rely on: who may do what in it, and what its log shows."""

import time
from pathlib import Path

import psycopg
import pytest

from sandbox.databases import Database
from sandbox.server import PostgresServer


def test_the_owner_is_no_superuser_and_may_create_schemas(database: Database) -> None:
    with database.connect() as owner:
        assert owner.execute(
            "SELECT current_user, usesuper FROM pg_user WHERE usename = current_user"
        ).fetchone() == (
            "gen_user",
            False,
        )
        owner.execute("CREATE SCHEMA scratch")
        owner.execute("CREATE TABLE public.anything (id integer)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("CREATE DATABASE another")


def test_the_session_store_is_there(database: Database) -> None:
    with database.connect() as owner:
        assert owner.execute("SELECT * FROM get_whatsapp_auth_stats()").fetchone() == (1, 200, 10)
        owners = owner.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        assert owners == [("gen_user",)]


def test_connections_are_encrypted_and_verified(database: Database, server: PostgresServer) -> None:
    if not server.has_tls:
        pytest.skip("this build of PostgreSQL has no TLS")
    with database.connect() as owner:
        assert owner.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        database.connect(host="127.0.0.2", hostaddr="127.0.0.1")


def test_a_wrong_password_is_refused(database: Database) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        database.connect(password="wrong")


def test_plaintext_works_where_a_test_asks_for_it(database: Database) -> None:
    with database.connect(sslmode="disable", sslrootcert=None) as owner:
        assert owner.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            False,
        )
    with pytest.raises(psycopg.OperationalError):
        database.connect(sslmode="disable", sslrootcert=None, password="wrong")


def test_the_reader_reads_and_cannot_write(database: Database) -> None:
    with database.connect_readonly() as reader:
        assert reader.execute("SELECT count(*) FROM whatsapp_keys").fetchone() == (200,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("CREATE TABLE public.forbidden (id integer)")
        reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM whatsapp_keys")


def test_services_connect_each_as_its_own_role(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(database.service_file))
    for service, role in (
        (database.service, "gen_user"),
        (database.admin_service, "postgres"),
        (database.readonly_service, "auditor"),
    ):
        with psycopg.connect(service=service) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == (
                role,
                database.name,
            )
    text = Path(database.service_file).read_text()
    assert database.options["password"] not in text


def test_the_log_shows_ddl_of_this_database_only(
    database: Database, server: PostgresServer, tmp_path: Path
) -> None:
    other = Database.create(server, tmp_path)
    try:
        with database.connect() as owner, other.connect() as stranger:
            owner.execute("SELECT 1")
            assert database.ddl_log() == []
            stranger.execute("CREATE TABLE elsewhere (id integer)")
            owner.execute("CREATE TABLE first (\n    id integer\n)")
            owner.execute("CREATE TABLE second (id integer)", prepare=True)
            with pytest.raises(psycopg.errors.DuplicateTable):
                owner.execute("CREATE TABLE first (id integer)")
            assert database.ddl_log() == [
                "CREATE TABLE first (\n    id integer\n)",
                "CREATE TABLE second (id integer)",
                "CREATE TABLE first (id integer)",
            ]
            database.mark_log()
            assert database.ddl_log() == []
            with owner.pipeline():
                owner.execute("DROP TABLE first")
            assert database.ddl_log() == ["DROP TABLE first"]
    finally:
        other.drop()


def test_no_password_reaches_the_log(database: Database, server: PostgresServer) -> None:
    log = server.log.read_text()
    assert "CREATE ROLE" in log
    for role in ("postgres", "gen_user", "auditor"):
        assert server.options(role, database.name)["password"] not in log


def test_a_fresh_database_is_cheap(server: PostgresServer, tmp_path: Path) -> None:
    durations = []
    for _ in range(5):
        started = time.perf_counter()
        fresh = Database.create(server, tmp_path)
        durations.append(time.perf_counter() - started)
        fresh.drop()
    # The best of five: a busy machine says nothing about the method.
    assert min(durations) < 0.5
    print(f"fresh database: {min(durations) * 1000:.0f} ms")


def test_dropping_ends_connected_sessions(server: PostgresServer, tmp_path: Path) -> None:
    fresh = Database.create(server, tmp_path)
    with server.connect(dbname=fresh.name) as left_open:
        fresh.drop()
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
