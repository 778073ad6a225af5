"""A private PostgreSQL server in one folder: create, start, stop, and how to connect to it."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg

from sandbox.account import Account, choose_account
from sandbox.binaries import BINDIR_VARIABLE, Binaries, find_binaries, program_environment
from sandbox.certificates import ensure_certificates, write_private
from sandbox.credentials import ADMIN, ensure_passfile, read_passfile
from sandbox.errors import SandboxError
from sandbox.lock import locked
from sandbox.ports import ADDRESS as ADDRESS
from sandbox.ports import choose_ports, is_free

# The name in the server certificate. libpq compares it; IP addresses in certificates only since version 15.
HOST = "localhost"
START_TIMEOUT_S = 60
START_ATTEMPTS = 3
ORPHAN_GRACE_S = 2
# Counted from 0: process id, data folder, start time, port, … (PostgreSQL's src/include/utils/pidfile.h).
PID_FILE_PORT_LINE = 3

CONFIGURATION = """\
# Written at every start by the sandbox: changes made here are lost.
cluster_name = '{cluster_name}'
listen_addresses = '{address}'
port = {port}
# No socket file: a managed database has none, and its path may have 107 bytes at most.
unix_socket_directories = ''
ssl = {ssl}
ssl_cert_file = '{certificate}'
ssl_key_file = '{key}'
password_encryption = 'scram-sha-256'
fsync = {durable}
synchronous_commit = {durable}
full_page_writes = {durable}
log_destination = 'stderr'
logging_collector = off
log_statement = 'ddl'
log_line_prefix = '%m [%p] app=%a user=%u db=%d '
log_lock_waits = on
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'
track_commit_timestamp = off
"""


class PostgresServer:
    """The server whose data, certificates, passwords and log lie in one folder.

    :param home: the folder; made when absent. Nothing outside it is changed.
    :param plaintext: also accept connections without TLS (still with a password), for tests that look into the bytes.
    :param durable: False trades safety against a crash of the machine for speed; the server's own crash is survived.
    """

    host = HOST
    address = ADDRESS

    def __init__(self, home: Path, *, plaintext: bool = False, durable: bool = True) -> None:
        # Resolved: processes are recognized by this path.
        self.home = home.resolve()
        self.data = self.home / "data"
        self.log = self.home / "server.log"
        self.passfile = self.home / "pgpass"
        self.ca_certificate = self.home / "ca.crt"
        self._server_certificate = self.home / "server.crt"
        self._server_key = self.home / "server.key"
        self._control_output = self.home / "pg_ctl.out"
        self._state_file = self.home / "state.json"
        self._plaintext = plaintext
        self._durable = durable

    def create(self) -> None:
        """Make the folder, the passwords and the data folder, unless they are there; a half-made one is made anew.

        :raises SandboxError: no binaries, no account, or initdb failed.
        """
        with self._locked() as lock:
            self._create(lock)

    def start(self) -> bool:
        """Start the server (creating it first where needed) and wait until it accepts connections.

        :return: False when it was running already.
        :raises SandboxError: it cannot be created or started; holds the end of the server's log.
        """
        with self._locked() as lock:
            if self._settle():
                return False
            binaries, account = self._create(lock)
            # More than once: another program may take the port after it was chosen, and a server that was killed a
            # moment ago, or whose start was interrupted, may be neither dead nor alive yet.
            for _ in range(START_ATTEMPTS):
                if self._launch(binaries, account):
                    return True
                time.sleep(0.2)
                if self._settle():
                    return True
            end = self.log.read_text(errors="replace").splitlines()[-15:]
            raise SandboxError("\n".join([f"PostgreSQL did not start; the end of {self.log}:", *end]))

    def stop(self) -> bool:
        """Stop the server, disconnecting its clients.

        :return: False when it was not running.
        :raises SandboxError: pg_ctl failed; holds what it said.
        """
        if not self.home.exists():
            return False
        with self._locked():
            if not self.is_running():
                return False
            binaries = self.binaries
            account = choose_account(binaries.program("postgres"), self.data)
            code = self._run(
                account, [binaries.program("pg_ctl"), "stop", "-D", str(self.data), "-m", "fast", "-w"]
            )
            if code != 0 and self.is_running():
                raise SandboxError(f"pg_ctl stop failed: {self._control_output.read_text().strip()}")
            return True

    def is_running(self) -> bool:
        """Whether the server's main process lives."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Process id of the running server, or None.

        The pid file alone proves nothing: after a crash another program may have got that number. So the process must
        be one that was started on this data folder. A zombie has an empty command line.
        """
        recorded = self._recorded_pid()
        if recorded is None or os.fsencode(self.data) not in _command_line(recorded).split(b"\0"):
            return None
        return recorded

    @property
    def port(self) -> int:
        """TCP port of the running server, else of the last start."""
        lines = self._pid_file_lines()
        if len(lines) > PID_FILE_PORT_LINE and self.is_running():
            return int(lines[PID_FILE_PORT_LINE])
        return int(self._state()["port"])

    @property
    def has_tls(self) -> bool:
        """Whether the server speaks TLS (not every build can)."""
        return bool(self._state()["tls"])

    @property
    def binaries(self) -> Binaries:
        """The PostgreSQL installation of the last start."""
        state = self._state()
        return Binaries(Path(state["bindir"]), state["version"], state["source"])

    @property
    def account_label(self) -> str:
        """The account of the last start, for people."""
        return str(self._state()["account"])

    def options(self, role: str, dbname: str) -> dict[str, Any]:
        """Return libpq connection keywords (host, port, dbname, user, password, sslmode, sslrootcert).

        :param role: one of sandbox.credentials.ROLES.
        """
        password = read_passfile(self.passfile)[role]
        return self.public_options(role, dbname) | {"password": password}

    def public_options(self, role: str, dbname: str) -> dict[str, Any]:
        """Return the same without the password: what may be shown and written into a service file."""
        tls = {"sslmode": "verify-full", "sslrootcert": str(self.ca_certificate)}
        return {
            "host": self.host,
            "port": self.port,
            "dbname": dbname,
            "user": role,
            **(tls if self.has_tls else {"sslmode": "disable"}),
        }

    def connect(self, role: str = ADMIN, dbname: str = "postgres", **keywords: Any) -> psycopg.Connection:
        """Open a connection, in autocommit unless told otherwise.

        :param keywords: replace libpq keywords or psycopg's own; None removes one.
        """
        chosen = {"autocommit": True, "connect_timeout": 10, **self.options(role, dbname), **keywords}
        return psycopg.connect(**{name: value for name, value in chosen.items() if value is not None})

    def _create(self, lock: int) -> tuple[Binaries, Account]:
        binaries = self._choose_binaries()
        account = choose_account(binaries.program("postgres"), self.data)
        passwords = ensure_passfile(self.passfile)
        if not self.data.exists():
            self._initialize(binaries, account, passwords[ADMIN], lock)
        return binaries, account

    def _choose_binaries(self) -> Binaries:
        if not self.data.exists():
            return find_binaries()
        major = int((self.data / "PG_VERSION").read_text())
        if self._state_file.exists() and not os.environ.get(BINDIR_VARIABLE):
            last = self.binaries
            if last.major == major and os.access(last.program("postgres"), os.X_OK):
                return last
        return find_binaries(major)

    def _initialize(self, binaries: Binaries, account: Account, password: str, lock: int) -> None:
        """Run initdb. The data folder gets its name only when it is complete, so an interrupted run leaves none."""
        partial = self.home / "data.partial"
        if partial.exists():
            shutil.rmtree(partial)
        account.own(self.home)
        password_file = self.home / "initial-password"
        write_private(password_file, f"{password}\n".encode())
        account.own(password_file)
        try:
            # initdb inherits the lock: when this process is killed, the next one waits until initdb has ended too.
            code = self._run(
                account,
                [
                    binaries.program("initdb"),
                    "--pgdata",
                    str(partial),
                    "--username",
                    ADMIN,
                    "--pwfile",
                    str(password_file),
                    "--auth",
                    "scram-sha-256",
                    "--encoding",
                    "UTF8",
                    "--locale",
                    "C.UTF-8",
                    "--data-checksums",
                    "--no-sync",
                ],
                pass_fds=(lock,),
            )
        finally:
            password_file.unlink()
        if code != 0:
            raise SandboxError(f"initdb failed in {partial}: {self._control_output.read_text().strip()}")
        with (partial / "postgresql.conf").open("a") as file:
            file.write("\ninclude = 'sandbox.conf'\n")
        partial.rename(self.data)

    def _launch(self, binaries: Binaries, account: Account) -> bool:
        tls = binaries.has_tls
        if tls:
            ensure_certificates(self.ca_certificate, self._server_certificate, self._server_key)
            account.own(self._server_key)
        if not self.log.exists():
            self.log.touch(mode=0o600)
        account.own(self.log)
        port = self._choose_port()
        self._write_configuration(account, port, tls)
        # Before the start: whoever is interrupted now leaves a server that the next call can still reach.
        self._write_state(binaries, account, port, tls)
        start = [binaries.program("pg_ctl"), "start", "-D", str(self.data), "-w", "-t", str(START_TIMEOUT_S)]
        return self._run(account, [*start, "-l", str(self.log)]) == 0

    def _choose_port(self) -> int:
        """Keep the port of the last start when it is free: open psql sessions and notes stay valid."""
        if self._state_file.exists():
            last = int(self._state()["port"])
            if is_free(last):
                return last
        return choose_ports(1)[0]

    def _write_configuration(self, account: Account, port: int, tls: bool) -> None:
        configuration = self.data / "sandbox.conf"
        configuration.write_text(
            CONFIGURATION.format(
                cluster_name=self._cluster_name,
                address=ADDRESS,
                port=port,
                ssl="on" if tls else "off",
                durable="on" if self._durable else "off",
                certificate=_quoted(self._server_certificate),
                key=_quoted(self._server_key),
            )
        )
        kinds = ["hostssl"] if tls else ["host"]
        if self._plaintext and tls:
            kinds.append("hostnossl")
        access = self.data / "pg_hba.conf"
        access.write_text("".join(f"{kind} all all {ADDRESS}/32 scram-sha-256\n" for kind in kinds))
        account.own(configuration)
        account.own(access)

    def _settle(self) -> bool:
        """Wait until the data folder has a server that accepts connections (True), or no process at all (False).

        After a crash children may go on working without their main process, and PostgreSQL refuses to start while one
        of them holds the shared memory.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        orphaned_since: float | None = None
        while True:
            if self.is_running():
                orphaned_since = None
                try:
                    self.connect(connect_timeout=2).close()
                except psycopg.OperationalError as error:  # still starting, or just dying
                    last_seen = f"process {self.pid}: {str(error).strip()}"
                else:
                    return True
            elif orphans := self._orphans():
                last_seen = f"processes {sorted(orphans)} of a server that crashed"
                orphaned_since = orphaned_since or time.monotonic()
                if time.monotonic() - orphaned_since > ORPHAN_GRACE_S:
                    for orphan in orphans:
                        _quit(orphan)
            else:
                self._remove_foreign_pid_file()
                return False
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"what runs in {self.data} neither serves nor ends within {START_TIMEOUT_S} s; {last_seen}"
                )
            time.sleep(0.05)

    def _orphans(self) -> set[int]:
        """Process ids of the main process's children, known by the cluster_name in their title.

        The title is all that root may see of another user's processes in a container.
        """
        title = f"postgres: {self._cluster_name}: ".encode()
        pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        return {pid for pid in pids if _command_line(pid).startswith(title)}

    @property
    def _cluster_name(self) -> str:
        return f"sandbox-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]}"

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _recorded_pid(self) -> int | None:
        first = self._pid_file_lines()[:1]
        # Empty for a moment while the server writes it.
        return int(first[0]) if first and first[0].isdigit() else None

    def _remove_foreign_pid_file(self) -> None:
        """Remove a left pid file whose number now belongs to an unrelated process: PostgreSQL would refuse to start.

        Any other left pid file stays: PostgreSQL judges it better, by the shared memory that it names.
        """
        recorded = self._recorded_pid()
        if recorded is not None and Path(f"/proc/{recorded}").exists():
            (self.data / "postmaster.pid").unlink()

    def _run(self, account: Account, command: list[str], pass_fds: tuple[int, ...] = ()) -> int:
        """Run a program and return its exit code; its output goes to a file.

        Never a pipe: the server inherits it, and whoever reads the pipe would wait until the server ends.
        """
        with self._control_output.open("w") as output:
            return subprocess.run(
                [*account.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.home,
                env=program_environment(),
                pass_fds=pass_fds,
                check=False,
            ).returncode

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            raise SandboxError(f"{self.home} holds no server that was ever started: start it first") from None
        return state

    def _write_state(self, binaries: Binaries, account: Account, port: int, tls: bool) -> None:
        state = {
            "bindir": str(binaries.bindir),
            "version": binaries.version,
            "source": binaries.source,
            "account": account.label,
            "port": port,
            "tls": tls,
        }
        complete = self._state_file.with_suffix(".new")
        complete.write_text(json.dumps(state, indent=2) + "\n")
        complete.rename(self._state_file)

    def _locked(self) -> AbstractContextManager[int]:
        """Let one process at a time create, start or stop; the lock ends with its process."""
        return locked(self.home / "lock", f"starting or stopping {self.home}")


def _command_line(pid: int) -> bytes:
    """Return a process's command line or title; empty when it has ended or is about to."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _quit(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGQUIT)
    except ProcessLookupError:
        return  # it ended by itself, which is what was wanted


def _quoted(path: Path) -> str:
    """Escape a path for a quoted value in postgresql.conf."""
    return str(path).replace("\\", "\\\\").replace("'", "''")


def random_name(prefix: str) -> str:
    """Return a database name that no one else uses, such as ``test_3f9a1c2b``."""
    return f"{prefix}_{secrets.token_hex(4)}"
