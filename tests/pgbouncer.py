"""A real PgBouncer in front of the tests' server: Debian's package, unpacked into .cache/pgbouncer where it is missing.

    with pgbouncer(database, folder, "transaction") as port:
        psycopg.connect(**database.options | {"port": port, "sslmode": "disable"})

Nothing is installed into the system, and no root is needed. Without PgBouncer and without apt the test fails.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.account import choose_account
from sandbox.certificates import write_private
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.ports import ADDRESS, choose_ports
from tests.debian_packages import library_folders, unpacked
from tests.waiting import until

PORT_ATTEMPTS = 3

CONFIGURATION = """\
[databases]
{name} = host={host} port={port} dbname={name}
[pgbouncer]
listen_addr = {address}
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
server_tls_sslmode = prefer
ignore_startup_parameters = {ignored}
logfile = {log}
"""


def program() -> Path:
    """The PgBouncer of this machine, or Debian's, unpacked."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found)
    if shutil.which("apt-get") is None:
        pytest.fail("PgBouncer is not installed, and there is no apt-get to fetch it with: install pgbouncer")
    root = unpacked("pgbouncer", ["pgbouncer"])
    wrapper = root.parent / "run"
    if not wrapper.exists():
        libraries = ":".join(f"$root/{folder.relative_to(root)}" for folder in library_folders(root))
        unfinished = wrapper.with_name(f"run.{os.getpid()}")
        unfinished.write_text(
            f'#!/bin/sh\nroot="$(dirname "$0")/root"\nexport LD_LIBRARY_PATH="{libraries}"\n'
            'exec "$root/usr/sbin/pgbouncer" "$@"\n'
        )
        unfinished.chmod(0o755)
        unfinished.rename(wrapper)
    return wrapper


@contextmanager
def pgbouncer(database: Database, mode: str, ignored: str = "extra_float_digits,options") -> Iterator[int]:
    """Run a PgBouncer without TLS; yields the port that it listens on.

    :param database: to which gen_user may connect through it
    :param mode: pool_mode: session, transaction or statement
    :param ignored: ignore_startup_parameters; the default is what many installations have: without it PgBouncer
        refuses clients that send options
    """
    command = str(program())
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    account = choose_account(command, folder / "nothing-there-yet")
    account.own(folder)
    options = database.options
    users = folder / "users"
    password = str(options["password"]).replace('"', '""')
    write_private(users, f'"{OWNER}" "{password}"\n'.encode())
    account.own(users)
    process: subprocess.Popen[bytes] | None = None
    try:
        for attempt in range(PORT_ATTEMPTS):
            (port,) = choose_ports(1)
            configuration = folder / "pgbouncer.ini"
            configuration.write_text(
                CONFIGURATION.format(
                    name=database.name,
                    host=ADDRESS,
                    port=options["port"],
                    address=ADDRESS,
                    listen=port,
                    users=users,
                    mode=mode,
                    ignored=ignored,
                    log=folder / "log",
                )
            )
            with (folder / "output").open("w") as output:
                process = subprocess.Popen(
                    [*account.prefix, command, str(configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            until(partial(_serves_or_ended, process, options, port), "PgBouncer does not serve")
            if process.poll() is None:
                break
            assert attempt + 1 < PORT_ATTEMPTS, (folder / "output").read_text()
        yield port
    finally:
        if process is not None:
            process.terminate()
            process.wait(20)
        shutil.rmtree(folder)


def _serves_or_ended(process: subprocess.Popen[bytes], options: dict[str, Any], port: int) -> bool:
    keywords = {**options, "host": ADDRESS, "port": port, "sslmode": "disable", "connect_timeout": 2}
    try:
        psycopg.connect(**keywords).close()
    except psycopg.OperationalError:
        return process.poll() is not None
    return True
