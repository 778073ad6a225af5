"""Fixtures for tests of backups: databases with rows in every table, and PostgreSQL's programs with faults.

Import what is used into the test module::

    from tests.backup_databases import database_with_rows, prepared_rows, replaced_programs  # noqa: F401
"""

import functools
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.rollout.backup_settings import BackupSettings
from ansible.module_utils.rollout.options import ConnectionOptions

from sandbox.binaries import find_binaries
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.application_rows import insert_rows
from tests.prepared_databases import copy_of
from tests.runner import Runner

_PASS_ON = '#!/bin/sh\nexec {program} "$@"\n'


@pytest.fixture(scope="module", name="with_rows")
def prepared_rows(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with the role's migrations and rows in every table. Only copied, never connected to."""
    prepared = Database.create(server, tmp_path_factory.mktemp("with-rows"))
    try:
        Runner(prepared.options).apply()
        with prepared.connect() as owner:
            insert_rows(owner)
        yield prepared
    finally:
        prepared.drop()


@pytest.fixture(name="filled")
def database_with_rows(with_rows: Database, tmp_path: Path) -> Iterator[Database]:
    """A database of one's own with the role's migrations and rows in every table."""
    with copy_of(with_rows, tmp_path) as copy:
        yield copy


@pytest.fixture(name="programs")
def replaced_programs(server: PostgresServer, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder with PostgreSQL's programs, of which one or more are replaced by a shell script.

    In the script ``$REAL`` is the real program's path, ``$file`` the file that ``--file=`` names.
    """
    real = server.binaries.bindir

    def make(**scripts: str) -> Path:
        folder = tmp_path / "programs"
        folder.mkdir()
        for name in ("pg_dump", "pg_restore", "initdb", "postgres"):
            path = folder / name
            body = scripts.get(name)
            if body is None:
                text = _PASS_ON.format(program=real / name)
            else:
                text = (
                    f"#!/bin/sh\nREAL={real / name}\n"
                    'for word in "$@"; do case "$word" in --file=*) file="${word#--file=}";; esac; done\n'
                    # Its version is asked for first.
                    f'test "$1" = --version && exec "$REAL" --version\n{body}\n'
                )
            path.write_text(text)
            path.chmod(0o755)
        return folder

    return make


@contextmanager
def may_create_databases(server: PostgresServer) -> Iterator[None]:
    """Give the owner the right that a scratch database needs."""
    with server.connect() as admin:
        admin.execute(f"ALTER ROLE {OWNER} CREATEDB")
        try:
            yield
        finally:
            admin.execute(f"ALTER ROLE {OWNER} NOCREATEDB")


@pytest.fixture(name="createdb")
def right_to_create(server: PostgresServer) -> Iterator[None]:
    """The owner may create databases while the test runs."""
    with may_create_databases(server):
        yield


def options_of(database: Database) -> ConnectionOptions:
    """How the owner reaches it, with a password full of metacharacters."""
    return ConnectionOptions(**database.options)


@functools.cache
def bin_dir() -> str:
    """The programs of the tests' server, which need not be in PATH."""
    return str(find_binaries().bindir)


def settings_for(folder: Path, **given: object) -> BackupSettings:
    """Settings with a folder of the test's own."""
    settings = {"bin_dir": bin_dir(), **given}
    return BackupSettings(directory=str(folder / "backups"), **settings)  # type: ignore[arg-type]


def left_in(folder: Path) -> set[str]:
    """What lies in the backups' folder, but for its lock."""
    backups = folder / "backups"
    return {entry.name for entry in backups.iterdir()} - {".lock"} if backups.exists() else set()


def mode(path: Path) -> str:
    """A file's mode, such as ``0600``."""
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def scratch_databases(server: PostgresServer) -> list[str]:
    """Scratch databases on the server."""
    with server.connect() as admin:
        rows = admin.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'rollout_scratch%'"
        ).fetchall()
    return [name for (name,) in rows]
