"""PostgreSQL's own programs on the target host: found, chosen by version, and run so that no secret is seen."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ansible.module_utils.rollout.errors import BackupRefused
from ansible.module_utils.rollout.options import ConnectionOptions
from psycopg.conninfo import make_conninfo

CLIENT = ("pg_dump", "pg_restore")
SERVER = ("initdb", "postgres")
#: Where distributions put each major version (Debian and Ubuntu; the PostgreSQL project's RPMs; built from source).
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)[.\w]*)")
#: Lines of the programs' messages that are repeated. DETAIL, CONTEXT and the statement are not: they can hold values.
_TELLING = re.compile(
    r"^pg_\w+: (?:\[[^\]]*\] )?(?:error|fatal|warning): .*|^.*(?:No space left on device).*", re.IGNORECASE
)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Programs:
    """One installation.

    :ivar version: of its ``pg_dump``, such as ``15.18``
    """

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @cached_property
    def has_server(self) -> bool:
        """Whether a server can be started with it."""
        return all(os.access(self.folder / name, os.X_OK) for name in SERVER)


def find_programs(bin_dir: str, server_major: int, *, with_server: bool = False) -> Programs:
    """The installation whose major version is the server's or, without one, the next above it.

    The nearest, because a newer ``pg_restore`` sets parameters that an older server does not know.

    :param bin_dir: a folder on the target host; empty looks in PATH and where distributions put them
    :param server_major: major version of the database server, such as 18
    :param with_server: it must hold the server's programs too
    :raises BackupRefused: there is none; says what was looked at
    """
    looked_at: list[str] = []
    usable: list[Programs] = []
    for folder in _folders(bin_dir, with_server):
        missing = [name for name in CLIENT if not os.access(folder / name, os.X_OK)]
        if missing:
            looked_at.append(f"{folder} lacks {', '.join(missing)}")
            continue
        found = _inspect(folder)
        if isinstance(found, str):
            looked_at.append(found)
        elif found.major < server_major:
            looked_at.append(f"{folder} is PostgreSQL {found.version}, older than the server")
        elif with_server and not found.has_server:
            looked_at.append(f"{folder} ({found.version}) lacks {' or '.join(SERVER)}")
        else:
            usable.append(found)
    if usable and bin_dir and usable[0].folder == Path(bin_dir):
        return usable[0]
    if usable:
        return min(usable, key=lambda programs: programs.major)
    wanted = " and ".join((*CLIENT, *SERVER) if with_server else CLIENT)
    package = f"postgresql-{server_major}" if with_server else f"postgresql-client-{server_major}"
    raise BackupRefused(
        f"the server is PostgreSQL {server_major}, and this host has no {wanted} of {server_major} or later: "
        + ("; ".join(looked_at) or f"nothing in {', '.join(_FOLDERS)} and PATH"),
        hint=f"Install them (Debian, Ubuntu: {package}), or name their folder in bin_dir (backup_bin_dir)."
        + (" They are needed because the role may not create databases (CREATEDB)." if with_server else ""),
    )


def _folders(bin_dir: str, with_server: bool) -> list[Path]:
    """Where to look. A folder that was named may hold the clients alone; a scratch server can come from elsewhere."""
    if bin_dir and not with_server:
        return [Path(bin_dir)]
    found = [Path(bin_dir)] if bin_dir else []
    found += [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern.lstrip("/")))]
    on_path = shutil.which("pg_dump")
    if on_path:
        found.append(Path(on_path).parent)
    return list(dict.fromkeys(found))


def _inspect(folder: Path) -> Programs | str:
    """The installation, or why it cannot be used. Both programs must be of one version."""
    versions = []
    for name in CLIENT:
        answer = subprocess.run(
            [str(folder / name), "--version"], capture_output=True, text=True, errors="replace", check=False
        )
        version = _VERSION.search(answer.stdout)
        if answer.returncode != 0 or version is None:
            return f"{folder}/{name} --version fails"
        versions.append(version[1])
    if len(set(versions)) > 1:
        return f"{folder} holds pg_dump {versions[0]} and pg_restore {versions[1]}"
    return Programs(folder, versions[0])


@dataclass(frozen=True)
class Access:
    """How a program reaches a database.

    :ivar conninfo: for ``--dbname``: everything but the password
    :ivar descriptors: what the program has to inherit
    :ivar service_file: libpq takes its place from the environment only
    """

    conninfo: str
    descriptors: tuple[int, ...] = ()
    service_file: str | None = None


@contextmanager
def access(options: ConnectionOptions, application_name: str, dbname: str | None = None) -> Iterator[Access]:
    """Make a password available to programs without a command line, an environment variable or a file on disk.

    The passfile lies in memory (``memfd_create``, mode 0600), and is gone with the last process that has it open.

    :param dbname: another database of the same server
    :raises BackupRefused: the password cannot stand in a passfile
    """
    keywords = {name: value for name, value in options.keywords().items() if name != "password"}
    if dbname is not None:
        keywords["dbname"] = dbname
    keywords["application_name"] = application_name[:63]
    if options.password is None:
        yield Access(make_conninfo(**keywords), (), options.service_file)
        return
    if "\n" in options.password or "\0" in options.password:
        raise BackupRefused("the password holds a line end, which no libpq passfile can express")
    descriptor = os.memfd_create("passfile")
    try:
        os.fchmod(descriptor, 0o600)
        escaped = options.password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
        keywords["passfile"] = f"/proc/self/fd/{descriptor}"
        yield Access(make_conninfo(**keywords), (descriptor,), options.service_file)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    :ivar errors: lines that tell of errors, without values of rows
    """

    code: int
    output: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def run(
    command: Sequence[str],
    timeout_s: float,
    *,
    way: Access | None = None,
) -> Finished:
    """Run a program; it ends with this process.

    :param timeout_s: longest run, seconds
    :param way: how it reaches a database; None for one that needs none
    :raises BackupRefused: it did not end in time
    """
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=program_environment(way.service_file if way else None),
            pass_fds=way.descriptors if way else (),
            timeout=timeout_s,
            preexec_fn=end_with_parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BackupRefused(
            f"{Path(command[0]).name} did not end within {timeout_s:.0f} s",
            hint="Raise timeout_s (backup_timeout_s), or look at what the server and the disk are doing.",
        ) from None
    told = [match[0] for match in map(_TELLING.match, done.stderr.splitlines()) if match]
    return Finished(
        code=done.returncode,
        output=done.stdout,
        errors=tuple(line for line in told if " warning: " not in line),
        warnings=tuple(line for line in told if " warning: " in line),
    )


def failed(name: str, done: Finished) -> str:
    """What a program said when it failed, for an error message."""
    if done.code < 0:
        return f"{name} was ended by {signal.Signals(-done.code).name}"
    said = "; ".join(done.errors[:5]) or "it gave no reason"
    return f"{name} ended with code {done.code}: {said}"


def program_environment(service_file: str | None = None) -> dict[str, str]:
    """The environment of PostgreSQL's programs: this process's, in English, without options for the server."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PGOPTIONS", "LANGUAGE")}
    if service_file:
        kept["PGSERVICEFILE"] = service_file
    return {**kept, "LC_ALL": "C", "LANG": "C"}


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """In the child, before exec: be ended when the starting process dies, however it dies (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def on_database(options: ConnectionOptions, dbname: str) -> ConnectionOptions:
    """The same server and login, another database."""
    return replace(options, dbname=dbname)
