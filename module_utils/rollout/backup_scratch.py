"""Where a dump is restored to prove it: a database beside the source, or a throw-away server on this host."""

from __future__ import annotations

import functools
import locale
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.rollout import backup_programs
from ansible.module_utils.rollout.backup_contents import Contents, Identity
from ansible.module_utils.rollout.backup_programs import Programs
from ansible.module_utils.rollout.catalog import Entry
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import BackupRefused, ConnectionFailed, StatementFailed
from ansible.module_utils.rollout.options import ConnectionOptions

_DATABASE_PREFIX = "rollout_scratch_"
_MARK = "scratch copy of the rollout's pg_backup"
_LEFT_OVER = """
SELECT d.datname FROM pg_database d
 WHERE d.datname ~ '^rollout_scratch_[0-9a-f]{12}$' AND pg_get_userbyid(d.datdba) = current_user
   AND shobj_description(d.oid, 'pg_database') = %s
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)
"""
_OBJECT_IN_USE = "55006"
#: Folders of throw-away servers begin like this.
SERVER_PREFIX = ".scratch-"
_ROLE = "rollout_scratch"
_START_S = 60.0
_STOP_S = 20.0
#: A socket's path has 107 bytes at most (unix(7)); PostgreSQL puts a file of this name into the folder.
_SOCKET_PATH_BYTES = 107
_SOCKET_FILE = ".s.PGSQL.5432"
_CONFIGURATION = """\
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
# Thrown away in any case.
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
shared_buffers = '32MB'
maintenance_work_mem = '32MB'
max_connections = 20
max_locks_per_transaction = 1024
logging_collector = off
log_destination = 'stderr'
log_min_error_statement = panic
lc_messages = 'C'
timezone = 'UTC'
"""


@dataclass(frozen=True)
class Scratch:
    """A target that a dump can be restored into.

    :ivar how: ``database`` or ``local``
    :ivar where: in words
    :ivar extensions_missing: extensions of the source that it could not have
    :ivar schemas: that it has already
    """

    how: str
    where: str
    options: ConnectionOptions
    extensions_missing: tuple[str, ...] = ()
    schemas: frozenset[str] = frozenset({"public"})


@contextmanager
def scratch_database(
    open_session: Callable[[ConnectionOptions], Session], options: ConnectionOptions, source: Contents
) -> Iterator[Scratch]:
    """A database beside the source, dropped at the end.

    :param open_session: opens a session that may write
    :param options: how the source is reached
    :raises BackupRefused: it cannot be made, or turns out to be the source itself
    """
    name = _DATABASE_PREFIX + secrets.token_hex(6)
    target = backup_programs.on_database(options, name)
    identity = source.identity
    with open_session(options) as session:
        remove_left_databases(session)
        session.run_alone(
            Command(
                f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING {_literal(identity.encoding)}'
                f" LC_COLLATE {_literal(identity.collate)} LC_CTYPE {_literal(identity.ctype)}"
            )
        )
    try:
        # Connected all the time: nobody can drop a database that is in use, so another run leaves this one alone.
        with open_session(target) as keeper:
            refuse_the_source(keeper, identity)
            keeper.run(
                [
                    "SET idle_session_timeout = 0",
                    f'COMMENT ON DATABASE "{name}" IS {_literal(_MARK)}',
                    f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC',
                ]
            )
            missing = _prepare(keeper, source)
            where = f"database {name} on the source's server"
            yield Scratch("database", where, target, missing, _schemas(source, missing))
    finally:
        with open_session(options) as session:
            session.run_alone(Command(f'DROP DATABASE IF EXISTS "{name}"'))


def remove_left_databases(session: Session) -> list[str]:
    """Drop what killed runs left: named, owned and marked by us, and with nobody connected. Returns the names."""
    dropped = []
    for (name,) in session.run([Command(_LEFT_OVER, (_MARK,))])[0]:
        try:
            session.run_alone(Command(f'DROP DATABASE IF EXISTS "{name}"'))
        except StatementFailed as error:
            if error.details.get("sqlstate") != _OBJECT_IN_USE:
                raise
            continue  # somebody came in since the question was asked
        dropped.append(name)
    return dropped


def refuse_the_source(session: Session, source: Identity) -> None:
    """Compare the database that answers with the source.

    :raises BackupRefused: a pooler or a service file led back to the source
    """
    ((oid, may_ask),) = session.run(
        [
            "SELECT oid::bigint, has_function_privilege('pg_control_system()', 'EXECUTE') FROM pg_database"
            " WHERE datname = current_database()"
        ]
    )[0]
    system = (
        session.run(["SELECT system_identifier::text FROM pg_control_system()"])[0][0][0] if may_ask else None
    )
    if source.same_as(Identity("", oid, system, "", "", "", "")):
        raise BackupRefused(
            f"the scratch target {session.options.target} is the source itself",
            hint="A pooler or a service file leads every database name to one database. Connect to the server itself,"
            " or set scratch to local.",
        )


@contextmanager
def local_server(folder: Path, programs: Programs, source: Contents) -> Iterator[Scratch]:
    """A server of its own below ``folder``: a unix socket that only this account reaches, a password, nothing durable.

    :param folder: the backups' folder, so that disk and mode are those of the backups
    :param programs: an installation with the server's programs
    :raises BackupRefused: it cannot be made or started
    """
    home = Path(tempfile.mkdtemp(prefix=SERVER_PREFIX, dir=folder))
    sockets = Path(tempfile.mkdtemp(prefix="rollout-", dir=_short_folder()))
    process: subprocess.Popen[bytes] | None = None
    try:
        (home / "sockets").write_text(str(sockets), encoding="utf-8")
        account = choose_account(programs.path("postgres"))
        for place in (home, sockets):
            account.own(place)
        password = secrets.token_urlsafe(24)
        _initialize(home, programs, account, password, source.identity)
        (home / "data" / "postgresql.conf").write_text(
            _CONFIGURATION.format(sockets=str(sockets).replace("'", "''")), encoding="utf-8"
        )
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [*account.prefix, programs.path("postgres"), "-D", str(home / "data")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env=backup_programs.program_environment(),
                preexec_fn=functools.partial(backup_programs.end_with_parent, signal.SIGQUIT),
            )
        options = ConnectionOptions(
            host=str(sockets), port=5432, dbname="postgres", user=_ROLE, password=password, sslmode="disable"
        )
        with _first_session(process, options, home / "log") as keeper:
            refuse_the_source(keeper, source.identity)
            missing = _prepare(keeper, source)
            for role in sorted(_policy_roles(source.catalogs)):
                keeper.run([Command(f"CREATE ROLE {_quoted(role)} NOLOGIN")])
        where = f"a throw-away PostgreSQL {programs.version} on this host"
        yield Scratch("local", where, options, missing, _schemas(source, missing))
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(home)
        shutil.rmtree(sockets)


def remove_left_servers(folder: Path) -> list[str]:
    """Stop and remove what killed runs left below the backups' folder. Only while the folder is locked.

    Each is a folder that only we make, in a folder that is ours alone; a process is stopped only when its command line
    names that very data folder.

    :returns: names of the folders
    """
    removed = []
    for home in sorted(folder.glob(f"{SERVER_PREFIX}*")):
        pid_file = home / "data" / "postmaster.pid"
        lines = pid_file.read_text(encoding="utf-8").splitlines() if pid_file.exists() else []
        if lines and lines[0].isdigit() and _runs_on(int(lines[0]), home / "data"):
            os.kill(int(lines[0]), signal.SIGQUIT)
            deadline = time.monotonic() + _STOP_S
            while _runs_on(int(lines[0]), home / "data"):
                if time.monotonic() > deadline:
                    raise BackupRefused(
                        f"process {lines[0]}, a scratch server in {home} that an earlier run left, does not end",
                        hint=f"End it (kill -9 {lines[0]}), then run again.",
                    )
                time.sleep(0.05)
        sockets = home / "sockets"
        place = Path(sockets.read_text(encoding="utf-8")) if sockets.exists() else None
        shutil.rmtree(home)
        if place is not None and place.name.startswith("rollout-") and place.is_dir():
            shutil.rmtree(place)
        removed.append(home.name)
    return removed


@dataclass(frozen=True)
class Account:
    """How the server's programs are run: PostgreSQL refuses to run as root.

    :ivar prefix: words put before each command
    :ivar uid: who its files have to belong to; None when they do already
    """

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_account(postgres: str) -> Account:
    """This account, or for root one that PostgreSQL accepts: a user namespace of its own, else a system user.

    :param postgres: path of the program
    :raises BackupRefused: none can run it
    """
    if os.geteuid() != 0:
        return Account()
    # Files stay root's; inside the namespace root has the number 1000.
    candidates = [Account(("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"))]
    candidates += [_system_user(entry) for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")]
    for account in candidates:
        if shutil.which(account.prefix[0]) is None:
            continue
        answer = subprocess.run([*account.prefix, postgres, "--version"], capture_output=True, check=False)
        who = subprocess.run([*account.prefix, "id", "-u"], capture_output=True, check=False)
        if answer.returncode == 0 and who.returncode == 0 and who.stdout.strip() != b"0":
            return account
    raise BackupRefused(
        "a scratch server cannot be started: PostgreSQL refuses to run as root, and neither unshare nor setpriv gives"
        " it another account here",
        hint="Run the modules as an ordinary user, or let the role create databases (ALTER ROLE ... CREATEDB).",
    )


def _system_user(entry: pwd.struct_passwd) -> Account:
    # The folder is closed to this user; it keeps the right to enter, and access(2) knows of it (no_setuid_fixup).
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")
    who = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
    return Account(("setpriv", *who, *rights, "--"), entry.pw_uid, entry.pw_gid)


def _initialize(home: Path, programs: Programs, account: Account, password: str, source: Identity) -> None:
    password_file = home / "password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    account.own(password_file)
    done = subprocess.run(
        [
            *account.prefix,
            programs.path("initdb"),
            f"--pgdata={home / 'data'}",
            f"--username={_ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            f"--encoding={source.encoding}",
            "--lc-collate=C",
            f"--lc-ctype={_known_ctype(source.ctype)}",
            "--lc-messages=C",
            "--no-sync",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=home,
        env=backup_programs.program_environment(),
        check=False,
    )
    password_file.unlink()
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-3:]
        raise BackupRefused(f"initdb for the scratch server failed: {'; '.join(last)}", hint=_LOCAL_HINT)


_LOCAL_HINT = (
    "Look at the free disk of the backups' folder; or let the role create databases, and none is needed."
)


def _known_ctype(wanted: str) -> str:
    """The source's character classes where this host has them: checks and indexes may depend on them."""
    before = locale.setlocale(locale.LC_CTYPE)
    for name in (wanted, "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_CTYPE, before)
        return name
    return "C"


def _first_session(process: subprocess.Popen[bytes], options: ConnectionOptions, log: Path) -> Session:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return Session(options, "rollout scratch", statement_timeout_ms=0)
        except ConnectionFailed as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            end = " / ".join(log.read_text(errors="replace").splitlines()[-3:])
            raise BackupRefused(
                f"the scratch server did not start: {end or error.message}", hint=_LOCAL_HINT
            ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _short_folder() -> str:
    """A folder for the socket; the usual one may have too long a path."""
    usual = tempfile.gettempdir()
    longest = os.path.join(usual, "rollout-12345678", _SOCKET_FILE)
    return usual if len(os.fsencode(longest)) <= _SOCKET_PATH_BYTES else "/tmp"


def _runs_on(pid: int, data: Path) -> bool:
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _prepare(session: Session, source: Contents) -> tuple[str, ...]:
    """Make the source's extensions, where the target can have them; returns the names of the others.

    What needs one that is missing fails in the restore and is told there; most need none of what a provider adds.
    """
    session.run(["CREATE SCHEMA IF NOT EXISTS public"])
    missing = []
    for name, schema in source.extensions.items():
        try:
            session.run(
                [
                    f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)}",
                    f"CREATE EXTENSION IF NOT EXISTS {_quoted(name)} SCHEMA {_quoted(schema)}",
                ]
            )
        except StatementFailed:
            missing.append(name)
    return tuple(missing)


def _schemas(source: Contents, missing: tuple[str, ...]) -> frozenset[str]:
    """The schemas that :func:`_prepare` made."""
    made = {schema for name, schema in source.extensions.items() if name not in missing}
    return frozenset({"public", *made})


def _policy_roles(catalogs: Mapping[str, Mapping[str, Entry]]) -> set[str]:
    """Roles that policies name: they exist beside the source, not on a server of its own."""
    return {
        role
        for entries in catalogs.values()
        for name, entry in entries.items()
        if name.startswith("policy ")
        for role in entry.get("roles") or ()
        if role != "public"
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
