"""Every kind of object and every attribute that the catalog covers: changed alone, it is the one difference named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from ansible.module_utils.rollout import catalog, diff
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.diff import Difference
from ansible.module_utils.rollout.fingerprint import fingerprint

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.migration_folders import write_migration
from tests.prepared_databases import copy_of
from tests.runner import Runner

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CHANGES: dict[str, dict[str, Any]] = yaml.safe_load((FIXTURES / "catalog_changes.yml").read_text())


@pytest.fixture(scope="module")
def prepared(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database in which one object of every kind was made by a migration. Nobody commits anything in it."""
    folder = tmp_path_factory.mktemp("every-kind")
    database = Database.create(server, folder)
    try:
        sql = (FIXTURES / "catalog_objects.sql.j2").read_text()
        write_migration(folder / "migrations", "0001", "every_kind", sql)
        Runner(database.options, folder / "migrations").apply()
        yield database
    finally:
        database.drop()


@pytest.fixture
def recorded(prepared: Database) -> dict[str, Any]:
    """What the ledger says must be there; the migration made all of it."""
    with prepared.connect() as reader:
        return dict(reader.execute("SELECT object, after FROM rollout.change").fetchall())


@pytest.fixture
def admin(prepared: Database) -> Iterator[psycopg.Connection]:
    """The superuser's session, set up to print as the rollout does, in a transaction that is rolled back."""
    with prepared.connect_admin() as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL timezone = 'UTC'")
        yield connection


def read(connection: psycopg.Connection) -> Catalog:
    """The catalog of schema public as this transaction sees it."""
    search_path = catalog.search_path("public")
    connection.execute(search_path.sql.encode(), search_path.parameters)
    return catalog.from_rows(
        [connection.execute(c.sql.encode(), c.parameters).fetchall() for c in catalog.commands("public")]
    )


def described(difference: Difference) -> Any:
    """A difference in the notation of catalog_changes.yml."""
    if difference.kind != "changed":
        return difference.kind
    return {name: [expected, observed] for name, expected, observed in difference.attributes}


def blurred(observed: Any, expected: Any) -> Any:
    """The observed value with "any" wherever that is expected."""
    if expected == "any":
        return "any"
    if isinstance(expected, dict) and isinstance(observed, dict):
        return {name: blurred(value, expected.get(name)) for name, value in observed.items()}
    if isinstance(expected, list) and isinstance(observed, list) and "any" in expected:
        return [blurred(*pair) for pair in zip(observed, expected, strict=True)]
    return observed


def test_nothing_differs_before_anything_is_changed(
    admin: psycopg.Connection, recorded: dict[str, Any]
) -> None:
    found = read(admin)
    assert diff.compare(recorded, set(recorded), found) == []
    kinds = {name.removeprefix("comment on ").split(" ")[0] for name in recorded}
    assert sorted(kinds) == [
        "column",
        "constraint",
        "function",
        "index",
        "policy",
        "sequence",
        "statistics",
        "table",
        "trigger",
        "type",
        "view",
    ]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_the_difference_that_is_named(
    admin: psycopg.Connection, recorded: dict[str, Any], name: str
) -> None:
    before = read(admin)
    for statement in CHANGES[name]["change"]:
        admin.execute(statement.encode())
    after = read(admin)
    assert fingerprint(after.entries) != fingerprint(before.entries)
    expected = CHANGES[name]["differences"]
    found = {
        difference.object: described(difference)
        for difference in diff.compare(recorded, set(recorded), after)
    }
    assert blurred(found, expected) == expected
    text = diff.as_text(diff.compare(recorded, set(recorded), after))
    for changed in expected:
        assert f"{changed}: " in text


def test_a_pending_detach_is_named(prepared: Database, tmp_path: Path) -> None:
    """It spans two transactions: the second waits for a reader, and is interrupted."""
    with copy_of(prepared, tmp_path) as database:
        with (
            database.connect(autocommit=False) as reader,
            database.connect(options="-c lock_timeout=200") as owner,
        ):
            reader.execute("SELECT * FROM parted")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                owner.execute("ALTER TABLE parted DETACH PARTITION parted_one CONCURRENTLY")
        differences = Runner(database.options).inspect().differences
    found = {difference.object: described(difference) for difference in differences}
    # PostgreSQL itself leaves the CHECK, so that the partition can be attached again without a scan.
    assert found == {
        "constraint parted_one.parted_one_at_check": "extra",
        "table parted_one": {"detach_pending": [None, True]},
    }


@pytest.mark.parametrize("setting", ["timezone=Asia/Tokyo", "datestyle=German", "intervalstyle=iso_8601"])
def test_how_a_session_or_database_prints_is_no_difference(
    prepared: Database, tmp_path: Path, setting: str
) -> None:
    with copy_of(prepared, tmp_path) as database:
        name, _, value = setting.partition("=")
        with database.connect_admin() as admin:
            admin.execute(f"ALTER ROLE gen_user IN DATABASE {database.name} SET {name} = '{value}'".encode())
            admin.execute(
                f"ALTER ROLE gen_user IN DATABASE {database.name} SET search_path = pg_catalog".encode()
            )
        assert Runner(database.options).inspect().differences == []
