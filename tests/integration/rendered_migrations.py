"""The role's migrations, rendered and run statement by statement, without the rollout around them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from ansible.module_utils.rollout.migration import Migration, Statement, in_schema
from ansible.module_utils.rollout.source import load_migrations
from psycopg import sql

from sandbox.databases import Database
from sandbox.server import PostgresServer

FOLDER = Path(__file__).resolve().parents[2] / "roles/schema/migrations"


def run_migrations(
    connection: psycopg.Connection,
    schema: str = "public",
    variables: Mapping[str, Any] | None = None,
    only: Callable[[Statement], bool] = lambda statement: True,
) -> list[Migration]:
    """Run all migrations in one transaction, with search_path set as the rollout sets it.

    :param connection: a session of the owner
    :param schema: the target schema; created when absent
    :param variables: values by name; defaults for the others
    :param only: leaves out the statements for which it is false
    :return: the migrations as loaded
    """
    migrations = load_migrations(FOLDER, variables or {})
    with connection.transaction():
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(sql.Identifier(schema)))
        for migration in migrations:
            for statement in filter(only, migration.statements):
                connection.execute(in_schema(statement.text, schema).encode())
    return migrations


@contextmanager
def migrated_database(server: PostgresServer, folder: Path) -> Iterator[Database]:
    """A fresh database in which both migrations ran with their defaults; dropped afterwards.

    :param folder: where its service file is written
    """
    database = Database.create(server, folder)
    try:
        with database.connect() as owner:
            run_migrations(owner)
        yield database
    finally:
        database.drop()
