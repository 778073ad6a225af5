"""Fixtures with the sandbox's application: PM2, seven services and a real WhatsApp client, on a database of their own.

To share one application between several test modules, name them in a conftest.py above all of those::

    from tests.application_fixture import mended_application, running_application  # noqa: F401

``application`` is healthy at the beginning of each test, and is mended after it: a test may break what it likes.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.__main__ import DATABASE, main
from sandbox.application import Application
from sandbox.breakage import mend
from sandbox.processes import processes_of
from sandbox.server import PostgresServer

# Quick: five attempts to reconnect to WhatsApp take 9.3 s, an answer to a message about 2 s.
UP = ["up", "--application", "--reconnect-ms", "300", "--batch-idle-ms", "300", "--answer-ms", "100"]


@pytest.fixture(scope="session")
def running_application() -> Iterator[Application]:
    """One application for the whole session, started by the command that people use."""
    # A path with a space in it must do.
    home = Path(tempfile.mkdtemp(prefix="rollout app "))
    try:
        assert main([*UP, "--home", str(home)]) == 0
        yield Application(PostgresServer(home), DATABASE)
    finally:
        assert main(["down", "--home", str(home)]) == 0
        remaining = processes_of(home)
        shutil.rmtree(home)
    assert remaining == set()


@pytest.fixture(name="application")
def mended_application(running_application: Application) -> Iterator[Application]:
    """The application, healthy; what the test broke is mended afterwards."""
    assert running_application.problems() == []
    yield running_application
    mend(running_application)
