"""Databases on the sandbox's server that look like the application's before the rollout."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from sandbox.credentials import ADMIN, OWNER, READER
from sandbox.server import PostgresServer, random_name
from sandbox.service_file import write_service_file

SESSION_STORE = Path(__file__).with_name("session_store.sql")
TEMPLATE = "session_store_template"

# A line of the server's log up to the statement; continuation lines of a statement begin with a tab.
LOGGED_STATEMENT = re.compile(
    r"^\S+ \S+ \S+ \[\d+\] app=.*? user=\S* db=(?P<database>\S*) LOG:  (?:statement|execute [^:]*): (?P<text>.*)$"
)


def ensure_database(server: PostgresServer, name: str) -> None:
    """Create a database owned by gen_user that holds the WhatsApp session store, unless it is there already.

    Filled in one transaction: an interrupted call leaves a database without tables, and the next call fills it.
    """
    with server.connect() as admin:
        # Two callers at once: the second waits and then finds everything. The lock ends with this connection.
        admin.execute("SELECT pg_advisory_lock(hashtext('sandbox database'))")
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
            )
        with server.connect(OWNER, name) as owner, owner.transaction():
            if owner.execute("SELECT to_regclass('public.whatsapp_auth')").fetchone() == (None,):
                owner.execute(SESSION_STORE.read_text())


@dataclass
class Database:
    """A fresh database with the WhatsApp session store, for one test.

    Attributes: ``name``; ``service_file`` with the libpq services ``service`` (gen_user), ``admin_service``
    (superuser) and ``readonly_service`` (auditor, which may only read).
    """

    server: PostgresServer
    name: str
    service_file: Path
    _mark: int = 0
    _connections: list[psycopg.Connection] = field(default_factory=list)

    @classmethod
    def create(cls, server: PostgresServer, folder: Path) -> "Database":
        """Create it as a copy of the template database.

        :param folder: where the service file is written.
        """
        name = random_name("test")
        with server.connect() as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(TEMPLATE), sql.Identifier(OWNER)
                )
            )
        database = cls(server, name, folder / f"{name}.pg_service.conf")
        write_service_file(
            database.service_file,
            server,
            {
                database.service: (OWNER, name),
                database.admin_service: (ADMIN, name),
                database.readonly_service: (READER, name),
            },
        )
        database.mark_log()
        return database

    def drop(self) -> None:
        """Drop it, ending every session that is still connected."""
        for connection in self._connections:
            connection.close()
        with self.server.connect() as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    @property
    def service(self) -> str:
        """libpq service of gen_user, who owns the database."""
        return self.name

    @property
    def admin_service(self) -> str:
        """libpq service of the superuser."""
        return f"{self.name}_admin"

    @property
    def readonly_service(self) -> str:
        """libpq service of the login that may only read."""
        return f"{self.name}_readonly"

    @property
    def options(self) -> dict[str, Any]:
        """libpq keywords of gen_user: host, port, dbname, user, password, sslmode, sslrootcert."""
        return self.server.options(OWNER, self.name)

    @property
    def admin_options(self) -> dict[str, Any]:
        """The same for the superuser."""
        return self.server.options(ADMIN, self.name)

    @property
    def readonly_options(self) -> dict[str, Any]:
        """The same for the login that may only read."""
        return self.server.options(READER, self.name)

    def connect(self, **keywords: Any) -> psycopg.Connection:
        """Connect as gen_user, in autocommit unless told otherwise; closed at the end of the test at the latest.

        :param keywords: replace libpq keywords (``port=proxy.port``) or psycopg's own; None removes one.
        """
        return self._connect(OWNER, keywords)

    def connect_admin(self, **keywords: Any) -> psycopg.Connection:
        """Connect as the superuser; see connect."""
        return self._connect(ADMIN, keywords)

    def connect_readonly(self, **keywords: Any) -> psycopg.Connection:
        """Connect as the login that may only read; see connect."""
        return self._connect(READER, keywords)

    def mark_log(self) -> None:
        """Remember the end of the server's log: ddl_log tells what came after it."""
        self._mark = self.server.log.stat().st_size

    def ddl_log(self) -> list[str]:
        """Return the DDL that the server received for this database since the mark, one string a statement.

        Logged with log_statement = ddl before execution, so failed and rolled back statements are among them. A string
        of several statements that came as one query is one entry.
        """
        with self.server.log.open("rb") as file:
            file.seek(self._mark)
            lines = file.read().decode(errors="replace").splitlines()
        statements: list[str] = []
        within = False
        for line in lines:
            if line.startswith("\t"):
                if within:
                    statements[-1] += "\n" + line[1:]
                continue
            match = LOGGED_STATEMENT.match(line)
            within = match is not None and match["database"] == self.name
            if match is not None and within:
                statements.append(match["text"])
        return statements

    def _connect(self, role: str, keywords: dict[str, Any]) -> psycopg.Connection:
        connection = self.server.connect(role, keywords.pop("dbname", self.name), **keywords)
        self._connections.append(connection)
        return connection
