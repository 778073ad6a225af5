"""What all experiments share: a server of their own, fresh databases, the role's migrations as they are rolled out."""

from __future__ import annotations

import datetime
import fcntl
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from ansible.module_utils.rollout.execution import Settings
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.source import load_migrations

from benchmarks import ROOT
from sandbox.credentials import OWNER
from sandbox.databases import TEMPLATE, Database, ensure_database
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer

CACHE = ROOT / ".cache" / "benchmarks"
MIGRATIONS = ROOT / "roles" / "schema" / "migrations"
#: Its hosts.yml names this machine; where the database is, each run is told.
INVENTORY = ROOT / "inventory" / "sandbox"


class Bench:
    """A private server, durable like production's; a context manager that starts it and removes it again."""

    def __init__(self) -> None:
        self.scratch = CACHE / "scratch"
        self.server = PostgresServer(self.scratch / "server")

    def __enter__(self) -> Self:
        """Start the server, removing what an interrupted run left.

        :raises RuntimeError: another run of the benchmarks is under way
        """
        CACHE.mkdir(parents=True, exist_ok=True)
        self._lock = (CACHE / "lock").open("w")
        try:
            # The lock ends with this process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                "another run of the benchmarks is under way in this checkout: wait for it"
            ) from None
        if self.scratch.exists():
            self._remove()
        self.scratch.mkdir(parents=True)
        self.server.start()
        ensure_roles(self.server)
        ensure_database(self.server, TEMPLATE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()
        self._lock.close()

    def _remove(self) -> None:
        self.server.stop()
        shutil.rmtree(self.scratch)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh database with the application's existing tables, whose making is not still being written to disk."""
        database = Database.create(self.server, self.scratch)
        try:
            self.settle()
            yield database
        finally:
            database.drop()

    def settle(self) -> None:
        """Let the server write out what earlier measurements left, so that the next one does not pay for it."""
        with self.server.connect() as admin:
            admin.execute("CHECKPOINT")

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The schema's part of the sandbox's inventory."""
        text = (INVENTORY / "group_vars" / "all" / "schema.yml").read_text(encoding="utf-8")
        loaded: dict[str, Any] = yaml.safe_load(text)
        return loaded

    @cached_property
    def migrations(self) -> list[Migration]:
        """The role's migrations, rendered as the sandbox's inventory says."""
        return self.load(MIGRATIONS)

    def load(self, folder: Path) -> list[Migration]:
        """Migrations of another folder, rendered with the same variables."""
        return load_migrations(folder, self.variables["schema_variables"])

    @property
    def settings(self) -> Settings:
        """As role schema passes them."""
        return Settings(
            schema=self.variables["schema_name"],
            ledger=self.variables["schema_ledger"],
            owner_role="",
            protected=tuple(self.variables["schema_protected_tables"]),
            run_id="benchmark",
            applied_from="benchmark",
        )

    def libpq_environment(self, database: Database, port: int) -> dict[str, str]:
        """Variables with which psql, and whatever calls it, reaches a database; the password is read from a file.

        :param port: the server's, or that of a proxy in front of it
        """
        options = self.server.public_options(OWNER, database.name) | {"port": port}
        names = {
            "host": "PGHOST",
            "port": "PGPORT",
            "dbname": "PGDATABASE",
            "user": "PGUSER",
            "sslmode": "PGSSLMODE",
            "sslrootcert": "PGSSLROOTCERT",
        }
        given = {names[keyword]: str(value) for keyword, value in options.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return inherited | given | {"PGPASSFILE": str(self.server.passfile), "LC_ALL": "C.UTF-8"}

    def machine(self) -> str:
        """When, on what and with which versions, in one paragraph; nothing that names the machine."""
        now = datetime.datetime.now(datetime.UTC)
        facts = [
            f"{len(os.sched_getaffinity(0))} cores",
            f"{_memory_gib():.0f} GiB of memory",
            f"PostgreSQL {self.server.binaries.version} with fsync, full_page_writes and "
            + ("TLS" if self.server.has_tls else "without TLS"),
            f"Python {platform.python_version()}",
            f"ansible-core {version('ansible-core')}",
            f"psycopg {version('psycopg')}",
        ]
        return f"Measured on {now:%Y-%m-%d} (UTC) on one machine, server and clients together: {', '.join(facts)}."


def _memory_gib() -> float:
    found = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    if found is None:
        raise RuntimeError("/proc/meminfo has no MemTotal")
    return int(found[1]) / 1024**2
