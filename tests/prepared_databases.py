"""Copies of a prepared database: cheaper than preparing each one anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from sandbox.credentials import ADMIN, OWNER, READER
from sandbox.databases import Database
from sandbox.server import random_name
from sandbox.service_file import write_service_file


@contextmanager
def copy_of(prepared: Database, folder: Path) -> Iterator[Database]:
    """A copy with the same objects, rows, owners and grants; dropped afterwards.

    :param prepared: nobody may be connected to it
    :param folder: where the copy's service file is written
    """
    copy = Database(prepared.server, random_name("copy"), folder / "copy.pg_service.conf")
    with prepared.server.connect() as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(copy.name), sql.Identifier(prepared.name), sql.Identifier(OWNER)
            )
        )
    logins = {copy.service: OWNER, copy.admin_service: ADMIN, copy.readonly_service: READER}
    write_service_file(
        copy.service_file, copy.server, {service: (role, copy.name) for service, role in logins.items()}
    )
    copy.mark_log()
    try:
        yield copy
    finally:
        copy.drop()
