"""Fixtures for tests that need a database which the rollout has been on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.databases import Database
from sandbox.server import PostgresServer

# One application for the modules that do not need one of their own: it takes some 10 s to start.
from tests.application_fixture import mended_application, running_application  # noqa: F401
from tests.integration.command_runs import CommandRuns
from tests.prepared_databases import copy_of
from tests.runner import Runner


@pytest.fixture(scope="session")
def rolled_out(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database in which the role's migrations are in force. Only copied, never connected to."""
    prepared = Database.create(server, tmp_path_factory.mktemp("rolled-out"))
    try:
        Runner(prepared.options).apply()
        yield prepared
    finally:
        prepared.drop()


@pytest.fixture
def finished(rolled_out: Database, tmp_path: Path) -> Iterator[Database]:
    """A database of one's own in which the role's migrations are in force."""
    with copy_of(rolled_out, tmp_path) as copy:
        yield copy


@pytest.fixture(scope="session")
def command_runs(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandRuns]:
    """The main job as a command, four times in a row on one database: checked, applied, applied again, checked."""
    folder = tmp_path_factory.mktemp("command")
    database = Database.create(server, folder)
    try:
        yield CommandRuns.of(database, folder)
    finally:
        database.drop()
