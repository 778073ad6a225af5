"""A real PgBouncer in front of the tests' server: Debian's package, unpacked into .cache/pgbouncer where it is missing.

    with pgbouncer(database, folder, "transaction") as port:
        psycopg.connect(**database.options | {"port": port, "sslmode": "disable"})

Nothing is installed into the system, and no root is needed. Without PgBouncer and without apt the test fails.
"""

import os
import platform
import re
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
from sandbox.lock import locked
from sandbox.ports import ADDRESS, choose_ports
from tests.waiting import until

CACHE = Path(__file__).resolve().parent.parent / ".cache/pgbouncer"
PACKAGE = "pgbouncer"
DOWNLOAD_TIMEOUT_S = 100
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
    # Packages are made for one release of the distribution, and the checkout may be moved to another.
    release = platform.freedesktop_os_release()
    folder = CACHE / f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}-{platform.machine()}"
    with locked(CACHE / "lock", f"unpacking {PACKAGE} into {CACHE}"):
        if not folder.exists():
            _unpack(folder)
    return folder / "run"


def _unpack(folder: Path) -> None:
    partial = CACHE / "partial"
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "lists/partial").mkdir(parents=True)
    options: list[str] = []
    try:
        _download(partial, [PACKAGE], options)
    except subprocess.CalledProcessError:
        # This machine's lists of packages are old or were never fetched: ours are fetched, as any user may.
        options = [
            *("-o", f"Dir::State::Lists={partial}/lists"),
            *("-o", f"Dir::Cache={partial}"),
            *("-o", "APT::Sandbox::User="),
        ]
        _run(partial, "apt-get", *options, "update")
        _download(partial, [PACKAGE], options)
    (archive,) = partial.glob(f"{PACKAGE}_*.deb")
    missing = _libraries(_run(partial, "dpkg-deb", "-f", str(archive), "Depends"))
    if missing:
        _download(partial, missing, options)
    for archive in partial.glob("*.deb"):
        _run(partial, "dpkg-deb", "-x", str(archive), str(partial / "root"))
        archive.unlink()
    shutil.rmtree(partial / "lists")
    libraries = ":".join(
        f"$root/{path.relative_to(partial / 'root')}"
        for path in sorted({file.parent for file in (partial / "root").rglob("lib*.so.*")})
    )
    wrapper = partial / "run"
    wrapper.write_text(
        f'#!/bin/sh\nroot="$(dirname "$0")/root"\nexport LD_LIBRARY_PATH="{libraries}"\n'
        'exec "$root/usr/sbin/pgbouncer" "$@"\n'
    )
    wrapper.chmod(0o755)
    partial.rename(folder)


def _libraries(depends: str) -> list[str]:
    """Those of the libraries that a package depends on which this machine lacks."""
    names = [re.split(r"[ :(|]", entry.strip())[0] for entry in depends.split(",")]
    return [name for name in names if name.startswith("lib") and not _installed(name)]


def _installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout == "installed"


def _download(folder: Path, packages: list[str], options: list[str]) -> None:
    _run(folder, "apt-get", *options, "download", *packages)


def _run(folder: Path, *command: str) -> str:
    answer = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if answer.returncode != 0:
        # What the program said is what somebody needs who has to install PgBouncer by hand.
        print(f"{' '.join(command)}:\n{answer.stdout}{answer.stderr}")
        answer.check_returncode()
    return answer.stdout


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
