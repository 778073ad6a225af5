"""Fixtures of the scenarios' verification: the machines, and the database by a session of one's own."""

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import testinfra
from testinfra.host import Host

from containers.site import Site
from sandbox.credentials import ADMIN

DATABASE = "default_db"


@pytest.fixture(scope="session")
def site() -> Site:
    """The scenario's containers, which run."""
    return Site(os.environ["MOLECULE_SCENARIO_NAME"])


@pytest.fixture(scope="session")
def app(site: Site) -> Host:
    """The application's host, over SSH."""
    return testinfra.get_host("ssh://app", ssh_config=str(site.folder / "ssh_config"))


@pytest.fixture
def admin(site: Site) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's session from outside, over TLS: nothing of the package is between."""
    with site.server.connect(ADMIN, DATABASE) as connection:
        yield connection
