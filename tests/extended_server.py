"""A PostgreSQL with extensions of Debian's packages: a copy of the installation, so that nothing is installed into the
system and no other test meets them.

PostgreSQL finds its files from where its program lies, so a copy with the packages' files beside it is enough.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.binaries import BINDIR_VARIABLE, find_binaries
from sandbox.databases import TEMPLATE, ensure_database
from sandbox.lock import locked
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer
from tests.debian_packages import unpacked

EXTENSIONS = ("cron", "partman")


def installation() -> Path:
    """Folder of the programs of a PostgreSQL that has pg_cron and pg_partman; skips the test where there is none."""
    own = find_binaries()
    if not re.fullmatch(r"/usr/lib/postgresql/\d+/bin", str(own.bindir)):
        pytest.skip(f"pg_cron and pg_partman are Debian's packages; PostgreSQL is {own.source}: {own.bindir}")
    if shutil.which("apt-get") is None:
        pytest.skip(
            "pg_cron and pg_partman are Debian's packages, and there is no apt-get to fetch them with"
        )
    packages = [f"postgresql-{own.major}-{name}" for name in EXTENSIONS]
    try:
        root = unpacked(f"postgresql-{own.major}-extended", packages)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{', '.join(packages)} cannot be fetched here: {error}")
    marker = root / f"copied-{own.version}"
    with locked(root.parent / "lock", f"copying PostgreSQL {own.version} into {root}"):
        if not marker.exists():
            for part in ("lib", "share"):
                folder = f"usr/{part}/postgresql/{own.major}"
                # Bitcode serves the just-in-time compiler alone, and is most of it.
                ignored = shutil.ignore_patterns("bitcode", "*.bc")
                shutil.copytree(Path("/") / folder, root / folder, ignore=ignored, dirs_exist_ok=True)
            marker.touch()
    return root / f"usr/lib/postgresql/{own.major}/bin"


@contextmanager
def extended_server(home: Path) -> Iterator[PostgresServer]:
    """Run a server of that installation."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(BINDIR_VARIABLE, str(installation()))
        server = PostgresServer(home, plaintext=True, durable=False)
        try:
            server.start()
            ensure_roles(server)
            ensure_database(server, TEMPLATE)
            yield server
        finally:
            server.stop()


def restart(server: PostgresServer, settings: Mapping[str, str]) -> None:
    """Restart with further settings, which stay."""
    server.stop()
    lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
    with (server.data / "postgresql.conf").open("a") as file:
        file.writelines(lines)
    server.start()
    assert os.environ.get(BINDIR_VARIABLE), "or it was started with the programs of another installation"
