"""Fixtures for everybody: the package's modules importable as Ansible sees them, a private server, fresh databases."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ansible.module_utils
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Modules say "from ansible.module_utils.rollout import …"; Ansible puts them there on the target, the tests here.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from sandbox.databases import TEMPLATE, Database, ensure_database
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer

TEST_TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test without a time limit of its own a generous one: a deadlock must not hang the run.

    Scenarios in containers take longest: begun first, they do not end alone.
    """
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
    items.sort(key=lambda item: item.path.parent != ROOT / "tests/molecule")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server for the whole session, with TLS where the build has it, also accepting passwords without TLS."""
    # A short path of its own: pytest's folders may be closed to the account that runs the server.
    home = Path(tempfile.mkdtemp(prefix="rollout-tests-"))
    postgres = PostgresServer(home, plaintext=True, durable=False)
    try:
        postgres.start()
        ensure_roles(postgres)
        ensure_database(postgres, TEMPLATE)
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(home)


@pytest.fixture
def database(server: PostgresServer, tmp_path: Path) -> Iterator[Database]:
    """A fresh database owned by gen_user that holds the WhatsApp tables and rows; dropped afterwards."""
    fresh = Database.create(server, tmp_path)
    try:
        yield fresh
    finally:
        fresh.drop()
